# SPDX-License-Identifier: Apache-2.0
"""Disturbances of a photo with what they do to its labels.

Light and blur leave labels as they are; a turn or a shift of the crop carries them along.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from PIL import Image

from facex.evaluate.faces import Pixels
from facex.evaluate.judges import Reading
from facex.geometry.topology import EYES
from facex.imaging.warp import Similarity

BLUR: Final = 2.0
"""Standard deviation of the blur, pixels of 256."""
QUALITY: Final = 30
STOPS: Final = 2.0
"""Darkening: the light is divided by 2 to this power."""
TURN: Final = 20.0
SHIFT: Final = 0.2


@dataclass(frozen=True)
class Change:
    """A disturbance.

    Attributes:
        name: in tables.
        about: what is done.
        pixels: makes the disturbed picture ``(S, S, 3)``; None moves it by ``move`` alone.
        move: the map from old to new pixels, given the side and the number of the face.
        worn: draws something on the face, given its labels and number.
    """

    name: str
    about: str
    pixels: Callable[[Pixels], Pixels] | None = None
    move: Callable[[int, int], Similarity] | None = None
    worn: Callable[[Pixels, Reading, int], Pixels] | None = None

    def picture(self, pixels: Pixels, number: int, labels: Reading | None = None) -> Pixels:
        """The disturbed picture of face ``number``; what comes in from outside is mirrored."""
        if self.worn is not None:
            return pixels if labels is None else self.worn(pixels, labels, number)
        if self.pixels is not None:
            return self.pixels(pixels)
        if self.move is None:
            return pixels
        size = pixels.shape[0]
        matrix = np.array(self.move(size, number).matrix)
        # OpenCV puts pixel centres at whole numbers.
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        moved = cv2.warpAffine(
            pixels, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(moved, np.uint8)

    def labels(self, reading: Reading, size: int, number: int) -> Reading:
        """The labels that the disturbed picture has."""
        return reading if self.move is None else moved_labels(reading, self.move(size, number))


def moved_labels(reading: Reading, move: Similarity) -> Reading:
    """Landmarks, rotation and gaze of a face whose picture is turned and shifted."""
    c, s = np.cos(move.rotation), np.sin(move.rotation)
    points = np.array(reading["points"], np.float32)
    points[:, :2] = move.apply(points[:, :2])
    roll = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    pitch, yaw = (float(v) for v in reading["gaze"])
    # Right, down (gaze counts up) and towards the viewer.
    look = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    x, y, z = roll @ look
    gaze = np.array([np.arcsin(np.clip(-y, -1, 1)), np.arctan2(x, z)], np.float32)
    rotation = np.asarray(roll @ reading["rotation"], np.float32)
    return {**reading, "points": points, "rotation": rotation, "gaze": gaze}


def _blur(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), BLUR * pixels.shape[0] / 256), np.uint8)


def _jpeg(pixels: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file).convert("RGB"))


def _half(pixels: Pixels) -> Pixels:
    image, size = Image.fromarray(pixels), pixels.shape[0]
    small = image.resize((size // 2, size // 2), Image.Resampling.BOX)
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))


def _dark(pixels: Pixels) -> Pixels:
    # A gamma of 2.2 is near enough to sRGB for a factor.
    return np.asarray(np.round(pixels * 2 ** (-STOPS / 2.2)), np.uint8)


def _grey(pixels: Pixels) -> Pixels:
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    return np.repeat(grey[..., None], 3, 2)


def _turned(size: int, number: int) -> Similarity:
    """Clockwise and anticlockwise in turn, about the middle."""
    angle = np.deg2rad(TURN if number % 2 == 0 else -TURN)
    turn = Similarity.from_parts(rotation=float(angle))
    middle = np.full(2, size / 2)
    x, y = middle - turn.apply(middle)
    return Similarity.from_parts(rotation=float(angle), shift=(float(x), float(y)))


def _shifted(size: int, number: int) -> Similarity:
    """Right, down, left and up in turn."""
    x, y = ((1, 0), (0, 1), (-1, 0), (0, -1))[number % 4]
    return Similarity.from_parts(shift=(x * SHIFT * size, y * SHIFT * size))


def _glasses(pixels: Pixels, labels: Reading, number: int) -> Pixels:
    """Dark frames with clear lenses that mirror a little; round and angular in turn."""
    points = np.asarray(labels["points"], np.float64)[:, :2]
    right, left = points[list(EYES[0])].mean(0), points[list(EYES[1])].mean(0)
    between = left - right
    gap, fine = float(np.linalg.norm(between)), 16
    along = between / gap
    down = np.array([-along[1], along[0]])
    thick = max(1, round(gap * (0.05 if number % 2 else 0.075)))
    colour = ((30, 25, 25), (60, 35, 20), (20, 20, 45))[number % 3]
    canvas = pixels.copy()
    half = np.array([0.42, 0.34 if number % 2 else 0.29]) * gap
    for middle in (right + down * 0.06 * gap, left + down * 0.06 * gap):
        steps = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        # A superellipse: a circle of exponent 2, nearly a rectangle of exponent 5.
        power = 2 / (2 if number % 2 else 4.5)
        u = np.sign(np.cos(steps)) * np.abs(np.cos(steps)) ** power * half[0]
        v = np.sign(np.sin(steps)) * np.abs(np.sin(steps)) ** power * half[1]
        rim = middle + u[:, None] * along + v[:, None] * down
        ring = [np.round(rim * fine).astype(np.int32)]
        lens = canvas.copy()
        cv2.fillPoly(lens, ring, (215, 225, 235), cv2.LINE_AA, 4)
        canvas = cv2.addWeighted(lens, 0.1, canvas, 0.9, 0)
        cv2.polylines(canvas, ring, True, colour, thick, cv2.LINE_AA, 4)
    rims = (right - along * half[0], left + along * half[0])
    temples = [points[index] for index in _TEMPLES]
    # A temple that a turned head hides has no arm.
    shown = [float((temple - rim) @ along) * side > 0
             for rim, temple, side in zip(rims, temples, (-1, 1), strict=True)]  # fmt: skip
    arms = [arm for arm, there in zip(zip(rims, temples, strict=True), shown, strict=True) if there]
    bridge = (right + along * half[0], left - along * half[0])
    for a, b in (bridge, *arms):
        ends = [tuple(int(value * fine) for value in end) for end in (a, b)]
        cv2.line(canvas, ends[0], ends[1], colour, thick, cv2.LINE_AA, 4)
    return np.asarray(canvas, np.uint8)


_TEMPLES: Final = (127, 356)
"""Landmarks at the right and left temple, where the arms of glasses end."""
CLEAN: Final = Change("clean", "as it is")
CHANGES: Final[tuple[Change, ...]] = (
    CLEAN,
    Change("blur", f"Gaussian blur of {BLUR:g} px", _blur),
    Change("jpeg", f"JPEG quality {QUALITY}", _jpeg),
    Change("half", "half the resolution", _half),
    Change("dark", f"{STOPS:g} stops darker", _dark),
    Change("grey", "without colour", _grey),
    Change("turned", f"crop turned by {TURN:g} degrees", move=_turned),
    Change("shifted", f"crop shifted by {SHIFT:.0%}", move=_shifted),
    Change("glasses", "drawn glasses", worn=_glasses),
)


def by_name() -> Mapping[str, Change]:
    """All disturbances, the clean picture first."""
    return {change.name: change for change in CHANGES}
