# SPDX-License-Identifier: Apache-2.0
"""The commands that make pictures: one for each row of the task table, and recipes.

Everything that can be checked without torch is checked first: options, paths, the recipe, and for
a single photo its pixels. Only then is the model loaded.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import facex
from facex.cli.batch import MASK_ROLE, Job, plan, run_jobs, split_done
from facex.cli.clips import edit_moving, is_moving
from facex.cli.consent import say_once
from facex.cli.console import Reporter, StepCallback
from facex.cli.options import PHOTO, Values, task_sliders
from facex.config import Settings, check_device_name, check_dtype_name
from facex.errors import EXIT_DONE, EXIT_NOTHING_DONE, OptionError, RecipeError

if TYPE_CHECKING:
    from facex.api import FaceX
    from facex.imaging.read import Photo
    from facex.recipes.schema import Recipe
    from facex.recipes.tasks import TaskRow

_PICTURE_ROLES: Final = ("source", "driver")


@dataclass(frozen=True)
class Order:
    """What to do with every photo.

    Attributes:
        recipe: the edit.
        values: the command's options.
        settings: which model, and where.
        reporter: where to report.
    """

    recipe: Recipe
    values: Values
    settings: Settings
    reporter: Reporter


def reporter_of(values: Values) -> Reporter:
    """The reporter that the common options ask for."""
    return Reporter(json_lines=values["json"], quiet=values["quiet"], debug=values["debug"])


def run_task(name: str, values: Values) -> int:
    """Do one task of the table.

    Args:
        name: of the row.
        values: by parameter name, as ``options.task_parameters`` lists them.

    Returns:
        The exit code.

    Raises:
        FaceXError: when nothing can be done.
    """
    from facex.recipes.tasks import task_table

    row = task_table()[name]
    settings = check_settings(values)
    given = {
        "source": values.get("source") or values.get("guide"),
        "driver": values.get("driver"),
        MASK_ROLE: values["mask"],
    }
    others = {role: path for role, path in given.items() if path is not None}
    if is_moving(values[PHOTO], others, values["trim"]):
        pictures = [role for role in others if role in _PICTURE_ROLES]
        recipe = task_recipe(name, row, values, pictures)
        return edit_moving(recipe, values[PHOTO], others, values, settings)
    jobs, several = plan(values[PHOTO], others, values["out"], force=values["force"])
    pictures = [role for role in others if role in _PICTURE_ROLES]
    recipe = task_recipe(name, row, values, pictures)
    order = Order(recipe, values, settings, reporter_of(values))
    return _edit(order, jobs, several=several)


def run_mix(values: Values) -> int:
    """Do a recipe file, on its own target or on other photos; as :func:`run_task`."""
    from facex.recipes.load import load_recipe
    from facex.recipes.values import TARGET

    settings = check_settings(values)
    named = dict(_name_and_file(text) for text in values["with_"])
    targets: list[Path] = list(values[PHOTO] or ())
    recipe = load_recipe(values["recipe"], given=[*named, *([TARGET] if targets else [])])
    files = {**recipe.photos, **named}
    targets = targets or [files[TARGET]]
    others = {name: path for name, path in files.items() if name != TARGET}
    if folders := [path for path in others.values() if path.is_dir()]:
        raise OptionError(f"{folders[0]} is a folder, but a recipe takes a picture here")
    if values["mask"] is not None:
        if not any(step.edit == "mask" for step in recipe.steps):
            raise OptionError("--mask has no use here, no step of the recipe says edit: mask")
        others[MASK_ROLE] = values["mask"]
    if is_moving(targets, others, values["trim"]):
        return edit_moving(recipe, targets, others, values, settings)
    jobs, several = plan(targets, others, values["out"], force=values["force"])
    order = Order(recipe, values, settings, reporter_of(values))
    return _edit(order, jobs, several=several)


def _name_and_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not equals or not name or not file:
        raise OptionError(f"--with {text!r} is not understood, give NAME=FILE")
    return name, Path(file)


def task_recipe(name: str, row: TaskRow, values: Values, pictures: Sequence[str]) -> Recipe:
    """The recipe of a task with the user's numbers and choices in it.

    Args:
        name: of the row.
        row: of the table.
        values: the command's options.
        pictures: names of the pictures that will be handed over (source, driver).

    Raises:
        OptionError: an option that is needed is missing, or not understood.
        RecipeError: a value is not what a recipe may hold.
    """
    from facex.recipes.schema import Recipe

    overrides: dict[str, Any] = {"style": values.get("style"), "sliders": _sliders(row, values)}
    if values["mask"] is not None:
        overrides["edit"] = "mask"  # in place of the regions that the row may change
    if values.get("place") is not None:
        overrides["place"] = {"picture": "source", "kind": values["place"]}
    regions = [part.strip() for part in (values.get("regions") or "").split(",") if part.strip()]
    if values.get("regions") is not None and not regions:
        raise OptionError("--regions is empty, name at least one region, as in brows,lips")
    present = {*pictures, *(key for key, value in overrides.items() if value is not None)}
    if overrides["sliders"] is not None and not overrides["sliders"].keys() - {"mode"}:
        present.discard("sliders")  # how to imitate, but nobody to imitate
    present |= {"regions"} if regions else set()
    either = row.needs.marked("either")
    if either and not present & set(either):
        raise OptionError(f"{name} needs {' or '.join(_flags(row, either))}")
    try:
        return Recipe.for_task(name, given=pictures, chosen=regions, **overrides)
    except RecipeError as error:
        raise RecipeError(_as_options(str(error))) from error


def _flags(row: TaskRow, needs: Sequence[str]) -> list[str]:
    """The names of the options behind the names in the table."""
    sliders = [parameter.name for parameter, name in task_sliders(row) if name != "mode"]
    flags: list[str] = []
    for need in needs:
        names = sliders if need == "sliders" else [need]
        flags += [f"--{name.replace('_', '-')}" for name in names]
    return flags


def _sliders(row: TaskRow, values: Values) -> dict[str, Any] | None:
    """The numbers that were given; None if there are none."""
    found: dict[str, Any] = {}
    for parameter, name in task_sliders(row):
        value = values.get(parameter.name)
        if name == "blendshapes":
            value = _assignments(value or ()) or None
        if value is not None:
            found[name] = value
    return found or None


def _assignments(texts: Sequence[str]) -> dict[str, float]:
    """``NAME=VALUE,NAME=VALUE``, any number of them."""
    found: dict[str, float] = {}
    for item in (item.strip() for text in texts for item in text.split(",")):
        name, equals, number = item.partition("=")
        if not equals or not name:
            raise OptionError(f"--set {item!r} is not understood, give NAME=VALUE")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            raise OptionError(f"--set {name}={number}: {number!r} is no number") from None
    return found


def _as_options(message: str) -> str:
    """A recipe's error in terms of the command line: the key path becomes an option."""
    message = re.sub(r"^steps\[0\]\.(sliders\.(?!blendshapes))?", "", message)
    message = re.sub(r"^sliders\.blendshapes\.", "--set ", message)
    message = re.sub(r"^sliders\.blendshapes", "--set", message)
    message = re.sub(r"^place\.kind", "place", message)
    message = re.sub(r"^(regions|mode|place|style)[.:] ?", r"--\1 ", message)
    return re.sub(r"^(yaw|pitch|roll|gaze_yaw|gaze_pitch):", r"--\1", message)


