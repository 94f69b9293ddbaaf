# SPDX-License-Identifier: Apache-2.0
"""Aligned crops, as a folder of faces for evaluation holds them."""

from __future__ import annotations

import numpy as np
from PIL import Image

import facex
from facex.api import read_photo
from facex.detect.choose import FaceChoice


def aligned(model: facex.FaceX, photo: Image.Image, size: int = 256) -> Image.Image:
    """The face of a photo, ``size`` pixels wide and high."""
    located = model.locator.find(read_photo(photo), FaceChoice())[0]
    return Image.fromarray(np.asarray(located.pixels(size)))
