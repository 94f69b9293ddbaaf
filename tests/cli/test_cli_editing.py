# SPDX-License-Identifier: Apache-2.0
"""Editing through the command line with an editor that echoes: what it is given, what is said."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from facex.cli.main import run
from facex.errors import NoFaceFound
from tests.cli.conftest import ROOT, clean_environment


def words(text, **places):
    return [part.format(**places) for part in text.split()]


def test_one_photo(echo, kit, tmp_path, capsys):
    out = tmp_path / "x.png"
    assert run(words("pose {k}/photo.png --yaw 20 --seed 7 -o {o}", k=kit, o=out)) == 0
    (call,) = echo.calls
    assert call["recipe"].steps[0].sliders.yaw == 20
    assert call["options"].seed == 7
    assert call["options"].mark is True
    assert call["face"] == "largest"
    before = np.asarray(Image.open(kit / "photo.png"))
    assert np.array_equal(np.asarray(Image.open(out)), 255 - before)
    printed = capsys.readouterr()
    assert printed.out.startswith(str(out))
    assert printed.err == ""


def test_an_existing_folder_takes_a_single_photo(echo, kit, tmp_path):
    assert run(words("pose {k}/photo.png --yaw 20 -o {o}", k=kit, o=tmp_path)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_every_option_arrives(echo, kit, tmp_path):
    line = (
        "swap {k}/other.jpg {k}/photo.png --face 2 --steps 5 --size 300 --strength 0.5 "
        "--kappa 0.25 --no-mark --mask {k}/mask.png -o {o}/x.png"
    )
    assert run(words(line, k=kit, o=tmp_path)) == 0
    (call,) = echo.calls
    options = call["options"]
    assert (options.steps, options.size, options.strength) == (5, 300, 0.5)
    assert (options.kappa, options.mark, call["face"]) == (0.25, False, "2")
    assert call["photos"]["source"].path == kit / "other.jpg"
    assert call["mask"].shape == (80, 64)
    assert call["mask"].min() == 1
    assert call["recipe"].steps[0].edit == "mask"


@pytest.mark.parametrize(
    ("line", "sliders"),
    [
        ("pose {k}/photo.png --yaw -20 --roll 5", {"yaw": -20, "roll": 5}),
        ("gaze {k}/photo.png --yaw 10 --pitch 0", {"gaze_yaw": 10, "gaze_pitch": 0}),
        (
            "expression {k}/photo.png --set jawOpen=0.2,mouthSmileLeft=.8 --set cheekPuff=1",
            {"blendshapes": {"jawOpen": 0.2, "mouthSmileLeft": 0.8, "cheekPuff": 1}},
        ),
        ("pose {k}/photo.png --driver {k}/other.jpg --mode relative", {"mode": "relative"}),
        ("reenact {k}/photo.png {k}/other.jpg --gaze-yaw 3", {"gaze_yaw": 3}),
    ],
)
def test_numbers_become_sliders(echo, kit, tmp_path, line, sliders):
    assert run(words(line + " -o {o}/x.png", k=kit, o=tmp_path)) == 0
    (call,) = echo.calls
    assert call["recipe"].steps[0].sliders.model_dump(exclude_unset=True) == sliders
    assert set(call["photos"]) == ({"driver"} if "other.jpg" in line else set())


def test_several_photos_before_a_last_argument(echo, kit, tmp_path):
    line = "reenact {k}/three {k}/photo.png {k}/other.jpg -o {o}/all"
    assert run(words(line, k=kit, o=tmp_path)) == 0
    done = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert done == ["a.png", "b.png", "c.jpg", "photo.png"]
    assert {call["photos"]["driver"].path for call in echo.calls} == {kit / "other.jpg"}


def test_a_folder_of_sources_is_combined_with_every_target(echo, kit, tmp_path):
    line = "swap {k}/three {k}/photo.png {k}/other.jpg -o {o}/all"
    assert run(words(line, k=kit, o=tmp_path)) == 0
    done = {path.name for path in (tmp_path / "all").iterdir()}
    assert done == {f"photo--{s}.png" for s in "abc"} | {f"other--{s}.jpg" for s in "abc"}


def test_a_rerun_skips_what_is_done(echo, kit, tmp_path, capsys):
    line = words("pose {k}/three --yaw 1 -o {o}/all", k=kit, o=tmp_path)
    assert run(line) == 0
    assert len(echo.calls) == 3
    (tmp_path / "all" / "b.png").unlink()
    assert run(line) == 0
    assert len(echo.calls) == 4
    assert run(line) == 0
    assert len(echo.calls) == 4
    assert "done before" in capsys.readouterr().out
    assert run([*line, "--force"]) == 0
    assert len(echo.calls) == 7


def test_one_bad_photo_of_many(echo, kit, tmp_path, capsys):
    line = "pose {k}/three {k}/text.jpg --yaw 1 -o {o}/all --json"
    assert run(words(line, k=kit, o=tmp_path)) == 1
    printed = capsys.readouterr()
    records = [json.loads(text) for text in printed.out.splitlines()]
    assert [record["status"] for record in records] == ["done"] * 3 + ["failed"]
    assert "text.jpg" in records[3]["error"]
    done = records[0]
    assert done["output"] == str(tmp_path / "all" / "a.png")
    assert done["faces"] == 0
    assert done["seed"] == 0
    assert done["warnings"] == []
    assert done["timings"]["echo"] == 0.5
    assert [text for text in printed.err.splitlines() if "text.jpg" in text]
    assert printed.err.splitlines()[-1] == "facex: 3 done, 1 failed, 0 skipped"


def test_all_bad_leaves_no_folder(echo, kit, tmp_path, capsys):
    echo.error = NoFaceFound("no face was found")
    line = words("pose {k}/three --yaw 1 -o {o}/all --quiet", k=kit, o=tmp_path)
    assert run(line) == 2
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr()
    assert printed.out == ""
    names = [text.split(": ")[1] for text in printed.err.splitlines()]
    assert names == [str(kit / "three" / name) for name in ("a.png", "b.png", "c.jpg")]


def test_quiet(echo, kit, tmp_path, capsys):
    assert run(words("pose {k}/three --yaw 1 -o {o}/all -q", k=kit, o=tmp_path)) == 0
    assert capsys.readouterr() == ("", "")


def test_an_input_may_be_replaced_by_force(echo, kit, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes((kit / "photo.png").read_bytes())
    line = words("pose {p} --yaw 1 -o {p}", p=photo)
    assert run(line) == 2
    assert run([*line, "--force"]) == 0
    assert photo.read_bytes() != (kit / "photo.png").read_bytes()


def test_an_interrupt_is_one_word(echo, kit, tmp_path, capsys):
    echo.error = KeyboardInterrupt()
    assert run(words("pose {k}/photo.png --yaw 1 -o {o}/x.png", k=kit, o=tmp_path)) == 2
    assert run(words("pose {k}/three --yaw 1 -o {o}/all", k=kit, o=tmp_path)) == 2
    assert capsys.readouterr().err == "facex: interrupted\n" * 2
    assert list(tmp_path.iterdir()) == []


def test_an_unexpected_error_is_one_sentence(echo, kit, tmp_path, capsys, monkeypatch):
    echo.error = ZeroDivisionError("by\nzero")
    line = words("pose {k}/photo.png --yaw 1 -o {o}/x.png", k=kit, o=tmp_path)
    assert run(line) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: by zero" in said
    assert "report it" in said
    assert run([*line, "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("FACEX_DEBUG", "1")
    assert run(line) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_rescaled_mask_is_a_warning(echo, kit, tmp_path, capsys):
    Image.new("L", (128, 160), 255).save(tmp_path / "mask.png")
    line = "inpaint {k}/photo.png --mask {o}/mask.png --guide {k}/other.jpg -o {o}/x.png --json"
    assert run(words(line, k=kit, o=tmp_path)) == 0
    printed = capsys.readouterr()
    assert "rescaled" in json.loads(printed.out)["warnings"][0]
    assert "rescaled" in printed.err
    assert echo.calls[0]["mask"].shape == (80, 64)


def test_masks_of_a_folder_go_by_name(echo, kit, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for name, value in (("a", 0), ("b", 255), ("c", 0)):
        Image.new("L", (64, 80), value).save(masks / f"{name}.png")
    line = words("inpaint {k}/three --mask {m} -o {o}/all", k=kit, m=masks, o=tmp_path)
    assert run(line) == 0
    assert [float(call["mask"].max()) for call in echo.calls] == [0, 1, 0]


def test_a_recipe_on_its_own_photo_and_on_others(echo, kit, tmp_path):
    assert run(words("mix {k}/good.yaml -o {o}/x.png", k=kit, o=tmp_path)) == 0
    assert echo.calls[0]["target"].path.name == "photo.png"
    assert echo.calls[0]["recipe"].steps[0].sliders.yaw == 5
    assert run(words("mix {k}/good.yaml {k}/three -o {o}/all", k=kit, o=tmp_path)) == 0
    assert [call["target"].path.name for call in echo.calls[1:]] == ["a.png", "b.png", "c.jpg"]
    (tmp_path / "with.yaml").write_text("format_version: 1\nsteps: [{hair: source}]\n")
    line = "mix {o}/with.yaml {k}/photo.png --with source={k}/other.jpg -o {o}/y.png"
    assert run(words(line, k=kit, o=tmp_path)) == 0
    assert echo.calls[-1]["photos"]["source"].path == kit / "other.jpg"


SLEEPER = """
import signal, sys, time, types
# A shell starts what runs in its background deaf to the first of the two.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules["facex.api"] = types.ModuleType("facex.api")
sys.modules["facex.api"].EditOptions = types.SimpleNamespace
from facex.cli import edit
from facex.cli.main import run
class Sleeper:
    def edit(self, *given, **more):
        print("asleep", flush=True)
        time.sleep(60)
edit.load_model = lambda settings: Sleeper()
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(kit, tmp_path, number):
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER, "pose", kit / "three", "--yaw", "1", "-o", tmp_path / "a"],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "asleep\n"
        time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said == "facex: interrupted\n"
    assert list(tmp_path.iterdir()) == []
