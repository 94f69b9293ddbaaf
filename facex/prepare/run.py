# SPDX-License-Identifier: Apache-2.0
"""A whole preparation: plan, what is not done yet by an engine, then the pass over all shards."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from facex.errors import OptionError, OutputError
from facex.prepare.collect import Faces
from facex.prepare.manifest import judge, write_manifest
from facex.prepare.options import MergeOptions, PrepareOptions
from facex.prepare.process import Outcome
from facex.prepare.report import Report, make_report, write_report
from facex.prepare.shard import FOLDER, ShardFiles, clean
from facex.prepare.sources import Job, Plan

ENGINES: Final = ("local", "ray")
_SHARD_FILE: Final = re.compile(r"faces-(\d{6,})\.(tar|json|identity\.npy)")

Task = tuple[Job, str]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Engine:
    """Who does the jobs.

    Attributes:
        name: ``local`` or ``ray``.
        workers: processes or, with a local Ray, cores; None: as many as this process may use.
        address: of a Ray cluster.
    """

    name: str = "local"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise OptionError(f"--engine {self.name} is unknown, use {' or '.join(ENGINES)}")
        if self.address is not None and self.name != "ray":
            raise OptionError("--address is for --engine ray")
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"--workers must be 1 or more, got {self.workers}")
        if self.name == "ray":
            from facex.prepare.ray_engine import check_ray

            check_ray()

    def run(self, tasks: Sequence[Task], options: PrepareOptions) -> Iterator[Outcome]:
        """Do the jobs; outcomes come as they are ready."""
        if self.name == "ray":
            from facex.prepare.ray_engine import run_ray

            return run_ray(tasks, options, self.workers, self.address)
        from facex.prepare.local import run_local

        workers = self.workers or (1 if options.device != "cpu" else _cores())
        return run_local(tasks, options, min(workers, max(len(tasks), 1)))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    plan: Plan,
    options: PrepareOptions,
    merge: MergeOptions | None = None,
    engine: Engine | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Prepare everything that is not prepared yet, and write manifest and report.

    Args:
        plan: the jobs.
        options: how each shard is made.
        merge: what the last pass decides by.
        engine: who works.
        force: make shards again, and delete them, that are of other photos or options.
        progress: called with (photos done, photos in all, what).

    Returns:
        The report, as in ``report.json``.

    Raises:
        OutputError: the folder cannot be made, or holds something else.
        OptionError: another run works on the folder, or it is of other photos or options.
    """
    out = Path(options.out)
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {out} cannot be made: {error.strerror}") from error
    lock = FileLock(out / ".lock")
    try:
        with lock.acquire(timeout=0):
            return _run(plan, options, merge or MergeOptions(), engine or Engine(), force, progress)
    except Timeout as error:
        raise OptionError(f"another facex prepare is working on {out}") from error


def _run(
    plan: Plan,
    options: PrepareOptions,
    merge: MergeOptions,
    engine: Engine,
    force: bool,
    progress: Progress | None,
) -> Report:
    out, tick = Path(options.out), progress or (lambda done, total, what: None)
    clean(out)
    whole = options.digest()
    tasks = [(job, f"{job.digest()}-{whole}") for job in plan.jobs]
    todo = _pending(out, tasks, force)
    for stale in ("manifest.csv", "manifest.json", "report.json"):
        if todo:  # what they say is not true any more
            (out / stale).unlink(missing_ok=True)
    try:
        failed = _work(engine.run(todo, options), todo, tick) if todo else {}
    except BaseException:  # Ctrl-C: the workers are gone, what they were writing goes too
        clean(out)
        raise
    done = [job.number for job in plan.jobs if job.number not in failed]
    faces = Faces(out, done)
    try:
        tick(1, 2, "duplicates and people")
        verdicts = judge(faces, merge)
        start = time.perf_counter()
        about = {"limits": dataclasses.asdict(options.limits), "merge": dataclasses.asdict(merge)}
        write_manifest(faces, verdicts, about)
        seconds = {**verdicts.timings, "manifest": time.perf_counter() - start}
        missing = [{"shard": n, "error": error} for n, error in sorted(failed.items())]
        report = make_report(faces.totals, verdicts, missing, plan.failures, seconds)
    finally:
        faces.close()
    write_report(report, out)
    return report


def _work(outcomes: Iterator[Outcome], todo: Sequence[Task], tick: Progress) -> dict[int, str]:
    """Wait for the outcomes; returns the error of each shard that is missing."""
    sizes = {job.number: job.count or len(job.names) for job, _ in todo}
    failed: dict[int, str] = {}
    done = faces = 0
    tick(0, sum(sizes.values()), "photos")
    for outcome in outcomes:
        done += sizes[outcome.number]
        faces += outcome.faces
        if outcome.error:
            failed[outcome.number] = outcome.error
        tick(done, sum(sizes.values()), f"photos, {faces} faces")
    return failed


def _pending(out: Path, tasks: Sequence[Task], force: bool) -> list[Task]:
    """Jobs without a finished shard; shards that are of no job are in the way."""
    todo, other = [], []
    for job, digest in tasks:
        files = ShardFiles(out, job.number)
        if files.read(digest) is None:
            todo.append((job, digest))
            if files.read() is not None:
                other.append(files.summary)
    for path in sorted((out / FOLDER).iterdir()):
        match = _SHARD_FILE.fullmatch(path.name)
        if match and int(match[1]) >= len(tasks):
            other.append(path)
    if other and not force:
        raise OptionError(
            f"{out} holds shards of other photos or options ({other[0].name}): choose another "
            "folder, or add --force to replace them"
        )
    for path in other:  # the faces in them may be of people who took their consent back
        path.unlink(missing_ok=True)
    return todo
