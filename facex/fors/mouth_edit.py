# SPDX-License-Identifier: Apache-2.0
"""Mouths that an edit opens wider than their photo shows them, or shuts.

A warp stretches what is between the lips, and with it the teeth. Here they stay what they are: the
inside of the photo's mouth moves with the skull, and what opens below is the mean mouth's cavity.
Where a photo shows no teeth, or too few, they are those of the person replaced, in their light.
Lips that a smile held apart meet without the shadow between them: it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture
from facex.geometry.extend import ramp
from facex.geometry.mouth import GRID, draw_mouth, mouth_grid, mouth_mask, paint_mouth
from facex.geometry.topology import LIPS_INNER, STABLE_POINTS
from facex.types import PARSING_CLASSES

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

TRUST: Final = 0.5
"""How much the cavity counts as known."""
_LEAST_OPEN: Final = (0.06, 0.12)
"""Height over width of the photo's mouth where it begins to show teeth, and does."""
_WIDER: Final = (1.15, 1.45)
"""Size of the result's mouth over the photo's where teeth begin to be stretched, and are."""

_LENT: Final = (0.5, 0.8)
"""Openness of the lender's mouth over the result's where its teeth begin to be enough, and are."""
_LENT_TRUST: Final = 0.95
_FINEST: Final = 512
"""Most columns that lent teeth are sampled at."""

_CLEAR: Final = 0.3
"""Share of a mouth's inside that the parser must see for nothing to be before it."""
_MOUTH: Final = PARSING_CLASSES.index("mouth")

_SHUT: Final = (0.03, 0.07)
"""Height over width of the result's mouth that is shut, and that is not."""
_SEAM: Final = 0.035
"""Thickness of the line between shut lips, in widths of the mouth."""
_SEAM_COLOUR: Final = np.array([0.5, 0.36, 0.36], np.float32)
"""Factor on the colour of the lips where they meet."""
_SHIFT: Final = 4


@dataclass(frozen=True)
class ShownMouth:
    """A mouth as a photo shows it.

    Attributes:
        pixels: ``(h, w, 3)`` in [0, 1], of any resolution.
        points: ``(478, 3)`` in pixels of ``pixels``.
    """

    pixels: Floats
    points: Points


def clear_mouth(picture: FacePicture) -> bool:
    """Whether nothing is held before the mouth of a face, which shows its inside."""
    inside = mouth_mask(picture.landmarks, picture.crop_size) > 0.5
    return bool(inside.any() and (picture.parsing == _MOUTH)[inside].mean() > _CLEAR)


def mend_mouth(
    image: Floats,
    known: Floats,
    skin: Floats | None,
    own: ShownMouth,
    result_points: Points,
    lender: ShownMouth | None,
    *,
    keep: bool,
) -> tuple[Floats, Floats]:
    """All that is done here to the mouth of a reference.

    Args:
        image: ``(S, S, 3)`` in [0, 1], the reference so far.
        known: ``(S, S)`` in [0, 1].
        skin: ``(S, S)`` in [0, 1], where the result shows skin, if that may change.
        own: the mouth whose lips these are.
        result_points: ``(478, 3)`` in pixels of ``image``.
        lender: a clear mouth with the result's expression, in its light, if any.
        keep: these lips stay in their own photo, and its light.

    Returns:
        The reference and how far it is known.
    """
    if lender is not None:
        image, known = lend_teeth(image, known, own, lender, result_points)
    if skin is not None and keep:
        image, known = keep_teeth(image, known, skin, own.pixels, own.points, result_points)
    return close_lips(image, own.points, result_points), known


def keep_teeth(
    image: Floats,
    known: Floats,
    skin: Floats,
    source: Floats,
    source_points: Points,
    result_points: Points,
) -> tuple[Floats, Floats]:
    """Paint the inside of a mouth that was open and is opened wider.

    Args:
        image: ``(S, S, 3)`` in [0, 1], the reference so far.
        known: ``(S, S)`` in [0, 1].
        skin: ``(S, S)`` in [0, 1], where the result shows skin, for the light.
        source: ``(h, w, 3)`` in [0, 1], the picture that shows the mouth, of any resolution.
        source_points: ``(478, 3)`` in pixels of ``source``.
        result_points: ``(478, 3)`` in pixels of ``image``.

    Returns:
        The reference and how far it is known; both as they were when nothing is stretched.
    """
    (_, before), (_, after) = mouth_grid(source_points), mouth_grid(result_points)
    share = ramp(before, *_LEAST_OPEN) * ramp(after / max(before, 1e-6), *_WIDER)
    seen = skin * known
    if share <= 0 or seen.sum() < 1:
        return image, known
    size = image.shape[0]
    matrix = _skull(source_points, result_points)
    shown = mouth_mask(source_points, source.shape[0])
    # The outline's own pixels are lip already.
    shown = cv2.erode(shown, np.ones((3, 3), np.uint8))
    how = cv2.INTER_AREA if np.linalg.det(matrix[:, :2]) < 1 else cv2.INTER_LINEAR
    teeth = cv2.warpAffine(source, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REPLICATE)
    there = cv2.warpAffine(shown, matrix, (size, size), flags=cv2.INTER_LINEAR)
    colour = (image * seen[..., None]).sum((0, 1)) / seen.sum()
    cavity = draw_mouth(result_points, size, colour, dropped=1.0)
    inside = cavity + (teeth - cavity) * there[..., None]
    weight = mouth_mask(result_points, size) * np.float32(share)
    trust = np.maximum(there, np.float32(TRUST))
    image = image + (inside - image) * weight[..., None]
    return np.asarray(image, np.float32), np.asarray(known + (trust - known) * weight, np.float32)


