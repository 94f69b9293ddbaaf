# SPDX-License-Identifier: Apache-2.0
"""Rendered faces with perfect masks (Wood et al. 2021), aligned like photos, in our classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facex.detect.detector import Detection
from facex.evaluate.faces import Pixels
from facex.imaging.read import read_photo
from facex.imaging.warp import Similarity, crop_image, ffhq_alignment
from facex.locate import rough_frame
from facex.types import PARSING_CLASSES

FOLDER: Final = "synthetic"
_IGNORE: Final = 255
_NAMES: Final = (
    "background", "skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth",
    "u_lip", "l_lip", "neck", "hair", "skin", "cloth", "eye_g", "hat", "",
)  # fmt: skip
"""Our class of theirs, by number; sides are the person's. Their beard is our skin, their facewear
is not counted."""
_FACE: Final = (1, 2, 3, 4, 5, 6, 9, 10, 11, 14, 16)
_ROUNDS: Final = 3

Landmarks = Callable[[Pixels], NDArray[np.floating]]


class Masked(NamedTuple):
    """A face with its true mask.

    Attributes:
        name: of the file.
        picture: ``(S, S, 3)``, aligned.
        labels: ``(S, S)``; 255 is not to be counted.
    """

    name: str
    picture: Pixels
    labels: NDArray[np.uint8]


def masked_faces(folder: Path, landmarks: Landmarks, size: int) -> Iterator[Masked]:
    """All pairs ``NAME.*`` and ``NAME_seg.png`` of a folder.

    Args:
        folder: with pictures and masks of one size.
        landmarks: finds the 478 points in a crop.
        size: side of the aligned crops.
    """
    table = np.full(256, _IGNORE, np.uint8)
    for number, name in enumerate(_NAMES):
        table[number] = PARSING_CLASSES.index(name) if name else _IGNORE
    for path in sorted(folder.glob("*_seg.png")):
        stem = path.name.removesuffix("_seg.png")
        pictures = [p for p in folder.glob(f"{stem}.*") if p.suffix != ".txt"]
        if not pictures:
            continue
        image = np.asarray(read_photo(pictures[0]).image.convert("RGB"))
        with Image.open(path) as file:
            mask = np.asarray(file)
        frame = _frame(image, mask, landmarks, size)
        yield Masked(stem, crop_image(image, frame, size), _cut(table[mask], frame, size))


def _frame(image: Pixels, mask: NDArray[np.uint8], landmarks: Landmarks, size: int) -> Similarity:
    """The aligned crop: begun at the mask's face, then by landmarks as in photos."""
    rows, columns = np.nonzero(np.isin(mask, _FACE))
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    frame = rough_frame(Detection(tuple(float(v) for v in box), 1.0), size)  # type: ignore[arg-type]
    for _ in range(_ROUNDS):
        points = landmarks(crop_image(image, frame, size))
        frame = ffhq_alignment(frame.apply(points[:, :2]), size)
    return frame


def _cut(labels: NDArray[np.uint8], frame: Similarity, size: int) -> NDArray[np.uint8]:
    """Labels of the crop; what lies outside of the picture is not counted."""
    matrix = np.array(frame.matrix)
    # OpenCV puts pixel centres at whole numbers.
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(
        labels, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT,
        borderValue=_IGNORE,
    )  # fmt: skip
    return np.asarray(cut, np.uint8)
