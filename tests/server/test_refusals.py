# SPDX-License-Identifier: Apache-2.0
"""What the service does not do, and that it says why in one sentence."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from facex.errors import OptionError
from facex.imaging.read import Photo, read_photo
from facex.safety.provenance import read_xmp
from facex.safety.verify import verify_image
from facex.server.app import create_app
from facex.server.content_filter import check_content, installed_filters
from facex.server.nudity import LooksClothed
from facex.server.refusals import Refused
from facex.server.settings import ServiceSettings
from tests.server.talk import TOKEN, MakeService, png, upload

API = "/api/v1"
NOBODY = "0" * 32


def edit(client: TestClient, **order: Any) -> tuple[int, str, str]:
    reply = client.post(f"{API}/edits", json=order)
    problem = reply.json()
    return reply.status_code, problem.get("error", ""), problem.get("message", "")


def test_faces_of_others_need_consent_but_motion_does_not(
    client: TestClient, woman: dict[str, Any], admiral: dict[str, Any]
) -> None:
    photos = {"target": woman["id"], "source": admiral["id"]}
    assert edit(client, task="swap", photos=photos)[:2] == (409, "ConsentRequired")
    status, _, text = edit(
        client, task="gaze", photos={"target": woman["id"]}, sliders={"gaze_yaw": 5.0}, steps=1
    )
    assert status == 202, text


def test_a_preview_lends_no_face_without_consent_and_says_what_it_is(
    client: TestClient, woman: dict[str, Any], admiral: dict[str, Any], tmp_path: Path
) -> None:
    photos = {"target": woman["id"], "source": admiral["id"]}
    mix = {"photos": {"target": woman["id"], "a": admiral["id"]}, "steps": [{"identity": "a"}]}
    for order in ({"task": "swap", "photos": photos}, {"recipe": mix}):
        reply = client.post(f"{API}/previews", json=order)
        assert (reply.status_code, reply.json()["error"]) == (409, "ConsentRequired")
        shown = client.post(f"{API}/previews", json={**order, "consent": True}).json()
        assert shown["borrowed"]
        file = tmp_path / "preview.jpg"
        file.write_bytes(base64.b64decode(shown["image"].partition(",")[2]))
        report = verify_image(file)
        assert report.mark.payload is not None
        assert report.metadata is not None
        assert max(Image.open(file).size) < 256
    own = {"task": "gaze", "photos": {"target": woman["id"]}, "sliders": {"gaze_yaw": 9.0}}
    reply = client.post(f"{API}/previews", json=own)
    assert (reply.status_code, reply.json()["borrowed"]) == (200, False)
    file.write_bytes(base64.b64decode(reply.json()["image"].partition(",")[2]))
    assert read_xmp(file) is not None


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({"task": "swapp"}, "did you mean 'swap'"),
        ({"task": "pose"}, "sliders"),
        ({}, "a recipe or a task"),
        ({"recipe": {"steps": [{"pose": "nobody"}]}}, "recipe.steps.0.pose"),
        ({"recipe": {"steps": [{"edit": "mask", "mask": "/etc/passwd"}]}}, "mask file"),
        ({"task": "swap", "photos": {"target": "../../etc/passwd"}}, "photos.target"),
        ({"task": "inpaint"}, "needs a mask"),
        ({"task": "gaze", "sliders": {"gaze_yaw": 200.0}}, "from -90 to 90"),
        ({"task": "gaze", "seed": -1}, "seed: expected 0 or more"),
        ({"task": "gaze", "stepps": 3}, "stepps: it is not known here"),
        ({"task": "gaze", "sliders": {"gaze_yaw": 5.0}, "steps": 900}, "at most"),
        ({"task": "gaze", "sliders": {"gaze_yaw": 5.0}, "faces": {"target": "9"}}, "no number 9"),
        ({"task": "gaze", "sliders": {}, "faces": {"target": "like:/etc/passwd"}}, "faces.target"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    client: TestClient, woman: dict[str, Any], order: dict[str, Any], says: str
) -> None:
    if "recipe" in order:
        order["recipe"].setdefault("photos", {"target": woman["id"]})
    elif "task" in order:
        order.setdefault("photos", {"target": woman["id"]})
    status, kind, text = edit(client, **order)
    assert status == 422, text
    assert kind
    assert says in text
    assert "\n" not in text


def test_a_recipe_cannot_open_files_of_the_server(client: TestClient) -> None:
    recipe = {"photos": {"target": "/etc/hostname"}, "steps": [{"sliders": {"yaw": 5.0}}]}
    assert edit(client, recipe=recipe)[0] == 404


@pytest.mark.parametrize("what", ["photos", "jobs"])
def test_unknown_ids_are_not_found(client: TestClient, what: str) -> None:
    assert client.get(f"{API}/{what}/{NOBODY}").status_code == 404
    assert client.delete(f"{API}/{what}/{NOBODY}").status_code == 404
    assert client.get(f"{API}/{what}/..%2f..%2fetc").status_code in (404, 422)
    assert client.get("/static/..%2fapp.py").status_code == 404


def test_what_is_no_picture_is_refused(client: TestClient) -> None:
    for data in (b"", b"GIF89a", b"%PDF-1.4 hello", png(Image.new("RGB", (4, 4)))):
        reply = client.post(f"{API}/photos", files={"file": ("x.png", data, "image/png")})
        assert reply.status_code == 422
        assert reply.json()["message"]


def test_limits_on_bytes_pixels_and_photos(
    make_service: MakeService, tmp_path: Path, hopper: Image.Image
) -> None:
    service = make_service(tmp_path, max_bytes=600_000, max_pixels=350_000, max_photos=1)
    with TestClient(create_app(service)) as client:

        def send(data: bytes) -> int:
            files = {"file": ("x.png", data, "image/png")}
            return client.post(f"{API}/photos", files=files).status_code

        assert send(bytes(700_001)) == 413  # by its announced length
        assert send(bytes(650_000)) == 413  # by the file in it
        assert send(png(Image.new("RGB", (700, 700)))) == 422
        chunks = (bytes(100_000) for _ in range(20))
        long = client.post(f"{API}/edits", content=chunks)
        assert long.status_code == 413
        small = hopper.resize((256, 300))
        upload(client, small)
        assert send(png(small)) == 429


def test_only_known_hosts_and_the_own_origin(client: TestClient) -> None:
    refused = client.get("/", headers={"host": "evil.example"})
    assert (refused.status_code, "--allow-host" in refused.json()["message"]) == (403, True)
    assert client.get("/", headers={"host": "localhost:8765"}).status_code == 200
    assert client.get("/", headers={"host": "[::1]:8765"}).status_code == 200
    path = f"{API}/jobs/{NOBODY}/cancel"
    assert client.post(path, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post(path, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post(path, headers={"origin": "http://testserver"}).status_code == 404
    reply = client.get("/")
    assert "access-control-allow-origin" not in reply.headers
    assert "script-src 'self'" in reply.headers["content-security-policy"]


def test_a_token_is_wanted_for_everything_but_the_page(
    make_service: MakeService, tmp_path: Path
) -> None:
    service = make_service(tmp_path, token=TOKEN)
    with TestClient(create_app(service)) as client:
        assert client.get("/").status_code == 200
        assert client.get(f"{API}/health").status_code == 200
        for path in ("photos", "jobs", "about", "tasks", "openapi.json"):
            assert client.get(f"{API}/{path}").status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert client.get(f"{API}/jobs", headers=bearer).status_code == 200
        wrong = {"authorization": f"Bearer {TOKEN}x"}
        assert client.get(f"{API}/jobs", headers=wrong).status_code == 401
        assert client.post(f"{API}/session", json={"token": "guess"}).status_code == 401
        reply = client.post(f"{API}/session", json={"token": TOKEN})
        cookie = reply.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get(f"{API}/jobs").status_code == 200
        document = client.get(f"{API}/openapi.json").json()
        assert document["security"] == [{"bearer": []}, {"cookie": []}]
        assert set(document["components"]["securitySchemes"]) == {"bearer", "cookie"}
        assert document["paths"][f"{API}/health"]["get"]["security"] == []
        assert client.delete(f"{API}/session").status_code == 204
        assert client.get(f"{API}/jobs").status_code == 401


def test_an_open_address_needs_a_long_token(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.7", "::", "example.org"):
        with pytest.raises(OptionError, match="FACEX_TOKEN"):
            ServiceSettings(data=tmp_path, host=host)
    with pytest.raises(OptionError, match="too short"):
        ServiceSettings(data=tmp_path, host="0.0.0.0", token="short")
    for host in ("127.0.0.1", "::1", "localhost"):
        ServiceSettings(data=tmp_path, host=host)
    assert TOKEN not in repr(ServiceSettings(data=tmp_path, token=TOKEN))


class Strict:
    name = "strict"

    def __call__(self, photo: Photo) -> str | None:
        return "this photo is too blue" if photo.array[..., 2].mean() > 200 else None


def test_a_content_filter_sees_every_upload(make_service: MakeService, tmp_path: Path) -> None:
    service = make_service(tmp_path, filters=(Strict(),))
    with TestClient(create_app(service)) as client:
        assert client.get(f"{API}/about").json()["content_filters"] == [
            "looks-adult",
            "strict",
        ]
        files = {"file": ("x.png", png(Image.new("RGB", (64, 64), "#00f")), "image/png")}
        reply = client.post(f"{API}/photos", files=files)
        assert (reply.status_code, reply.json()["error"]) == (422, "ContentRefused")
        assert client.get(f"{API}/photos").json() == []


@pytest.mark.parametrize(
    ("part", "score", "refused"),
    [
        ("BUTTOCKS_EXPOSED", 0.6, True),
        ("BUTTOCKS_EXPOSED", 0.3, False),
        ("MALE_BREAST_EXPOSED", 0.9, False),
        ("FEMALE_BREAST_COVERED", 0.9, False),
    ],
)
def test_what_of_a_nude_body_is_refused(part: str, score: float, refused: bool) -> None:
    ask = LooksClothed(lambda picture: [{"class": part, "score": score, "box": [0, 0, 9, 9]}])
    reason = ask(read_photo(Image.new("RGB", (32, 32))))
    assert (reason is not None) == refused


def test_dressed_people_pass_the_look_for_nudity(
    astronaut: Image.Image, hopper: Image.Image
) -> None:
    filters = [each for each in installed_filters() if each.name == "looks-clothed"]
    assert len(filters) == 1
    check_content(read_photo(astronaut), filters)
    check_content(read_photo(hopper), filters)


def test_a_crowd_and_too_many_masks_are_refused(
    make_service: MakeService, tmp_path: Path, astronaut: Image.Image, hopper: Image.Image
) -> None:
    both = Image.new("RGB", (1024, 600))
    both.paste(astronaut, (0, 0))
    both.paste(hopper, (512, 0))
    with TestClient(create_app(make_service(tmp_path, max_faces=1, max_photos=2))) as client:
        files = {"file": ("x.png", png(both), "image/png")}
        reply = client.post(f"{API}/photos", files=files)
        assert (reply.status_code, reply.json()["error"]) == (422, "TooManyFaces")
        files = {"file": ("m.png", png(Image.new("L", (64, 64), 255)), "image/png")}
        masks = [client.post(f"{API}/masks", files=files) for _ in range(3)]
        assert [mask.status_code for mask in masks] == [201, 201, 429]
        assert client.delete(f"{API}/masks/{masks[0].json()['id']}").status_code == 204
        assert client.post(f"{API}/masks", files=files).status_code == 201


def test_reading_has_few_places_and_says_when_to_come_back(
    make_service: MakeService, tmp_path: Path
) -> None:
    reader = make_service(tmp_path).reader
    with ExitStack() as taken:
        for _ in range(4):
            taken.enter_context(reader.turn(patience=0.01))
        with pytest.raises(Refused, match="try again") as refused:
            taken.enter_context(reader.turn(patience=0.01))
        assert (refused.value.status, refused.value.retry_after) == (429, 5)
    with reader.turn(patience=0.01):
        pass
