# SPDX-License-Identifier: Apache-2.0
"""``facex benchmark``: seconds per stage of a task, cold and warm, and the memory it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from facex.cli.console import Reporter, print_table
from facex.cli.edit import check_settings, load_model
from facex.cli.options import Debug, Device, Dtype, Json, Model, Quiet
from facex.errors import EXIT_DONE, OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facex.api import FaceX
    from facex.imaging.read import Photo
    from facex.recipes.schema import Recipe

Task = Annotated[str, typer.Argument(metavar="TASK", help="A command that edits photos.")]
Target = Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo to edit.")]
Other = Annotated[
    Path | None,
    typer.Argument(metavar="OTHER", help="The other photo, where the task takes one."),
]
Runs = Annotated[int, typer.Option("--runs", "-n", min=1, max=1000, metavar="N", help="Warm runs.")]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, max=1000, metavar="N", help="Sampling steps.")
]
Sweep = Annotated[
    bool,
    typer.Option("--sweep", help="Also against steps, picture size and number of faces."),
]


_SWEPT: Final = ("warm", "seconds", "of it drawing", "faces a second", "peak MB", "GPU MB")


def benchmark(
    task: Task,
    photo: Target,
    other: Other = None,
    runs: Runs = 3,
    steps: Steps = None,
    sweep: Sweep = False,
    device: Device = None,
    dtype: Dtype = None,
    model: Model = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Measure a task: the first run (cold), then the median of some more (warm), by stage.

    Nothing is written. OTHER is the photo to take from or to imitate; without it PHOTO itself.
    """
    from facex.imaging.read import read_photo

    settings = check_settings({"device": device, "dtype": dtype, "model": model})
    check_task(task)
    target = read_photo(photo)
    given = target if other is None else read_photo(other)

    begin = time.perf_counter()
    editor = load_model(settings)
    load = time.perf_counter() - begin

    from facex.api import EditOptions
    from facex.evaluate.machine import gpu_peak_megabytes, machine, peak_megabytes
    from facex.evaluate.speed import StepClock
    from facex.timing import timed

    recipe, roles = _recipe(task, editor)
    photos = dict.fromkeys(roles, given)
    by_mask = recipe.steps[0].edit == "mask"
    clock = StepClock()

    def measure() -> dict[str, float]:
        start = time.perf_counter()
        reading: dict[str, float] = {}
        with timed(reading, "read"):
            fresh = read_photo(photo)
            others = {role: fresh if other is None else read_photo(other) for role in roles}
        result = editor.edit(
            fresh, recipe, photos=others, mask=_centre(fresh.size) if by_mask else None,
            options=EditOptions(steps=steps), progress=clock,
        )  # fmt: skip
        stages = {"read": reading["read"] + result.timings.get("read", 0.0)}
        return {**stages, **{k: v for k, v in result.timings.items() if k != "read"},
                "all": time.perf_counter() - start}  # fmt: skip

    reporter = Reporter(json_lines=json, quiet=quiet, debug=debug)
    cold = measure()
    clock.seconds.clear()
    warm = [measure() for _ in range(runs)]
    median = {name: statistics.median(run.get(name, 0.0) for run in warm) for name in cold}

    record = {
        "task": task,
        "size": list(target.size),
        "runs": runs,
        "load": load,
        "cold": cold,
        "warm_median": median,
        "step_median": clock.median,
        "peak_megabytes": peak_megabytes(),
        "gpu_peak_megabytes": gpu_peak_megabytes(),
        "machine": machine(),
    }
    text = _table(record, cold, median)
    if sweep:
        record |= _swept(reporter, editor, recipe, target, photos, runs, by_mask=by_mask)
        text += "\n\n" + _sweep_table(record)
    reporter.say(text, record)
    return EXIT_DONE


def _swept(
    reporter: Reporter,
    editor: FaceX,
    recipe: Recipe,
    target: Photo,
    photos: Mapping[str, Photo],
    runs: int,
    *,
    by_mask: bool,
) -> dict[str, Any]:
    from facex.evaluate.speed import seconds_a_step, sweep, variants

    def mask_of(photo: Photo) -> NDArray[np.float32] | None:
        return _centre(photo.size) if by_mask else None

    todo = list(variants(target, several=not by_mask))
    with reporter.bars(1) as bars:
        records = sweep(editor, recipe, photos, todo, runs, mask_of, bars.step)
    return {"sweep": records, "seconds_a_step": seconds_a_step(records)}


def _sweep_table(record: Mapping[str, Any]) -> str:
    names = {"steps": "steps", "side": "longest side, pixels", "faces": "faces in one batch"}
    rows = [
        (
            f"{names[row['group']]}: {row['value']}",
            f"{row['seconds']['all']:.3f}",
            f"{row['seconds'].get('generate', 0.0):.3f}",
            f"{row['faces_a_second']:.2f}",
            "" if row["peak_megabytes"] is None else f"{row['peak_megabytes']:.0f}",
            "" if row["gpu_peak_megabytes"] is None else f"{row['gpu_peak_megabytes']:.0f}",
        )
        for row in record["sweep"]
    ]
    table = print_table(_SWEPT, rows)
    return f"{table}\none more step: {record['seconds_a_step']:.3f} s"


def check_task(task: str) -> None:
    """Refuse what is no task, before a model is loaded.

    Raises:
        OptionError: there is no such task; the nearest is named.
    """
    from facex.recipes.schema import Recipe
    from facex.recipes.tasks import task_table

    if task not in task_table():
        Recipe.for_task(task)  # raises the error that names the tasks


def _recipe(task: str, editor: FaceX) -> tuple[Recipe, list[str]]:
    """The recipe of a task with everything it needs, and the pictures to hand over.

    Raises:
        OptionError: the task needs a style, and the model has none.
    """
    from facex.models.styles import style_names
    from facex.recipes.schema import Recipe
    from facex.recipes.tasks import task_table
    from facex.types import Region

    needs = task_table()[task].needs
    roles = [role for role in ("source", "driver") if getattr(needs, role) != "never"]
    chosen = [str(Region.LIPS)] if needs.regions != "never" else []
    style = None
    if needs.style != "never":
        names = style_names(Path(editor.model.folder))
        if not names:
            raise OptionError(f"this model has no styles, so {task!r} cannot be measured")
        style = names[0]
    return Recipe.for_task(task, given=roles, chosen=chosen, style=style), roles


def _centre(size: tuple[int, int]) -> NDArray[np.float32]:
    """A mask (H, W) of the middle of a photo of this width and height."""
    import numpy as np

    width, height = size
    mask = np.zeros((height, width), np.float32)
    mask[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = 1
    return mask


def _table(record: Mapping[str, Any], cold: dict[str, float], warm: dict[str, float]) -> str:
    rows = [(name, f"{cold[name]:.3f}", f"{warm[name]:.3f}") for name in cold]
    rows.insert(0, ("load the model", f"{record['load']:.3f}", ""))
    lines = [print_table(("stage (seconds)", "cold", "warm"), rows)]
    if record["step_median"] is not None:
        lines.append(f"one step {record['step_median']:.3f} s")
    for name, where in (("peak_megabytes", ""), ("gpu_peak_megabytes", " of the GPU")):
        if record[name] is not None:
            lines.append(f"peak memory{where} {record[name]:.0f} MB")
    return "\n".join(lines)
