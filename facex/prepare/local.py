# SPDX-License-Identifier: Apache-2.0
"""The engine of one machine: a process for each core, one job at a time in each.

A worker that dies (killed for its memory, a crash in a decoder) takes all others of its pool with
it. The jobs that were running are then tried again one by one, each in a process of its own, and
only the one that kills that process too is given up.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context

from facex.prepare.options import PrepareOptions
from facex.prepare.process import Outcome, prepare
from facex.prepare.sources import Job

_AHEAD = 2
"""Jobs that wait for each worker."""

Task = tuple[Job, str]
"""A job and the digest of its shard."""


def run_local(tasks: Sequence[Task], options: PrepareOptions, workers: int) -> Iterator[Outcome]:
    """Do every job; outcomes come as they are ready.

    Args:
        tasks: what to do.
        options: how.
        workers: number of processes; 1 works in this one.
    """
    if workers == 1:
        for job, digest in tasks:
            yield prepare(job, options, digest)
        return
    left = iter(tasks)
    suspects: list[Task] = []
    while True:
        lost = yield from _pool(left, options, workers)
        suspects += lost
        if not lost:
            break
    for task in suspects:
        if (yield from _pool(iter([task]), options, 1)):
            error = "its process was killed, twice; perhaps there is not enough memory"
            yield Outcome(task[0].number, 0, 0, error)


def _pool(
    tasks: Iterator[Task], options: PrepareOptions, workers: int
) -> Generator[Outcome, None, list[Task]]:
    """Do tasks until there are none left, or the pool breaks; returns those that broke with it."""
    context = get_context("spawn")  # torch's threads do not survive a fork
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    running: dict[Future[Outcome], Task] = {}
    lost: list[Task] = []
    done = False
    try:
        while True:
            room = 0 if lost else workers * _AHEAD - len(running)
            for task in islice(tasks, room):
                try:
                    running[pool.submit(prepare, task[0], options, task[1])] = task
                except BrokenProcessPool:
                    lost.append(task)
                    break
            if not running:
                done = True
                return lost
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                task = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(task)
    finally:
        if not done:  # stopped: do not wait for shards that nobody wants any more
            for process in multiprocessing.active_children():
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Runs once in every worker."""
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot tell its workers to end; they notice that it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
