# SPDX-License-Identifier: Apache-2.0
"""Reading and writing clips, smoothing in time, parts that survive an interruption."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facex.api import EditOptions
from facex.cli import clips
from facex.errors import ImageRejected, OptionError
from facex.recipes.schema import Recipe
from facex.types import BLENDSHAPES
from facex.video.animate import preset_of, presets
from facex.video.clip import Clip, Frame, import_av, is_clip, parse_trim
from facex.video.edit import provenance
from facex.video.encode import write_clip
from facex.video.parts import PART_FRAMES, ClipResult, render
from facex.video.smooth import smooth
from facex.video.verify import read_note, verify_clip

STEPS = [Fraction(0), Fraction(1, 25), Fraction(2, 25), Fraction(1, 5), Fraction(6, 25)]
"""A rate that varies."""
RECIPE = Recipe.for_task("gaze", sliders={"gaze_yaw": 10})


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


def loud(path: Path, *, begins: float = 0.0, tone: float = 0.0) -> Path:
    """A second of pictures from ``begins`` on; the sound starts at 0, a tone in it at ``tone``."""
    av = import_av()
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 72, "yuv420p"
        audio = container.add_stream("aac", rate=16000)
        audio.layout = "mono"
        for frame in gradient(25):
            picture = av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")
            picture.time_base, picture.pts = Fraction(1, 25), frame.index + round(25 * begins)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        samples = np.arange(round(16000 * (1 + begins)))
        wave = np.where(samples >= 16000 * tone, np.sin(samples / 8) * 9000, 0)
        sound = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
        sound.sample_rate = 16000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path


def test_sound_is_copied_for_the_same_time(tmp_path: Path) -> None:
    clip = Clip(loud(tmp_path / "loud.mp4"), 0.4)
    out = tmp_path / "out.mp4"
    assert write_clip(out, clip.frames(), last=Fraction(1, 25), sound=clip) == []
    with import_av().open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        seconds = sum(float(f.samples) for f in container.decode(audio=0)) / 16000
    assert 0.5 < seconds < 0.75
    assert write_clip(tmp_path / "o.gif", clip.frames(), last=Fraction(1, 25), sound=clip) == [
        "a GIF or WebP has no sound"
    ]


def heard(path: Path) -> float:
    """When the tone of a file begins, by the file's clock."""
    with import_av().open(str(path)) as container:
        for frame in container.decode(audio=0):
            for sample in np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.05):
                return float(frame.time) + float(sample) / 16000
    raise AssertionError(path)


@pytest.mark.parametrize("trim", ["0-", "0.3-0.9", "0.31-"])
def test_sound_stays_in_step_where_the_pictures_begin_later(tmp_path: Path, trim: str) -> None:
    path = loud(tmp_path / "late.mkv", begins=1.0, tone=1.5)
    clip, out = Clip(path, *parse_trim(trim)), tmp_path / "out.mkv"
    assert clip.start() == 1
    assert write_clip(out, clip.frames(), last=Fraction(1, 25), sound=clip) == []
    assert Clip(out).start() == 0
    first = float(next(clip.frames()).time)
    assert heard(out) == pytest.approx(heard(path) - 1 - first, abs=0.005)


def test_the_length_is_guessed_without_reading_the_frames(tmp_path: Path) -> None:
    for suffix in (".mp4", ".gif"):
        write_clip(tmp_path / f"clip{suffix}", gradient(20), last=Fraction(1, 25))
        assert Clip(tmp_path / f"clip{suffix}").expected() == pytest.approx(20, abs=1)
    assert Clip(tmp_path / "clip.mp4", 0.2, 0.6).expected() == pytest.approx(10, abs=1)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp"])
