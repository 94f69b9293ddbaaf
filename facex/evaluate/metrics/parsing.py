# SPDX-License-Identifier: Apache-2.0
"""Parser agreement: do the parts of the result lie where those lie that they come from?

Label maps of the bundled parser are compared by intersection over union. A part that comes from
another picture should have that picture's shape, a part that nobody touched the target's. Before
that, the expected map is laid on the result: parts of the face by the mesh, from landmarks to
landmarks, hair and what is around the face by a similarity of the points that expressions hardly
move. Where nothing moves and nobody else's shape comes in, the target's map is compared as it is.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.evaluate.judges import Reading
from facex.evaluate.metrics.regions import taken_regions
from facex.evaluate.view import Measure, Values, View
from facex.geometry.texture_map import apply_warp, mesh_warp
from facex.geometry.topology import STABLE_POINTS
from facex.imaging.warp import Similarity
from facex.recipes.values import TARGET
from facex.types import REGION_CLASSES, Factor, Region

Mask = NDArray[np.bool_]

MEASURES: Final = {
    "taken_iou": Measure("shape of what was taken against the source's (parser, IoU)", "up"),
    "kept_iou": Measure("shape of what was kept against the target's (parser, IoU)", "up"),
    "hair_iou": Measure("shape of the hair against the source's (parser, IoU)", "up"),
}
_ON_MESH: Final = (Region.SKIN, Region.BROWS, Region.EYES, Region.NOSE, Region.LIPS, Region.GLASSES)
_AROUND: Final = (Region.EARS, Region.HAIR, Region.NECK, Region.CLOTH, Region.HAT)
_SEEN: Final = 0.001
"""Share of the picture from which a part counts as there."""
_INSIDE: Final = 0.5


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    return MEASURES.get(name.partition(":")[0])


def measure(view: View) -> Values:
    """Agreement of every part that is there in the result or should be: 0 to 1."""
    if "parsing" not in view.reading or not view.plans:
        return {}
    taken = taken_regions(view)
    turned = _owned(view, Factor.POSE) or any(plan.motion.turns_head for plan in view.plans)
    values: Values = {}
    kept = []
    for region in (*_ON_MESH, *_AROUND):
        role = taken.get(region, TARGET)
        if role == TARGET and turned and region in _AROUND:
            continue  # nobody knows how these look from another side
        expected = region_mask(view.readings[role], region)
        if role != TARGET or (region in _ON_MESH and (turned or _face_moves(view))):
            scale = expected.shape[0] / view.output.shape[0]
            own, there = (
                np.asarray(reading["points"], np.float64) * scale
                for reading in (view.readings[role], view.reading)
            )
            expected = laid(expected, own, there, region)
        found = region_mask(view.reading, region)
        if max(found.mean(), expected.mean()) < _SEEN:
            continue
        if role == TARGET:
            kept.append(overlap(found, expected))
        else:
            values[f"taken_iou:{region.value}"] = overlap(found, expected)
    if values:
        mean = float(np.mean(list(values.values())))
        if (hair := values.get(f"taken_iou:{Region.HAIR.value}")) is not None:
            values["hair_iou"] = hair
        values["taken_iou"] = mean
    if kept:
        values["kept_iou"] = float(np.mean(kept))
    return values


def _owned(view: View, *factors: Factor) -> bool:
    """Whether any of these factors comes from another picture."""
    return any(view.owner(factor.value) != TARGET for factor in factors)


def _face_moves(view: View) -> bool:
    """Whether the face's own shape becomes another, by a photo or by numbers."""
    motions = [plan.motion for plan in view.plans]
    slid = any(m.blendshapes or m.gaze_yaw or m.gaze_pitch for m in motions)
    return slid or _owned(view, Factor.IDENTITY, Factor.EXPRESSION, Factor.GAZE)


def region_mask(reading: Reading, region: Region) -> Mask:
    """Where the parser sees a part, ``(S, S)``."""
    return np.isin(reading["parsing"], REGION_CLASSES[region])


def overlap(first: Mask, second: Mask) -> float:
    """Intersection over union; 1 where neither is there."""
    union = int((first | second).sum())
    return float((first & second).sum()) / union if union else 1.0


def laid(mask: Mask, own: NDArray[np.float64], there: NDArray[np.float64], region: Region) -> Mask:
    """A part ``(S, S)`` moved from its own face to another, both ``(478, 3)`` in its pixels."""
    side, picture = mask.shape[0], mask.astype(np.float32)
    if region in _ON_MESH:
        drawn = np.asarray(apply_warp(mesh_warp(own, there, side), picture), np.float32)
        return drawn > _INSIDE
    stable = list(STABLE_POINTS)
    move = Similarity.from_points(there[stable, :2], own[stable, :2])
    matrix = np.array(move.matrix)
    # OpenCV puts pixel centres at whole numbers.
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), flags=flags) > _INSIDE)
