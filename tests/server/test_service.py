# SPDX-License-Identifier: Apache-2.0
"""Real edits through the service, with few steps: what is asked for is what comes back."""

from __future__ import annotations

import base64
import io
import json
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from facex.ford.representation import FaceRepresentation
from facex.recipes.load import parse_recipe
from facex.safety.verify import verify_image
from tests.server.talk import png, upload

API = "/api/v1"


def finished(client: TestClient, job: str, within: float = 120) -> dict[str, Any]:
    """The job's last state, as an event stream tells it."""
    end, last = time.monotonic() + within, {}
    with client.stream("GET", f"{API}/jobs/{job}/events") as reply:
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                last = json.loads(line[6:])
            assert time.monotonic() < end
    return last


def ordered(client: TestClient, **order: Any) -> dict[str, Any]:
    reply = client.post(f"{API}/edits", json={"steps": 1, "size": 256, **order})
    assert reply.status_code == 202, reply.text
    return dict(reply.json())


def result(client: TestClient, job: str) -> Image.Image:
    reply = client.get(f"{API}/jobs/{job}/result")
    assert reply.status_code == 200, reply.text
    return Image.open(io.BytesIO(reply.content)).convert("RGB")


def number_at(info: dict[str, Any], x: float, y: float) -> int:
    """The number of the face at a place; a badge may also be taken for one."""
    for face in info["faces"]:
        x0, y0, x1, y1 = face["box"]
        if x0 < x < x1 and y0 < y < y1:
            return int(face["number"])
    raise AssertionError("no face there")


def test_faces_are_found_numbered_and_described(woman: dict[str, Any]) -> None:
    assert [face["number"] for face in woman["faces"]] == [1]
    face = woman["faces"][0]
    x0, y0, x1, y1 = face["box"]
    assert 170 < x0 < 200 < 250 < x1 < 290
    assert 50 < y0 < 90 < 160 < y1 < 200
    assert abs(face["yaw"]) < 20
    assert face["expression"]["mouthSmileLeft"] > 0.5


def test_a_swap_changes_the_face_and_nothing_else(
    client: TestClient,
    woman: dict[str, Any],
    admiral: dict[str, Any],
    astronaut: Image.Image,
    tmp_path: Any,
) -> None:
    order = {"task": "swap", "photos": {"target": woman["id"], "source": admiral["id"]}}
    job = ordered(client, **order, consent=True)
    last = finished(client, job["id"])
    assert last["status"] == "done", last
    before, after = np.asarray(astronaut), np.asarray(result(client, job["id"]))
    assert np.array_equal(before[250:], after[250:])
    assert np.abs(before[90:170, 190:260].astype(int) - after[90:170, 190:260]).mean() > 4
    file = tmp_path / "result.png"
    file.write_bytes(client.get(f"{API}/jobs/{job['id']}/result").content)
    assert verify_image(file).metadata
    assert str(tmp_path) not in file.read_bytes().decode("latin-1")


def test_a_recipe_of_an_edit_can_be_taken_along(client: TestClient, woman: dict[str, Any]) -> None:
    step = {"sliders": {"yaw": 12.0}, "edit": ["head"]}
    job = ordered(client, recipe={"photos": {"target": woman["id"]}, "steps": [step]}, seed=5)
    assert finished(client, job["id"])["status"] == "done"
    recipe = parse_recipe(client.get(f"{API}/jobs/{job['id']}/recipe").text)
    assert str(recipe.photos["target"]) == "woman.png"
    assert recipe.steps[0].sliders.yaw == 12
    assert (recipe.steps[0].seed, recipe.steps[0].steps) == (5, 1)


def test_a_mask_limits_the_edit_and_results_can_be_gone_on_from(
    client: TestClient, woman: dict[str, Any], astronaut: Image.Image
) -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[140:170, 200:250] = 255
    files = {"file": ("mask.png", png(Image.fromarray(mask)), "image/png")}
    made = client.post(f"{API}/masks", files=files).json()
    job = ordered(client, task="inpaint", photos={"target": woman["id"]}, mask=made["id"])
    assert finished(client, job["id"])["status"] == "done"
    changed = (np.asarray(astronaut) != np.asarray(result(client, job["id"]))).any(axis=2)
    assert changed[mask > 0].mean() > 0.5
    assert not changed[mask == 0].any()
    again = client.post(f"{API}/jobs/{job['id']}/photo").json()
    assert len(again["faces"]) == 1
    assert client.delete(f"{API}/photos/{again['id']}").status_code == 204


def test_a_preview_is_quick_and_moves_what_it_should(
    client: TestClient, woman: dict[str, Any]
) -> None:
    pictures, times = {}, []
    for yaw in (0.0, 25.0, 25.0):
        order = {"task": "pose", "photos": {"target": woman["id"]}, "sliders": {"yaw": yaw}}
        reply = client.post(f"{API}/previews", json={**order, "mesh": True}).json()
        data = base64.b64decode(reply["image"].partition(",")[2])
        pictures[yaw] = np.asarray(Image.open(io.BytesIO(data)), np.float32)
        times.append(reply["milliseconds"])
        assert len(reply["mesh"]) == 478
    # The cut's border stays where the photo has it, so that the page can lay it on top.
    border = np.abs(pictures[0.0] - pictures[25.0])
    assert border[:4].mean() < 3
    assert border[100:250, 100:250].mean() > 8
    assert min(times) < 500  # tens of milliseconds on an idle core


def test_a_chosen_face_of_several_is_the_one_that_is_edited(
    client: TestClient, astronaut: Image.Image, hopper: Image.Image
) -> None:
    both = Image.new("RGB", (1024, 600))
    both.paste(astronaut, (0, 0))
    both.paste(hopper, (512, 0))
    info = upload(client, both)
    left, right = (number_at(info, *place) for place in ((225, 130), (770, 200)))
    photos = {"target": info["id"], "source": info["id"]}
    faces = {"target": str(left), "source": str(right)}
    job = ordered(client, task="swap", photos=photos, faces=faces, consent=True)
    assert finished(client, job["id"])["status"] == "done"
    changed = (np.asarray(both) != np.asarray(result(client, job["id"]))).any(axis=2)
    assert changed[:, :512].any()
    assert not changed[:, 512:].any()


@pytest.mark.parametrize("factor", ["mesh", "regions", "pose_gaze", "expression", "light"])
def test_every_factor_has_a_picture(client: TestClient, woman: dict[str, Any], factor: str) -> None:
    reply = client.get(f"{API}/photos/{woman['id']}/faces/1/factors/{factor}")
    assert Image.open(io.BytesIO(reply.content)).width >= 256
    assert client.get(f"{API}/photos/{woman['id']}/faces/2/factors/{factor}").status_code == 404


def test_a_face_can_be_saved_as_the_library_reads_it(
    client: TestClient, woman: dict[str, Any]
) -> None:
    reply = client.get(f"{API}/photos/{woman['id']}/faces/1/representation")
    assert len(FaceRepresentation.from_bytes(reply.content)) == 1


def test_uploads_are_made_anew_and_named_by_the_service(
    client: TestClient, admiral: dict[str, Any], astronaut: Image.Image
) -> None:
    assert admiral["label"] == "admiral.jpg"
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "secret camera"
    astronaut.save(buffer, "JPEG", exif=exif)
    files = {"file": ("x.jpg", buffer.getvalue() + b"<script>", "image/jpeg")}
    info = client.post(f"{API}/photos", files=files).json()
    stored = client.get(f"{API}/photos/{info['id']}/image?size=original").content
    assert b"secret" not in stored
    assert b"<script>" not in stored
