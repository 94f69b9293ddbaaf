# SPDX-License-Identifier: Apache-2.0
"""A picture carried into the result: its own warp, and its mirror image's for what it hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture
from facex.fors.fill import lit, smooth_gain
from facex.fors.glasses import near_half
from facex.fors.guess import LEAST
from facex.fors.mirror import DRAWN_OUT, TRUST, flipped, sharper, softly_turned
from facex.geometry.texture_map import WarpField, draw_warped, mesh_warp, scale_points
from facex.types import FACE_REGIONS, Region

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Shown = tuple[Floats, Floats]
"""Pixels ``(S, S, 3)``, and where they are really shown, ``(S, S)`` in [0, 1]."""

_MUCH: Final = 0.02
"""Share of the picture that must be drawn out before the other half is asked: rims always are."""


@dataclass(frozen=True)
class Carried:
    """How a picture comes into the result.

    Attributes:
        place: ``(478, 3)``, the result's mesh in pixels.
        field: the warp.
        mirrored: the warp of the picture's mirror image, where half of the face is turned away.
        other_lens: the same, continued outside the mesh, where that half wears glasses.
        face: ``(s, s)`` in [0, 1], where the picture shows the face.
        sure: likewise, without the rim that is mixed with what is around; with ``mirrored``.
    """

    place: Doubles
    face: Floats
    field: WarpField
    mirrored: WarpField | None = None
    other_lens: WarpField | None = None
    sure: Floats | None = None

    @cached_property
    def near(self) -> Floats:
        """The half of the result's face that the picture shows better, ``(S, S)`` in [0, 1]."""
        return near_half(self.field, self.place)

    def region(self, region: Region, mask: Floats) -> Floats:
        """A region's mask ``(s, s)`` in the result, ``(S, S)``."""
        own = draw_warped(self.field, mask)
        if region == Region.GLASSES:
            return self._both_lenses(own, mask)
        if self.mirrored is None or region not in FACE_REGIONS:
            return own
        # What the source hides has its place from the other half of its face.
        other = draw_warped(self.mirrored, np.ascontiguousarray(mask[:, ::-1]))
        turned = (self.field.inside > 0) * (1 - self._own_half)
        return np.asarray(own + (other * self.mirrored.visible - own) * turned, np.float32)

    def layer(self, layer: tuple[Region, ...], pixels: Floats) -> Shown:
        """What a layer shows of a picture.

        Args:
            layer: its regions.
            pixels: ``(h, w, 3)`` in [0, 1].
        """
        image, shown = draw_warped(self.field, pixels), self.field.visible
        if layer == FACE_REGIONS and self.mirrored is not None:
            return self._mirror_hidden(self.mirrored, image, pixels)
        if layer[0] == Region.GLASSES and self.other_lens is not None:
            return self._both_lenses(image, pixels), np.maximum(shown, 1 - self.near)
        return image, shown

    def _both_lenses(self, own: Floats, pixels: Floats) -> Floats:
        """The near half of something as it was carried, the far one from its mirror image."""
        if self.other_lens is None:
            return own
        mirrored = draw_warped(self.other_lens, np.ascontiguousarray(pixels[:, ::-1]))
        near = self.near if own.ndim == 2 else self.near[..., None]
        return np.asarray(mirrored + (own - mirrored) * near, np.float32)

    @cached_property
    def _usable(self) -> Floats:
        """Where the mirror image shows face, ``(S, S)`` in [0, 1]."""
        other = self.mirrored
        if other is None or self.sure is None:
            return np.zeros_like(self.field.visible)
        shown = other.visible * draw_warped(other, np.ascontiguousarray(self.sure[:, ::-1]))
        return np.asarray(shown, np.float32)

    @cached_property
    def _own_half(self) -> Floats:
        """How far the picture itself is shown rather than its mirror image, ``(S, S)``."""
        if self.mirrored is None:
            return self.field.visible
        own = softly_turned(self.field.visible, self._usable, self.place)
        drawn_out = (1 - sharper(self.field, self.mirrored)) * self._usable
        return np.asarray(own * (1 - drawn_out), np.float32)

    def _mirror_hidden(self, other: WarpField, image: Floats, pixels: Floats) -> Shown:
        """Show the other half of the face where the source's own half is turned away.

        Faces are nearly symmetric, so the mirrored picture is a better guess than none; it counts
        as half known, for the generator to correct.
        """
        mirrored = draw_warped(other, np.ascontiguousarray(pixels[:, ::-1]))
        own, usable = self._own_half, self._usable
        face = draw_warped(self.field, self.face)
        # What is seen of a half that is turned away tells its light.
        seen = np.asarray(self.field.visible * face * usable * self.field.inside, np.float32)
        if seen.mean() > LEAST:
            mirrored = lit(mirrored, smooth_gain(image, mirrored, seen))
        # What is no face, such as hair before it, lends no colour to a face half turned away.
        share, rest = own * np.maximum(face, 1e-3), (1 - own) * usable
        blend = (share / np.maximum(share + rest, 1e-6))[..., None]
        both = np.asarray(image * blend + mirrored * (1 - blend), np.float32)
        return both, np.asarray(own + (1 - own) * usable * TRUST, np.float32)


def carry(
    picture: FacePicture,
    face: Floats,
    sure: Callable[[], Floats],
    place: Doubles,
    size: int,
    *,
    anchored: bool,
    symmetric: bool,
    glasses: bool,
) -> Carried:
    """Carry a picture to the result's mesh.

    Args:
        picture: what is carried.
        face: ``(s, s)`` in [0, 1], where it shows the face.
        sure: finds the same without the rim that is mixed with hair and ground, if it is needed.
        place: ``(478, 3)``, the result's mesh in pixels.
        size: side of the result.
        anchored: background, shoulders and the picture's border stay in place.
        symmetric: what it hides of the face may come from its mirror image.
        glasses: it wears glasses that come along.
    """
    # Both in the result's pixels: what stays in place has displacement 0 at every size.
    points = scale_points(np.asarray(picture.landmarks), size / picture.crop_size)
    field = mesh_warp(points, place, size, anchor_far=anchored)
    inside = field.inside > 0
    hidden = inside * (1 - field.visible)
    usual = np.median(field.stretch[inside]) if inside.any() else 1
    drawn_out = inside & (field.stretch > DRAWN_OUT * usual)
    if not symmetric or (hidden.mean() < LEAST and drawn_out.mean() < _MUCH):
        return Carried(place, face, field)
    turned = flipped(points, size)
    lens = mesh_warp(turned, place, size) if glasses else None
    mirrored = mesh_warp(turned, place, size, extend=False)
    return Carried(place, face, field, mirrored, lens, sure())
