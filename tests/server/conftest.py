# SPDX-License-Identifier: Apache-2.0
"""A service on the bundled model, and clients that talk to it in the same process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

import facex
from facex.server.app import create_app
from facex.server.service import Service, build_service
from facex.server.settings import ServiceSettings
from tests.server.talk import MakeService, upload


@pytest.fixture(scope="session")
def make_service(mini: facex.FaceX) -> MakeService:
    """Services share the loaded networks but nothing else."""

    def make(data: Path, *, filters: Any = (), **settings: Any) -> Service:
        settings = {"host": "127.0.0.1", "keep_hours": None, **settings}
        return build_service(
            ServiceSettings(data=data, allowed_hosts=("testserver",), **settings),
            load=lambda device: facex.FaceX(mini.model),
            filters=filters,
        )

    return make


@pytest.fixture(scope="module")
def client(make_service: MakeService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running service without a token, shared by the tests of a file."""
    service = make_service(tmp_path_factory.mktemp("service"))
    with TestClient(create_app(service)) as found:
        yield found


@pytest.fixture(scope="module")
def woman(client: TestClient, astronaut: Image.Image) -> dict[str, Any]:
    return upload(client, astronaut, "woman.png")


@pytest.fixture(scope="module")
def admiral(client: TestClient, hopper: Image.Image) -> dict[str, Any]:
    return upload(client, hopper, "../../etc/admiral.jpg")
