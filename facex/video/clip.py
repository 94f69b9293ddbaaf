# SPDX-License-Identifier: Apache-2.0
"""Moving pictures as frames with times: videos through PyAV, GIF, WebP and PNG through Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from facex.errors import ImageRejected, MissingExtra, OptionError

VIDEO_SUFFIXES: Final = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"})
ANIMATION_SUFFIXES: Final = frozenset({".gif", ".webp", ".png", ".apng"})
MAX_PIXELS: Final = 4096 * 2304
"""Of one frame."""
_TOLERANCE: Final = 1e-4
"""Seconds; a fifth of a second is no binary fraction."""
_HD: Final = 720
"""Lines from which a video that does not say so is taken for BT.709."""


@dataclass(frozen=True)
class Frame:
    """One picture of a clip.

    Attributes:
        index: from 0, counted from the start of the clip or of the chosen part.
        time: seconds since the clip's start.
        pixels: ``(H, W, 3)`` uint8, upright sRGB.
    """

    index: int
    time: Fraction
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """A moving picture on disk.

    Attributes:
        path: the file.
        begin: seconds at which the chosen part begins.
        end: seconds at which it ends, or None.
    """

    path: Path
    begin: float = 0.0
    end: float | None = None

    @property
    def is_video(self) -> bool:
        """Whether PyAV reads it (and not Pillow)."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    def frames(self) -> Iterator[Frame]:
        """The frames of the chosen part in order.

        Raises:
            ImageRejected: the file is damaged, empty, or too large.
            MissingExtra: it is a video and PyAV is not installed.
        """
        number = 0
        for time, pixels in self._video() if self.is_video else self._animation():
            if time < self.begin - _TOLERANCE:
                continue
            if self.end is not None and time >= self.end - _TOLERANCE:
                break
            yield Frame(number, time, pixels)
            number += 1
        if not number:
            where = f" between {self.begin:g} s and {self.end or 'its end'}" if self.begin else ""
            raise ImageRejected(f"{self.path} holds no picture{where}")

    def _video(self) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
        av = import_av()
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise ImageRejected(f"{self.path} holds no video")
                stream = container.streams.video[0]
                _check_size(self.path, stream.codec_context.width, stream.codec_context.height)
                stream.thread_type = "AUTO"
                first: Fraction | None = None
                for frame in container.decode(stream):
                    if frame.pts is None:
                        continue
                    time = Fraction(frame.pts) * frame.time_base
                    first = time if first is None else first
                    yield time - first, _rgb(frame)
        except av.error.FFmpegError as error:
            raise ImageRejected(f"{self.path} cannot be read as a video: {error}") from error

    def _animation(self) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
        try:
            with Image.open(self.path) as image:
                _check_size(self.path, *image.size)
                time = Fraction(0)
                for picture in ImageSequence.Iterator(image):
                    yield time, _on_white(picture)
                    time += _duration(picture)
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            raise ImageRejected(f"{self.path} cannot be read as a picture: {error}") from error

    def count(self) -> int:
        """Number of frames in the chosen part; decodes the clip."""
        return sum(1 for _ in self.frames())

    def expected(self) -> int:
        """About how many frames the chosen part has, as the file says; 0: it does not say."""
        try:
            return self._expected_of_video() if self.is_video else self._expected_of_animation()
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
            return 0  # whoever reads the frames will say what is wrong

    def _expected_of_video(self) -> int:
        av = import_av()
        try:
            with av.open(str(self.path)) as container:
                rate = container.streams.video[0].average_rate if container.streams.video else None
                if not container.duration or not rate:
                    return 0
                length = container.duration / av.time_base
        except av.error.FFmpegError:
            return 0
        end = length if self.end is None else min(self.end, length)
        return max(0, round((end - self.begin) * rate))

    def _expected_of_animation(self) -> int:
        if self.begin or self.end is not None:
            return 0  # its frames would have to be read to know their times
        with Image.open(self.path) as image:
            return int(getattr(image, "n_frames", 1))

    def start(self) -> Fraction:
        """When the first picture is shown, by the file's own clock, by which its sound is timed.

        Raises:
            ImageRejected: the file cannot be read, or holds no picture.
        """
        if not self.is_video:
            return Fraction(0)
        av = import_av()
        try:
            with av.open(str(self.path)) as container:
                for frame in container.decode(video=0):
                    if frame.pts is not None:
                        return Fraction(frame.pts) * frame.time_base
        except (av.error.FFmpegError, IndexError) as error:
            raise ImageRejected(f"{self.path} cannot be read as a video: {error}") from error
        raise ImageRejected(f"{self.path} holds no picture")


def is_clip(path: Path) -> bool:
    """Whether a file is a video, or a picture of several frames."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    if suffix not in ANIMATION_SUFFIXES or not path.is_file():
        return False
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1)) > 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False  # whoever reads it as a photo will say what is wrong


def parse_trim(text: str | None) -> tuple[float, float | None]:
    """Seconds of ``BEGIN-END``, ``BEGIN-`` or ``-END``; each may be ``MM:SS``.

    Raises:
        OptionError: the text is none of these.
    """
    if text is None:
        return 0.0, None
    begin, dash, end = text.partition("-")
    try:
        if not dash or not (begin or end):
            raise ValueError
        start = _seconds(begin) if begin else 0.0
        stop = _seconds(end) if end else None
    except ValueError:
        raise OptionError(
            f"--trim {text!r} is not understood, give seconds as in 2-7.5, 10- or 1:05-1:20"
        ) from None
    if stop is not None and stop <= start:
        raise OptionError(f"--trim {text!r} ends before it begins")
    return start, stop


def _seconds(text: str) -> float:
    total = 0.0
    for part in text.strip().split(":"):
        value = float(part)
        if not 0 <= value < 1e6:
            raise ValueError(part)
        total = total * 60 + value
    return total


def import_av() -> Any:
    """PyAV.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtra("reading and writing videos", "video") from None
    return av


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageRejected(
            f"the frames of {path} are {width} x {height} pixels; make them smaller, at most "
            f"{MAX_PIXELS / 1e6:.1f} megapixels"
        )


def _rgb(frame: Any) -> NDArray[np.uint8]:
    """Upright RGB; a frame that does not name its colours is read as players do."""
    from av.video.reformatter import Colorspace

    unnamed = int(frame.colorspace) in (0, 2)
    hd = frame.height >= _HD
    source = (Colorspace.ITU709 if hd else Colorspace.ITU601) if unnamed else None
    pixels = frame.reformat(format="rgb24", src_colorspace=source).to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns))


def _on_white(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode in ("RGB", "L"):
        return np.array(picture.convert("RGB"))
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture.convert("RGBA"))
    return np.array(ground.convert("RGB"))


def _duration(picture: Image.Image) -> Fraction:
    """Seconds that a picture is shown; browsers show those without a duration for a tenth."""
    milliseconds = float(picture.info.get("duration", 0) or 0)
    if milliseconds < 11:
        milliseconds = 100.0
    return Fraction(round(milliseconds), 1000)
