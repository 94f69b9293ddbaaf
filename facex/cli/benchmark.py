# SPDX-License-Identifier: Apache-2.0
"""``facex benchmark``: seconds per stage of a task, cold and warm, and the memory it takes."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facex.cli.console import Reporter, print_table
from facex.cli.edit import check_settings, load_model
from facex.cli.options import Debug, Device, Dtype, Json, Model, Quiet
from facex.errors import EXIT_DONE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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


def benchmark(
    task: Task,
    photo: Target,
    other: Other = None,
    runs: Runs = 3,
    steps: Steps = None,
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
    recipe, roles = _recipe(task)
    target = read_photo(photo)
    photos = dict.fromkeys(roles, target if other is None else read_photo(other))
    mask = _centre(target.size) if recipe.steps[0].edit == "mask" else None

    begin = time.perf_counter()
    editor = load_model(settings)
    load = time.perf_counter() - begin

    from facex.api import EditOptions

    def measure() -> dict[str, float]:
        start = time.perf_counter()
        options = EditOptions(steps=steps)
        result = editor.edit(target, recipe, photos=photos, mask=mask, options=options)
        return {**result.timings, "all": time.perf_counter() - start}

    cold = measure()
    warm = [measure() for _ in range(runs)]
    median = {name: statistics.median(run.get(name, 0.0) for run in warm) for name in cold}
    record = {
        "task": task,
        "size": list(target.size),
        "runs": runs,
        "load": load,
        "cold": cold,
        "warm_median": median,
        "peak_megabytes": peak_megabytes(),
    }
    reporter = Reporter(json_lines=json, quiet=quiet, debug=debug)
    reporter.say(_table(record, cold, median), record)
    return EXIT_DONE


def _recipe(task: str) -> tuple[Recipe, list[str]]:
    """The recipe of a task with everything it needs, and the pictures to hand over."""
    from facex.recipes.schema import Recipe
    from facex.recipes.tasks import task_table
    from facex.types import Region

    row = task_table().get(task)
    if row is None:
        return Recipe.for_task(task), []  # raises the error that names the tasks
    roles = [role for role in ("source", "driver") if getattr(row.needs, role) != "never"]
    chosen = [str(Region.LIPS)] if row.needs.regions != "never" else []
    style = "benchmark" if row.needs.style != "never" else None
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
    peak = record["peak_megabytes"]
    memory = "" if peak is None else f"\npeak memory {peak:.0f} MB"
    return print_table(("stage (seconds)", "cold", "warm"), rows) + memory


def peak_megabytes() -> float | None:
    """The most memory this process has had, in 10^6 bytes; None where the system cannot tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if sys.platform == "darwin" else 1024) / 1e6
