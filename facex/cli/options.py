# SPDX-License-Identifier: Apache-2.0
"""Arguments and options, and which of them a row of the task table asks for.

A command is a list of parameters and a function of their values, so that the commands of the
tasks are made from the table and nothing here knows a task by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from facex.types import Factor

if TYPE_CHECKING:
    from facex.recipes.tasks import TaskRow

Values: TypeAlias = Mapping[str, Any]
"""What the user gave, by parameter name."""

PHOTO: Final = "photo"
"""Parameter with the photos that are edited."""

Device = Annotated[str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[
    str | None, typer.Option(metavar="NAME", help="auto, float32, float16 or bfloat16.")
]
Model = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Model folder or hub id in place of the bundled model."),
]
Face = Annotated[
    str,
    typer.Option(
        metavar="WHICH", help="largest, all, a number from 1 (left to right) or like:PHOTO."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per input on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stdout.")]
Force = Annotated[
    bool, typer.Option("--force", help="Redo what is done; allow replacing an input.")
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="OUT",
        help="Picture to write; with several inputs a folder, where what is done is skipped.",
        show_default=False,
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", envvar="FACEX_DEBUG", help="Show the traceback of an error.")
]


def option(name: str, kind: Any, default: Any = None, **details: Any) -> inspect.Parameter:
    """An option called ``--name``: inner underscores become dashes, a last one is dropped."""
    flag = f"--{name.rstrip('_').replace('_', '-')}"
    annotation = Annotated[kind, typer.Option(flag, **details)]
    return _parameter(name, annotation, default)


def argument(
    name: str, kind: Any, metavar: str, help: str, *, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    """A positional argument; required unless there is a default."""
    annotation = Annotated[kind, typer.Argument(metavar=metavar, help=help, show_default=False)]
    return _parameter(name, annotation, default)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    # Keyword only: then an argument without a default may follow one that has one.
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)


def make_command(
    parameters: list[inspect.Parameter], work: Callable[[Values], int], help: str
) -> Callable[..., int]:
    """A function that typer takes for one with these parameters."""

    def command(**values: Any) -> int:
        return work(values)

    command.__doc__ = help
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


MASK_HELP: Final = "White where the photo may change; of the photo's size. Or a folder of masks."


def common_options(*, mask_required: bool = False) -> list[inspect.Parameter]:
    """The options of every command that makes pictures."""
    no_default = inspect.Parameter.empty
    mask = option("mask", Path, no_default, metavar="MASK", help=MASK_HELP, show_default=False)
    if not mask_required:
        mask = option("mask", Path | None, metavar="MASK", help=MASK_HELP)
    return [
        _parameter("out", Out, no_default),
        mask,
        _parameter("face", Face, "largest"),
        option("seed", int, 0, min=0, max=2**32 - 1, metavar="N", help="Same seed, same picture."),
        option("steps", int | None, min=1, max=1000, metavar="N", help="Sampling steps."),
        option(
            "size",
            int | None,
            min=64,
            max=4096,
            metavar="N",
            help="Side of the crop in pixels.",
        ),
        option(
            "strength",
            float | None,
            min=0.0,
            max=1.0,
            metavar="X",
            help="How far from the reference to begin.",
        ),
        option(
            "kappa",
            float | None,
            min=0.0,
            max=1.0,
            metavar="X",
            help="Trust in the reference: 0 redraws all.",
        ),
        option("trim", str | None, metavar="BEGIN-END", help="Seconds of a video, as in 2-7.5."),
        _parameter("device", Device, None),
        _parameter("dtype", Dtype, None),
        _parameter("model", Model, None),
        option("no_mark", bool, False, help="No invisible mark and no note in the metadata."),
        _parameter("json", Json, False),
        _parameter("quiet", Quiet, False),
        _parameter("force", Force, False),
        _parameter("debug", Debug, False),
    ]


def task_parameters(row: TaskRow) -> list[inspect.Parameter]:
    """The parameters of a task, from what its row needs.

    A required picture is an argument, in the order in which one says it: the source before the
    photo it goes into, the driver after the photo it drives. Everything else is an option.
    """
    needs = row.needs
    many = "A file, several files, or folders; or one video, GIF or WebP."
    parameters = [argument(PHOTO, list[Path], "PHOTO", f"The photo to edit. {many}")]
    if needs.source == "required":
        parameters.insert(0, argument("source", Path, "SRC", "The photo to take from."))
        parameters[1] = argument(PHOTO, list[Path], "TGT", f"The photo to edit. {many}")
    if needs.driver == "required":
        parameters.append(argument("driver", Path, "DRV", "The photo to imitate, or a video."))
    if needs.source in ("either", "optional"):
        text = "Another photo of the same person to go by."
        parameters.append(option("guide", Path | None, metavar="SRC", help=text))
    if needs.driver in ("either", "optional"):
        text = "A photo to imitate."
        parameters.append(option("driver", Path | None, metavar="DRV", help=text))
    if needs.regions != "never":
        text = "What to take: regions or groups, as in brows,lips."
        parameters.append(option("regions", str | None, metavar="A,B,...", help=text))
    if needs.place != "never":
        text = "SRC shows no face but this: glasses, moustache or beard."
        parameters.append(option("place", str | None, metavar="KIND", help=text))
    if needs.style == "required":
        text = "The style to draw in; the bundled model has pencil, comic and oil."
        empty = inspect.Parameter.empty
        parameters.append(
            option("style", str, empty, metavar="NAME", help=text, show_default=False)
        )
    parameters += [slider for slider, _ in task_sliders(row)]
    return parameters + common_options(mask_required=needs.mask == "required")


def mix_parameters() -> list[inspect.Parameter]:
    """The parameters of the command that follows a recipe."""
    target = "Edit these photos in place of the recipe's target. Files or folders."
    picture = "File of the source, the driver or a named picture of the recipe; may be repeated."
    return [
        argument("recipe", Path, "RECIPE", "A YAML file."),
        argument(PHOTO, list[Path] | None, "PHOTO", target, default=None),
        option("with_", list[str], (), metavar="NAME=FILE", help=picture),
        *common_options(),
    ]


def task_sliders(row: TaskRow) -> list[tuple[inspect.Parameter, str]]:
    """The options that stand for numbers in place of a driver, each with its name in a recipe."""
    if row.needs.sliders == "never":
        return []
    driven = {factor for factor, cell in row.factors.items() if cell == "driver"}
    found = []
    if Factor.POSE in driven:
        found += [
            (_degrees("yaw", "Turn the head: + to the picture's right."), "yaw"),
            (_degrees("pitch", "Nod: + up."), "pitch"),
            (_degrees("roll", "Tilt the head: + clockwise.", 180), "roll"),
        ]
    if Factor.GAZE in driven:
        prefix = "gaze_" if Factor.POSE in driven else ""
        found += [
            (_degrees(f"{prefix}yaw", "Eyes: + to the picture's right."), "gaze_yaw"),
            (_degrees(f"{prefix}pitch", "Eyes: + up."), "gaze_pitch"),
        ]
    if Factor.EXPRESSION in driven:
        text = "Blendshapes and values from 0 to 1; may be repeated."
        names = option("set", list[str], (), metavar="NAME=VALUE,...", help=text)
        found.append((names, "blendshapes"))
    if driven:
        text = "How the driver acts: absolute (default) or relative."
        found.append((option("mode", str | None, metavar="HOW", help=text), "mode"))
    return found


def _degrees(name: str, text: str, limit: int = 90) -> inspect.Parameter:
    return option(name, float | None, min=-limit, max=limit, metavar="DEGREES", help=text)
