# SPDX-License-Identifier: Apache-2.0
"""Reading and writing clips, smoothing in time, parts that survive an interruption."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facex.errors import ImageRejected, OptionError
from facex.types import BLENDSHAPES
from facex.video.animate import preset_of, presets
from facex.video.clip import Clip, Frame, import_av, is_clip, parse_trim
from facex.video.encode import write_clip
from facex.video.parts import PART_FRAMES, render
from facex.video.smooth import smooth

STEPS = [Fraction(0), Fraction(1, 25), Fraction(2, 25), Fraction(1, 5), Fraction(6, 25)]
"""A rate that varies."""


def gradient(count: int = 5, height: int = 72, width: int = 96) -> list[Frame]:
    v, u = np.mgrid[0:height, 0:width].astype(float)
    times = STEPS if count == len(STEPS) else [Fraction(i, 25) for i in range(count)]
    return [
        Frame(i, t, np.stack([u + 4 * i, v + 60, 200 - u], -1).clip(0, 255).astype(np.uint8))
        for i, t in enumerate(times)
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp"])
def test_times_sizes_and_colours_come_back(tmp_path: Path, suffix: str) -> None:
    path, frames = tmp_path / f"clip{suffix}", gradient()
    assert write_clip(path, frames, last=Fraction(1, 25)) == []
    assert is_clip(path)
    found = list(Clip(path).frames())
    assert [f.time for f in found] == pytest.approx([float(t) for t in STEPS], abs=0.002)
    for one, two in zip(found, frames, strict=True):
        assert one.pixels.shape == two.pixels.shape
        assert np.abs(one.pixels.astype(float) - two.pixels).mean() < 3


def test_a_part_of_a_clip_begins_at_its_own_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, gradient(), last=Fraction(1, 25))
    found = list(Clip(path, *parse_trim("0.07-0.21")).frames())
    assert [f.index for f in found] == [0, 1]
    assert [float(f.time) for f in found] == pytest.approx([0.08, 0.2], abs=0.002)
    with pytest.raises(ImageRejected, match="holds no picture"):
        list(Clip(path, begin=5).frames())


@pytest.mark.parametrize("text", ["", "-", "5", "a-b", "5-2", "1:-3", "-1-2"])
def test_a_wrong_trim_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--trim"):
        parse_trim(text)


def test_minutes_may_be_given() -> None:
    assert parse_trim("1:05-1:20.5") == (65.0, 80.5)
    assert parse_trim("3-") == (3.0, None)


def test_sound_is_copied_for_the_same_time(tmp_path: Path) -> None:
    av = import_av()
    path = tmp_path / "loud.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 72, "yuv420p"
        audio = container.add_stream("aac", rate=16000)
        audio.layout = "mono"
        for frame in gradient(25):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")))
        container.mux(video.encode(None))
        wave = (np.sin(np.arange(16000) / 8) * 9000).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        sound.sample_rate = 16000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    clip = Clip(path, 0.4)
    out = tmp_path / "out.mp4"
    assert write_clip(out, clip.frames(), last=Fraction(1, 25), sound=clip) == []
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        seconds = sum(float(f.samples) for f in container.decode(audio=0)) / 16000
    assert 0.5 < seconds < 0.75
    assert write_clip(tmp_path / "o.gif", clip.frames(), last=Fraction(1, 25), sound=clip) == [
        "a GIF or WebP has no sound"
    ]


def test_a_damaged_video_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    write_clip(path, gradient(), last=Fraction(1, 25))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageRejected, match=r"cut\.mp4 cannot be read as a video"):
        list(Clip(path).frames())


def test_smoothing_calms_noise_keeps_a_blink_and_does_not_lag() -> None:
    rng, times = np.random.default_rng(0), np.arange(100) / 25
    noise = rng.normal(0, 0.002, 100)
    assert smooth(noise, times, 1.0).std() < 0.5 * noise.std()
    blink = np.exp(-0.5 * ((times - 2) / 0.06) ** 2) * 0.05
    found = smooth(blink, times, 1.0)
    assert found.max() > 0.7 * blink.max()
    assert abs(int(found.argmax()) - int(blink.argmax())) <= 1
    # The same movement backwards is smoothed to the same, backwards.
    walk = np.cumsum(rng.normal(0, 0.01, 100))
    np.testing.assert_allclose(
        smooth(walk[::-1].copy(), times, 1.0), smooth(walk, times, 1.0)[::-1], atol=1e-12
    )


def test_finished_parts_are_kept_and_another_edit_throws_them_away(tmp_path: Path) -> None:
    count = 2 * PART_FRAMES + 3
    frames, drawn = gradient(count, 32, 32), list[int]()

    def draw(frame: Frame, before: Any) -> tuple[Any, bool]:
        if frame.index == stop:
            raise KeyboardInterrupt
        drawn.append(frame.index)
        if frame.index in (7, 8) and before is not None:
            return before, False
        return 255 - frame.pixels, True

    def run(key: str) -> Any:
        return render(
            tmp_path / "out.webp", key, frames, [float(f.time) for f in frames], draw,
            sound=None, comment={}, report=lambda *_: None,
        )  # fmt: skip

    stop = PART_FRAMES + 5
    with pytest.raises(KeyboardInterrupt):
        run("a" * 64)
    assert not (tmp_path / "out.webp").exists()
    stop = -1
    drawn.clear()
    result = run("a" * 64)
    assert drawn == list(range(PART_FRAMES, count))
    assert (result.frames, result.resumed) == (count, PART_FRAMES)
    found = list(Clip(tmp_path / "out.webp").frames())
    assert len(found) == count - 2  # equal pictures are stored once, and shown longer
    assert np.abs(found[3].pixels - (255.0 - frames[3].pixels)).mean() < 4
    assert [p.name for p in tmp_path.iterdir()] == ["out.webp"]
    stop = PART_FRAMES + 1
    with pytest.raises(KeyboardInterrupt):
        run("b" * 64)
    stop = -1
    drawn.clear()
    run("c" * 64)
    assert drawn == list(range(count))


@pytest.mark.parametrize("name", list(presets()))
def test_presets_begin_and_end_with_the_photo(name: str) -> None:
    preset, own = preset_of(name), dict.fromkeys(BLENDSHAPES, 0.25)
    for share in (0.0, 1.0):
        sliders = preset.sliders(share, own)
        assert not any(sliders[key] for key in ("yaw", "pitch", "roll", "gaze_yaw", "gaze_pitch"))
        assert all(value == 0.25 for value in sliders["blendshapes"].values())
    path = np.array([preset.sliders(t, own)["yaw"] for t in np.linspace(0, 1, 200)])
    assert np.abs(np.diff(path)).max() < 2.5
    with pytest.raises(OptionError, match="choose one of"):
        preset_of("dance")
