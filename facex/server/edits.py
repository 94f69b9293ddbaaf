# SPDX-License-Identifier: Apache-2.0
"""A request becomes an edit: the recipe with ids for files, checked before it may wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facex.api import EditOptions, FaceX
from facex.errors import OptionError, RecipeError
from facex.imaging.read import Photo, read_mask, read_photo
from facex.recipes.load import dump_recipe
from facex.recipes.plan import Plan, plan_recipe
from facex.recipes.schema import Recipe
from facex.recipes.values import NONE, SOURCE, TARGET
from facex.server.reader import frame_of
from facex.server.refusals import Refused
from facex.server.schemas import EditOrder, EditRequest, FaceInfo, PhotoInfo, ResultInfo
from facex.server.settings import ServiceSettings
from facex.server.store import Store
from facex.types import HEAD_REGIONS, Factor

CONSENT: Final = (
    "I have the right to use these photos, and everybody whose face goes into another picture has "
    "agreed to it."
)
"""What somebody says who sends ``consent: true``."""

Report = Callable[[int, int, str], None]

_ROOM: Final = 1.25
"""Side of the cut around a chosen face, in sides of its aligned crop."""


def recipe_of(order: EditOrder) -> Recipe:
    """The recipe of a request; its ``photos`` hold ids.

    Raises:
        RecipeError: it is not valid, names a file of the server, or lacks its target.
    """
    if order.recipe is not None:
        extra = order.photos or order.regions or order.sliders or order.place or order.style
        if extra:
            raise RecipeError(
                "a recipe says everything itself; photos, regions, ... are for a task"
            )
        recipe = order.recipe
    else:
        if order.task is None:
            raise RecipeError("give a recipe or a task")
        place = None if order.place is None else {"picture": SOURCE, "kind": order.place.value}
        recipe = Recipe.for_task(
            order.task,
            chosen=order.regions,
            photos={name: Path(value) for name, value in order.photos.items()},
            sliders=order.sliders,
            place=place,
            style=order.style,
        )
    if any(step.mask is not None for step in recipe.steps):
        raise RecipeError("a step names a mask file; upload the mask and give its id as mask")
    if TARGET not in recipe.photos:
        raise RecipeError("photos.target is missing: the id of the photo that is edited")
    missing = sorted(recipe.pictures() - recipe.photos.keys())
    if missing:
        raise RecipeError(f"photos.{missing[0]} is missing: the id of an uploaded photo")
    return recipe


def check_request(request: EditRequest, store: Store, settings: ServiceSettings) -> Recipe:
    """Everything that can be wrong before an edit runs.

    Returns:
        The recipe.

    Raises:
        RecipeError, OptionError: it cannot be done as it stands.
        Refused: 404 for a photo that is not there, 409 where consent is missing.
    """
    recipe = recipe_of(request)
    for name, path in recipe.photos.items():
        info = store.photo_info(str(path))
        choice = request.faces.get(name, "largest")
        if choice == "all" and name != TARGET:
            raise OptionError(f"one face is needed of {name}, not all: give its number")
        if choice.isdigit():
            face_info(info, int(choice), name)
    if unknown := sorted(request.faces.keys() - recipe.photos.keys()):
        raise OptionError(f"faces.{unknown[0]} belongs to no picture of this edit")
    plans = plan_recipe(recipe)
    for style in (plan.style for plan in plans if plan.style is not None):
        if style not in settings.styles:
            there = ", ".join(settings.styles) or "none"
            raise OptionError(f"there is no style {style!r}; this model has {there}")
    by_mask = any(plan.by_mask for plan in plans)
    if by_mask and request.mask is None:
        raise OptionError("this edit needs a mask; upload one and give its id as mask")
    if request.mask is not None:
        if not by_mask:
            raise OptionError("the mask has no use here, nothing is edited by mask")
        store.mask(request.mask)
    asked = [request.steps or 0, *(step.steps or 0 for step in recipe.steps)]
    if max(asked) > settings.max_steps:
        raise OptionError(f"at most {settings.max_steps} sampling steps are allowed here")
    if any(borrows_a_face(plan) for plan in plans) and not request.consent:
        raise Refused(409, "ConsentRequired", f"confirm with consent: true: {CONSENT}")
    return recipe


def borrows_a_face(plan: Plan) -> bool:
    """Whether somebody's face or head goes into another picture; motion alone does not count."""
    own = (TARGET, NONE)
    named = [plan.factors[Factor.IDENTITY], *(plan.pixels[region] for region in HEAD_REGIONS)]
    placed = plan.place.picture if plan.place is not None else None
    return any(name not in own and name != placed for name in named)


