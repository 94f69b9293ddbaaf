# SPDX-License-Identifier: Apache-2.0
"""Looking for the marks of an edit in a clip: in some of its frames, and in its metadata."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from facex.errors import ImageRejected
from facex.safety.mark import TOOL_FACEX, detect
from facex.safety.provenance import TOOL, read_xmp
from facex.video.clip import Clip, import_av

_LOOKED: Final = 12
"""Frames that are looked at, spread over the clip."""
_LONGEST: Final = 2**16
"""Characters of a note."""


@dataclass(frozen=True)
class ClipReport:
    """What a clip says about its making.

    Attributes:
        path: the file.
        looked: frames that were searched for the mark.
        marked: how many of them carry it.
        edit_id: the id that most of them name, or None.
        metadata: of :func:`read_note`.
        verdict: one sentence.
    """

    path: Path
    looked: int
    marked: int
    edit_id: int | None
    metadata: dict[str, Any] | None
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; edit ids are six hexadecimal digits."""
        return {
            "file": str(self.path),
            "by_facex": self.edit_id is not None or self.metadata is not None,
            "verdict": self.verdict,
            "frames_searched": self.looked,
            "frames_marked": self.marked,
            "edit_id": None if self.edit_id is None else f"{self.edit_id:06x}",
            "metadata": self.metadata
            and {**self.metadata, "edit_id": f"{self.metadata['edit_id']:06x}"},
        }


def verify_clip(path: Path) -> ClipReport:
    """Search a clip.

    Raises:
        ImageRejected: the file is no usable clip.
        MissingExtra: it is a video and PyAV is not installed.
    """
    clip = Clip(path)
    every = max(1, clip.count() // _LOOKED)
    looked, found = 0, Counter[int]()
    for frame in clip.frames():
        if frame.index % every or looked == _LOOKED:
            continue
        looked += 1
        payload = detect(frame.pixels).payload
        if payload is not None and payload.tool == TOOL_FACEX:
            found[payload.edit_id] += 1
    metadata = read_note(path)
    edit_id = found.most_common(1)[0][0] if found else None
    marked = sum(found.values())
    verdict = _verdict(looked, marked, edit_id, metadata)
    return ClipReport(path, looked, marked, edit_id, metadata, verdict)


def _verdict(looked: int, marked: int, edit_id: int | None, metadata: dict[str, Any] | None) -> str:
    if edit_id is not None:
        if metadata is None:
            note = "metadata is gone"
        elif metadata["edit_id"] == edit_id:
            note = "the metadata says so too"
        else:
            note = (
                f"but the metadata says edit {metadata['edit_id']:06x}: edited several times, or "
                "the metadata comes from elsewhere"
            )
        return (
            f"Edited with FaceX (edit {edit_id:06x}): {marked} of {looked} frames that were "
            f"searched carry the mark, {note}."
        )
    if metadata is not None:
        return (
            f"The metadata says that FaceX edited this clip (edit {metadata['edit_id']:06x}), but "
            "no frame carries the mark."
        )
    return "No trace of FaceX was found, which does not prove that the clip is unedited."


def read_note(path: Path) -> dict[str, Any] | None:
    """What the metadata of a clip say about its making; None unless FaceX wrote them.

    Args:
        path: a video or an animation.

    Returns:
        ``tool``, ``digital_source_type``, ``edit_id`` and ``recipe``. They come from the file, so
        anybody may have written them.

    Raises:
        ImageRejected: the file cannot be opened.
    """
    if not Clip(path).is_video:
        return _packet(path) or _parse(_comment(path))
    av = import_av()
    try:
        with av.open(str(path)) as container:
            named = {name.lower(): text for name, text in container.metadata.items()}
    except av.error.FFmpegError as error:
        raise ImageRejected(f"{path} cannot be read as a video: {error}") from error
    return _parse(named.get("comment", ""))  # Matroska and WebM write it in capitals


def _packet(path: Path) -> dict[str, Any] | None:
    """The XMP packet of a WebP or PNG in the words of the other notes."""
    found = read_xmp(path)
    if found is None or found.edit_id is None:
        return None
    return {
        "digital_source_type": found.digital_source_type,
        "tool": found.tool,
        "recipe": None if found.recipe is None else dict(found.recipe),
        "edit_id": found.edit_id,
    }


def _comment(path: Path) -> str:
    """The comment of a GIF; empty if there is none."""
    try:
        with Image.open(path) as image:
            comment = image.info.get("comment", b"")
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageRejected(f"{path} cannot be read as a picture: {error}") from error
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)


def _parse(text: str) -> dict[str, Any] | None:
    """A note that was written as JSON; the text may come from anywhere."""
    if not text.startswith("{") or len(text) > _LONGEST:
        return None
    try:
        note = json.loads(text)
    except (ValueError, RecursionError):
        return None
    number = note.get("edit_id")
    ours = str(note.get("tool")).startswith(TOOL)
    if not ours or type(number) is not int or not 0 <= number < 1 << 24:
        return None
    return dict(note)
