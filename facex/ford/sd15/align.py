# SPDX-License-Identifier: Apache-2.0
"""How each public network wants a face to be cut out; everything is differentiable.

Crops are taken with the landmarks of the crop. A patch is sampled several times finer than it
will be and then averaged, because 512 px crops are shrunk up to four times: plain bilinear
sampling would alias. Nothing here depends on the other faces of a batch.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from facex.ford.layers import sample_affine, similarity_from_points
from facex.geometry.topology import EYE_CORNERS, SURFACE_COUNT

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)

_NOSE_TIP: Final = 4
_MOUTH_CORNERS: Final = (61, 291)

ARCFACE_POINTS: Final = (
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366),
    (41.5493, 92.3655), (70.7299, 92.2041),
)  # fmt: skip
"""Right eye, left eye, nose tip, right and left mouth corner in the 112 px crop of ArcFace, for
pixel centres at whole numbers (FaceX adds one half)."""

D3DFR_POINTS: Final = (
    (-0.31148657, 0.29036078, 0.13377953), (0.30979887, 0.28972036, 0.13179526),
    (0.0032535, -0.04617932, 0.55244243), (-0.25216928, -0.38133916, 0.22405732),
    (0.2484662, -0.38128236, 0.22235769),
)  # fmt: skip
"""The same five points of D3DFR's mean face; y up, z towards the camera."""

D3DFR_SIZE: Final = 224
_D3DFR_SCALE: Final = 102.0


def normalise(
    images: Tensor,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Tensor:
    """Bring ``(B, 3, H, W)`` images from [-1, 1] to (x - mean) / std with x in [0, 1]."""
    offset = torch.tensor(mean, dtype=images.dtype, device=images.device)[:, None, None]
    factor = torch.tensor(std, dtype=images.dtype, device=images.device)[:, None, None]
    return ((images + 1) / 2 - offset) / factor


def resize(images: Tensor, size: int, mode: str = "bilinear") -> Tensor:
    """Resample square ``(B, C, S, S)`` to ``size``; antialiased when it shrinks."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode=mode, antialias=True)


def five_points(landmarks: Tensor) -> Tensor:
    """Eyes (midway between their corners), nose tip and mouth corners.

    Args:
        landmarks: ``(B, 478, 2 or 3)``.

    Returns:
        ``(B, 5, 2)``: right eye, left eye, nose, right and left mouth corner of the person. The
        corners, not the irises, so that the gaze does not turn the crop.
    """
    points = landmarks[..., :2].float()
    eyes = [points[:, list(corners)].mean(1) for corners in EYE_CORNERS]
    rest = [points[:, index] for index in (_NOSE_TIP, *_MOUTH_CORNERS)]
    return torch.stack([*eyes, *rest], 1)


def cut_patch(images: Tensor, image_from_patch: Tensor, size: int, oversample: int) -> Tensor:
    """Cut square patches ``(B, 3, size, size)`` out by affine maps ``(B, 2, 3)``, antialiased.

    Args:
        images: ``(B, 3, S, S)``.
        image_from_patch: patch pixels to image pixels, centres at +0.5.
        size: side of the patches.
        oversample: samples along each side of a patch pixel.
    """
    fine = image_from_patch.float().clone()
    fine[..., :2] = fine[..., :2] / oversample
    patches = sample_affine(images, fine, (size * oversample, size * oversample))
    return F.avg_pool2d(patches, oversample) if oversample > 1 else patches


def arcface_crop(images: Tensor, landmarks: Tensor, size: int = 112) -> Tensor:
    """Upright recognition crops ``(B, 3, size, size)`` in [-1, 1]."""
    points = five_points(landmarks)
    template = (torch.tensor(ARCFACE_POINTS, device=points.device) + 0.5) * (size / 112)
    image_from_patch = similarity_from_points(template.expand_as(points), points)
    return cut_patch(images, image_from_patch, size, oversample=4)


def d3dfr_crop(images: Tensor, landmarks: Tensor, size: int = D3DFR_SIZE) -> Tensor:
    """Upright-axes crops ``(B, 3, size, size)`` in [-1, 1], scaled and centred by the mean face.

    The scale is that of the affine map from the mean face to the five points; the mean face's
    origin comes to the middle and its unit to 102 of 224 px, as the network was trained.
    """
    points = five_points(landmarks)
    # The picture's y points down, the mean face's up.
    mean = torch.tensor(D3DFR_POINTS, device=points.device) * points.new_tensor([1.0, -1.0, 1.0])
    design = torch.cat([mean, mean.new_ones(5, 1)], 1)
    affine = torch.linalg.pinv(design) @ points
    unit = affine[:, :3].norm(dim=1).mean(1)
    step = unit / _D3DFR_SCALE * (D3DFR_SIZE / size)
    identity = torch.eye(2, device=points.device)
    linear = step[:, None, None] * identity
    shift = affine[:, 3] - step[:, None] * (size / 2)
    return cut_patch(images, torch.cat([linear, shift[..., None]], 2), size, oversample=2)


def face_box_crop(images: Tensor, landmarks: Tensor, size: int, margin: float = 1.15) -> Tensor:
    """Square crops ``(B, 3, size, size)`` around the face's outline, times ``margin``."""
    points = landmarks[:, :SURFACE_COUNT, :2].float()
    low, high = points.amin(1), points.amax(1)
    side = (high - low).amax(1) * margin
    step = (side / size)[:, None, None] * torch.eye(2, device=points.device)
    shift = (low + high) / 2 - side[:, None] / 2
    return cut_patch(images, torch.cat([step, shift[..., None]], 2), size, oversample=1)
