# SPDX-License-Identifier: Apache-2.0
"""What content filters are, and the two of FaceX: faces that look like a child's, nude bodies.

What they catch and miss stands in ``POLICY.md``. Nudity is looked for where the extra ``nudity`` is
installed (`facex.server.nudity`).

Other packages may bring filters through the entry-point group ``facex.content_filters``::

    [project.entry-points."facex.content_filters"]
    mine = "my_package:MyFilter"

A filter is a class without required arguments whose objects follow :class:`ContentFilter`. Every
installed one is asked about every upload; there is no switch that turns it off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from typing import Final, Protocol

from facex.errors import OptionError
from facex.imaging.read import Photo
from facex.locate import LocatedFace
from facex.server.age import LEAST_YEARS, years_of
from facex.server.nudity import LooksClothed, can_look
from facex.server.refusals import Refused

ENTRY_POINTS: Final = "facex.content_filters"


class ContentFilter(Protocol):
    """Decides whether a photo may be worked on."""

    name: str

    def __call__(self, photo: Photo) -> str | None:
        """Why the photo is refused, in one sentence for its owner; None: nothing was found."""
        ...


class FaceFilter(Protocol):
    """Decides whether a found face may be worked on."""

    name: str

    def __call__(self, face: LocatedFace) -> str | None:
        """Why the face is refused, in one sentence for the photo's owner; None: it may be used."""
        ...


class LooksAdult:
    """Refuses faces that look younger than ``LEAST_YEARS`` to our age network."""

    name = "looks-adult"

    def __call__(self, face: LocatedFace) -> str | None:
        """See :class:`FaceFilter`."""
        if years_of(face.crop, face.representation.shape) >= LEAST_YEARS:
            return None
        return (
            "a face in this photo looks like that of somebody under 18; such photos are not "
            "edited here, crop that face out to edit the others"
        )


def check_faces(faces: Iterable[LocatedFace], filters: Sequence[FaceFilter]) -> None:
    """Ask every filter about every face.

    Raises:
        Refused: 422, with the first filter's reason.
    """
    for face in faces:
        for ask in filters:
            reason = ask(face)
            if reason is not None:
                raise Refused(422, "ContentRefused", reason)


def installed_filters() -> tuple[ContentFilter, ...]:
    """All filters of whole photos of this environment.

    Raises:
        OptionError: one of them cannot be loaded; serving without it would be a silent hole.
    """
    found: list[ContentFilter] = [LooksClothed()] if can_look() else []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            found.append(entry.load()())
        except Exception as error:
            raise OptionError(f"the content filter {entry.name} does not load: {error}") from error
    return tuple(found)


def check_content(photo: Photo, filters: Sequence[ContentFilter]) -> None:
    """Ask every filter.

    Raises:
        Refused: 422, with the first filter's reason.
    """
    for ask in filters:
        reason = ask(photo)
        if reason is not None:
            raise Refused(422, "ContentRefused", reason)
