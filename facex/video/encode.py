# SPDX-License-Identifier: Apache-2.0
"""Writing clips: the final file with the sound of the input, and lossless parts on the way."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from facex.errors import OptionError, OutputError
from facex.safety.provenance import build_xmp
from facex.video.clip import Clip, Frame, import_av

CODECS: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    ".mp4": {"libx264": {"crf": "17", "preset": "medium"}, "mpeg4": {"qscale": "2"}},
    ".webm": {"libvpx-vp9": {"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1"}},
}
"""Encoders by kind of file, the first that PyAV was built with; .mov, .m4v, .mkv are as .mp4."""
ANIMATIONS: Final = {".gif": "GIF", ".webp": "WEBP"}
_SAME_AS_MP4: Final = frozenset({".mov", ".m4v", ".mkv"})
_ONE: Final = 100
"""Milliseconds of a frame in a part."""
_EDITED: Final = "facex-edited"
"""Text chunk of a part: how many of its frames were edited."""
_TICKS: Final = 90_000
"""Clock of the written video: every common frame rate is a whole number of its ticks."""


def clip_format(path: Path) -> str:
    """The suffix that decides how a clip is written.

    Raises:
        OptionError: no moving picture is written under that name.
    """
    suffix = path.suffix.lower()
    if suffix in _SAME_AS_MP4:
        return ".mp4"
    if suffix not in CODECS and suffix not in ANIMATIONS:
        known = ", ".join([*CODECS, *sorted(_SAME_AS_MP4), *ANIMATIONS])
        raise OptionError(f"{path.name} is no name for a moving picture, end it with {known}")
    return suffix


def write_clip(
    path: Path,
    frames: Iterable[Frame],
    *,
    last: Fraction,
    sound: Clip | None = None,
    note: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write a clip in one piece: to a temporary file, then renamed.

    Args:
        path: the suffix decides the kind.
        frames: with growing times; the first one's becomes 0.
        last: seconds that the last frame is shown.
        sound: the clip whose sound of the same time is copied, or None.
        note: what the file's metadata say about its making, as ``video.verify`` reads it; with
            the keys ``edit_id`` and ``recipe``.

    Returns:
        Sentences about what could not be kept.

    Raises:
        OutputError: the disk is full or not writable.
    """
    kind = clip_format(path)
    draft = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.part{path.suffix}")
    try:
        if kind in ANIMATIONS:
            _write_animation(draft, frames, last, note)
            doubts = (
                ["a GIF or WebP has no sound"] if sound is not None and has_sound(sound) else []
            )
        else:
            doubts = _write_video(draft, kind, frames, sound, note)
        _keep(draft, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return doubts


def write_part(path: Path, frames: Iterable[Frame], edited: int) -> None:
    """Write frames without loss, as an animated PNG that is renamed when it is complete.

    Args:
        path: of the part.
        frames: at least one.
        edited: how many of them were edited; kept in the file.
    """
    draft = path.with_name(f".{path.name}")
    pictures = [Image.fromarray(frame.pixels) for frame in frames]
    text = PngImagePlugin.PngInfo()
    text.add_text(_EDITED, str(edited))
    # Pillow stores frames that are equal once and adds up their durations, which so count them.
    pictures[0].save(
        draft,
        format="PNG",
        save_all=True,
        append_images=pictures[1:],
        duration=_ONE,
        compress_level=1,
        pnginfo=text,
    )
    _keep(draft, path)


def read_part(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The frames of :func:`write_part`."""
    with Image.open(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            pixels = np.array(image.convert("RGB"))
            for _ in range(max(1, round(image.info.get("duration", _ONE) / _ONE))):
                yield pixels


def check_part(path: Path, frames: int) -> int | None:
    """How many frames of a part were edited; None if the part is missing or damaged.

    Args:
        path: of the part.
        frames: how many it must hold.
    """
    try:
        if sum(1 for _ in read_part(path)) != frames:
            return None
        with Image.open(path) as image:
            edited = int(image.info[_EDITED])
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, struct.error, zlib.error):
        return None
    return edited if 0 <= edited <= frames else None


def write_text(path: Path, text: str) -> None:
    """Write a small file that is there as a whole or not at all."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text, "utf-8")
    _keep(draft, path)


def _keep(draft: Path, path: Path) -> None:
    """Give a finished file its name, so that a power cut leaves it whole or not at all."""
    with open(draft, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(draft, path)
    # The name itself; only on systems that open folders, and no reason to fail.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def has_sound(clip: Clip) -> bool:
    """Whether a clip has an audio stream."""
    if not clip.is_video:
        return False
    with import_av().open(str(clip.path)) as container:
        return bool(container.streams.audio)


def _write_animation(
    draft: Path, frames: Iterable[Frame], last: Fraction, note: Mapping[str, Any] | None
) -> None:
    pictures, times = [], []
    for frame in frames:
        pictures.append(Image.fromarray(frame.pixels))
        times.append(frame.time)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    milliseconds = [max(1, round(float(gap) * 1000)) for gap in [*gaps, last]]
    kind = ANIMATIONS[draft.suffix.lower()]
    options: dict[str, Any] = {"quality": 90, "method": 4} if kind == "WEBP" else {}
    if note and kind == "WEBP":
        options["xmp"] = build_xmp(json.dumps(note["recipe"]), note["edit_id"])
    elif note:
        options["comment"] = json.dumps(note).encode()
    pictures[0].save(
        draft,
        format=kind,
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds if len(pictures) > 1 else milliseconds[0],
        loop=0,
        **options,
    )


def _write_video(
    draft: Path,
    kind: str,
    frames: Iterable[Frame],
    sound: Clip | None,
    note: Mapping[str, Any] | None,
) -> list[str]:
    av = import_av()
    name = next((n for n in CODECS[kind] if n in av.codecs_available), None)
    if name is None:
        raise OptionError(f"this PyAV cannot write {kind}; choose another kind of file")
    doubts: list[str] = []
    try:
        with av.open(str(draft), "w") as container:
            if note:
                container.metadata["comment"] = json.dumps(note)
            stream = container.add_stream(name, options=dict(CODECS[kind][name]))
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, _TICKS)
            first: Fraction | None = None
            with _sound(av, container, sound, doubts) as copy_sound:
                for frame in frames:
                    if first is None:
                        first = frame.time
                        height, width = (side - side % 2 for side in frame.pixels.shape[:2])
                        stream.width, stream.height = width, height
                    _encode(av, container, stream, frame, first)
                container.mux(stream.encode(None))
                copy_sound(first or Fraction(0))
    except av.error.FFmpegError as error:
        raise OutputError(f"{draft.name} cannot be written: {error}") from error
    return doubts


def _encode(av: Any, container: Any, stream: Any, frame: Frame, first: Fraction) -> None:
    from av.video.reformatter import Colorspace

    # Chroma of half the size has no odd sides; the last row or column goes.
    pixels = np.ascontiguousarray(frame.pixels[: stream.height, : stream.width])
    picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709
    )
    context = stream.codec_context
    context.colorspace = picture.colorspace = 1
    context.color_primaries = picture.color_primaries = 1
    context.color_trc = picture.color_trc = 1
    context.color_range = picture.color_range = 1
    picture.time_base = Fraction(1, _TICKS)
    picture.pts = round((frame.time - first) * _TICKS)
    container.mux(stream.encode(picture))


@contextlib.contextmanager
def _sound(
    av: Any, container: Any, clip: Clip | None, doubts: list[str]
) -> Iterator[Callable[[Fraction], None]]:
    """Add a stream for the clip's sound; yields what copies it when the pictures are written.

    What it yields takes the time of the first picture that was written, by the clip's clock.
    """
    if clip is None or not has_sound(clip):
        yield lambda first: None
        return
    with av.open(str(clip.path)) as source:
        stream = source.streams.audio[0]
        codec = stream.codec_context.name
        if codec not in container.supported_codecs:
            doubts.append(
                f"the sound ({codec}) does not fit into this kind of file and is left out"
            )
            yield lambda first: None
            return
        copy = container.add_stream_from_template(stream)

        def copy_packets(first: Fraction) -> None:
            # A clip counts from its first picture; sound goes by the file's clock, which often
            # shows another time then. Sound from before the first picture is left out.
            start = clip.start()
            begin, end = start + first, None if clip.end is None else start + Fraction(clip.end)
            shift = math.floor(begin / stream.time_base)
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                time = packet.pts * stream.time_base
                if time < begin or (end is not None and time >= end):
                    continue
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                container.mux(packet)

        yield copy_packets