def lend_teeth(
    image: Floats, known: Floats, own: ShownMouth, lender: ShownMouth, result_points: Points
) -> tuple[Floats, Floats]:
    """Paint the inside of a mouth that its own photo shows shut, or less open.

    Args:
        image: ``(S, S, 3)`` in [0, 1], the reference so far.
        known: ``(S, S)`` in [0, 1].
        own: the mouth whose lips these are.
        lender: a mouth with the result's expression, in its light.
        result_points: ``(478, 3)`` in pixels of ``image``.

    Returns:
        The reference and how far it is known; both as they were where nobody opens a mouth.
    """
    size = image.shape[0]
    (_, theirs), (_, after) = (mouth_grid(points) for points in (lender.points, result_points))
    stretch = _extent(result_points, size) / _extent(own.points, own.pixels.shape[0])
    share = ramp(after, *_LEAST_OPEN) * ramp(float(stretch.max()), *_WIDER)
    share *= ramp(theirs, *_LEAST_OPEN) * ramp(theirs / max(after, 1e-6), *_LENT)
    if share <= 0:
        return image, known
    ring = lender.points[list(LIPS_INNER), 0]
    columns = int(np.clip(np.ptp(ring) * 1.5, GRID[1], _FINEST))
    grid, _ = mouth_grid(lender.points, (columns * GRID[0] // GRID[1], columns))
    teeth = cv2.remap(lender.pixels, grid - np.float32(0.5), None, cv2.INTER_LINEAR)
    weight = mouth_mask(result_points, size) * np.float32(share)
    inside = paint_mouth(np.asarray(teeth, np.float32), result_points, size)
    image = image + (inside - image) * weight[..., None]
    known = np.maximum(known, _LENT_TRUST * weight)
    return np.asarray(image, np.float32), np.asarray(known, np.float32)


def close_lips(image: Floats, source_points: Points, result_points: Points) -> Floats:
    """Darken the line between lips that were apart and are shut.

    Args:
        image: ``(S, S, 3)`` in [0, 1], the reference so far.
        source_points: ``(478, 3)`` of the photo that shows the lips, in any unit.
        result_points: ``(478, 3)`` in pixels of ``image``.

    Returns:
        The reference; as it was for all other mouths.
    """
    (_, before), (grid, after) = mouth_grid(source_points), mouth_grid(result_points)
    share = ramp(before, *_LEAST_OPEN) * (1 - ramp(after, *_SHUT))
    if share <= 0:
        return image
    size = image.shape[0]
    middle = grid.mean(axis=0)
    width = float(np.linalg.norm(middle[-1] - middle[0]))
    line = np.zeros((size, size), np.uint8)
    # Drawn finely, as thin as it is: cv2 knows whole pixels of thickness only.
    fine = np.round((middle - 0.5) * 2**_SHIFT).astype(np.int32)
    cv2.polylines(line, [fine], False, 255, max(1, round(_SEAM * width)), cv2.LINE_AA, _SHIFT)
    soft = cv2.GaussianBlur(line.astype(np.float32) / 255, (0, 0), max(0.5, _SEAM * width / 2))
    soft *= np.float32(share / max(float(soft.max()), 1e-6))
    return np.asarray(image * (1 - soft[..., None] * (1 - _SEAM_COLOUR)), np.float32)


def _skull(source: Points, result: Points) -> NDArray[np.float64]:
    """The ``(2, 3)`` affine map, for cv2, by which points that no expression moves go along."""
    own, there = (points[list(STABLE_POINTS), :2] - 0.5 for points in (source, result))
    flat = np.concatenate([own, np.ones((len(own), 1))], axis=1)
    solution, *_ = np.linalg.lstsq(flat, there, rcond=None)
    return np.asarray(solution.T, np.float64)


def _extent(points: Points, size: int) -> NDArray[np.float64]:
    """Height and width of a mouth's inside, as shares of a picture's side, at least a pixel."""
    grid, _ = mouth_grid(points)
    middle = grid[:, GRID[1] // 2]
    ends = (middle[-1] - middle[0], grid[0, -1] - grid[0, 0])
    return np.maximum([np.linalg.norm(end) for end in ends], 1.0) / size
