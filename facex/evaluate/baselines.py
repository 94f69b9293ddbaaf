# SPDX-License-Identifier: Apache-2.0
"""Baselines: what can be had without any model, measured in the same run.

``target``        does nothing: the target as it is
``paste``         the source's face, moved by a similarity transform and feathered
``classical``     dense landmark warp, colour transfer, Poisson blend: the swap before networks
``telea``         OpenCV's inpainting by fast marching (Telea 2004)
``navier_stokes`` OpenCV's inpainting by fluid dynamics (Bertalmio et al. 2001)
``warp``          the target bent until its landmarks lie as the driver's, in place and size its own
``filter``        the classical filter that a style was learned from

The bare reference and the autoencoder's round trip come from the model (``run``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.evaluate.faces import Pixels
from facex.evaluate.judges import Reading, face_skin
from facex.evaluate.metrics.style import filtered
from facex.geometry.texture_map import apply_warp, mesh_warp
from facex.geometry.topology import STABLE_POINTS, region_polygon_mask
from facex.imaging.colour import lab_to_srgb, srgb_to_lab
from facex.imaging.warp import Similarity
from facex.recipes.values import DRIVER, SOURCE, TARGET
from facex.train.style.filters import FILTERS

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Materials:
    """What a baseline may use.

    Attributes:
        pictures: by role.
        readings: landmarks of the judge, by role.
        hole: ``(S, S)`` in [0, 1] for inpainting.
        style: that is asked for.
    """

    pictures: Mapping[str, Pixels]
    readings: Mapping[str, Reading]
    hole: Floats | None = None
    style: str | None = None


def _target(given: Materials) -> Pixels:
    return given.pictures[TARGET]


def _paste(given: Materials) -> Pixels:
    target, source = given.pictures[TARGET], given.pictures[SOURCE]
    size = target.shape[0]
    points, own = given.readings[TARGET]["points"], given.readings[SOURCE]["points"]
    stable = list(STABLE_POINTS)
    move = Similarity.from_points(points[stable, :2], own[stable, :2])
    matrix = np.array(move.matrix)
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(
        source, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    face = move.inverse().apply(own[:, :2])
    mask = region_polygon_mask(face, "face", size).astype(np.float32)
    alpha = cv2.GaussianBlur(cv2.erode(mask, np.ones((7, 7))), (0, 0), 3)[..., None]
    return np.asarray(np.round(moved * alpha + target * (1 - alpha)), np.uint8)


def _classical(given: Materials) -> Pixels:
    target, source = given.pictures[TARGET], given.pictures[SOURCE]
    size = target.shape[0]
    points, own = given.readings[TARGET]["points"], given.readings[SOURCE]["points"]
    field = mesh_warp(own, points, size, extend=False)
    warped = np.asarray(apply_warp(field, source), np.uint8)
    mask = region_polygon_mask(points, "face", size)
    skin = face_skin(points, size)
    warped = transfer_colour(warped, skin & (field.visible > 0.5), target, skin)
    shown = (mask > 0) & (field.inside > 0)
    blend = np.where(shown[..., None], warped, target)
    inner = cv2.erode(mask * shown.astype(np.uint8), np.ones((5, 5), np.uint8))
    # The solver needs a border of its own around the patch.
    inner[:2], inner[-2:], inner[:, :2], inner[:, -2:] = 0, 0, 0, 0
    if not inner.any():
        return target
    x, y, width, height = cv2.boundingRect(inner)
    centre = (x + width // 2, y + height // 2)
    try:
        cloned = cv2.seamlessClone(blend, target, inner * 255, centre, cv2.NORMAL_CLONE)
    except cv2.error:
        return np.asarray(np.where(inner[..., None] > 0, blend, target), np.uint8)
    return np.asarray(cloned, np.uint8)


def transfer_colour(
    picture: Pixels, mask: NDArray[np.bool_], like: Pixels, like_mask: NDArray[np.bool_]
) -> Pixels:
    """Mean and spread in L*a*b* of another picture's masked part (Reinhard et al. 2001)."""
    if mask.sum() < 16 or like_mask.sum() < 16:
        return picture
    lab = np.asarray(srgb_to_lab(picture.astype(np.float32) / 255))
    other = np.asarray(srgb_to_lab(like.astype(np.float32) / 255))
    mean, spread = lab[mask].mean(0), lab[mask].std(0) + 1e-3
    wanted, width = other[like_mask].mean(0), other[like_mask].std(0)
    moved = (lab - mean) * np.clip(width / spread, 0.6, 1.6) + wanted
    back = np.asarray(lab_to_srgb(moved.astype(np.float32)))
    return np.asarray(np.clip(np.round(back * 255), 0, 255), np.uint8)


def _filled(method: int) -> Callable[[Materials], Pixels]:
    def fill(given: Materials) -> Pixels:
        target = given.pictures[TARGET]
        if given.hole is None:
            return target
        mask = (given.hole > 0.5).astype(np.uint8)
        return np.asarray(cv2.inpaint(target, mask, 5, method), np.uint8)

    return fill


def _warp(given: Materials) -> Pixels:
    """Motion before networks: landmark to landmark, hidden sides stretched, closed mouths torn."""
    target = given.pictures[TARGET]
    points, driver = given.readings[TARGET]["points"], given.readings[DRIVER]["points"]
    stable = list(STABLE_POINTS)
    place = Similarity.from_points(driver[stable, :2], points[stable, :2])
    # A turn of the head in the picture is part of the motion: only place and size are kept.
    upright = Similarity.from_parts(rotation=-place.rotation)
    wanted = driver.astype(np.float64).copy()
    centre = place.apply(driver[stable, :2].mean(0))
    turned = upright.compose(place).apply(driver[:, :2])
    wanted[:, :2] = turned + centre - turned[stable].mean(0)
    wanted[:, 2] *= place.scale
    field = mesh_warp(points, wanted, target.shape[0])
    return np.asarray(apply_warp(field, target), np.uint8)


def _filter(given: Materials) -> Pixels:
    target = given.pictures[TARGET]
    return filtered(given.style, target) if given.style in FILTERS else target


BASELINES: Final[Mapping[str, Callable[[Materials], Pixels]]] = {
    "target": _target,
    "paste": _paste,
    "classical": _classical,
    "telea": _filled(cv2.INPAINT_TELEA),
    "navier_stokes": _filled(cv2.INPAINT_NS),
    "warp": _warp,
    "filter": _filter,
}

LABELS: Final[Mapping[str, str]] = {
    "ours": "FaceX",
    "target": "nothing done",
    "paste": "source pasted",
    "classical": "warp + colour + Poisson",
    "telea": "OpenCV Telea",
    "navier_stokes": "OpenCV Navier-Stokes",
    "warp": "landmark warp",
    "filter": "classical filter",
    "reference": "bare reference",
    "roundtrip": "autoencoder round trip",
}


def label(system: str) -> str:
    """The name of a system in tables."""
    return LABELS.get(system, system)


def baseline(name: str, given: Materials) -> Any:
    """The picture of a baseline."""
    return BASELINES[name](given)
