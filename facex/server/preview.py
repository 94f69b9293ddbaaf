# SPDX-License-Identifier: Apache-2.0
"""What an edit would move, in a tenth of a second: the bare warp, no generator.

An edit that only moves the target is warped mesh to mesh. One that takes parts from other
pictures shows the reference image, put together at a low resolution. Where it shows somebody's
face in another picture it is as good as a swap to somebody who means harm: it needs the same
consent as the edit, stays small, and carries stripes and the invisible mark. Every preview says
in its metadata how it was made.
"""

from __future__ import annotations

import base64
import hashlib
import io
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facex.errors import OptionError
from facex.fors.face_picture import FacePicture
from facex.fors.motion import geometry_of, result_geometry
from facex.fors.region_assembler import RegionAssembler
from facex.framing import picture_of
from facex.geometry.texture_map import mesh_warp, scale_points
from facex.locate import LocatedFace
from facex.recipes.plan import Plan, plan_recipe
from facex.recipes.schema import Recipe
from facex.recipes.values import NONE, TARGET
from facex.safety.mark import embed, payload_of
from facex.safety.provenance import build_xmp
from facex.server.edits import check_consent, chosen_face, read_face, recipe_of
from facex.server.reader import Reader, canvas_transform
from facex.server.schemas import PreviewReply, PreviewRequest
from facex.server.store import Store

FIELD_SIDE: Final = 160
"""Side at which the warp is computed; it is smooth, so it may be enlarged."""
SHOWN_SIDE: Final = 384
ASSEMBLED_SIDE: Final = 96
"""Side at which parts of several pictures are put together."""
BORROWED_SIDE: Final = 208
"""Side at which that is shown: about the smallest at which the mark can be read."""
_STRIPES: Final = (32, 2, 0.4)
"""Of borrowed faces: pixels from one to the next, pixels of width, opacity."""


def make_preview(request: PreviewRequest, store: Store, reader: Reader) -> PreviewReply:
    """Warp the target's face as the request's first step would.

    Raises:
        RecipeError, OptionError: the order is not valid.
        NoFaceFound: a photo shows none.
        Refused: 404 for a photo that is not there, 409 where consent is missing.
    """
    start = time.perf_counter()
    recipe = recipe_of(request)
    plans = plan_recipe(recipe)
    check_consent(plans, request.consent)
    plan = plans[0]
    wanted = sorted((plan.faces | {TARGET}) - {NONE})
    faces = {
        name: _face(str(recipe.photos[name]), request.faces.get(name, "largest"), store, reader)
        for name in wanted
    }
    target = faces[TARGET]
    known = {name: geometry_of(face.representation) for name, face in faces.items()}
    points = result_geometry(plan.motion, known).landmarks[0].double().numpy()
    own = set(plan.pixels.values()) <= {TARGET}
    pixels = _warped(target, points) if own else _assembled(faces, plan, points)
    side = pixels.shape[0]
    mesh = target.photo_from_crop.apply(points[:, :2]).round(1).tolist() if request.mesh else []
    number = _number(recipe)
    if plan.borrows_a_face:
        pixels = embed(_striped(pixels), payload_of(number))
    image = base64.b64encode(_jpeg(pixels, recipe, number)).decode("ascii")
    return PreviewReply(
        image=f"data:image/jpeg;base64,{image}",
        frame=canvas_transform(target.frame(side)),
        borrowed=plan.borrows_a_face,
        mesh=[(x, y) for x, y in mesh],
        milliseconds=round((time.perf_counter() - start) * 1000, 1),
    )


def _face(photo: str, choice: str, store: Store, reader: Reader) -> LocatedFace:
    info = store.photo_info(photo)
    if choice == "all":
        raise OptionError("a preview shows one face: give its number")
    number = chosen_face(info, choice, "the photo").number
    return reader.face(photo, number, lambda: read_face(reader.locator, store, photo, str(number)))


def _warped(face: LocatedFace, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    rep = face.representation
    factor = FIELD_SIDE / rep.crop_size
    source = scale_points(rep.landmarks[0].double().numpy(), factor)
    field = mesh_warp(source, scale_points(points, factor), FIELD_SIDE, anchor_far=True)
    # Displacements may be enlarged; positions with their border would lose half a pixel.
    steps = (np.arange(FIELD_SIDE, dtype=np.float32) + 0.5)[None]
    moved = field.map_xy - np.stack(np.broadcast_arrays(steps, steps.T), axis=-1)
    zoom = SHOWN_SIDE / FIELD_SIDE
    moved = cv2.resize(moved, (SHOWN_SIDE, SHOWN_SIDE), interpolation=cv2.INTER_LINEAR) * zoom
    places = np.arange(SHOWN_SIDE, dtype=np.float32)[None]
    xy = moved + np.stack(np.broadcast_arrays(places, places.T), axis=-1)
    pixels = face.pixels(SHOWN_SIDE)
    drawn = cv2.remap(pixels, xy.astype(np.float32), None, cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    return np.asarray(drawn, np.uint8)


def _assembled(
    faces: Mapping[str, LocatedFace], plan: Plan, points: NDArray[np.float64]
) -> NDArray[np.uint8]:
    pictures = {name: _smaller(picture_of(face)) for name, face in faces.items()}
    mask = np.zeros((ASSEMBLED_SIDE,) * 2, np.float32) if plan.by_mask else None
    factor = ASSEMBLED_SIDE / faces[TARGET].representation.crop_size
    small = RegionAssembler(pictures, plan, scale_points(points, factor), mask).assemble().image
    image = cv2.resize(small, (BORROWED_SIDE,) * 2, interpolation=cv2.INTER_CUBIC)
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def _smaller(picture: FacePicture) -> FacePicture:
    """The same crop with fewer pixels."""
    size = (ASSEMBLED_SIDE,) * 2
    return replace(
        picture,
        image=cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA),
        landmarks=scale_points(picture.landmarks, ASSEMBLED_SIDE / picture.crop_size),
        parsing=cv2.resize(picture.parsing, size, interpolation=cv2.INTER_NEAREST),
        crop_size=ASSEMBLED_SIDE,
    )


def _striped(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Slanting light lines over a picture that must not pass for a result."""
    apart, width, opacity = _STRIPES
    places = np.arange(pixels.shape[0])
    line = ((places[:, None] + places) % apart < width)[..., None] * opacity
    return np.asarray(pixels * (1 - line) + 255 * line + 0.5, np.uint8)


def _number(recipe: Recipe) -> int:
    """24 bits that name a preview, made from what was asked for."""
    digest = hashlib.sha256(recipe.model_dump_json().encode()).digest()
    return int.from_bytes(digest[:3], "big")


def _jpeg(pixels: NDArray[np.uint8], recipe: Recipe, number: int) -> bytes:
    private = {"photos"}
    xmp = build_xmp(recipe.model_dump_json(exclude_none=True, exclude=private), number)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88, xmp=xmp)
    return buffer.getvalue()
