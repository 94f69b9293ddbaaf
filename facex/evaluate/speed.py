# SPDX-License-Identifier: Apache-2.0
"""Seconds of an edit by stage, against steps, picture size and number of faces.

Variants are run in turn, round after round, and the median over rounds counts: a machine that slows
down meanwhile slows them all.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from facex.api import EditOptions, FaceX
from facex.imaging.read import Photo, read_photo
from facex.recipes.schema import Recipe

STEPS: Final = (4, 8, 16, 25)
SIDES: Final = (512, 1024, 2048)
"""Longest sides to which the photo is brought, pixels."""
FACES: Final = (1, 2, 4)
"""Copies of the photo side by side, edited as one batch."""
_BATCH_SIDE: Final = 512

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Variant:
    """One way to run an edit.

    Attributes:
        group: ``steps``, ``side`` or ``faces``.
        value: the number that is varied.
        photo: to edit.
        steps: sampling steps; None is the model's own.
        face: which faces.
    """

    group: str
    value: int
    photo: Photo
    steps: int | None = None
    face: str = "largest"


def variants(photo: Photo, *, several: bool = True) -> Iterator[Variant]:
    """All variants of a photo; ``several`` also those with several faces."""
    for steps in STEPS:
        yield Variant("steps", steps, photo, steps)
    for side in SIDES:
        yield Variant("side", side, _resized(photo, side))
    if several:
        small = _resized(photo, _BATCH_SIDE).array
        for count in FACES:
            row = Image.fromarray(np.concatenate([small] * count, axis=1))
            yield Variant("faces", count, read_photo(row), face="all")


def sweep(
    editor: FaceX,
    recipe: Recipe,
    photos: Mapping[str, Photo],
    todo: Sequence[Variant],
    rounds: int,
    mask_of: Callable[[Photo], Any] = lambda photo: None,
    progress: Progress = lambda done, total, what: None,
) -> list[dict[str, Any]]:
    """Median seconds of every variant by stage; each has one run before that does not count.

    Args:
        editor: the model.
        recipe: what to do.
        photos: the other pictures of the recipe.
        todo: the variants.
        rounds: how often each is run.
        mask_of: the mask for a photo, where the recipe needs one.
        progress: called with (done, total, what).

    Returns:
        A record for each variant: ``group``, ``value``, ``faces``, ``seconds`` by stage with
        ``all``, and ``faces_a_second``.
    """
    times: list[list[dict[str, float]]] = [[] for _ in todo]
    found = [0] * len(todo)
    for number in range(rounds + 1):
        for place, variant in enumerate(todo):
            progress(number * len(todo) + place, (rounds + 1) * len(todo), variant.group)
            start = time.perf_counter()
            result = editor.edit(
                variant.photo, recipe, photos=dict(photos), mask=mask_of(variant.photo),
                face=variant.face, options=EditOptions(steps=variant.steps),
            )  # fmt: skip
            seconds = {**result.timings, "all": time.perf_counter() - start}
            found[place] = len(result.crops)
            if number:
                times[place].append(seconds)
    records = []
    for variant, runs, faces in zip(todo, times, found, strict=True):
        median = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in runs[0]}
        records.append(
            {
                "group": variant.group,
                "value": variant.value,
                "faces": faces,
                "seconds": median,
                "faces_a_second": faces / median["all"],
            }
        )
    return records


def seconds_a_step(records: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds of one more sampling step: the slope of the drawing time over the steps."""
    points = [(r["value"], r["seconds"].get("generate", 0.0)) for r in records
              if r["group"] == "steps"]  # fmt: skip
    if len(points) < 2:
        return None
    steps, seconds = np.array(points, np.float64).T
    return float(np.polyfit(steps, seconds, 1)[0])


def machine() -> dict[str, Any]:
    """What measured: processor, cores and threads, versions."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        name = names[0] if names else name
    except OSError:
        pass
    return {
        "processor": name,
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _resized(photo: Photo, side: int) -> Photo:
    image = photo.image.convert("RGB")
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return read_photo(image.resize(size, Image.Resampling.LANCZOS))
