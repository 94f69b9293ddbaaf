# SPDX-License-Identifier: Apache-2.0
"""A request becomes an edit: the recipe with ids for files, checked before it may wait."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facex.api import EditOptions, FaceX
from facex.editing import PreparedEdit
from facex.errors import NoFaceFound, OptionError, RecipeError
from facex.imaging.read import Photo, read_mask
from facex.imaging.tensors import to_tensor
from facex.imaging.warp import crop_image
from facex.locate import FaceLocator, LocatedFace
from facex.recipes.plan import Plan, plan_recipe
from facex.recipes.schema import Recipe
from facex.recipes.values import NONE, SOURCE, TARGET
from facex.server.reader import frame_of
from facex.server.refusals import Refused
from facex.server.schemas import EditOrder, EditRequest, FaceInfo, PhotoInfo, ResultInfo
from facex.server.settings import ServiceSettings
from facex.server.store import Store
from facex.timing import timed

CONSENT: Final = (
    "I have the right to use these photos, and the people in both pictures have agreed that the "
    "face of one goes into the other."
)
"""What somebody says who sends ``consent: true``."""

Report = Callable[[int, int, str], None]


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
        if info.kept and name == TARGET:
            raise OptionError("a kept face can be taken from, not edited; choose a photo")
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
    check_consent(plans, request.consent)
    return recipe


def check_consent(plans: Iterable[Plan], given: bool) -> None:
    """Ask for consent where somebody's face goes into another picture.

    Args:
        plans: steps of the edit.
        given: whether the request says that everybody agrees.

    Raises:
        Refused: 409, with the sentence that is to be confirmed.
    """
    if not given and any(plan.borrows_a_face for plan in plans):
        raise Refused(409, "ConsentRequired", f"confirm with consent: true: {CONSENT}")


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
    mask = None
    if request.mask is not None:
        mask = read_mask(store.mask(request.mask), target.size)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        timings: dict[str, float] = {}
        with timed(timings, "decompose"):
            prepared, targets = _faces_of(model, recipe, request, store, target)
        result = model.apply(
            prepared,
            target,
            targets,
            mask=mask,
            options=EditOptions(
                seed=request.seed,
                steps=request.steps,
                strength=request.strength,
                kappa=request.kappa,
                size=request.size,
            ),
            timings=timings,
            progress=watched,
        )
    said = [str(warning.message) for warning in caught if "facex" in warning.filename]
    report(1, 1, "writing")
    result.save(store.result_path(job, request.format))
    return ResultInfo(
        width=result.image.width,
        height=result.image.height,
        format=request.format,
        edit_id=f"{result.edit_id:06x}",
        warnings=[*result.warnings, *dict.fromkeys(said)],
        seconds={name: round(value, 3) for name, value in result.timings.items()},
    )


def _faces_of(
    model: FaceX, recipe: Recipe, request: EditRequest, store: Store, target: Photo
) -> tuple[PreparedEdit, list[LocatedFace]]:
    """Everything that the edit takes from other pictures, and the faces that it changes.

    Faces are read where the upload found them: in a photo of several, a number means the same
    face here as on the page, however large its neighbours are.
    """
    plans = plan_recipe(recipe)
    things = {plan.place.picture for plan in plans if plan.place is not None}
    names = set().union(*(plan.faces for plan in plans)) - {TARGET, NONE}
    others = {
        name: read_face(model.locator, store, str(recipe.photos[name]), request.faces.get(name))
        for name in sorted(names)
    }
    found = {name: store.photo(str(recipe.photos[name])) for name in sorted(things)}
    info = store.photo_info(str(recipe.photos[TARGET]))
    choice = request.faces.get(TARGET)
    targets = [
        model.locator.read_aligned(target.array, frame_of(face), "the photo")
        for face in (info.faces if choice == "all" else [chosen_face(info, choice, "the photo")])
    ]
    if not targets:
        raise NoFaceFound("no face was found in the photo; use another one")
    return PreparedEdit(recipe, plans, others, found), targets


def read_face(locator: FaceLocator, store: Store, photo: str, choice: str | None) -> LocatedFace:
    """A face that something is taken from.

    A face that was kept brings its representation along, unless another model made it.

    Args:
        locator: the analysis of the model.
        store: has the photo.
        photo: id of a photo or of a kept face.
        choice: number of the face, ``largest`` or None.

    Raises:
        Refused: 404.
        NoFaceFound, OptionError: as :func:`chosen_face`.
    """
    info = store.photo_info(photo)
    face = chosen_face(info, choice, info.label)
    pixels, frame = store.photo(photo).array, frame_of(face)
    known = store.representation(photo) if info.kept else None
    if known is None or (known.extractors, known.crop_size) != (
        locator.ford.name,
        locator.crop_size,
    ):
        return locator.read_aligned(pixels, frame, info.label)
    crop = to_tensor(Image.fromarray(np.asarray(crop_image(pixels, frame, known.crop_size))))
    return LocatedFace(pixels, frame, crop, known, info.label)


def chosen_face(info: PhotoInfo, choice: str | None, name: str) -> FaceInfo:
    """The face that a choice means, by default the surest large one.

    Raises:
        NoFaceFound: there is none.
        OptionError: there are fewer.
    """
    if not info.faces:
        raise NoFaceFound(f"no face was found in {name}; use another photo")
    if choice is not None and choice.isdigit():
        return face_info(info, int(choice), name)
    return next((face for face in info.faces if face.main), info.faces[0])


def label_of(order: EditOrder) -> str:
    """An edit in a few words."""
    if order.task is not None:
        return order.task
    recipe = order.recipe
    return recipe.name if recipe is not None and recipe.name else "mix"
