# SPDX-License-Identifier: Apache-2.0
"""The engine past one machine: Ray Data runs the very same function, one core for each job."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

from facex.errors import MissingExtra, OptionError
from facex.prepare.options import PrepareOptions
from facex.prepare.process import Outcome, prepare
from facex.prepare.shard import ShardFiles
from facex.prepare.sources import Job

_PATIENCE: Final = 10.0
"""Seconds in which a cluster must take a connection."""
_TRIES: Final = 2
"""As in the local engine: what kills its process a second time is given up."""


def check_ray() -> None:
    """Say early that Ray is missing.

    Raises:
        MissingExtra: it is.
    """
    if find_spec("ray") is None:
        raise MissingExtra("--engine ray", "ray")


def run_ray(
    tasks: Sequence[tuple[Job, str]],
    options: PrepareOptions,
    workers: int | None,
    address: str | None,
) -> Iterator[Outcome]:
    """Do every job on a Ray cluster; outcomes come as they are ready.

    Args:
        tasks: jobs with the digest of their shard.
        options: how; its folders must be there, under the same path, on every machine.
        workers: cores of a local Ray; None takes all. Not for a cluster, which has its own.
        address: of a running cluster; None starts a local one and ends it.

    Raises:
        MissingExtra: Ray is not installed.
        OptionError: there is no cluster at the address, or none can be started.
    """
    check_ray()
    # Ray reports every use of it to its makers unless told otherwise, and so early.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        settings |= {"num_cpus": workers, "include_dashboard": False}
    try:
        _knock(address)
        ray.init(address=address or "local", **settings)
    except Exception as error:  # Ray raises bare ones, too: of a machine too busy to start it
        raise OptionError(
            f"no Ray cluster answers at {address or 'this machine'}: {error}"
        ) from error
    try:
        yield from _run(tasks, options)
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Ray itself tries for minutes, and ends the whole process, where nothing listens.

    Raises:
        OSError: nothing does.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def _run(tasks: Sequence[tuple[Job, str]], options: PrepareOptions) -> Iterator[Outcome]:
    import logging

    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a machine that goes takes its shard with it, not the run
    context.execution_options.verbose_progress = False
    rows = [{"task": pickle.dumps(task)} for task in tasks]
    if not rows:
        return
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    done = data.map(_prepare_row, fn_kwargs={"options": options}, num_cpus=1)
    missing = {job.number for job, _ in tasks}
    for row in done.iter_rows():
        outcome = Outcome(**row)
        missing.discard(outcome.number)
        yield outcome
    for number in sorted(missing):
        yield Outcome(number, 0, 0, "its process or machine was lost")


def _prepare_row(row: dict[str, Any], options: PrepareOptions) -> dict[str, Any]:
    job, digest = pickle.loads(row["task"])  # written a moment ago by ourselves
    work = partial(prepare, job, options, digest)
    return not_for_ever(work, job.number, options)._asdict()


def not_for_ever(work: Callable[[], Outcome], number: int, options: PrepareOptions) -> Outcome:
    """Do the work, unless it has killed its process too often in this run.

    Ray Data tries a task whose process died again without end, so that one photo could keep a run
    from ending. A file beside the shards counts, for the next try may be on another machine; it
    is removed with the other half-written files when a run begins.

    Args:
        work: makes the shard.
        number: of the shard.
        options: of the run.
    """
    tries = ShardFiles(options.out, number).tar.with_suffix(".tries.part")
    tries = tries.with_name(f".{tries.name}")
    begun = tries.stat().st_size if tries.exists() else 0
    if begun >= _TRIES:
        tries.unlink(missing_ok=True)
        error = "its process was killed, twice; perhaps there is not enough memory"
        return Outcome(number, 0, 0, error)
    tries.write_bytes(b"." * (begun + 1))
    outcome = work()
    tries.unlink(missing_ok=True)
    return outcome
