# SPDX-License-Identifier: Apache-2.0
"""Following a face and editing a clip with the real model and the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facex
from facex.detect.choose import FaceChoice
from facex.recipes.schema import Recipe
from facex.video.clip import Clip, Frame, is_clip
from facex.video.edit import drive_photo, edit_clip
from facex.video.encode import write_clip
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
        [sys.executable, "-m", "facex.cli.main", *words],
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
            [sys.executable, "-m", "facex.cli.main", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