def check_settings(values: Values) -> Settings:
    """The settings of the environment, with the options over them; checked without torch.

    Raises:
        OptionError: a device or number format has no such name.
        ModelNotFound: the model folder does not exist.
    """
    from facex.models.hub import resolve_model_folder

    base = Settings.from_environment()
    if values["device"] is not None:
        check_device_name(values["device"])
    if values["dtype"] is not None:
        check_dtype_name(values["dtype"])
    model = values["model"] or base.model
    if model is not None:
        model = str(resolve_model_folder(model, local_files_only=base.offline))
    return Settings(
        device=values["device"] or base.device,
        dtype=values["dtype"] or base.dtype,
        offline=base.offline,
        model=model,
        debug=base.debug,
    )


def load_model(settings: Settings) -> FaceX:
    """Load the model that the settings name; takes seconds."""
    from facex.api import FaceX

    return FaceX.from_pretrained(
        settings.model,
        device=settings.device,
        dtype=settings.dtype,
        local_files_only=settings.offline,
    )


def _edit(order: Order, jobs: Sequence[Job], *, several: bool) -> int:
    values, reporter = order.values, order.reporter
    pending, done = split_done(jobs, force=values["force"] or not several)
    for job in done:
        record = {"input": str(job.target), "output": str(job.output), "status": "skipped"}
        reporter.say(f"{job.output} (done before)", record)
    if not pending:
        return EXIT_DONE
    first = _read_ahead(pending, several=several)
    check_face(values["face"])
    say_once(order.recipe, reporter)
    editor = load_model(order.settings)
    folder = values["out"]
    made = several and not folder.is_dir()
    if made:
        folder.mkdir()
    code = EXIT_NOTHING_DONE
    try:
        work = functools.partial(_edit_one, order, editor, first)
        code = run_jobs(pending, work, reporter, skipped=len(done), several=several)
    finally:
        if made and code == EXIT_NOTHING_DONE:
            with contextlib.suppress(OSError):  # not empty after an interrupt: keep what is done
                folder.rmdir()
    return code


