# SPDX-License-Identifier: Apache-2.0
"""Which of the faces in a photo is meant: ``--face largest|all|N|like:PHOTO``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from facex.errors import NoFaceFound, OptionError

if TYPE_CHECKING:
    from facex.detect.detector import Detection

_DOUBTFUL = 0.15
"""Share of the surest face's score below which a face does not count as the largest."""

LikenessTo: TypeAlias = Callable[[Path], Sequence[float]]
"""Cosine similarity of identity, from the face of the given photo to each detection, in order."""


@dataclass(frozen=True)
class FaceChoice:
    """A parsed ``--face``.

    Attributes:
        kind: how to choose.
        number: for ``number``: 1 is the leftmost face.
        photo: for ``like``: a photo of the wanted person.
    """

    kind: Literal["largest", "all", "number", "like"] = "largest"
    number: int | None = None
    photo: Path | None = None

    @classmethod
    def parse(cls, text: str) -> FaceChoice:
        """Read ``largest``, ``all``, a number from 1, or ``like:PHOTO``.

        Raises:
            OptionError: the text is none of these.
        """
        text = text.strip()
        if text in ("largest", "all"):
            return cls(kind="largest" if text == "largest" else "all")
        if text.startswith("like:") and text[5:].strip():
            return cls(kind="like", photo=Path(text[5:].strip()))
        if text.isascii() and text.isdigit() and int(text[:9]) > 0:
            return cls(kind="number", number=int(text[:9]))
        raise OptionError(
            f"face choice '{text}' is not understood: give largest, all, a number from 1 "
            "(counted from left to right) or like:PHOTO"
        )

    def __str__(self) -> str:
        if self.kind == "like":
            return f"like:{self.photo}"
        return str(self.number) if self.kind == "number" else self.kind


def left_to_right(detections: Sequence[Detection]) -> list[int]:
    """Indices of the faces by the x of their centres."""
    return sorted(range(len(detections)), key=lambda i: detections[i].centre)


def choose_faces(
    detections: Sequence[Detection],
    choice: FaceChoice,
    similarity: LikenessTo | None = None,
    *,
    least_similarity: float = 0.28,
) -> list[int]:
    """Apply a choice.

    Args:
        detections: the faces of one photo, in any order.
        choice: what is wanted.
        similarity: needed for ``like:PHOTO``.
        least_similarity: cosine below which no face counts as the wanted person.

    Returns:
        Indices into ``detections``: one, or for ``all`` every one from left to right.

    Raises:
        NoFaceFound: there is no face, or not the one asked for.
        OptionError: ``like:PHOTO`` without something that compares faces.
    """
    if not detections:
        raise NoFaceFound("no face was found in the photo: use one with a larger or clearer face")
    order = left_to_right(detections)
    if choice.kind == "all":
        return order
    if choice.kind == "largest":
        # A doubtful find (a badge, a pattern) must not beat a sure one by its size.
        least = max(detections[i].score for i in order) * _DOUBTFUL
        sure = [i for i in order if detections[i].score >= least]
        return [max(sure or order, key=lambda i: (detections[i].area, detections[i].score))]
    if choice.kind == "number":
        number = choice.number or 0
        if not 1 <= number <= len(order):
            count = "1 face" if len(order) == 1 else f"{len(order)} faces"
            raise NoFaceFound(
                f"face {number} was asked for but the photo has {count}: "
                f"give a number from 1 to {len(order)}"
            )
        return [order[number - 1]]
    if similarity is None or choice.photo is None:
        raise OptionError("like:PHOTO needs a model that compares faces: choose by number")
    likeness = similarity(choice.photo)
    if len(likeness) != len(detections):
        raise ValueError(f"{len(likeness)} similarities for {len(detections)} faces")
    best = max(order, key=lambda i: likeness[i])
    if not likeness[best] >= least_similarity:
        raise NoFaceFound(
            f"none of the {len(order)} faces looks like {choice.photo} (best similarity "
            f"{likeness[best]:.2f}): choose by number"
        )
    return [best]
