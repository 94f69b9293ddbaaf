# SPDX-License-Identifier: Apache-2.0
"""The filter of faces that look like a child's: what it reads, what the service does with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import facex
from facex.detect.choose import FaceChoice
from facex.errors import WeightsCorrupt
from facex.imaging.read import read_photo
from facex.server import age
from facex.server.app import create_app
from facex.server.content_filter import LooksAdult
from tests.server.talk import MakeService, png

API = "/api/v1"


def tensors(years: float) -> dict[str, np.ndarray]:
    """A network that says the same of everybody."""
    return {
        "hidden.weight": np.zeros((2, age.FEATURES), np.float16),
        "hidden.bias": np.zeros(2, np.float32),
        "out.weight": np.zeros(2, np.float32),
        "out.bias": np.array([years], np.float32),
    }


def test_edges_are_read_without_brightness_and_contrast(hopper: Image.Image) -> None:
    picture = np.asarray(hopper.convert("RGB").resize((256, 256)))
    dim = np.round(picture * 0.6 + 30).astype(np.uint8)
    one, two = (age.gradient_histograms(x) for x in (picture, dim))
    assert one.shape == (age.FEATURES - age.SHAPE_SIZE,)
    assert np.corrcoef(one, two)[0, 1] > 0.95
    assert np.corrcoef(one, age.gradient_histograms(picture[::-1].copy()))[0, 1] < 0.8


@pytest.mark.parametrize("name", sorted(tensors(1)))
def test_a_damaged_network_is_one_sentence(name: str) -> None:
    lacking = {key: value for key, value in tensors(30).items() if key != name}
    with pytest.raises(WeightsCorrupt, match="reinstall"):
        age.AgeNet(lacking)
    with pytest.raises(WeightsCorrupt, match="reinstall"):
        age.AgeNet(lacking | {name: np.zeros((3, 3), np.float32)})


@pytest.mark.parametrize("who", ["hopper", "astronaut"])
def test_grown_ups_pass(mini: facex.FaceX, request: pytest.FixtureRequest, who: str) -> None:
    photo = read_photo(request.getfixturevalue(who).convert("RGB"))
    face = mini.locator.find(photo, FaceChoice())[0]
    assert LooksAdult()(face) is None


def test_who_looks_young_is_refused_and_nothing_is_kept(
    make_service: MakeService,
    tmp_path: Path,
    hopper: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(age, "bundled_age_net", lambda: age.AgeNet(tensors(12)))
    with TestClient(create_app(make_service(tmp_path))) as client:
        files = {"file": ("x.png", png(hopper.convert("RGB")), "image/png")}
        reply = client.post(f"{API}/photos", files=files)
        assert (reply.status_code, reply.json()["error"]) == (422, "ContentRefused")
        assert "under 18" in reply.json()["message"]
        assert client.get(f"{API}/photos").json() == []
        assert list((tmp_path / "photos").iterdir()) == []


def test_no_option_turns_it_off(make_service: MakeService, tmp_path: Path) -> None:
    service = make_service(tmp_path)
    assert [each.name for each in service.face_filters] == ["looks-adult"]
    assert not any("filter" in each.name for each in dataclasses.fields(service.settings))
