# SPDX-License-Identifier: Apache-2.0
"""An edit to take along: its recipe for people, alone or in a zip with everything it needs."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import IO, Final

import numpy as np
from PIL import Image

from facex.recipes.load import dump_recipe
from facex.recipes.plan import plan_recipe
from facex.recipes.schema import Recipe
from facex.recipes.values import TARGET
from facex.server.edits import face_info, recipe_of
from facex.server.reader import frame_of
from facex.server.schemas import EditRequest, FaceInfo
from facex.server.store import Store

RECIPE_FILE: Final = "recipe.yaml"
MASK_FILE: Final = "mask.png"

_ROOM: Final = 1.25
"""Side of the cut around a chosen face, in sides of its aligned crop."""
_IN_MEMORY: Final = 8_000_000
"""Bytes of a zip beyond which it is written to a passing file."""


def recipe_text(request: EditRequest, store: Store) -> str:
    """The recipe as YAML, to be laid beside the photos under their own names.

    What a recipe file cannot say stands in its comments: which face of a photo was chosen.

    Raises:
        Refused: 404, a photo was deleted.
    """
    recipe = recipe_of(request)
    labels = {name: store.photo_info(str(path)).label for name, path in recipe.photos.items()}
    files = unique_names({str(path): labels[name] for name, path in recipe.photos.items()})
    chosen = [
        f"{name}: face {choice} of {labels[name]}; a recipe takes the largest, so cut it out"
        for name, choice in sorted(request.faces.items())
        if name != TARGET and choice.isdigit() and len(_faces(store, recipe, name)) > 1
    ]
    names = {name: files[str(path)] for name, path in recipe.photos.items()}
    return _written(recipe, request, names, chosen)


def recipe_bundle(request: EditRequest, store: Store) -> IO[bytes]:
    """A zip of the recipe, its photos and its mask, in which ``facex mix`` gives the same edit.

    Faces that were chosen from several are cut out, since a recipe takes the largest one.

    Returns:
        The open file, at its beginning.

    Raises:
        Refused: 404, a photo or the mask was deleted.
    """
    recipe = recipe_of(request)
    pictures: dict[str, bytes] = {}
    labels: dict[str, str] = {}
    keys: dict[str, str] = {}
    for name, path in recipe.photos.items():
        photo, choice = str(path), request.faces.get(name, "")
        cut = name != TARGET and choice.isdigit() and len(_faces(store, recipe, name)) > 1
        keys[name] = key = f"{photo}#{choice}" if cut else photo
        if key not in pictures:
            face = face_info(store.photo_info(photo), int(choice), name) if cut else None
            pictures[key] = store.picture(photo) if face is None else _cut_png(store, photo, face)
            stem = PurePath(store.photo_info(photo).label).stem
            labels[key] = f"{stem}-face-{choice}.png" if cut else f"{stem}.png"
    files = unique_names(labels)
    text = _written(recipe, request, {name: files[key] for name, key in keys.items()}, [])
    made: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the caller's
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(RECIPE_FILE, text)
        for key, data in pictures.items():
            archive.writestr(files[key], data)
        if request.mask is not None:
            archive.writestr(MASK_FILE, store.mask(request.mask))
    made.seek(0)
    return made


def unique_names(labels: Mapping[str, str]) -> dict[str, str]:
    """File names of pictures; those that phones call all the same get numbers.

    Args:
        labels: the name that each would like to have.
    """
    taken = {RECIPE_FILE, MASK_FILE}
    found: dict[str, str] = {}
    for key, label in labels.items():
        path, number, name = PurePath(label), 1, label
        while name.lower() in taken:
            number += 1
            name = f"{path.stem}-{number}{path.suffix}"
        taken.add(name.lower())
        found[key] = name
    return found


def cut_face(store: Store, photo: str, face: FaceInfo) -> tuple[Image.Image, tuple[int, int]]:
    """A face with some room around it, and the corner of the photo at which it begins.

    Raises:
        Refused: 404.
    """
    whole = store.photo(photo)
    size = face.crop_size
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    placed = frame_of(face).apply(corners)
    low, high = placed.min(axis=0), placed.max(axis=0)
    room = (high - low) * (_ROOM - 1) / 2
    x0, y0 = (int(value) for value in np.maximum(low - room, 0))
    x1, y1 = (int(value) for value in np.minimum(high + room, whole.size))
    return whole.image.crop((x0, y0, x1, y1)), (x0, y0)


def _cut_png(store: Store, photo: str, face: FaceInfo) -> bytes:
    buffer = io.BytesIO()
    cut_face(store, photo, face)[0].save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _faces(store: Store, recipe: Recipe, name: str) -> list[FaceInfo]:
    return store.photo_info(str(recipe.photos[name])).faces


def _written(
    recipe: Recipe, request: EditRequest, names: Mapping[str, str], notes: list[str]
) -> str:
    """YAML with the numbers that were used, and the command that does the same in its head."""
    steps = tuple(
        step.model_copy(
            update={
                "seed": request.seed if step.seed is None else step.seed,
                "steps": step.steps or request.steps,
                "strength": request.strength if step.strength is None else step.strength,
                "kappa": step.kappa * (1.0 if request.kappa is None else request.kappa),
                "mask": Path(MASK_FILE) if plan.by_mask else None,
            }
        )
        for step, plan in zip(recipe.steps, plan_recipe(recipe), strict=True)
    )
    photos = {name: Path(file) for name, file in names.items()}
    command = ["facex mix", RECIPE_FILE, "-o", f"result.{request.format}"]
    if TARGET in request.faces:
        command += ["--face", request.faces[TARGET]]
    if request.size is not None:
        command += ["--size", str(request.size)]
    # Labels come from strangers: one of several lines would leave its comment.
    head = "".join(f"# {' '.join(line.split())}\n" for line in (" ".join(command), *notes))
    return head + dump_recipe(recipe.model_copy(update={"photos": photos, "steps": steps}))
