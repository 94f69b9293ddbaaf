# SPDX-License-Identifier: Apache-2.0
"""Does a photo show a nude body? Asked of NudeNet, which the extra ``nudity`` brings.

NudeNet (v3, 320n) is a detector of parts of bodies whose weights come in its package. How often it
is wrong, as far as we could measure, stands in ``POLICY.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facex.errors import MissingExtra
from facex.imaging.read import Photo

LEAST_SCORE: Final = 0.4
"""Of a part that counts. Hands beside faces reach it in one of 200 portraits."""
REFUSED: Final = frozenset(
    {
        "FEMALE_BREAST_EXPOSED",
        "FEMALE_GENITALIA_EXPOSED",
        "MALE_GENITALIA_EXPOSED",
        "BUTTOCKS_EXPOSED",
        "ANUS_EXPOSED",
    }
)
"""Names of parts as NudeNet gives them."""

Detect = Callable[[NDArray[np.uint8]], Sequence[Mapping[str, Any]]]


def can_look() -> bool:
    """Whether NudeNet is installed."""
    return find_spec("nudenet") is not None


class LooksClothed:
    """Refuses photos in which NudeNet finds an exposed part.

    Args:
        detect: BGR picture ``(H, W, 3)`` to finds with ``class`` and ``score``; by default NudeNet.

    Raises:
        MissingExtra: NudeNet is not installed.
    """

    name = "looks-clothed"

    def __init__(self, detect: Detect | None = None) -> None:
        if detect is None:
            try:
                from nudenet import NudeDetector
            except ImportError as error:
                raise MissingExtra("looking for nudity", "nudity") from error
            detect = NudeDetector().detect
        self._detect = detect

    def __call__(self, photo: Photo) -> str | None:
        """See :class:`facex.server.content_filter.ContentFilter`."""
        found = self._detect(np.ascontiguousarray(photo.array[..., ::-1]))
        if not any(each["class"] in REFUSED and each["score"] >= LEAST_SCORE for each in found):
            return None
        return (
            "this photo looks as if it showed a nude body; such photos are not edited here, "
            "crop the head out to edit it"
        )
