# SPDX-License-Identifier: Apache-2.0
"""The whole photo by a personalised base: what lies around the faces is drawn in tiles.

A face is drawn on its aligned crop, with mesh and tokens. A style must not stop at the crop's
border, so the rest of the photo goes through the same base at the face's scale, with nothing known
of any face: tokens absent, no mesh, the photo itself as the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facex.errors import Interrupted
from facex.frc.condition import EditCondition
from facex.frc.pipeline import FaceXPipeline, StepCallback
from facex.imaging.detail import enlarge_along

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

MAX_SIDE: Final = 1024
"""Longest side, in the model's pixels, at which the photo is drawn: 25 tiles at most."""
_OVERLAP: Final = 0.2
"""Least share of a tile that it has in common with its neighbour."""
_BATCH: Final = 6


def draw_ground(
    photo: Pixels,
    pipeline: FaceXPipeline,
    tile: int,
    scale: float,
    *,
    steps: int,
    seed: int,
    strength: float | None = None,
    kappa: float = 0.0,
    callback: Callable[[int, int], StepCallback] | None = None,
) -> Pixels:
    """Draw a whole photo.

    Args:
        photo: (H, W, 3).
        pipeline: with the personalised base.
        tile: side of the model's crops.
        scale: model pixels per photo pixel at the face; less is taken for huge photos, never more
            than 1.
        steps: sampling steps.
        seed: of the noise.
        strength: how much noise a tile starts from; None: the pipeline's own.
        kappa: factor on the confidence in the photo.
        callback: gets (batches done, batches in all), returns the pipeline's callback.

    Returns:
        (H, W, 3) uint8.

    Raises:
        Interrupted: the callback stopped it.
    """
    height, width = photo.shape[:2]
    scale = min(scale, 1.0, MAX_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    full = np.asarray(photo / np.float32(255), np.float32)
    small = np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_AREA), np.float32)
    below, beside = max(0, tile - size[1]), max(0, tile - size[0])
    padded = np.pad(small, ((0, below), (0, beside), (0, 0)), mode="symmetric")
    corners = list(_corners(padded.shape[0], padded.shape[1], tile))
    drawn, weights = np.zeros_like(padded), np.zeros(padded.shape[:2], np.float32)
    window = _window(tile)
    batches = [corners[i : i + _BATCH] for i in range(0, len(corners), _BATCH)]
    for done, batch in enumerate(batches):
        pieces = np.stack([padded[y : y + tile, x : x + tile] for y, x in batch])
        output = pipeline(
            bare_condition(pipeline, torch.from_numpy(pieces).permute(0, 3, 1, 2) * 2 - 1),
            num_inference_steps=steps,
            strength=strength,
            kappa=kappa,
            generator=[torch.Generator().manual_seed(seed) for _ in batch],
            callback_on_step_end=None if callback is None else callback(done, len(batches)),
        )
        if pipeline.interrupted or output.images is None:
            raise Interrupted("the edit was stopped; nothing was written")
        images = (output.images.cpu().permute(0, 2, 3, 1).numpy() + 1) / 2
        for (y, x), image in zip(batch, images, strict=True):
            drawn[y : y + tile, x : x + tile] += image * window[..., None]
            weights[y : y + tile, x : x + tile] += window
    whole = np.asarray((drawn / weights[..., None]).clip(0, 1)[: size[1], : size[0]], np.float32)
    grown = enlarge_along(whole, small, full)
    return np.asarray(np.rint(grown * 255), np.uint8)


def bare_condition(pipeline: FaceXPipeline, pictures: torch.Tensor) -> EditCondition:
    """Pictures ``(B, 3, S, S)`` in [-1, 1] as references, all known, with no face in them."""
    count, _, height, width = pictures.shape
    shapes: dict[str, Any] = dict(pipeline.conditioner.config["inputs"])
    whole = torch.ones(count, 1, height, width)
    return EditCondition(
        inputs={name: torch.zeros(count, *shape) for name, shape in shapes.items()},
        present={name: torch.zeros(count, dtype=torch.bool) for name in shapes},
        reference=pictures,
        known=whole,
        edit=whole,
        geometry=torch.zeros(count, 3, height, width),
        target=pictures,
    )


def _corners(height: int, width: int, tile: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of tiles that cover the picture evenly."""

    def starts(length: int) -> list[int]:
        count = 1 + int(np.ceil((length - tile) / (tile * (1 - _OVERLAP))))
        return [round(v) for v in np.linspace(0, length - tile, count)]

    return ((y, x) for y in starts(height) for x in starts(width))


def _window(tile: int) -> Floats:
    """Weights of a tile's pixels, least at its border but never nothing."""
    ramp = np.sin(np.pi * (np.arange(tile) + 0.5) / tile).astype(np.float32) ** 2
    return np.asarray(np.outer(ramp, ramp) + 1e-3, np.float32)
