# SPDX-License-Identifier: Apache-2.0
"""A decomposed picture, as references are made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Points = NDArray[np.floating]


@dataclass(frozen=True)
class FacePicture:
    """A decomposed picture as the assembler needs it.

    Attributes:
        image: ``(h, w, 3)`` RGB uint8 or float32 in [0, 1], the aligned crop at any resolution.
        landmarks: ``(478, 3)`` in units of ``crop_size``.
        parsing: ``(S, S)`` uint8 class ids, S = ``crop_size``.
        crop_size: side of the frame that landmarks and parsing live in.
        extent: left, top, right and bottom of what the photo shows of it, as shares of the side.
    """

    image: NDArray[np.generic]
    landmarks: Points
    parsing: NDArray[np.uint8]
    crop_size: int
    extent: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def hidden(self, size: int) -> Floats:
        """``(size, size)``, 1 where its photo shows nothing."""
        left, top, right, bottom = (round(end * size) for end in self.extent)
        beyond = np.ones((size, size), np.float32)
        beyond[top:bottom, left:right] = 0
        return beyond

    @property
    def pixels(self) -> Floats:
        """The image as float32 in [0, 1]."""
        if self.image.dtype == np.uint8:
            return np.multiply(self.image, np.float32(1 / 255), dtype=np.float32)
        return self.image.astype(np.float32)
