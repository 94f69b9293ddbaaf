# SPDX-License-Identifier: Apache-2.0
"""FORD under test: pictures in, arrays out, in the form in which judges read."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from facex.evaluate.analysis.measures import overlap_counts
from facex.evaluate.faces import Pixels
from facex.evaluate.judges import Reading, as_tensor
from facex.ford.decompose import FORD
from facex.ford.representation import FaceRepresentation
from facex.types import PARSING_MIRROR

CODES: Final = ("identity", "shape", "expression", "pose", "gaze", "texture", "light")
"""Codes among which leaks are measured."""
_RUNS: Final = 15


class FordReader:
    """Reads pictures with the extractors under test.

    Args:
        ford: the extractors.
        crop_size: side of their crops; pictures of another side are resampled.
        device: where their networks are.
    """

    def __init__(self, ford: FORD, crop_size: int, device: torch.device | None = None) -> None:
        self.ford, self.crop_size = ford, crop_size
        self.device = device or torch.device("cpu")

    def crops(self, pictures: Sequence[Pixels]) -> Tensor:
        """Crops ``(B, 3, S, S)`` in [-1, 1]."""
        images = as_tensor(pictures)
        if images.shape[-1] != self.crop_size:
            size = (self.crop_size, self.crop_size)
            images = F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        return (images * 2 - 1).to(self.device)

    @torch.inference_mode()
    def represent(self, pictures: Sequence[Pixels]) -> FaceRepresentation:
        """What FORD finds."""
        return self.ford(self.crops(pictures)).to("cpu")

    def read(self, pictures: Sequence[Pixels]) -> list[Reading]:
        """Landmarks in pixels of the picture, and the codes, for each picture."""
        rep = self.represent(pictures)
        scale = pictures[0].shape[0] / self.crop_size
        values = {
            "points": rep.landmarks * scale,
            "blendshapes": rep.expression,
            "rotation": rep.rotation,
            "gaze": rep.gaze.mean(1),
            "identity": rep.identity,
            "shape": rep.shape,
            "texture": rep.texture,
            "light": rep.light,
        }
        arrays = {name: value.float().numpy() for name, value in values.items()}
        return [{name: array[i] for name, array in arrays.items()} for i in range(len(pictures))]

    def parse(self, pictures: Sequence[Pixels]) -> NDArray[np.uint8]:
        """Class maps ``(B, S, S)`` of the size of the pictures."""
        parsing = self.represent(pictures).parsing
        side = pictures[0].shape[0]
        if parsing.shape[-1] != side:
            parsing = F.interpolate(parsing[:, None], size=(side, side), mode="nearest")[:, 0]
        return np.asarray(parsing.numpy(), np.uint8)

    def mirrored(self, pictures: Sequence[Pixels]) -> list[Reading]:
        """Light of each picture and of its mirror image, and how far the two masks overlap."""
        first = self.represent(pictures)
        second = self.represent([np.ascontiguousarray(p[:, ::-1]) for p in pictures])
        table = np.array(PARSING_MIRROR, np.uint8)
        back = table[second.parsing.numpy()[:, :, ::-1]]
        return [
            {
                "light": first.light[i].float().numpy(),
                "mirror": second.light[i].float().numpy(),
                "counts": overlap_counts(back[i], first.parsing[i].numpy()),
            }
            for i in range(len(pictures))
        ]

    def milliseconds(self, picture: Pixels) -> float:
        """Median time of one face, warm, with torch's present number of threads."""
        times = []
        for _ in range(_RUNS):
            crop = self.crops([picture])
            start = time.perf_counter()
            with torch.inference_mode():
                self.ford(crop)
            times.append(time.perf_counter() - start)
        return 1000 * statistics.median(times[2:])


def codes_of(reading: Reading) -> dict[str, NDArray[np.floating]]:
    """The codes of one reading, flat."""
    pose = np.asarray(reading["rotation"])[:, :2].ravel()
    return {**{name: reading[name] for name in CODES if name in reading}, "pose": pose,
            "expression": reading["blendshapes"]}  # fmt: skip


def half_precision_megabytes(folder: Path) -> float:
    """Size of all weights below a folder at two bytes a number, in 10^6 bytes."""
    numbers = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            numbers += sum(int(np.prod(file.get_slice(k).get_shape())) for k in file.keys())  # noqa: SIM118
    return 2 * numbers / 1e6
