# SPDX-License-Identifier: Apache-2.0
"""The queue: order, bound, cancelling, deleting, and what a restart finds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from facex.errors import Interrupted, NoFaceFound
from facex.server.app import create_app
from facex.server.database import Database
from facex.server.jobs import MAX_TRIES, JobQueue
from facex.server.refusals import Refused
from facex.server.schemas import EditRequest, JobInfo, JobStatus, ResultInfo
from tests.server.talk import MakeService, upload

API = "/api/v1"
REQUEST = EditRequest(task="gaze", photos={"target": "a" * 32})
DONE = ResultInfo(width=8, height=8, format="png", edit_id="00ff00", warnings=[], seconds={})


@pytest.fixture
def queue(tmp_path: Path) -> JobQueue:
    return JobQueue(Database(tmp_path / "jobs.sqlite"), limit=3)


def add(queue: JobQueue) -> JobInfo:
    return queue.submit(REQUEST, target="a" * 32, label="gaze", recipe="format_version: 1\n")


def test_jobs_are_done_in_the_order_in_which_they_came(queue: JobQueue) -> None:
    jobs = [add(queue) for _ in range(3)]
    assert [job.ahead for job in jobs] == [0, 1, 2]
    claimed = [queue.claim(0) for _ in jobs]
    assert [claim.id for claim in claimed if claim] == [job.id for job in jobs]
    assert claimed[0] is not None
    assert claimed[0].request == REQUEST
    assert queue.claim(0.01) is None


def test_a_full_queue_says_when_to_come_back(queue: JobQueue) -> None:
    for _ in range(3):
        add(queue)
    with pytest.raises(Refused, match="try again in about") as refused:
        add(queue)
    assert refused.value.status == 429
    assert refused.value.retry_after == 30
    assert queue.claim(0)
    add(queue)


def test_cancelling_waiting_and_running_jobs(queue: JobQueue) -> None:
    first, second = add(queue), add(queue)
    assert queue.claim(0)
    assert queue.cancel(second.id).status == JobStatus.CANCELLED
    assert queue.cancel(first.id).status == JobStatus.RUNNING
    with pytest.raises(Interrupted) as stopped:
        queue.progress(first.id, 1, 6, "drawing")
    queue.fail(first.id, stopped.value)
    assert queue.info(first.id).status == JobStatus.CANCELLED
    assert queue.claim(0) is None


def test_a_failure_is_kept_in_words_and_the_inside_is_not_told(queue: JobQueue) -> None:
    for error, text in (
        (NoFaceFound("no face was found in a.jpg"), "no face was found in a.jpg"),
        (ZeroDivisionError("secret /path"), "something went wrong"),
    ):
        job = add(queue)
        assert queue.claim(0)
        queue.fail(job.id, error)
        info = queue.info(job.id)
        assert info.status == JobStatus.FAILED
        assert info.error is not None
        assert text in info.error.message
        assert "secret" not in info.error.message


def test_a_restart_finds_every_job_and_gives_up_on_what_kills_it(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    before = JobQueue(Database(path), limit=9)
    running, waiting, done = add(before), add(before), add(before)
    for _ in range(3):
        before.claim(0)
    before.finish(done.id, DONE)
    before.release(waiting.id)
    for restart in range(MAX_TRIES):
        after = JobQueue(Database(path), limit=9)
        after.recover()
        assert after.info(done.id).result == DONE
        if restart < MAX_TRIES - 1:
            assert after.info(running.id).status == JobStatus.QUEUED
            claim = after.claim(0)
            assert claim is not None
            assert claim.id == running.id
    assert after.info(running.id).status == JobStatus.FAILED
    assert after.info(waiting.id).status == JobStatus.QUEUED


def test_a_deleted_running_job_leaves_nothing(queue: JobQueue) -> None:
    job = add(queue)
    queue.claim(0)
    queue.delete(job.id)
    with pytest.raises(Interrupted):
        queue.progress(job.id, 1, 6, "drawing")
    assert not queue.finish(job.id, DONE)
    with pytest.raises(Refused, match="no such job"):
        queue.info(job.id)


def test_an_interrupted_edit_is_finished_by_the_next_service(
    make_service: MakeService, tmp_path: Path, astronaut: Image.Image
) -> None:
    with TestClient(create_app(make_service(tmp_path))) as client:
        info = upload(client, astronaut)
        order = {"task": "gaze", "photos": {"target": info["id"]}, "sliders": {"gaze_yaw": 9.0}}
        job = client.post(f"{API}/edits", json={**order, "steps": 12}).json()["id"]
        wait(lambda: client.get(f"{API}/jobs/{job}").json()["done"] >= 1)
        # What an edit still needs cannot be deleted under it.
        assert client.delete(f"{API}/photos/{info['id']}").status_code == 409
    with TestClient(create_app(make_service(tmp_path))) as client:
        assert client.get(f"{API}/photos").json()[0]["id"] == info["id"]
        state: dict[str, Any] = client.get(f"{API}/jobs/{job}").json()
        assert state["status"] in ("queued", "running")
        wait(lambda: client.get(f"{API}/jobs/{job}").json()["status"] == "done")
        assert client.get(f"{API}/jobs/{job}/result").status_code == 200
        assert client.delete(f"{API}/jobs/{job}").status_code == 204
        assert client.delete(f"{API}/photos/{info['id']}").status_code == 204
    assert not list((tmp_path / "photos").iterdir())
    assert not list((tmp_path / "results").iterdir())


def test_old_photos_and_results_are_deleted(
    make_service: MakeService, tmp_path: Path, hopper: Image.Image
) -> None:
    service = make_service(tmp_path)
    with TestClient(create_app(service)) as client:
        upload(client, hopper.resize((256, 300)))
        from facex.server.worker import tidy

        tidy(service.store, service.queue, service.reader, keep_hours=1.0, max_jobs=9)
        assert len(client.get(f"{API}/photos").json()) == 1
        time.sleep(0.05)
        tidy(service.store, service.queue, service.reader, keep_hours=1e-6, max_jobs=9)
        assert client.get(f"{API}/photos").json() == []
        assert not list((tmp_path / "photos").iterdir())


def wait(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
