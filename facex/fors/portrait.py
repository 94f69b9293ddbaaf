# SPDX-License-Identifier: Apache-2.0
"""A picture drawn from a representation alone, and faces continued behind what hides them.

The face is its dense albedo on its mesh, in its light; hair, clothes and ground are plain in their
mean colours, cut out by the representation's parsing. The generator turns that into a photo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.ford.decompose import FORD
from facex.ford.regions import COLOUR_FEATURES, soft_region_masks
from facex.ford.representation import FaceRepresentation
from facex.fors.fill import borrow, push_pull
from facex.geometry.albedo import AlbedoModel, bare_face, fit_visible
from facex.geometry.draw_face import draw_face
from facex.geometry.mouth import draw_mouth, mouth_mask
from facex.recipes.plan import Plan
from facex.types import FACE_REGIONS, REGIONS, Region

Floats = NDArray[np.float32]

TRUST: Final = 0.4
"""How known a face is that is continued from what is seen of it."""
_GLASSES: Final = 0.5
"""How much of the colour of glasses is laid over the eyes behind them."""
_LEAST_SEEN: Final = 0.03
"""Share of a picture that must show bare face before the rest of it is told."""
_SIZE: Final = 256
"""Side at which faces are read; there is no finer detail in the components."""


PORTRAYED: Final = ("landmarks", "parsing", "region_features", "texture", "light")
"""Fields of a representation that a portrait is drawn from."""


def portrait(codes: Mapping[str, Tensor], model: AlbedoModel) -> Floats:
    """Draw one face ``(S, S, 3)`` in [0, 1], S being the side of its parsing.

    Args:
        codes: the fields ``PORTRAYED`` of one face, ``texture`` being a code of ``model``.
        model: the albedo's components.
    """
    size = codes["parsing"].shape[-1]
    masks = soft_region_masks(codes["parsing"], codes["landmarks"])[0].float().cpu().numpy()
    sigma = size / 200
    soft = [cv2.GaussianBlur(mask, (0, 0), sigma) for mask in masks]
    lab = (
        codes["region_features"][0, :, -COLOUR_FEATURES : 3 - COLOUR_FEATURES].float().cpu().numpy()
    )
    colours = cv2.cvtColor((lab[None] * 50).astype(np.float32), cv2.COLOR_LAB2RGB)[0]
    points = codes["landmarks"][0].double().cpu().numpy()
    albedo = model.colours(codes["texture"].float().cpu())[0].numpy()
    face, shown = draw_face(albedo, codes["light"][0].float().cpu().numpy(), points, size)
    # The mesh ends on the forehead: skin goes on as it is at its rim.
    solid = cv2.erode(shown, np.ones((5, 5), np.uint8))
    layers = np.broadcast_to(colours[:, None, None], (*masks.shape, 3)).copy()
    layers[REGIONS.index(Region.SKIN)] = push_pull(face, solid)
    image = np.einsum("rhw,rhwc->hwc", np.stack(soft), layers).astype(np.float32)
    image /= np.maximum(np.sum(soft, 0), 1e-3)[..., None]
    bare = np.sum([soft[REGIONS.index(region)] for region in FACE_REGIONS], 0)
    lenses = soft[REGIONS.index(Region.GLASSES)] * np.float32(1 - _GLASSES)
    share = solid * np.clip(bare + lenses, 0, 1)
    share = cv2.GaussianBlur(share, (0, 0), sigma)[..., None]
    image = image + (face - image) * share
    skin = colours[REGIONS.index(Region.SKIN)]
    mouth = mouth_mask(points, size)[..., None]
    return np.asarray(image + (draw_mouth(points, size, skin) - image) * mouth, np.float32)


def portraits(plan: Plan, faces: Mapping[str, FaceRepresentation], ford: FORD) -> dict[str, Floats]:
    """What a plan without a reference shows of its pictures; nothing where no albedo is known."""
    model = getattr(ford.provider("texture"), "albedo", None)
    if plan.reference != "none" or model is None:
        return {}
    used = {*plan.pixels.values()} & {*faces}
    return {
        name: portrait({field: getattr(faces[name], field) for field in PORTRAYED}, model)
        for name in used
    }


def bare_of(parsing: NDArray[np.uint8]) -> Floats:
    """Where labels ``(S, S)`` say that bare face is shown, 1 there."""
    return np.asarray(bare_face(torch.from_numpy(parsing)[None])[0, 0].numpy(), np.float32)


def fill_from_components(
    image: Floats,
    known: Floats,
    points: NDArray[np.floating],
    bare: Floats,
    model: AlbedoModel,
) -> tuple[Floats, Floats]:
    """Continue a face into a hole: its light and albedo follow from the part that is seen.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)`` in [0, 1].
        points: ``(478, 3)`` landmarks in pixels.
        bare: ``(s, s)`` in [0, 1], where the face itself is shown, see :func:`bare_of`.
        model: the albedo's components.

    Returns:
        The image and how far it is known now; both as they were if too little is seen.
    """
    if known.min() >= 1:
        return image, known
    side = image.shape[0]
    small = cv2.resize(image, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
    seen = cv2.resize(known, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
    own = cv2.resize(bare, (_SIZE, _SIZE), interpolation=cv2.INTER_NEAREST) * (seen > 0.99)
    own = np.asarray(own, np.float32)
    if own.mean() < _LEAST_SEEN:
        return image, known
    crop = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))[None] * 2 - 1
    place = torch.from_numpy(np.asarray(points, np.float64) * (_SIZE / side)).float()[None]
    light, code = fit_visible(model, crop, place, torch.from_numpy(own)[None, None])
    face, shown = draw_face(model.colours(code)[0].numpy(), light[0].numpy(), points, side)
    skin = (small * own[..., None]).sum((0, 1)) / own.sum()
    mouth = mouth_mask(points, side)[..., None]
    face = np.asarray(face + (draw_mouth(points, side, skin) - face) * mouth, np.float32)
    usable = np.maximum(cv2.erode(shown, np.ones((3, 3), np.uint8)), mouth[..., 0])
    usable = cv2.GaussianBlur(usable, (0, 0), side / 200)
    return borrow(image, known, face, usable, TRUST, match=cv2.resize(own, (side, side)))
