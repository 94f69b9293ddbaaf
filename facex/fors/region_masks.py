# SPDX-License-Identifier: Apache-2.0
"""A decomposed picture's regions as soft masks, by parser and landmarks (DESIGN 4).

Labels come with hard stairs: borders follow the picture. A guided filter (He et al. 2010) lets
strands of hair and the rims of glasses keep their shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture, Points
from facex.fors.labels import mended
from facex.fors.morphology import resized
from facex.geometry.topology import EYES, FACE_OVAL, region_polygon_mask
from facex.types import FACE_REGIONS, HEAD_REGIONS, REGION_CLASSES, Region

Floats = NDArray[np.float32]
Masks = dict[Region, Floats]
"""Of one picture, ``(S, S)`` in [0, 1] each."""

_SOFT_RADIUS: Final = 0.012
"""Radius of the guided filter, as a share of the crop."""
_SOFT_FLOOR: Final = 4e-4
"""Variance of grey, in [0, 1] squared, below which a picture has no edge to follow."""


def region_masks(picture: FacePicture) -> Masks:
    """Soft masks ``(S, S)`` of the regions of a picture, by parser and landmarks."""
    size = picture.crop_size
    parsing = mended(picture.parsing, picture)
    masks = {}
    for region, classes in REGION_CLASSES.items():
        if classes:
            masks[region] = np.isin(parsing, classes).astype(np.float32)
    # Other people's faces in the picture are not this face.
    near = _near_face(picture.landmarks, size)
    for region in FACE_REGIONS:
        if region in masks:
            masks[region] = masks[region] * near
    area = region_polygon_mask(picture.landmarks, "beard", size).astype(np.float32)
    lower = masks[Region.SKIN] * np.clip(area, 0, 1)
    masks[Region.BEARD] = lower
    masks[Region.SKIN] = masks[Region.SKIN] - lower
    return _follow_edges(masks, picture)


def head_of(masks: Mapping[Region, Floats]) -> Floats:
    """Where a picture shows the head, ``(S, S)`` in [0, 1]."""
    return together(masks, HEAD_REGIONS)


def face_of(masks: Mapping[Region, Floats]) -> Floats:
    """Where a picture shows the face itself, ``(S, S)`` in [0, 1]."""
    return together(masks, FACE_REGIONS)


def together(masks: Mapping[Region, Floats], regions: Iterable[Region]) -> Floats:
    """Where a picture shows any of some regions, ``(S, S)`` in [0, 1]."""
    whole = sum((masks[region] for region in regions), np.zeros_like(masks[Region.SKIN]))
    return np.minimum(np.asarray(whole, np.float32), 1)


def _follow_edges(masks: Masks, picture: FacePicture) -> Masks:
    """Soften the masks along the picture's own edges; what they sum up to stays."""
    size = picture.crop_size
    grey = cv2.cvtColor(resized(picture.pixels, size), cv2.COLOR_RGB2GRAY)
    names = [name for name, mask in masks.items() if mask.any()]
    stack = np.stack([masks[name] for name in names], axis=-1)
    total = np.asarray(stack.sum(-1), np.float32)
    side = 2 * max(1, round(_SOFT_RADIUS * size)) + 1

    def mean(values: Floats) -> Floats:
        found = cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)
        return np.asarray(found, np.float32).reshape(values.shape)

    centre = mean(grey)
    variance = np.asarray(mean(grey * grey) - centre * centre, np.float32)
    average = mean(stack)
    slope = np.asarray(mean(stack * grey[..., None]) - average * centre[..., None], np.float32)
    slope = np.asarray(slope / (variance + np.float32(_SOFT_FLOOR))[..., None], np.float32)
    offset = average - slope * centre[..., None]
    soft = np.clip(mean(slope) * grey[..., None] + mean(offset), 0, 1)
    # What is far from any border keeps its label exactly.
    soft = np.clip((soft - 0.04) / 0.92, 0, 1)
    soft *= (total / np.maximum(soft.sum(-1), 1e-3))[..., None]
    return masks | {name: np.ascontiguousarray(soft[..., i]) for i, name in enumerate(names)}


def _near_face(landmarks: Points, size: int) -> Floats:
    """Where this face's own skin can be: its outline grown a little, and upwards to the hair."""
    points = np.asarray(landmarks, np.float64).copy()
    brow, chin = points[9, :2], points[152, :2]
    up = brow - chin
    oval = points[list(FACE_OVAL), :2]
    height = (oval - brow) @ up / (up @ up)
    # The mesh ends in the middle of the forehead; the hairline is up to half a face higher.
    oval = oval + np.outer(np.clip(height + 0.05, 0, None) * 2.2, up)
    centre = oval.mean(0)
    oval = centre + (oval - centre) * 1.14
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(oval - 0.5).astype(np.int32)), 1)
    return mask.astype(np.float32)


def eye_openings(points: NDArray[np.floating], size: int) -> Floats:
    """Where the eyes are open: ``(S, S)`` in [0, 1], soft over about a pixel.

    Args:
        points: ``(478, 3)`` landmarks in pixels.
        size: side of the picture.
    """
    mask = np.zeros((size, size), np.uint8)
    for eye in EYES:
        ring = np.round(np.asarray(points)[list(eye), :2] * 16 - 8).astype(np.int32)
        cv2.fillPoly(mask, [cv2.convexHull(ring)], 255, shift=4, lineType=cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), size / 256) / 255.0, np.float32)
