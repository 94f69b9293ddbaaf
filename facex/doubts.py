# SPDX-License-Identifier: Apache-2.0
"""What about a photo makes an edit with its face doubtful, in words for who chose the photo.

Better said than seen: half of a face that is turned away is guessed, and no result is sharper than
its source.
"""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from torch import Tensor

from facex.editing import PreparedEdit
from facex.fors.face_picture import FacePicture
from facex.fors.occluders import things_before
from facex.framing import picture_of
from facex.geometry.band import filled
from facex.geometry.drive import MOST_HEAD_TURN, MOST_TURN
from facex.geometry.pose import euler_from_rotation, facing_angle
from facex.geometry.topology import EYES
from facex.locate import LocatedFace
from facex.types import PARSING_CLASSES, Region

_TURNED: Final = 35
"""Degrees of yaw between two heads from which on one shows little of what the other needs."""
_SMALL: Final = 160
"""Pixels of a crop, about twice the width of a face, below which it is seen to be blurred."""
_LARGER: Final = 1.5
"""How much larger than such a crop the result must be for that."""
_GLASSES: Final = PARSING_CLASSES.index("eye_g")
_BEHIND: Final = 0.6
"""Share of the eyes' openings called glasses from which on nobody sees the eyes: a parser calls
eyes behind clear lenses eyes."""


def tell_doubts(prepared: PreparedEdit, target: LocatedFace) -> None:
    """Warn of what the photos whose faces are put into a target let one expect of the result."""
    found: list[str] = []
    shown = {plan.pixels[Region.SKIN] for plan in prepared.plans if not plan.by_mask}
    for role in sorted(shown & prepared.others.keys()):
        face, pose = prepared.others[role], prepared.plans[0].motion.pose
        posed = prepared.others.get(pose, target)
        turns = face.representation.rotation[0], posed.representation.rotation[0]
        if role == prepared.plans[0].motion.head:
            found += turned_far(*turns, face.name, MOST_HEAD_TURN)
        else:
            found += turned_away(*turns, face.name)
        found += hidden(picture_of(face), face.name)
        found += too_small(face.native_size, target.native_size, face.name)
    driver = prepared.others.get(prepared.plans[0].motion.pose)
    if driver is not None and not prepared.plans[0].motion.relative:
        found += turned_far(
            target.representation.rotation[0], driver.representation.rotation[0], driver.name
        )
    for doubt in found:
        warnings.warn(doubt, stacklevel=1)


def turned_away(source: Tensor, result: Tensor, name: str) -> list[str]:
    """Whether a source's head is turned too far from the result's.

    Args:
        source: rotation ``(3, 3)`` of the head whose face is shown.
        result: rotation ``(3, 3)`` of the head that it is put on.
        name: of the source's photo.

    Returns:
        No sentence or one.
    """
    own, wanted = (float(euler_from_rotation(turn)[0]) for turn in (source, result))
    # A head that is turned less than the result's shows both halves.
    if abs(np.rad2deg(own - wanted)) < _TURNED or abs(own) < abs(wanted):
        return []
    return [
        f"the head in {name} is turned by more than {_TURNED} degrees against the result, so half "
        "of the face is a guess; a photo from a more similar side will look more like the person"
    ]


def turned_far(target: Tensor, wanted: Tensor, name: str, most: float = MOST_TURN) -> list[str]:
    """Whether a head is not turned as far as another's: no sentence or one.

    Args:
        target: rotation ``(3, 3)`` of the head that is turned.
        wanted: rotation ``(3, 3)`` of the other's.
        name: of the photo that is not the edited one.
        most: radians that it is turned at most.
    """
    if float(facing_angle(target, wanted)) <= most:
        return []
    return [
        f"the head in {name} faces more than {round(np.rad2deg(most))} degrees away from "
        "where the photo's does; it is turned only so far, as the rest would be a guess"
    ]


def hidden(picture: FacePicture, name: str) -> list[str]:
    """Whether dark glasses or a thing before the face hide some of it: no sentence, or some.

    Args:
        picture: the source.
        name: of its photo.
    """
    said = []
    points, parsing = np.asarray(picture.landmarks), picture.parsing
    openings = [filled(points[list(eye), :2], *parsing.shape) > 0.5 for eye in EYES]
    inside = parsing[openings[0] | openings[1]]
    if inside.size and (inside == _GLASSES).mean() > _BEHIND:
        said.append(
            f"glasses hide the eyes in {name} and will hide them in the result; a photo without "
            "them will look more like the person"
        )
    if things_before(picture).any():
        said.append(
            f"something is before the face in {name} and may come along; use a photo in which the "
            "face is free, or paint it out with facex inpaint first"
        )
    return said


def too_small(source: int, result: int, name: str) -> list[str]:
    """Whether a source has far fewer pixels than the result shows: no sentence or one.

    Args:
        source: side of the source's crop in pixels of its photo.
        result: the same of the face that is edited.
        name: of the source's photo.
    """
    if source >= _SMALL or result < _LARGER * source:
        return []
    return [
        f"the face in {name} has few pixels (about {source // 2} across), so the result is "
        "blurred; use a larger photo"
    ]
