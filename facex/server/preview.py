# SPDX-License-Identifier: Apache-2.0
"""What an edit would move, in a tenth of a second: the bare warp, no generator.

An edit that only moves the target is warped mesh to mesh. One that takes parts from other
pictures shows the reference image, which takes a little longer.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facex.editing import picture_of
from facex.errors import OptionError
from facex.fors.motion import geometry_of, result_geometry
from facex.fors.region_assembler import RegionAssembler
from facex.geometry.texture_map import mesh_warp, scale_points
from facex.locate import LocatedFace
from facex.recipes.plan import Plan, plan_recipe
from facex.recipes.values import NONE, TARGET
from facex.server.edits import encode_jpeg, face_info, recipe_of
from facex.server.reader import Reader, canvas_transform
from facex.server.refusals import Refused
from facex.server.schemas import PreviewReply, PreviewRequest
from facex.server.store import Store

FIELD_SIDE: Final = 160
"""Side at which the warp is computed; it is smooth, so it may be enlarged."""
SHOWN_SIDE: Final = 384


def make_preview(request: PreviewRequest, store: Store, reader: Reader) -> PreviewReply:
    """Warp the target's face as the request's first step would.

    Raises:
        RecipeError, OptionError: the order is not valid.
        Refused: 404 for a photo that is not there, 422 for one without a face.
    """
    start = time.perf_counter()
    recipe = recipe_of(request)
    plan = plan_recipe(recipe)[0]
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
    image = base64.b64encode(encode_jpeg(Image.fromarray(pixels))).decode("ascii")
    return PreviewReply(
        image=f"data:image/jpeg;base64,{image}",
        frame=canvas_transform(target.frame(side)),
        mesh=[(x, y) for x, y in mesh],
        milliseconds=round((time.perf_counter() - start) * 1000, 1),
    )


def _face(photo: str, choice: str, store: Store, reader: Reader) -> LocatedFace:
    info = store.photo_info(photo)
    if not info.faces:
        raise Refused(422, "NoFaceFound", "no face was found in this photo")
    if choice == "all":
        raise OptionError("a preview shows one face: give its number")
    if choice == "largest":
        chosen = next(face for face in info.faces if face.main)
    else:
        chosen = face_info(info, int(choice), "the photo")
    return reader.face(photo, chosen, lambda: store.photo(photo))


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
    pictures = {name: picture_of(face) for name, face in faces.items()}
    mask = np.zeros((pictures[TARGET].crop_size,) * 2, np.float32) if plan.by_mask else None
    image = RegionAssembler(pictures, plan, points, mask).assemble().image
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
