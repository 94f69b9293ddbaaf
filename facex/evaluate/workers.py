# SPDX-License-Identifier: Apache-2.0
"""Several processes that share a run: they fill the store, and the run then finds it done.

Faces are read first, then every protocol's cases are edited and measured, in pieces that whoever is
free takes. Numbers are kept by the process that asked, so nothing is written by two of them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from facex.evaluate.faces import FaceSet
from facex.evaluate.judges import CHUNK, Judge, Reading, in_chunks
from facex.evaluate.protocols import Case, Protocol
from facex.evaluate.run import Found, Runner
from facex.evaluate.store import Store

List = tuple[Protocol, Sequence[Case]]
_PIECE: Final = 4 * CHUNK
"""Faces or cases that a process takes at a time."""


@dataclass(frozen=True)
class Setup:
    """What a process needs to do a part of a run; see ``facex evaluate run``."""

    faces: Path
    split: str
    out: Path
    made_of: dict[str, str]
    model: str | None
    steps: int | None
    seed: int
    teachers: Path | None
    embedders: tuple[Path, ...]
    features: Path | None

    def runner(self) -> Runner:
        """The faces, judges, store and model, in this process."""
        from facex.api import FaceX
        from facex.evaluate.editor import Editor

        faces = FaceSet.open(self.faces, split=self.split)
        judge = Judge.load(self.teachers, embedders=self.embedders, features=self.features)
        model = FaceX.from_pretrained(self.model)
        editor = Editor(model, faces, steps=self.steps, seed=self.seed)
        return Runner(faces, judge, Store(self.out, self.made_of), editor)


def fill_store(
    runner: Runner, setup: Setup, lists: Sequence[List], limit: int | None, jobs: int
) -> None:
    """Do all of a run but its summary.

    Args:
        runner: of this process; keeps the readings of faces and tells the progress.
        setup: the same for the others.
        lists: protocols and their whole lists.
        limit: cases of each that are measured; None takes all.
        jobs: processes.

    Raises:
        FaceXError: what a process could not do.
    """
    with _pool(setup, jobs) as pool:
        for light in (False, True):
            missing = runner.unread(lists, limit, light=light)
            pieces = [missing[i : i + _PIECE] for i in range(0, len(missing), _PIECE)]
            asked: list[Future[list[Reading]]] = [
                pool.submit(_read, piece, light) for piece in pieces
            ]
            for done, answer in enumerate(asked):
                runner.progress(done, len(asked), "reading faces")
                runner.keep(pieces[done], answer.result(), light=light)
        # The longest stand last in the table, and nobody should wait for one of them at the end.
        made: dict[Future[Found], Protocol] = {}
        for protocol, cases in reversed(lists):
            left = runner.unmeasured(protocol, cases[:limit])
            for part in in_chunks(len(left), _PIECE):
                made[pool.submit(_measure, protocol, left[part], list(cases))] = protocol
        for done, finished in enumerate(as_completed(made)):
            runner.keep_measures(made[finished], finished.result())
            runner.progress(done, len(made), made[finished].name)


@contextmanager
def _pool(setup: Setup, jobs: int) -> Iterator[ProcessPoolExecutor]:
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (setup, threads))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


_own: Runner | None = None


def _begin(setup: Setup, threads: int) -> None:
    global _own
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    _own = setup.runner()


def _read(names: Sequence[str], light: bool) -> list[Reading]:
    assert _own is not None
    return _own.judge.read([_own.faces.image(name) for name in names], light=light)


def _measure(protocol: Protocol, cases: list[Case], whole: list[Case]) -> Found:
    assert _own is not None
    _own.look_again()
    return _own.measure(protocol, cases, whole)
