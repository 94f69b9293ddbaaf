# SPDX-License-Identifier: Apache-2.0
"""Drawing a clip in parts that are kept when the work is stopped, and joining them."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facex.errors import OutputError
from facex.video.clip import Clip, Frame
from facex.video.encode import check_part, read_part, write_clip, write_part, write_text

PART_FRAMES: Final = 24

Pixels = NDArray[np.uint8]
Report = Callable[[int, int, str], None]
"""Called with (frames done, frames in all, what is being done)."""


@dataclass(frozen=True)
class ClipResult:
    """What became of a clip.

    Attributes:
        path: the file.
        frames: how many it has.
        edited: how many of them were edited; the others are as they were.
        resumed: how many were there from an earlier run.
        edit_id: names the edit in the metadata.
        warnings: a sentence for each thing that could not be kept.
    """

    path: Path
    frames: int
    edited: int
    resumed: int
    edit_id: int
    warnings: tuple[str, ...] = ()


def edit_key(files: Iterable[Path], *settings: object) -> str:
    """Digest of everything that decides how a clip will look."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    digest.update(json.dumps([str(value) for value in settings]).encode())
    return digest.hexdigest()


def edit_number(key: str) -> int:
    """24 bits that name the edit, the same for all of its frames."""
    return int(key[:6], 16)


class Parts:
    """Finished parts of a clip, in a hidden folder beside it.

    Args:
        out: the clip that will be written.
        key: of :func:`edit_key`; parts of another key are thrown away.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, out: Path, key: str) -> None:
        self.folder = out.with_name(f".{out.name}.parts")
        note = self.folder / "key"
        try:
            if not note.is_file() or note.read_text() != key:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir()
                write_text(note, key)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be made: {error.strerror}") from error

    def path(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"{number:06d}.png"

    def finished(self, number: int, frames: int) -> int | None:
        """How many frames of a part were edited, if it is there; a damaged one is removed.

        Args:
            number: of the part.
            frames: how many it must hold.
        """
        path = self.path(number)
        if not path.exists():
            return None
        edited = check_part(path, frames)
        if edited is None:
            path.unlink(missing_ok=True)
        return edited

    def write(self, number: int, frames: list[Frame], edited: int) -> None:
        """Keep a part.

        Args:
            number: of the part.
            frames: that are in it.
            edited: how many of them were edited.

        Raises:
            OutputError: the disk is full.
        """
        try:
            write_part(self.path(number), frames, edited)
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written to: {error.strerror or error}"
            ) from error

    def remove(self) -> None:
        """Throw everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def render(
    out: Path,
    key: str,
    frames: Iterable[Frame],
    times: list[float],
    draw: Callable[[Frame, Pixels | None], tuple[Pixels, bool]],
    *,
    sound: Clip | None,
    note: dict[str, Any],
    report: Report,
) -> ClipResult:
    """Draw every frame, keep what is done in parts, and join the parts.

    Args:
        out: the clip to write.
        key: of :func:`edit_key`.
        frames: of the input, as many as there are times.
        times: of every frame, seconds.
        draw: makes the frame, given the one before it that was made (None at the beginning);
            also says whether anything was edited.
        sound: clip whose sound is copied, or None.
        note: goes into the metadata, with the edit's id; empty: nothing does.
        report: progress.
    """
    parts, edit_id = Parts(out, key), edit_number(key)
    total, edited, resumed = len(times), 0, 0
    pending: list[Frame] = []
    pending_edited = 0
    exact: list[Fraction] = []
    before: Pixels | None = None
    there: int | None = None
    for frame in frames:
        exact.append(frame.time)
        number, place = divmod(frame.index, PART_FRAMES)
        if place == 0:
            there = parts.finished(number, min(PART_FRAMES, total - frame.index))
            edited += there or 0
        if there is not None:
            resumed += 1
            before = None
            report(frame.index + 1, total, "done before")
            continue
        if before is None and number and not pending:
            *_, before = read_part(parts.path(number - 1))
        before, changed = draw(frame, before)
        pending_edited += changed
        pending.append(Frame(frame.index, frame.time, before))
        if len(pending) == PART_FRAMES or frame.index + 1 == total:
            parts.write(number, pending, pending_edited)
            edited += pending_edited
            pending, pending_edited = [], 0
        report(frame.index + 1, total, "drawing")
    gaps = sorted(b - a for a, b in itertools.pairwise(exact))
    last = gaps[len(gaps) // 2] if gaps else Fraction(1, 10)
    said = {**note, "edit_id": edit_id} if note else None
    doubts = write_clip(out, _joined(parts, exact, report), last=last, sound=sound, note=said)
    parts.remove()
    return ClipResult(out, total, edited, resumed, edit_id, tuple(doubts))


def _joined(parts: Parts, times: list[Fraction], report: Report) -> Iterator[Frame]:
    index = 0
    for number in range(-(-len(times) // PART_FRAMES)):
        for pixels in read_part(parts.path(number)):
            yield Frame(index, times[index], pixels)
            index += 1
            report(index, len(times), "writing")
