# SPDX-License-Identifier: Apache-2.0
"""Regions: what should have changed, how far, and that nothing else did.

A region taken from another picture is cut out of result, source and target by the judge's
landmarks (or at the same place, where landmarks do not show it), brought to the same size and the
same mean and spread of every channel, because the light is the target's by recipe, and put into
the result's surroundings, so that LPIPS sees a difference in the region alone; then it says to whom
the region is nearer. Skin is the face without its features. Hair has no outline in the landmarks:
it is compared by its colour, in CIELAB, and by its shape (``parsing``). ``region_lab`` is the
difference of the mean colours before they are brought to each other; since the light is the
target's by recipe it is seldom 0, and compares systems on one list.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.evaluate.faces import Pixels
from facex.evaluate.judges import Reading, as_tensor
from facex.evaluate.view import Measure, Values, View
from facex.geometry.topology import region_polygon_mask
from facex.imaging.colour import srgb_to_lab
from facex.imaging.warp import Similarity
from facex.recipes.values import NONE, TARGET
from facex.types import FACE_REGIONS, Region

MEASURES: Final = {
    "outside_max": Measure("largest change outside the edit, of 255", "down"),
    "outside_mean": Measure("mean change outside the edit, of 255", "down"),
    "region_nearer": Measure("region nearer to the source than to the target (LPIPS)", "up"),
    "region_lpips": Measure("LPIPS of the region to the source's", "down"),
    "region_target_lpips": Measure("LPIPS of the region to the target's", "none"),
    "region_lab": Measure("colour of the region against the source's, CIELAB", "down"),
    "hair_lab": Measure("hair colour error against the source, CIELAB", "down"),
    "skin_lab": Measure("skin colour against the target, CIELAB", "none"),
}
PATCH: Final = 96
_SEEN: Final = 0.01
"""Share of the picture from which hair has a colour to speak of."""
_INSIDE: Final = 0.5
_FEATURES: Final = ("brows", "eyes", "nose", "lips")
_BY_OUTLINE: Final = {
    Region.BROWS: "brows", Region.EYES: "eyes", Region.NOSE: "nose", Region.LIPS: "lips",
    Region.SKIN: "face", Region.BEARD: "beard",
}  # fmt: skip


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    return MEASURES.get(name.partition(":")[0])


def measure(view: View) -> Values:
    """Change outside, and nearness of every region that comes from another picture."""
    values: Values = {}
    target = view.pictures[TARGET]
    if view.edit is not None:
        outside = view.edit <= 0
        gap = np.abs(view.output.astype(np.int16) - target)[outside]
        values["outside_max"] = float(gap.max()) if gap.size else 0.0
        values["outside_mean"] = float(gap.mean()) if gap.size else 0.0
    if "skin" not in view.reading:
        return values
    skin = view.reading["skin"] - view.readings[TARGET]["skin"]
    values["skin_lab"] = float(np.linalg.norm(skin))
    taken = taken_regions(view)
    hair = taken.get(Region.HAIR)
    if hair is not None and hair in view.readings:
        wanted, found = view.readings[hair]["hair"], view.reading["hair"]
        if wanted[3] > _SEEN and found[3] > _SEEN:
            values["hair_lab"] = float(np.linalg.norm(wanted[:3] - found[:3]))
            own = view.readings[TARGET]["hair"]
            if own[3] > _SEEN:
                kept = float(np.linalg.norm(own[:3] - found[:3]))
                values["region_nearer:hair"] = float(values["hair_lab"] < kept)
    if view.lpips is not None and len(view.plans) == 1:
        values |= _nearness(view, taken)
    return values


def taken_regions(view: View) -> dict[Region, str]:
    """Regions of the result that come from another picture, and from which."""
    taken: dict[Region, str] = {}
    for plan in view.plans:
        for region, origin in plan.pixels.items():
            if origin not in (TARGET, NONE):
                taken[region] = origin
    return taken


def _nearness(view: View, taken: dict[Region, str]) -> Values:
    """Only where few regions were taken: for a whole face it would be the face again."""
    chosen = {region for region in taken if region in _BY_OUTLINE}
    if not chosen or set(FACE_REGIONS) <= chosen or view.lpips is None:
        return {}
    found: Values = {}
    own, colours = [], []
    for region in sorted(chosen):
        source = taken[region]
        result, mask = region_patch(view.output, view.reading, region)
        patches = []
        for role in (source, TARGET):
            patch, own_mask = region_patch(view.pictures[role], view.readings[role], region)
            if role == source and mask.max() > _INSIDE and own_mask.max() > _INSIDE:
                gap = _colour(result, mask) - _colour(patch, own_mask)
                colours.append(float(np.linalg.norm(gap)))
                found[f"region_lab:{region.value}"] = colours[-1]
            # Where either shows the region: a thick brow is thick outside of a thin one's place.
            both = np.maximum(mask, own_mask)[..., None]
            placed = alike(patch, result, both[..., 0] > _INSIDE) * both + result * (1 - both)
            patches.append(np.round(placed).astype(np.uint8))
        first, second = view.lpips(as_tensor([result, result]), as_tensor(patches)).tolist()
        own.append((float(first), float(second)))
        found[f"region_nearer:{region.value}"] = float(first < second)
    if not own:
        return {}
    means = np.array(own).mean(0)
    nearer = float(np.mean([a < b for a, b in own]))
    if colours:
        found["region_lab"] = float(np.mean(colours))
    return {
        **found,
        "region_nearer": nearer,
        "region_lpips": float(means[0]),
        "region_target_lpips": float(means[1]),
    }


def _colour(patch: Pixels, mask: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean L*a*b* inside a region."""
    lab = np.asarray(srgb_to_lab(patch.astype(np.float32) / 255))
    return np.asarray(lab[mask > _INSIDE].mean(0), np.float64)


