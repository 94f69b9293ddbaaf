# SPDX-License-Identifier: Apache-2.0
"""Put a picture of glasses, a moustache or a beard on a face (DESIGN 7, attribute swap).

The picture is laid on a flat patch fixed to the head, in the frame of the mean face, and posed as
the head is, so that it turns and tilts with it. A plain background is cut away by its colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facex.errors import ImageRejected
from facex.fors.reference_image import ReferenceImage
from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.pose import Pose, place
from facex.imaging.read import Photo
from facex.recipes.values import PlaceKind

Floats = NDArray[np.float32]

_PLAIN: Final = 0.09
"""How far a colour may be from the border's and still count as plain background."""

_BORDER_BUSY: Final = 0.35
"""Share of border pixels of another colour above which there is no plain background; a thing may
touch a side of its picture."""


@dataclass(frozen=True)
class _Anchor:
    """Where a thing sits: landmarks whose middle is its own, its width over theirs, and depth.

    Attributes:
        middle: landmarks; the thing's centre is their mean.
        across: two landmarks, picture left to right, whose distance gives the width.
        width: width of the thing over that distance.
        shift: moved down by so many of its own heights.
        forward: moved towards the camera by so many pupil distances.
    """

    middle: tuple[int, ...]
    across: tuple[int, int]
    width: float
    shift: float = 0.0
    forward: float = 0.0


ANCHORS: Final[dict[PlaceKind, _Anchor]] = {
    PlaceKind.GLASSES: _Anchor((468, 473, 6), (127, 356), 0.98, 0.08, 0.12),
    PlaceKind.MOUSTACHE: _Anchor((2, 0), (61, 291), 1.15, 0.0, 0.05),
    PlaceKind.BEARD: _Anchor((2, 152), (172, 397), 1.02, 0.06, 0.0),
}


def cut_out(photo: Photo) -> tuple[Floats, Floats]:
    """Colours ``(h, w, 3)`` in [0, 1] and opacity ``(h, w)`` of a thing, cropped to it.

    Raises:
        ImageRejected: the picture has neither transparency nor a plain background.
    """
    rgb = np.asarray(photo.array / np.float32(255), np.float32)
    if photo.alpha is not None and np.asarray(photo.alpha).min() < 250:
        opacity = np.asarray(np.asarray(photo.alpha) / np.float32(255), np.float32)
    else:
        opacity = _without_plain_background(rgb)
    rows, columns = np.flatnonzero(opacity.max(1) > 0.2), np.flatnonzero(opacity.max(0) > 0.2)
    if len(rows) < 3 or len(columns) < 3 or opacity.mean() > 0.98:
        name = photo.path.name if photo.path is not None else "the picture"
        raise ImageRejected(
            f"{name} shows no separate thing to put on; use a transparent picture, "
            "or one with a plain background"
        )
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(rgb[box]), np.ascontiguousarray(opacity[box])


def _without_plain_background(rgb: Floats) -> Floats:
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    plain = np.median(border, 0)
    if float((np.abs(border - plain).max(-1) > _PLAIN).mean()) > _BORDER_BUSY:
        return np.ones(rgb.shape[:2], np.float32)
    far = np.abs(rgb - plain).max(-1)
    opacity = np.clip((far - _PLAIN) / _PLAIN, 0, 1).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(opacity, (0, 0), 0.8), np.float32)


def place_picture(
    reference: ReferenceImage, photo: Photo, kind: PlaceKind, face: FaceGeometry, crop_size: int
) -> ReferenceImage:
    """The reference with the thing on the face; what it covers is known and may change.

    Args:
        reference: painted at any resolution.
        photo: the thing.
        kind: what it is, which decides where it goes.
        face: geometry of the result, batch of one, in pixels of the crop.
        crop_size: side of the crop that the geometry lives in.
    """
    colours, opacity = cut_out(photo)
    size = reference.image.shape[0]
    corners = _corners(ANCHORS[kind], face, opacity.shape[0] / opacity.shape[1])
    corners = corners * (size / crop_size) - 0.5
    height, width = opacity.shape
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(frame, corners.astype(np.float32))
    shrink = np.linalg.norm(corners[1] - corners[0]) / width
    if shrink < 0.5:
        soft = 0.35 / shrink
        opacity = cv2.GaussianBlur(opacity, (0, 0), soft)
        colours = cv2.GaussianBlur(colours, (0, 0), soft)
    alpha = cv2.warpPerspective(opacity, matrix, (size, size))
    laid = cv2.warpPerspective(colours, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
    image = reference.image * (1 - alpha[..., None]) + laid * alpha[..., None]
    radius = max(2, round(size * 0.012))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    edit = np.maximum(reference.edit, cv2.dilate(alpha, kernel))
    known = np.maximum(reference.known, alpha)
    return replace(
        reference,
        image=image.astype(np.float32),
        known=known.astype(np.float32),
        edit=np.where(edit < 0.02, 0, edit).astype(np.float32),
    )


def _corners(anchor: _Anchor, face: FaceGeometry, aspect: float) -> NDArray[np.float64]:
    """Four corners of the thing in crop pixels, clockwise from top left."""
    pose = Pose(face.rotation, face.scale, face.translation, torch.zeros_like(face.scale))
    canonical = (face.landmarks.double() - _offset(pose)) @ face.rotation.double()
    canonical = canonical / face.scale.double()[:, None, None]
    points = canonical[0]
    middle = points[list(anchor.middle)].mean(0)
    left, right = points[anchor.across[0]], points[anchor.across[1]]
    half = float((right - left)[0].abs()) * anchor.width / 2
    tall = half * 2 * aspect
    middle = middle + torch.tensor([0.0, anchor.shift * tall, -anchor.forward]).double()
    offsets = torch.tensor(
        [[-half, -tall / 2], [half, -tall / 2], [half, tall / 2], [-half, tall / 2]]
    )
    corners = torch.cat([offsets.double(), torch.zeros(4, 1).double()], 1) + middle
    placed = place(corners[None].float(), pose)
    return np.asarray(placed[0, :, :2].double().numpy())


def _offset(pose: Pose) -> torch.Tensor:
    return torch.cat([pose.translation, torch.zeros_like(pose.translation[:, :1])], 1)[
        :, None
    ].double()