def check_face(text: str) -> None:
    """Check ``--face`` and the photo it may name.

    Raises:
        OptionError: it is not understood.
        ImageRejected: the photo of ``like:`` cannot be read.
    """
    from facex.detect.choose import FaceChoice
    from facex.imaging.read import read_photo

    choice = FaceChoice.parse(text)
    if choice.photo is not None:
        read_photo(choice.photo)


def _read_ahead(jobs: Sequence[Job], *, several: bool) -> dict[Path, Photo]:
    """Pictures that are needed for every job, read before the model is loaded.

    Of a single job that is the target too, and its mask is looked at.
    """
    from facex.imaging.read import read_mask, read_photo

    shared = {
        path
        for role, path in jobs[0].others.items()
        if role != MASK_ROLE and all(job.others.get(role) == path for job in jobs)
    }
    if not several:
        shared.add(jobs[0].target)
    photos = {path: read_photo(path) for path in sorted(shared)}
    if not several and MASK_ROLE in jobs[0].others:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are collected when the mask is used
            read_mask(jobs[0].others[MASK_ROLE], photos[jobs[0].target].size)
    return photos


def _edit_one(
    order: Order, editor: FaceX, known: Mapping[Path, Photo], job: Job, step: StepCallback
) -> tuple[str, dict[str, Any]]:
    from facex.api import EditOptions
    from facex.imaging.read import read_mask, read_photo

    values = order.values
    options = EditOptions(
        seed=values["seed"],
        steps=values["steps"],
        strength=values["strength"],
        kappa=values["kappa"],
        size=values["size"],
        mark=not values["no_mark"],
    )
    begin = time.perf_counter()
    with collected_warnings() as doubts:
        photo = known.get(job.target) or read_photo(job.target)
        others = {
            role: known.get(path) or read_photo(path)
            for role, path in job.others.items()
            if role != MASK_ROLE
        }
        mask_file = job.others.get(MASK_ROLE)
        result = editor.edit(
            photo,
            order.recipe,
            photos=others,
            face=values["face"],
            mask=None if mask_file is None else read_mask(mask_file, photo.size),
            options=options,
            progress=step,
        )
        result.save(job.output)
    seconds = time.perf_counter() - begin
    said = list(dict.fromkeys([*result.warnings, *doubts]))
    for warning in said:
        order.reporter.note(f"{job.target}: {warning}")
    record = {
        "input": str(job.target),
        "output": str(job.output),
        "status": "done",
        "faces": result.faces,
        "seed": values["seed"],
        "with": {role: str(path) for role, path in job.others.items()},
        "warnings": said,
        "timings": {**result.timings, "all": seconds},
    }
    faces = "1 face" if result.faces == 1 else f"{result.faces} faces"
    return f"{job.output} ({faces}, {seconds:.1f} s)", record


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Catch the warnings of this package; a list of sentences, filled when the block ends."""
    home = str(Path(facex.__file__).parent)
    doubts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            yield doubts
        finally:
            doubts += [str(w.message) for w in caught if w.filename.startswith(home)]
