# SPDX-License-Identifier: Apache-2.0
"""Which faces are worth learning from: a number for each doubt, and a named reason."""

from __future__ import annotations

import math
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.detect.detector import Detection
from facex.imaging.warp import Similarity
from facex.prepare.options import QualityLimits
from facex.prepare.parts import Aligned

_SIDE = 256
"""Side in pixels at which sharpness is measured, so that it means the same at every crop size."""


class Reason(StrEnum):
    """Why a photo or a face is not among the training data."""

    NO_CONSENT = "no consent"
    NO_FACE = "no face"
    UNSURE = "unsure"
    TOO_SMALL = "too small"
    CUT_OFF = "cut off"
    TOO_TURNED = "too turned"
    TOO_BLURRED = "too blurred"
    SAME_PHOTO = "same photo"
    SAME_FACE = "same face"


def measure(
    detection: Detection, aligned: Aligned, photo_size: tuple[int, int], crop_size: int
) -> dict[str, float]:
    """What is known of a face before its pixels are looked at.

    Args:
        detection: of the face.
        aligned: its landmarks and frame.
        photo_size: width and height in pixels.
        crop_size: side of the crop in pixels.

    Returns:
        ``score``; ``size``, photo pixels per crop pixel; ``yaw`` and ``pitch`` in degrees;
        ``outside``, the share of the crop beyond the photo; ``hidden``, that of the landmarks.
    """
    width, height = photo_size
    x, y = aligned.points.T
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    values = {
        "score": detection.score,
        "size": aligned.frame.scale,
        "yaw": math.degrees(aligned.yaw),
        "pitch": math.degrees(aligned.pitch),
        "outside": outside_share(aligned.frame, photo_size, crop_size),
        "hidden": 1 - float(inside.mean()),
    }
    # Enough for any threshold, and the same text on every machine.
    return {name: round(value, 4) for name, value in values.items()}


def outside_share(frame: Similarity, photo_size: tuple[int, int], crop_size: int) -> float:
    """Share of a crop that lies beyond its photo, to a thousandth."""
    steps = (np.arange(48) + 0.5) * (crop_size / 48)
    places = frame.apply(np.stack(np.meshgrid(steps, steps), -1))
    inside = (places >= 0).all(-1) & (places <= np.array(photo_size)).all(-1)
    return 1 - float(inside.mean())


def reject_place(values: dict[str, float], limits: QualityLimits) -> Reason | None:
    """The first reason that speaks against a face by where and how it stands."""
    if values["score"] < limits.score:
        return Reason.UNSURE
    if values["size"] < limits.size:
        return Reason.TOO_SMALL
    if values["outside"] > limits.outside or values["hidden"] > 0:
        return Reason.CUT_OFF
    if abs(values["yaw"]) > limits.yaw or abs(values["pitch"]) > limits.pitch:
        return Reason.TOO_TURNED
    return None


def sharpness(crop: NDArray[np.uint8]) -> float:
    """How much of the contrast in the middle of a crop (S, S, 3) is fine detail.

    Variance of the Laplacian over the variance of the grey values, so that neither a flat light
    nor the camera's own contrast counts. Measured at 256 px.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    if grey.shape[0] != _SIDE:
        grey = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    face = grey[_SIDE // 4 : -_SIDE // 8, _SIDE // 4 : -_SIDE // 4].astype(np.float32)
    detail = cv2.Laplacian(face, cv2.CV_32F, ksize=1)[1:-1, 1:-1]
    return round(float(detail.var()) / (float(face.var()) + 1.0), 5)
