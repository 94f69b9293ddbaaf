# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of FaceX and its conventions, cited everywhere else.

Images are float tensors ``(B, 3, H, W)``, RGB, in [-1, 1]; masks ``(B, 1, H, W)`` in [0, 1].
Pixel coordinates: x right, y down, pixel centres at +0.5, so a 256 px picture spans [0, 256].
Angles are radians inside the library and degrees only at the command line and in recipes:
yaw + the subject looks to the picture's right, pitch + up, roll + clockwise in the picture.
``left`` and ``right`` are the person's own. ``photo_from_crop`` is a 2x3 matrix that maps crop
pixels to photo pixels; matrices are named ``destination_from_source`` throughout.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Factor(StrEnum):
    """What a face is made of (paper, section 3: identity, motion, texture, hair, light, ...)."""

    IDENTITY = "identity"
    POSE = "pose"
    EXPRESSION = "expression"
    GAZE = "gaze"
    TEXTURE = "texture"
    HAIR = "hair"
    LIGHT = "light"
    BACKGROUND = "background"


class Region(StrEnum):
    """A named part of the picture that can be taken from another photo."""

    SKIN = "skin"
    BROWS = "brows"
    EYES = "eyes"
    NOSE = "nose"
    LIPS = "lips"
    EARS = "ears"
    HAIR = "hair"
    GLASSES = "glasses"
    BEARD = "beard"
    NECK = "neck"
    CLOTH = "cloth"
    HAT = "hat"
    BACKGROUND = "background"


PARSING_CLASSES: Final[tuple[str, ...]] = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""The 19 classes of CelebAMask-HQ, in the order of the class ids of ``parsing``."""

PARSING_MIRROR: Final[tuple[int, ...]] = (
    0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18,
)  # fmt: skip
"""Class id after the picture is mirrored."""


def _ids(*names: str) -> tuple[int, ...]:
    return tuple(PARSING_CLASSES.index(name) for name in names)


REGION_CLASSES: Final[dict[Region, tuple[int, ...]]] = {
    Region.SKIN: _ids("skin"),
    Region.BROWS: _ids("l_brow", "r_brow"),
    Region.EYES: _ids("l_eye", "r_eye"),
    Region.NOSE: _ids("nose"),
    Region.LIPS: _ids("mouth", "u_lip", "l_lip"),
    Region.EARS: _ids("l_ear", "r_ear", "ear_r"),
    Region.HAIR: _ids("hair"),
    Region.GLASSES: _ids("eye_g"),
    Region.BEARD: (),
    Region.NECK: _ids("neck", "neck_l"),
    Region.CLOTH: _ids("cloth"),
    Region.HAT: _ids("hat"),
    Region.BACKGROUND: _ids("background"),
}
"""Parsing classes of each region. The beard has no class of its own: it is the part of the skin
below the mouth, cut out with the landmarks (``geometry.topology``)."""

REGIONS: Final[tuple[Region, ...]] = tuple(Region)
"""All regions in the order in which their features are stacked."""

FACE_REGIONS: Final[tuple[Region, ...]] = (
    Region.SKIN, Region.BROWS, Region.EYES, Region.NOSE, Region.LIPS, Region.BEARD,
)  # fmt: skip
HEAD_REGIONS: Final[tuple[Region, ...]] = (
    *FACE_REGIONS, Region.EARS, Region.HAIR, Region.GLASSES, Region.HAT,
)  # fmt: skip

REGION_GROUPS: Final[dict[str, tuple[Region, ...]]] = {
    "face": FACE_REGIONS,
    "head": HEAD_REGIONS,
    "all": REGIONS,
}
"""Named groups of regions that a recipe may use in place of a list."""

BLENDSHAPES: Final[tuple[str, ...]] = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft",
    "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen",
    "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""Names of the 52 expression coefficients, in storage order."""

LANDMARK_COUNT: Final = 478
"""468 mesh points, then five points of the right and five of the left iris."""
