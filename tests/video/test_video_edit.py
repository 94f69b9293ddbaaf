# SPDX-License-Identifier: Apache-2.0
"""Following a face and editing a clip with the real model and the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facex
from facex.api import EditOptions
from facex.detect.choose import FaceChoice
from facex.recipes.schema import Recipe
from facex.video.clip import Clip, Frame, is_clip
from facex.video.edit import drive_photo, edit_clip
from facex.video.encode import write_clip, write_part
from facex.video.parts import PART_FRAMES
from facex.video.track import smooth_track, track_faces
from facex.video.verify import verify_clip


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory, astronaut: Image.Image) -> Path:
    """The portrait shifts by 6 px a frame; in the middle it is gone for two frames."""
    portrait = np.asarray(astronaut.crop((90, 0, 370, 280)))
    frames = []
    for index in range(8):
        pixels = np.roll(portrait, 6 * index - 20, axis=1)
        if index in (4, 5):
            pixels = np.full_like(portrait, 90)
        frames.append(Frame(index, Fraction(index, 10), np.ascontiguousarray(pixels)))
    path = tmp_path_factory.mktemp("video") / "moving.mp4"
    write_clip(path, frames, last=Fraction(1, 10))
    return path


def test_a_face_is_followed_lost_and_found_again(mini: facex.FaceX, moving: Path) -> None:
    tracks, times = track_faces(mini.locator, Clip(moving), FaceChoice())
    assert len(tracks) == 1
    assert len(times) == 8
    seen = sorted(tracks[0].points)
    assert seen == [0, 1, 2, 3, 6, 7]
    smoothed = smooth_track(tracks[0], times, 256)
    x = [smoothed[index][:, 0].mean() for index in seen]
    assert np.diff(x) == pytest.approx([6, 6, 6, 18, 6], abs=2.0)


def test_a_swap_changes_the_face_alone_and_says_so(
    mini: facex.FaceX, moving: Path, hopper: Image.Image, tmp_path: Path
) -> None:
    source = tmp_path / "source.png"
    hopper.save(source)
    out = tmp_path / "out.mp4"
    recipe = Recipe.for_task("swap", given=["source"])
    result = edit_clip(mini, Clip(moving), recipe, out, photos={"source": source})
    assert (result.frames, result.edited) == (8, 6)
    before, after = list(Clip(moving).frames()), list(Clip(out).frames())
    assert [float(f.time) for f in after] == pytest.approx(
        [float(f.time) for f in before], abs=0.01
    )
    gap = [np.abs(a.pixels.astype(float) - b.pixels) for a, b in zip(after, before, strict=True)]
    assert gap[4].mean() < 2
    assert gap[0][:, :40].mean() < 3
    (face,) = mini.decompose(before[0].pixels)
    x, y = face.photo_from_crop[0].numpy() @ [128, 128, 1]
    around = gap[0][int(y) - 20 : int(y) + 20, int(x) - 20 : int(x) + 20]
    assert around.mean() > 8
    report = verify_clip(out)
    # The mark of a face this small does not survive the codec; the note in the file does.
    assert report.metadata is not None
    assert report.metadata["edit_id"] == result.edit_id


def test_a_clip_moves_a_photo(
    mini: facex.FaceX, moving: Path, hopper: Image.Image, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    hopper.resize((256, 300)).save(photo)
    out = tmp_path / "out.gif"
    recipe = Recipe.for_task("reenact", given=["driver"])
    result = drive_photo(mini, photo, Clip(moving, 0.2), recipe, out)
    frames = list(Clip(out).frames())
    assert (result.frames, result.edited) == (6, 4)
    assert frames[0].pixels.shape == (300, 256, 3)
    # While the driver is not seen, the picture holds: a GIF stores it once, and longer.
    assert [round(float(f.time), 1) for f in frames] == [0.0, 0.1, 0.4, 0.5]


@pytest.fixture(scope="module")
def couple(
    tmp_path_factory: pytest.TempPathFactory, astronaut: Image.Image, hopper: Image.Image
) -> Path:
    """Collins at the left, Hopper at the right, both move a little; written without loss."""
    left, right = astronaut.crop((90, 0, 370, 280)), hopper.crop((110, 40, 390, 320))
    frames = []
    for index in range(3):
        both = Image.new("RGB", (580, 300), (90, 90, 90))
        both.paste(left, (3 * index, 8))
        both.paste(right, (290 + 2 * index, 10))
        frames.append(Frame(index, Fraction(index, 10), np.asarray(both)))
    path = tmp_path_factory.mktemp("couple") / "couple.png"
    write_part(path, frames, 0)
    return path


@pytest.mark.parametrize(("face", "sides"), [("like", (False, True)), ("all", (True, True))])
def test_of_two_people_those_who_were_asked_for_are_edited(
    mini: facex.FaceX, couple: Path, hopper: Image.Image, tmp_path: Path, face: str, sides: tuple
) -> None:
    other = tmp_path / "hopper.png"
    hopper.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((256, 300)).save(other)
    out, recipe = tmp_path / "out.mp4", Recipe.for_task("pose", sliders={"yaw": 12})
    result = edit_clip(
        mini, Clip(couple), recipe, out,
        face=f"like:{other}" if face == "like" else face, options=EditOptions(steps=1),
    )  # fmt: skip
    assert (result.frames, result.edited) == (3, 3)
    plain = tmp_path / "plain.mp4"  # so that what the codec does is not counted
    write_clip(plain, Clip(couple).frames(), last=Fraction(1, 10))
    for before, after in zip(Clip(plain).frames(), Clip(out).frames(), strict=True):
        gap = np.abs(after.pixels.astype(float) - before.pixels).mean(-1)
        for place, wanted in zip(
            (np.s_[80:220, 60:220], np.s_[80:220, 360:520]), sides, strict=True
        ):
            assert gap[place].mean() > 6 if wanted else gap[place].mean() < 1.5


@pytest.mark.timeout(900)
def test_a_command_that_was_killed_goes_on_where_it_was(
    mini: facex.FaceX, astronaut: Image.Image, tmp_path: Path
) -> None:
    """The first part shows a face in one frame, the second one in two; no two frames are equal."""
    portrait = np.asarray(astronaut.crop((90, 0, 370, 280)))
    faces = {0, PART_FRAMES, PART_FRAMES + 1}
    frames = [
        Frame(
            i, Fraction(i, 10),
            np.roll(portrait, i % 5, axis=1) if i in faces else np.full_like(portrait, 40 + i),
        )
        for i in range(PART_FRAMES + 3)
    ]  # fmt: skip
    write_part(tmp_path / "clip.png", frames, 0)
    words = ["pose", "clip.png", "--yaw", "8", "--steps", "2", "--json", "-o", "out.webp"]
    command = [sys.executable, "-m", "facex", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    parts = tmp_path / ".out.webp.parts"
    killed = subprocess.Popen(command, cwd=tmp_path, env=environment)
    try:
        while not (parts / "000000.png").exists():
            assert killed.poll() is None
            time.sleep(0.01)
    finally:
        killed.kill()  # SIGKILL: nothing of the program runs after it
        killed.wait()
    assert not (tmp_path / "out.webp").exists()
    assert not (parts / "000001.png").exists()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["frames"], record["resumed"]) == (len(frames), PART_FRAMES)
    assert record["edited"] == len(faces)
    assert not parts.exists()
    recipe = Recipe.for_task("pose", sliders={"yaw": 8})
    whole = edit_clip(
        mini, Clip(tmp_path / "clip.png"), recipe, tmp_path / "whole.webp",
        options=EditOptions(steps=2),
    )  # fmt: skip
    assert (whole.resumed, whole.edited) == (0, len(faces))
    pairs = zip(
        Clip(tmp_path / "out.webp").frames(), Clip(tmp_path / "whole.webp").frames(), strict=True
    )
    for one, two in pairs:
        assert one.time == two.time
        assert np.array_equal(one.pixels, two.pixels)


def test_the_command_makes_a_clip_of_a_photo(hopper: Image.Image, tmp_path: Path) -> None:
    hopper.resize((256, 300)).save(tmp_path / "photo.png")
    words = [
        "animate",
        "photo.png",
        "--preset",
        "nod",
        "-o",
        "nod.webp",
        "--seconds",
        "0.6",
        "--fps",
        "5",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "facex", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 of 3 frames" in done.stdout
    assert is_clip(tmp_path / "nod.webp")
    for words, said in (
        (["pose", "photo.png", "--yaw", "5", "--trim", "1-2", "-o", "x.png"], "no picture of this"),
        (["pose", "nod.webp", "--yaw", "5", "-o", "x.jpg"], "no name for a moving picture"),
        (["swap", "nod.webp", "photo.png", "-o", "x.mp4"], "the source must be a photo"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "facex", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
