# SPDX-License-Identifier: Apache-2.0
"""Seconds of an edit by stage, against steps, picture size and number of faces.

Variants are run in turn, round after round, and the median over rounds counts: a machine that slows
down meanwhile slows them all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from facex.api import EditOptions, FaceX
from facex.evaluate.machine import gpu_peak_megabytes, peak_megabytes, reset_peak
from facex.imaging.read import Photo, read_photo
from facex.recipes.schema import Recipe
from facex.timing import wait_for_gpu

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
        ``all``, ``faces_a_second``, and the largest ``peak_megabytes`` and
        ``gpu_peak_megabytes`` of its runs, None where the system does not tell.
    """
    times: list[list[dict[str, float]]] = [[] for _ in todo]
    found = [0] * len(todo)
    peaks: list[list[tuple[float | None, float | None]]] = [[] for _ in todo]
    for number in range(rounds + 1):
        for place, variant in enumerate(todo):
            progress(number * len(todo) + place, (rounds + 1) * len(todo), variant.group)
            reset_peak()
            start = time.perf_counter()
            result = editor.edit(
                variant.photo, recipe, photos=dict(photos), mask=mask_of(variant.photo),
                face=variant.face, options=EditOptions(steps=variant.steps),
            )  # fmt: skip
            seconds = {**result.timings, "all": time.perf_counter() - start}
            found[place] = len(result.crops)
            if number:
                times[place].append(seconds)
                peaks[place].append((peak_megabytes(), gpu_peak_megabytes()))
    records = []
    for variant, runs, faces, memory in zip(todo, times, found, peaks, strict=True):
        median = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in runs[0]}
        records.append(
            {
                "group": variant.group,
                "value": variant.value,
                "faces": faces,
                "seconds": median,
                "faces_a_second": faces / median["all"],
                "peak_megabytes": _most(host for host, _ in memory),
                "gpu_peak_megabytes": _most(gpu for _, gpu in memory),
            }
        )
    return records


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def seconds_a_step(records: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds of one more sampling step: the slope of the drawing time over the steps."""
    points = [(r["value"], r["seconds"].get("generate", 0.0)) for r in records
              if r["group"] == "steps"]  # fmt: skip
    if len(points) < 2:
        return None
    steps, seconds = np.array(points, np.float64).T
    return float(np.polyfit(steps, seconds, 1)[0])


class StepClock:
    """Seconds of every sampling step, told by an edit's progress.

    The first step has no beginning here and is left out; it is as long as the others.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last: float | None = None

    def __call__(self, done: int, total: int, what: str) -> None:
        """Note that a step is done."""
        if not what.endswith("drawing"):
            return
        wait_for_gpu()
        now = time.perf_counter()
        if self._last is not None and done > 1:
            self.seconds.append(now - self._last)
        self._last = now

    @property
    def median(self) -> float | None:
        """Seconds of a step; None where there was no second one."""
        return statistics.median(self.seconds) if self.seconds else None


def _resized(photo: Photo, side: int) -> Photo:
    image = photo.image.convert("RGB")
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return read_photo(image.resize(size, Image.Resampling.LANCZOS))