def face_info(info: PhotoInfo, number: int, name: str) -> FaceInfo:
    """A face of a photo by number.

    Raises:
        OptionError: there are fewer.
    """
    if not 1 <= number <= len(info.faces):
        raise OptionError(f"{name} has {len(info.faces)} faces, there is no number {number}")
    return info.faces[number - 1]


def run_edit(
    model: FaceX,
    job: str,
    request: EditRequest,
    store: Store,
    settings: ServiceSettings,
    report: Report,
) -> ResultInfo:
    """Do an edit and keep its result.

    Args:
        model: does the work.
        job: id under which the result is kept.
        request: checked before, but photos may have gone meanwhile.
        store: has the photos.
        settings: limits.
        report: called with steps done, in all, and the stage; may raise to stop the edit.

    Raises:
        FaceXError: one sentence that says what is wrong.
    """
    recipe = recipe_of(request)
    # Whatever the recipe says: what leaves a service is marked.
    recipe = recipe.model_copy(update={"output": recipe.output.model_copy(update={"mark": True})})
    end = time.monotonic() + settings.max_seconds

    def watched(done: int, total: int, stage: str) -> None:
        report(done, total, stage)
        if time.monotonic() > end:
            raise Refused(
                504,
                "TookTooLong",
                f"the edit took over {settings.max_seconds:g} s; use a smaller size",
            )

    watched(0, 0, "reading the photos")
    target = store.photo(str(recipe.photos[TARGET]))
    others = {
        name: picture_of(store, str(path), request.faces.get(name, "largest"))
        for name, path in recipe.photos.items()
        if name != TARGET
    }
    mask = None
    if request.mask is not None:
        mask = read_mask(store.mask(request.mask), target.size)
    result = model.edit(
        target,
        recipe,
        photos=others,
        face=request.faces.get(TARGET, "largest"),
        mask=mask,
        options=EditOptions(
            seed=request.seed,
            steps=request.steps,
            strength=request.strength,
            kappa=request.kappa,
            size=request.size,
        ),
        progress=watched,
    )
    report(1, 1, "writing")
    result.save(store.result_path(job, request.format))
    return ResultInfo(
        width=result.image.width,
        height=result.image.height,
        format=request.format,
        edit_id=f"{result.edit_id:06x}",
        warnings=result.warnings,
        seconds={name: round(value, 3) for name, value in result.timings.items()},
    )


def picture_of(store: Store, photo: str, choice: str) -> Photo:
    """A picture that something is taken from.

    The library takes the largest face of such a picture, so a chosen one is cut out with some
    room around it.
    """
    whole = store.photo(photo)
    if not choice.isdigit():
        return whole
    info = store.photo_info(photo)
    if len(info.faces) < 2:
        return whole
    face = face_info(info, int(choice), "the picture")
    size = face.crop_size
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    low, high = (f(frame_of(face).apply(corners), axis=0) for f in (np.min, np.max))
    room = (high - low) * (_ROOM - 1) / 2
    x0, y0 = np.maximum(low - room, 0)
    x1, y1 = np.minimum(high + room, whole.size)
    return read_photo(whole.image.crop((int(x0), int(y0), int(x1), int(y1))))


def label_of(order: EditOrder) -> str:
    """An edit in a few words."""
    if order.task is not None:
        return order.task
    recipe = order.recipe
    return recipe.name if recipe is not None and recipe.name else "mix"


def recipe_text(recipe: Recipe, request: EditRequest, store: Store) -> str:
    """The recipe as YAML for people: file names in place of ids, and the numbers that were used."""
    names: dict[str, Path] = {}
    for name, path in recipe.photos.items():
        names[name] = Path(store.photo_info(str(path)).label)
    steps = tuple(
        step.model_copy(
            update={
                "seed": request.seed if step.seed is None else step.seed,
                "steps": step.steps or request.steps,
                "strength": request.strength if step.strength is None else step.strength,
                "kappa": step.kappa * (1.0 if request.kappa is None else request.kappa),
            }
        )
        for step in recipe.steps
    )
    return dump_recipe(recipe.model_copy(update={"photos": names, "steps": steps}))


def encode_jpeg(pixels: Image.Image, quality: int = 85) -> bytes:
    """A JPEG in memory."""
    import io

    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
