# SPDX-License-Identifier: Apache-2.0
"""The detector on whole photos, against YuNet (a teachers' folder holds its ONNX file)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from facex.detect.detector import Detection, Detector
from facex.evaluate.bootstrap import Interval, mean_interval
from facex.evaluate.faces import SUFFIXES, Pixels
from facex.imaging.read import read_photo

SIDE: Final = 640
"""Longest side at which the detector is timed and YuNet looks."""
_SURE: Final = 0.85
"""YuNet's score of a face that has to be found."""
_MAYBE: Final = 0.4
"""YuNet's score of what may be a face."""
_YUNET: Final = "face_detection_yunet*.onnx"


def measure_detector(
    detector: Detector, photos: Path, teachers: Path
) -> tuple[dict[str, Interval], list[str]]:
    """Faces found, false finds and time.

    Returns:
        ``detector_found`` share, ``detector_false`` number and ``detector_ms``; and a line for
        every photo where the two disagree. Nothing where YuNet's file is missing.
    """
    files = sorted(teachers.glob(_YUNET))
    pictures = [p for p in sorted(photos.iterdir()) if p.suffix.lower() in SUFFIXES]
    if not files or not pictures:
        return {}, []
    yunet = cv2.FaceDetectorYN.create(str(files[-1]), "", (SIDE, SIDE), _MAYBE)
    hits: list[float] = []
    seconds, false, lines = [], 0, []
    for path in pictures:
        image = _at_side(np.asarray(read_photo(path).image.convert("RGB")))
        start = time.perf_counter()
        found = detector(image)
        seconds.append(time.perf_counter() - start)
        known = _yunet(yunet, image)
        sure = [box for box, score in known.items() if score >= _SURE]
        missed = [box for box in sure if not any(_same(box, f) for f in found)]
        wrong = [f for f in found if not any(_same(box, f) for box in known)]
        hits += [0.0] * len(missed) + [1.0] * (len(sure) - len(missed))
        false += len(wrong)
        if missed or wrong:
            lines.append(f"{path.name}: {len(missed)} of {len(sure)} missed, {len(wrong)} false")
    nan = float("nan")
    return {
        "detector_found": mean_interval(hits),
        "detector_false": Interval(false, nan, nan, len(pictures)),
        "detector_ms": Interval(1000 * statistics.median(seconds), nan, nan, len(pictures)),
    }, lines


Box = tuple[float, float, float, float]


def _yunet(net: Any, image: Pixels) -> Mapping[Box, float]:
    net.setInputSize((image.shape[1], image.shape[0]))
    _, rows = net.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    found: dict[Box, float] = {}
    for x, y, width, height, *rest in [] if rows is None else rows.tolist():
        found[x, y, x + width, y + height] = rest[-1]
    return found


def _same(box: Box, face: Detection) -> bool:
    """Boxes of two detectors have different edges: the middle and the size must fit."""
    x, y = face.centre
    inside = box[0] <= x <= box[2] and box[1] <= y <= box[3]
    ratio = face.height / max(box[3] - box[1], 1e-6)
    return inside and 0.4 < ratio < 2.5


def _at_side(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (round(width * scale), round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
