# SPDX-License-Identifier: Apache-2.0
"""The engine of processes: a worker that dies takes only its own job with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from facex.prepare import local
from facex.prepare.options import PrepareOptions
from facex.prepare.process import Outcome
from facex.prepare.ray_engine import not_for_ever
from facex.prepare.shard import clean
from facex.prepare.sources import Job


def deadly(job: Job, options: PrepareOptions, digest: str) -> Outcome:
    """In place of `prepare`; job 2 kills its process, as the system does for memory."""
    if job.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(job.number, 1, 1)


def job(number: int) -> Job:
    return Job(number, "files", ("a.png",), ("a.png",), (1,))


def test_only_the_deadly_job_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "prepare", deadly)
    monkeypatch.setattr(local, "get_context", lambda _: local.multiprocessing.get_context("fork"))
    tasks = [(job(number), "") for number in range(6)]
    options: Any = PrepareOptions(str(tmp_path), "")
    outcomes = sorted(local.run_local(tasks, options, 2))
    assert [outcome.number for outcome in outcomes] == list(range(6))
    assert [bool(outcome.error) for outcome in outcomes] == [False, False, True] + [False] * 3
    assert "memory" in outcomes[2].error


def test_ray_is_not_asked_without_end(tmp_path: Path) -> None:
    """Ray Data repeats a task whose process died; the third time it is told that this is enough."""
    (tmp_path / "shards").mkdir()
    options = PrepareOptions(str(tmp_path), "")

    def work() -> Outcome:
        raise KeyboardInterrupt  # stands for the end of the process

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            not_for_ever(work, 4, options)
    assert "twice" in not_for_ever(work, 4, options).error
    done = Outcome(4, 1, 1)
    assert not_for_ever(lambda: done, 4, options) == done
    assert not list((tmp_path / "shards").iterdir())
    with pytest.raises(KeyboardInterrupt):
        not_for_ever(work, 4, options)
    clean(tmp_path)
    assert not list((tmp_path / "shards").iterdir())
