# SPDX-License-Identifier: Apache-2.0
"""Looking for the marks of an edit in a clip: in some of its frames, and in its metadata."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facex.safety.mark import TOOL_FACEX, detect
from facex.video.clip import Clip, import_av

_LOOKED: Final = 12
"""Frames that are looked at, spread over the clip."""


@dataclass(frozen=True)
class ClipReport:
    """What a clip says about its making.

    Attributes:
        path: the file.
        looked: frames that were searched for the mark.
        marked: how many of them carry it.
        edit_id: the id that most of them name, or None.
        metadata: the note in the container, or None.
        verdict: one sentence.
    """

    path: Path
    looked: int
    marked: int
    edit_id: int | None
    metadata: dict[str, Any] | None
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; the edit id is six hexadecimal digits."""
        return {
            "file": str(self.path),
            "by_facex": self.edit_id is not None or self.metadata is not None,
            "verdict": self.verdict,
            "frames_searched": self.looked,
            "frames_marked": self.marked,
            "edit_id": None if self.edit_id is None else f"{self.edit_id:06x}",
            "metadata": self.metadata,
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
    metadata = _note(clip)
    edit_id = found.most_common(1)[0][0] if found else None
    marked = sum(found.values())
    if edit_id is not None:
        note = "the metadata says so too" if metadata else "metadata is gone"
        verdict = (
            f"Edited with FaceX (edit {edit_id:06x}): {marked} of {looked} frames that were "
            f"searched carry the mark, {note}."
        )
    elif metadata:
        verdict = "The metadata says that FaceX edited this clip, but no frame carries the mark."
    else:
        verdict = "No trace of FaceX was found, which does not prove that the clip is unedited."
    return ClipReport(path, looked, marked, edit_id, metadata, verdict)


def _note(clip: Clip) -> dict[str, Any] | None:
    if not clip.is_video:
        return None
    with import_av().open(str(clip.path)) as container:
        text = container.metadata.get("comment", "")
    if not text.startswith("{") or len(text) > 2**16:
        return None
    try:
        note = json.loads(text)
    except ValueError:
        return None
    return note if isinstance(note, dict) and "FaceX" in str(note.get("tool")) else None
