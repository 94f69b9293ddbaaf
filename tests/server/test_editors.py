# SPDX-License-Identifier: Apache-2.0
"""Edits in a process of their own: done, stopped, and survived when the process dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from facex.server.app import create_app
from facex.server.editors import ProcessEditor
from facex.server.jobs import Claim
from facex.server.refusals import Refused
from facex.server.schemas import EditRequest
from facex.server.service import Service, build_service
from facex.server.settings import ServiceSettings
from tests.server.talk import upload

API = "/api/v1"
LONG = {"task": "gaze", "sliders": {"gaze_yaw": 9.0}, "steps": 60}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    settings = ServiceSettings(
        data=tmp_path_factory.mktemp("service"), allowed_hosts=("testserver",), devices=("cpu",)
    )
    return build_service(settings, filters=())


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Any]:
    with TestClient(create_app(service)) as found:
        yield found


def wait(condition: Callable[[], bool], seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_edits_are_done_stopped_and_survived_in_another_process(
    client: TestClient, service: Service, astronaut: Image.Image
) -> None:
    (editor,) = service.editors
    assert isinstance(editor, ProcessEditor)
    target = {"photos": {"target": upload(client, astronaut)["id"]}}

    def order(**more: Any) -> str:
        return str(client.post(f"{API}/edits", json={**LONG, **target, **more}).json()["id"])

    def job(name: str) -> dict[str, Any]:
        return dict(client.get(f"{API}/jobs/{name}").json())

    done = order(steps=2)
    wait(lambda: job(done)["status"] == "done")
    assert client.get(f"{API}/jobs/{done}/result").status_code == 200
    first = editor.pid
    assert first not in (None, os.getpid())

    stopped = order()
    wait(lambda: job(stopped)["done"] >= 1)
    client.post(f"{API}/jobs/{stopped}/cancel")
    wait(lambda: job(stopped)["status"] == "cancelled")

    killed, after = order(), order(steps=2)
    wait(lambda: job(killed)["done"] >= 1)
    assert editor.pid == first
    os.kill(first, signal.SIGKILL)
    wait(lambda: job(killed)["status"] == "failed")
    assert "exit code -9" in job(killed)["error"]["message"]
    wait(lambda: job(after)["status"] == "done")
    assert editor.pid != first


def test_what_is_wrong_is_said_as_it_would_be_here(client: TestClient, service: Service) -> None:
    nobody = upload(client, Image.new("RGB", (80, 80), "grey"))["id"]
    order = {"task": "gaze", "photos": {"target": nobody}, "sliders": {"gaze_yaw": 9.0}}
    job = client.post(f"{API}/edits", json=order).json()["id"]
    wait(lambda: client.get(f"{API}/jobs/{job}").json()["status"] == "failed")
    problem = client.get(f"{API}/jobs/{job}").json()["error"]
    assert (problem["error"], "no face was found" in problem["message"]) == ("NoFaceFound", True)


def hang(pipe: Connection, device: str, settings: ServiceSettings) -> None:
    """What a process does that never says anything."""
    while True:
        time.sleep(1)


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    settings = ServiceSettings(data=tmp_path, max_seconds=1.0)
    editor = ProcessEditor("cpu", settings, serve=hang, grace=0.5)
    editor.start()
    pid = editor.pid
    order = EditRequest(task="gaze", photos={"target": "a" * 32})
    with pytest.raises(Refused, match="said nothing") as refused:
        editor.edit(Claim("b" * 32, order), lambda done, total, stage: None)
    assert refused.value.status == 504
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_process_ends_with_the_service(tmp_path: Path) -> None:
    settings = ServiceSettings(data=tmp_path, allowed_hosts=("testserver",), devices=("cpu",))
    service = build_service(settings, filters=())
    (editor,) = service.editors
    assert isinstance(editor, ProcessEditor)
    with TestClient(create_app(service)):
        wait(lambda: editor.pid is not None)
        pid = editor.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
