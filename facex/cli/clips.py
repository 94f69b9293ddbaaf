# SPDX-License-Identifier: Apache-2.0
"""Commands on moving pictures: tasks and recipes on a video, and ``facex animate``."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from facex.cli.batch import MASK_ROLE
from facex.cli.consent import say_once
from facex.cli.console import Reporter
from facex.cli.options import Debug, Device, Dtype, Face, Force, Json, Model, Quiet, Values
from facex.errors import EXIT_DONE, ImageRejected, OptionError, OutputError

if TYPE_CHECKING:
    from facex.api import EditOptions
    from facex.config import Settings
    from facex.recipes.schema import Recipe
    from facex.video.parts import ClipResult, Report

_DRIVER: Final = "driver"


def is_moving(targets: Sequence[Path], others: Mapping[str, Path], trim: str | None) -> bool:
    """Whether one of the pictures of a command moves.

    Raises:
        OptionError: ``--trim`` was given and none does.
    """
    from facex.video.clip import is_clip

    moving = any(is_clip(path) for path in [*targets, *others.values()])
    if trim is not None and not moving:
        raise OptionError("--trim has no use here, no picture of this edit moves")
    return moving


def edit_moving(
    recipe: Recipe,
    targets: Sequence[Path],
    others: Mapping[str, Path],
    values: Values,
    settings: Settings,
) -> int:
    """Edit a video, or let one drive a photo.

    Args:
        recipe: what to do.
        targets: the one picture to edit.
        others: further pictures by role.
        values: the command's options.
        settings: which model, and where.

    Returns:
        The exit code.

    Raises:
        FaceXError: nothing was done; finished parts are kept if the work had begun.
    """
    from facex.cli.edit import check_face, load_model, reporter_of
    from facex.video.clip import Clip, is_clip, parse_trim

    begin, end = parse_trim(values["trim"])
    if len(targets) != 1:
        raise OptionError("give one video at a time, without other photos to edit")
    target, mask = targets[0], others.get(MASK_ROLE)
    pictures = {role: path for role, path in others.items() if role != MASK_ROLE}
    moving = [role for role, path in pictures.items() if is_clip(path)]
    if moving and is_clip(target):
        raise OptionError("only one of the pictures may move; take a frame of the other one")
    if wrong := [role for role in moving if role != _DRIVER]:
        raise OptionError(f"the {wrong[0]} must be a photo, only a driver may move")
    _check_files([target, *others.values()], values["out"], force=values["force"])
    for role, path in pictures.items():
        if role not in moving:
            _read(path)
    check_face(values["face"])
    say_once(recipe, reporter_of(values))
    editor = load_model(settings)
    options = _options(values)
    if moving:
        from facex.video.edit import drive_photo

        if mask is not None:
            raise OptionError("--mask has no use here, the photo follows the video")
        clip = Clip(pictures.pop(_DRIVER), begin, end)
        work = functools.partial(
            drive_photo, editor, target, clip, recipe, values["out"],
            photos=pictures, face=values["face"], options=options,
        )  # fmt: skip
    else:
        from facex.video.edit import edit_clip

        work = functools.partial(
            edit_clip, editor, Clip(target, begin, end), recipe, values["out"],
            photos=pictures, face=values["face"], mask=mask, options=options,
        )  # fmt: skip
    return _report(work, target, values)


def animate(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo that moves.")],
    preset: Annotated[str, typer.Option(metavar="NAME", help="nod, smile, look-around, ...")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", help="An .mp4, .webm, .gif or .webp file.")
    ],
    seconds: Annotated[
        float | None, typer.Option(min=0.2, max=60, metavar="X", help="Length of the clip.")
    ] = None,
    fps: Annotated[float, typer.Option(min=2, max=60, metavar="N", help="Frames a second.")] = 15.0,
    face: Face = "largest",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Of the noise.")] = 0,
    size: Annotated[
        int | None, typer.Option(min=64, max=4096, metavar="N", help="Side of the crop in pixels.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    model: Model = None,
    no_mark: Annotated[
        bool, typer.Option("--no-mark", help="No invisible mark and no note in the metadata.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    force: Force = False,
    debug: Debug = False,
) -> int:
    """Make a short clip of a photo: nod, smile, look-around, shake or blink."""
    from facex.cli.edit import check_face, check_settings, load_model
    from facex.video.animate import animate_photo, preset_of

    values = dict(locals())
    movement = preset_of(preset)
    settings = check_settings(values)
    _check_files([photo], out, force=force)
    _read(photo)
    check_face(face)
    editor = load_model(settings)
    options = _options({"steps": None, "strength": None, "kappa": None, **values})
    work = functools.partial(
        animate_photo, editor, photo, movement, out,
        seconds=seconds, rate=fps, face=face, options=options,
    )  # fmt: skip
    return _report(work, photo, values)


def _read(path: Path) -> None:
    from facex.imaging.read import read_photo

    read_photo(path)


def _options(values: Values) -> EditOptions:
    from facex.api import EditOptions

    return EditOptions(
        seed=values["seed"],
        steps=values["steps"],
        strength=values["strength"],
        kappa=values["kappa"],
        size=values["size"],
        mark=not values["no_mark"],
    )


def _check_files(inputs: Sequence[Path], out: Path, *, force: bool) -> None:
    from facex.video.encode import clip_format

    for path in inputs:
        if not path.is_file():
            raise ImageRejected(f"{path} does not exist")
        if path.resolve() == out.resolve() and not force:
            raise OptionError(f"-o {out} would replace an input; add --force to allow it")
    clip_format(out)
    if out.is_dir():
        raise OutputError(f"-o {out} is a folder, not a moving picture")
    if not out.absolute().parent.is_dir():
        raise OutputError(
            f"the folder {out.absolute().parent} for -o does not exist; make it first"
        )


def _report(work: Callable[..., ClipResult], target: Path, values: Values) -> int:
    """Run the work with a bar that says how long it will take, and say what came of it."""
    from facex.cli.edit import reporter_of

    reporter: Reporter = reporter_of(values)
    begin = time.perf_counter()
    with reporter.bars(1) as bars:
        bars.begin(target.name)
        try:
            result = work(report=with_time(bars.step))
        except KeyboardInterrupt:
            reporter.note("what is finished is kept; the same command goes on from there")
            raise
    seconds = time.perf_counter() - begin
    for warning in result.warnings:
        reporter.note(f"{target}: {warning}")
    record: dict[str, Any] = {
        "input": str(target),
        "output": str(result.path),
        "status": "done",
        "frames": result.frames,
        "edited": result.edited,
        "resumed": result.resumed,
        "edit_id": result.edit_id,
        "warnings": list(result.warnings),
        "seconds": seconds,
    }
    words = f"{result.path} ({result.edited} of {result.frames} frames edited, {seconds:.1f} s)"
    reporter.say(words, record)
    return EXIT_DONE


def with_time(step: Callable[[int, int, str], None]) -> Report:
    """Progress that also says how many seconds are left of the stage.

    Args:
        step: called with (done, total, what), as what is returned.
    """
    started: dict[str, tuple[float, int]] = {}

    def report(done: int, total: int, what: str) -> None:
        begin, first = started.setdefault(what, (time.perf_counter(), done))
        if total and done > first:
            left = (time.perf_counter() - begin) / (done - first) * (total - done)
            what = f"{what}, {left:.0f} s left"
        step(done, total, what)

    return report


__all__ = ["animate", "edit_moving", "is_moving", "with_time"]
