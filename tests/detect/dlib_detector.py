# SPDX-License-Identifier: Apache-2.0
"""dlib's detector of frontal faces: a second opinion that shares nothing with the bundled one."""

from __future__ import annotations

import dlib
import numpy as np
from numpy.typing import NDArray

from facex.detect.detector import Detection


def dlib_faces(image: NDArray[np.uint8]) -> list[Detection]:
    """Upright frontal faces of 80 pixels and more in an image (H, W, 3) uint8 RGB."""
    boxes, scores, _ = dlib.get_frontal_face_detector().run(image, 0, 0.0)
    return [
        Detection((box.left(), box.top(), box.right() + 1, box.bottom() + 1), score)
        for box, score in zip(boxes, scores, strict=True)
    ]
