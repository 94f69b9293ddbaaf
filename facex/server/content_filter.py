# SPDX-License-Identifier: Apache-2.0
"""What a content filter is. FaceX brings none, and says so (``POLICY.md``).

Other packages may bring filters through the entry-point group ``facex.content_filters``::

    [project.entry-points."facex.content_filters"]
    mine = "my_package:MyFilter"

A filter is a class without required arguments whose objects follow :class:`ContentFilter`. Every
installed one is asked about every upload; there is no switch that turns it off.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Final, Protocol

from facex.errors import OptionError
from facex.imaging.read import Photo
from facex.server.refusals import Refused

ENTRY_POINTS: Final = "facex.content_filters"


class ContentFilter(Protocol):
    """Decides whether a photo may be worked on."""

    name: str

    def __call__(self, photo: Photo) -> str | None:
        """Why the photo is refused, in one sentence for its owner; None: nothing was found."""
        ...


def installed_filters() -> tuple[ContentFilter, ...]:
    """All filters of this environment.

    Raises:
        OptionError: one of them cannot be loaded; serving without it would be a silent hole.
    """
    found = []
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