def test_the_note_on_the_making_comes_back(tmp_path: Path, suffix: str) -> None:
    path, note = tmp_path / f"clip{suffix}", provenance(RECIPE, EditOptions())
    write_clip(path, gradient(), last=Fraction(1, 25), note={**note, "edit_id": 0xABC})
    assert read_note(path) == {**note, "edit_id": 0xABC}
    report = verify_clip(path)
    assert report.verdict.startswith("The metadata says that FaceX edited this clip (edit 000abc)")
    assert report.to_dict()["metadata"]["edit_id"] == "000abc"
    write_clip(path, gradient(), last=Fraction(1, 25))
    assert read_note(path) is None


@pytest.mark.parametrize(
    "text", ["FaceX", '{"tool": "FaceX 1"}', '{"tool": "FaceX 1", "edit_id": "x"}', "{" * 5000]
)
def test_a_strange_note_is_none(tmp_path: Path, text: str) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "x.gif", comment=text.encode())
    assert read_note(tmp_path / "x.gif") is None


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


class Work:
    """A clip of two parts and a bit that is drawn in negative, or stopped on the way."""

    count = 2 * PART_FRAMES + 3

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out.webp"
        self.parts = folder / ".out.webp.parts"
        self.frames = gradient(self.count, 32, 32)
        self.drawn: list[int] = []

    def run(self, key: str, stop: int = -1) -> ClipResult:
        self.drawn.clear()

        def draw(frame: Frame, before: Any) -> tuple[Any, bool]:
            if frame.index == stop:
                raise KeyboardInterrupt
            self.drawn.append(frame.index)
            if frame.index in (7, 8) and before is not None:
                return before, False
            return 255 - frame.pixels, True

        return render(
            self.out, key * 64, self.frames, [float(f.time) for f in self.frames], draw,
            sound=None, note={}, report=lambda *_: None,
        )  # fmt: skip


def test_finished_parts_are_kept_and_another_edit_throws_them_away(tmp_path: Path) -> None:
    work = Work(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        work.run("a", stop=PART_FRAMES + 5)
    assert not work.out.exists()
    result = work.run("a")
    assert work.drawn == list(range(PART_FRAMES, work.count))
    assert (result.frames, result.resumed) == (work.count, PART_FRAMES)
    assert result.edited == work.count - 2  # also those two that the first run left as they were
    found = list(Clip(work.out).frames())
    assert len(found) == work.count - 2  # equal pictures are stored once, and shown longer
    assert np.abs(found[3].pixels - (255.0 - work.frames[3].pixels)).mean() < 4
    assert [p.name for p in tmp_path.iterdir()] == ["out.webp"]
    with pytest.raises(KeyboardInterrupt):
        work.run("b", stop=PART_FRAMES + 1)
    work.run("c")
    assert work.drawn == list(range(work.count))


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.98])
def test_a_damaged_part_is_drawn_again(tmp_path: Path, kept: float) -> None:
    work = Work(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        work.run("a", stop=2 * PART_FRAMES + 1)
    part = work.parts / "000000.png"
    data = part.read_bytes()
    part.write_bytes(data[: int(kept * len(data))])
    result = work.run("a")
    assert work.drawn == [*range(PART_FRAMES), *range(2 * PART_FRAMES, work.count)]
    assert (result.resumed, result.edited) == (PART_FRAMES, work.count - 2)


def test_time_left_is_told_by_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = [0.0], list[tuple[int, int, str]]()
    monkeypatch.setattr(clips.time, "perf_counter", lambda: clock[0])
    report = clips.with_time(lambda *step: said.append(step))
    for seconds, step in [
        (0, (1, 0, "looking for faces")),  # nobody knows how long the clip is
        (5, (9, 0, "looking for faces")),
        (5, (24, 60, "done before")),
        (6, (25, 60, "drawing")),
        (10, (27, 60, "drawing")),  # 2 s a frame
        (70, (57, 60, "drawing")),
    ]:
        clock[0] = seconds
        report(*step)
    words = [what for _, _, what in said]
    assert words[:4] == ["looking for faces", "looking for faces", "done before", "drawing"]
    assert words[4:] == ["drawing, 66 s left", "drawing, 6 s left"]


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
