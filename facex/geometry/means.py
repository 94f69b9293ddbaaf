# SPDX-License-Identifier: Apache-2.0
"""How means of training faces are stored: pictures of what is relative to a face's skin."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

UNIT: Final = 128.0
"""Stored value of a pixel as bright as the skin."""


def read_means(name: str) -> Floats:
    """The picture ``(H, W, 3)`` RGB of a file of this package, 1 where it is as bright as skin."""
    data = (resources.files("facex.geometry") / name).read_bytes()
    image = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(image[..., ::-1].astype(np.float32) / np.float32(UNIT), np.float32)


def write_means(path: Path, means: NDArray[np.floating]) -> None:
    """Store a picture ``(H, W, 3)`` for :func:`read_means`, in steps of 1 / 128 up to 2."""
    sheet = np.clip(means * UNIT, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), np.ascontiguousarray(sheet[..., ::-1]))
