# SPDX-License-Identifier: Apache-2.0
"""The queue: bounded, kept in SQLite so that it survives a restart, progress in memory."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from facex.errors import Interrupted
from facex.server.database import Database
from facex.server.refusals import Refused, kind_of, not_found, sentence_of
from facex.server.schemas import FINAL, EditRequest, JobInfo, JobStatus, Problem, ResultInfo

MAX_TRIES: Final = 2
"""A job that was running when the service died is tried again, but not for ever."""

_FIRST_GUESS: Final = 10.0
"""Seconds of an edit before one was measured."""


@dataclass(frozen=True)
class Claim:
    """A job that a worker has taken.

    Attributes:
        id: of the job.
        request: what to do.
    """

    id: str
    request: EditRequest


@dataclass(frozen=True)
class _Progress:
    done: int = 0
    total: int = 0
    stage: str = ""


class JobQueue:
    """Jobs in the order in which they came.

    Args:
        database: where they are kept.
        limit: jobs that may wait.
        workers: how many are done at the same time, for the guess of the waiting time.
    """

    def __init__(self, database: Database, *, limit: int, workers: int = 1) -> None:
        self._database, self.limit, self.workers = database, limit, workers
        self._news = threading.Condition()
        self._progress: dict[str, _Progress] = {}
        self._version = 0

    def recover(self) -> int:
        """Queue again what was running when the service stopped; returns how many."""
        self._database.run(
            "UPDATE jobs SET status=?, finished=?, error=? WHERE status=? AND tries>=?",
            JobStatus.FAILED, time.time(),
            Problem(error="Interrupted", message="the service stopped twice").model_dump_json(),
            JobStatus.RUNNING, MAX_TRIES,
        )  # fmt: skip
        again = self._database.run(
            "UPDATE jobs SET status=? WHERE status=? RETURNING id",
            JobStatus.QUEUED,
            JobStatus.RUNNING,
        )
        return len(again)

    def submit(self, request: EditRequest, *, target: str, label: str, recipe: str) -> JobInfo:
        """Add a job.

        Raises:
            Refused: 429 with a waiting time, when the queue is full.
        """
        job = uuid.uuid4().hex
        with self._news:
            waiting = self._count(JobStatus.QUEUED)
            if waiting >= self.limit:
                seconds = max(1, round(self.seconds_per_job() * waiting / self.workers))
                raise Refused(
                    429,
                    "QueueFull",
                    f"{waiting} edits are waiting already; try again in about {seconds} seconds",
                    retry_after=seconds,
                )
            self._database.run(
                "INSERT INTO jobs (id, status, created, request, target, label, recipe)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                job, JobStatus.QUEUED, time.time(), request.model_dump_json(), target, label,
                recipe,
            )  # fmt: skip
            self._announce()
        return self.info(job)

    def seconds_per_job(self) -> float:
        """Mean duration of the last ten edits."""
        row = self._database.one(
            "SELECT avg(finished - started) FROM (SELECT * FROM jobs WHERE status=?"
            " ORDER BY number DESC LIMIT 10)",
            JobStatus.DONE,
        )
        return _FIRST_GUESS if row is None or row[0] is None else float(row[0])

    def claim(self, timeout: float) -> Claim | None:
        """The next job, now marked as running; None when none came within ``timeout`` seconds."""
        with self._news:
            row = self._take()
            if row is None:
                self._news.wait(timeout)
                row = self._take()
            if row is None:
                return None
            self._progress[row["id"]] = _Progress(stage="starting")
            self._announce()
        return Claim(row["id"], EditRequest.model_validate_json(row["request"]))

    def progress(self, job: str, done: int, total: int, stage: str) -> None:
        """Say how far a job is.

        Raises:
            Interrupted: somebody cancelled it.
        """
        with self._news:
            row = self._database.one("SELECT cancel FROM jobs WHERE id=?", job)
            if row is None or row["cancel"]:
                raise Interrupted("the edit was cancelled")
            self._progress[job] = _Progress(done, total, stage)
            self._announce()

    def finish(self, job: str, result: ResultInfo) -> bool:
        """Keep what a job gave; False when it was cancelled or deleted meanwhile."""
        return self._end(job, JobStatus.DONE, result=result.model_dump_json())

    def fail(self, job: str, error: BaseException) -> None:
        """Keep why a job failed, or that it was cancelled."""
        row = self._database.one("SELECT cancel FROM jobs WHERE id=?", job)
        cancelled = isinstance(error, Interrupted) and row is not None and bool(row["cancel"])
        problem = Problem(error=kind_of(error), message=sentence_of(error))
        self._end(
            job,
            JobStatus.CANCELLED if cancelled else JobStatus.FAILED,
            error=None if cancelled else problem.model_dump_json(),
        )

    def release(self, job: str) -> None:
        """Put a job back that a worker had to leave because the service stops."""
        self._database.run("UPDATE jobs SET status=? WHERE id=?", JobStatus.QUEUED, job)

    def cancel(self, job: str) -> JobInfo:
        """Stop a job: at once while it waits, at its next sampling step while it runs."""
        with self._news:
            self.info(job)
            self._database.run(
                "UPDATE jobs SET cancel=1, status=CASE status WHEN ? THEN ? ELSE status END"
                " WHERE id=? AND status IN (?, ?)",
                JobStatus.QUEUED, JobStatus.CANCELLED, job, JobStatus.QUEUED, JobStatus.RUNNING,
            )  # fmt: skip
            self._announce()
        return self.info(job)

    def delete(self, job: str) -> None:
        """Forget a job; a running one stops at its next step."""
        self.info(job)
        with self._news:
            self._database.run("DELETE FROM jobs WHERE id=?", job)
            self._progress.pop(job, None)
            self._announce()

    def info(self, job: str) -> JobInfo:
        """A job as clients see it.

        Raises:
            Refused: 404.
        """
        return self._shown(self._row(job))

    def newest(self, limit: int = 100) -> list[JobInfo]:
        """The newest jobs first."""
        rows = self._database.run("SELECT * FROM jobs ORDER BY number DESC LIMIT ?", limit)
        return [self._shown(row) for row in rows]

    def recipe(self, job: str) -> str:
        """The recipe of a job as YAML.

        Raises:
            Refused: 404.
        """
        return str(self._row(job)["recipe"])

    def request(self, job: str) -> EditRequest:
        """What was ordered.

        Raises:
            Refused: 404.
        """
        return EditRequest.model_validate_json(self._row(job)["request"])

    def unfinished(self) -> list[JobInfo]:
        """Jobs that wait or run, the oldest first."""
        rows = self._database.run(
            "SELECT * FROM jobs WHERE status IN (?, ?) ORDER BY number",
            JobStatus.QUEUED, JobStatus.RUNNING,
        )  # fmt: skip
        return [self._shown(row) for row in rows]

    def uses(self, photo: str) -> bool:
        """Whether an unfinished job needs a photo or a mask."""
        rows = self._database.run(
            "SELECT request FROM jobs WHERE status IN (?, ?)", JobStatus.QUEUED, JobStatus.RUNNING
        )
        return any(photo in row["request"] for row in rows)

    def mentions(self, mask: str) -> bool:
        """Whether any job, finished or not, was ordered with a mask."""
        row = self._database.one(
            "SELECT 1 FROM jobs WHERE json_extract(request, '$.mask')=? LIMIT 1", mask
        )
        return row is not None

    def beyond(self, number: int) -> list[str]:
        """Ids of finished jobs that are not among the newest ``number``."""
        rows = self._database.run(
            "SELECT id FROM jobs WHERE status IN (?, ?, ?) ORDER BY number DESC LIMIT -1 OFFSET ?",
            *sorted(FINAL), number,
        )  # fmt: skip
        return [str(row["id"]) for row in rows]

    def older_than(self, moment: float) -> list[str]:
        """Ids of finished jobs from before a moment."""
        final = sorted(FINAL)
        rows = self._database.run(
            "SELECT id FROM jobs WHERE created < ? AND status IN (?, ?, ?)", moment, *final
        )
        return [str(row["id"]) for row in rows]

    @property
    def version(self) -> int:
        """Counts up with every change, so that watchers need not read the list for nothing."""
        return self._version

    def wake(self) -> None:
        """Let waiting workers look around."""
        with self._news:
            self._announce()

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait for news until a condition holds; for tests and orderly ends."""
        with self._news:
            return self._news.wait_for(condition, timeout)

    def _take(self) -> sqlite3.Row | None:
        return self._database.one(
            "UPDATE jobs SET status=?, started=?, tries=tries+1 WHERE number="
            "(SELECT min(number) FROM jobs WHERE status=?) RETURNING *",
            JobStatus.RUNNING, time.time(), JobStatus.QUEUED,
        )  # fmt: skip

    def _end(
        self, job: str, status: JobStatus, *, error: str | None = None, result: str | None = None
    ) -> bool:
        with self._news:
            rows = self._database.run(
                "UPDATE jobs SET status=?, finished=?, error=?, result=? WHERE id=? RETURNING id",
                status, time.time(), error, result, job,
            )  # fmt: skip
            self._progress.pop(job, None)
            self._announce()
        return bool(rows)

    def _announce(self) -> None:
        self._version += 1
        self._news.notify_all()

    def _count(self, status: JobStatus) -> int:
        row = self._database.one("SELECT count(*) FROM jobs WHERE status=?", status)
        return 0 if row is None else int(row[0])

    def _row(self, job: str) -> sqlite3.Row:
        row = self._database.one("SELECT * FROM jobs WHERE id=?", job)
        if row is None:
            raise not_found("job")
        return row

    def _shown(self, row: sqlite3.Row) -> JobInfo:
        ahead = 0
        if row["status"] == JobStatus.QUEUED:
            before = self._database.one(
                "SELECT count(*) FROM jobs WHERE status=? AND number<?",
                JobStatus.QUEUED,
                row["number"],
            )
            ahead = 0 if before is None else int(before[0])
        progress = self._progress.get(row["id"], _Progress())
        return JobInfo(
            id=row["id"],
            status=JobStatus(row["status"]),
            ahead=ahead,
            done=progress.done,
            total=progress.total,
            stage=progress.stage,
            created=row["created"],
            error=None if row["error"] is None else Problem.model_validate_json(row["error"]),
            result=None if row["result"] is None else ResultInfo.model_validate_json(row["result"]),
            target=row["target"],
            label=row["label"],
        )