def region_patch(
    picture: Pixels, reading: Reading, region: Region
) -> tuple[Pixels, NDArray[np.float32]]:
    """A region upright at a standard size ``(96, 96, 3)``, and its mask ``(96, 96)``."""
    size, outline = picture.shape[0], _BY_OUTLINE[region]
    points = np.asarray(reading["points"], np.float64)
    line = points[263, :2] - points[33, :2]
    angle = float(np.arctan2(line[1], line[0]))
    mask = region_polygon_mask(points, outline, size)
    if region is Region.SKIN:
        features = [region_polygon_mask(points, name, size) for name in _FEATURES]
        mask = np.where(np.max(features, 0) > 0, 0, mask)
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return np.zeros((PATCH, PATCH, 3), np.uint8), np.zeros((PATCH, PATCH), np.float32)
    centre = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    away = np.stack([columns + 0.5, rows + 0.5], 1) - centre
    upright = away @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    side = 2.3 * max(np.abs(upright).max(0).max(), 4.0)
    turn = Similarity.from_parts(scale=side / PATCH, rotation=angle)
    middle = turn.apply(np.array([[PATCH / 2, PATCH / 2]]))[0]
    matrix = np.array(turn.matrix)
    matrix[:, 2] += centre - middle
    # OpenCV puts pixel centres at whole numbers.
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(
        picture, matrix, (PATCH, PATCH), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    inside = cv2.warpAffine(mask.astype(np.float32), matrix, (PATCH, PATCH), flags=flags)
    soft = cv2.GaussianBlur(np.asarray(inside, np.float32), (0, 0), 1.5)
    return np.asarray(patch, np.uint8), np.asarray(soft, np.float32)


def alike(patch: Pixels, like: Pixels, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A patch with the mean and spread of every channel of another one, as measured ``where``."""

    def moments(values: Pixels) -> tuple[NDArray[Any], NDArray[Any]]:
        flat = values[where].astype(np.float64)
        if len(flat) == 0:
            return np.zeros(3), np.ones(3)
        return flat.mean(0), flat.std(0) + 1e-3

    mean, spread = moments(patch)
    wanted, width = moments(like)
    return np.clip((patch.astype(np.float64) - mean) / spread * width + wanted, 0, 255)
