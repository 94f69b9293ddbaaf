# SPDX-License-Identifier: Apache-2.0
"""What the tests of the service share."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image
from starlette.testclient import TestClient

from facex.server.service import Service

TOKEN = "a-token-that-is-long-enough"

MakeService = Callable[..., Service]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def upload(client: TestClient, image: Image.Image, name: str = "photo.png") -> dict[str, Any]:
    reply = client.post("/api/v1/photos", files={"file": (name, png(image), "image/png")})
    assert reply.status_code == 201, reply.text
    return dict(reply.json())
