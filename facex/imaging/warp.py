# SPDX-License-Identifier: Apache-2.0
"""Similarity transforms, the FFHQ alignment, and sampling without aliasing or drift.

Pixel centres lie at +0.5. Sampling is Catmull-Rom: it reproduces linear ramps exactly, so a crop
sits where its matrix says (the usual cubic kernel with a = -0.75 does not). Where a picture shrinks
it is first smoothed with the same kernel, as wide as the reduction and symmetric about each pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, overload

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Box: TypeAlias = tuple[int, int, int, int]
"""Pixels x0 <= x < x1, y0 <= y < y1 as (x0, y0, x1, y1)."""

RIGHT_EYE: Final = (7, 33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163)
LEFT_EYE: Final = (249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263)
RIGHT_MOUTH_CORNER: Final = 61
LEFT_MOUTH_CORNER: Final = 291

_BAND = 1 << 16
"""Pixels sampled at a time: bounds memory at any picture size, and stays in the cache."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """A map of the plane by rotation, one scale and a shift, without reflection.

    Attributes:
        matrix: (2, 3) float64, read-only, ``[[a, -b, tx], [b, a, ty]]``; maps source pixels to
            destination pixels.
    """

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float64)
        if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
            raise ValueError("a similarity needs a finite (2, 3) matrix")
        (a, c, _), (b, d, _) = matrix
        size = math.hypot(a, b)
        if size == 0 or max(abs(a - d), abs(b + c)) > 1e-4 * size:
            raise ValueError("the matrix is no similarity: [[a, -b, tx], [b, a, ty]] is expected")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Similarity:
        """The map that changes nothing."""
        return cls(np.eye(2, 3))

    @classmethod
    def from_parts(
        cls, *, scale: float = 1.0, rotation: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
    ) -> Similarity:
        """Scale and rotate about the origin (radians, + clockwise in the picture), then shift."""
        a, b = scale * math.cos(rotation), scale * math.sin(rotation)
        return cls(np.array([[a, -b, shift[0]], [b, a, shift[1]]]))

    @classmethod
    def from_points(
        cls, source: NDArray[np.floating[Any]], destination: NDArray[np.floating[Any]]
    ) -> Similarity:
        """The least-squares similarity that carries points onto points.

        Args:
            source: (N, 2) points, at least two different ones.
            destination: (N, 2) where they should go.

        Raises:
            ValueError: shapes differ, or all points of one side coincide.
        """
        source = np.asarray(source, np.float64)
        destination = np.asarray(destination, np.float64)
        if source.shape != destination.shape or source.ndim != 2 or source.shape[1] != 2:
            raise ValueError("source and destination must both be (N, 2)")
        source_mean, destination_mean = source.mean(0), destination.mean(0)
        # as complex numbers a similarity is w = m z + t, so m is one division
        z = (source - source_mean) @ np.array([1, 1j])
        w = (destination - destination_mean) @ np.array([1, 1j])
        spread = float((abs(z) ** 2).sum())
        if spread == 0:
            raise ValueError("the source points coincide")
        m = complex((w * z.conj()).sum() / spread)
        linear = np.array([[m.real, -m.imag], [m.imag, m.real]])
        return cls(np.column_stack([linear, destination_mean - linear @ source_mean]))

    @property
    def scale(self) -> float:
        """Destination pixels per source pixel."""
        return math.hypot(self.matrix[0, 0], self.matrix[1, 0])

    @property
    def rotation(self) -> float:
        """Radians, + turns the content clockwise as seen in the picture."""
        return math.atan2(self.matrix[1, 0], self.matrix[0, 0])

    def inverse(self) -> Similarity:
        """The map back."""
        linear = np.linalg.inv(self.matrix[:, :2])
        return Similarity(np.column_stack([linear, -linear @ self.matrix[:, 2]]))

    def compose(self, first: Similarity) -> Similarity:
        """This map after ``first``: ``c_from_b.compose(b_from_a)`` is ``c_from_a``."""
        return Similarity(self.matrix @ np.vstack([first.matrix, [0, 0, 1]]))

    def apply(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Map points (..., 2) in pixels."""
        points = np.asarray(points, np.float64)
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]


def ffhq_alignment(landmarks_xy: NDArray[np.floating[Any]], crop_size: int) -> Similarity:
    """Where FFHQ would cut this face out of its photo.

    The rule of the FFHQ data set (Karras et al. 2019, its published alignment script): upright
    along the eyes and across the mouth, side 4 times the eye distance or 3.6 times the distance
    from eyes to mouth, whichever is larger.

    Args:
        landmarks_xy: (478, 2) or (478, 3) mesh landmarks in photo pixels.
        crop_size: side of the crop in pixels.

    Returns:
        ``photo_from_crop``.
    """
    points = np.asarray(landmarks_xy, np.float64)[:, :2]
    right_eye, left_eye = points[list(RIGHT_EYE)].mean(0), points[list(LEFT_EYE)].mean(0)
    eyes = (right_eye + left_eye) / 2
    eye_to_eye = left_eye - right_eye
    eye_to_mouth = (points[RIGHT_MOUTH_CORNER] + points[LEFT_MOUTH_CORNER]) / 2 - eyes
    across = eye_to_eye - eye_to_mouth[::-1] * [-1, 1]
    length = float(np.hypot(*across))
    if not length > 0:
        raise ValueError("the landmarks of eyes and mouth coincide")
    across *= max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth)) / length
    down = across[::-1] * [-1, 1]
    centre = eyes + 0.1 * eye_to_mouth
    columns = [2 * across / crop_size, 2 * down / crop_size, centre - across - down]
    return Similarity(np.column_stack(columns))


@overload
def crop_image(
    image: NDArray[np.uint8], photo_from_crop: Similarity, size: int | tuple[int, int]
) -> NDArray[np.uint8]: ...
@overload
def crop_image(
    image: Tensor, photo_from_crop: Similarity, size: int | tuple[int, int]
) -> Tensor: ...
def crop_image(
    image: NDArray[np.uint8] | Tensor, photo_from_crop: Similarity, size: int | tuple[int, int]
) -> NDArray[np.uint8] | Tensor:
    """Cut a turned square out of a photo; beyond its border the photo is mirrored.

    Only the part under the crop is touched, so the photo may be of any size. A map that moves by
    whole pixels returns the photo's own values.

    Args:
        image: (H, W, 3) uint8, or float (B, C, H, W) of any range.
        photo_from_crop: maps crop pixels to pixels of ``image``.
        size: side of the crop, or its (height, width).

    Returns:
        (h, w, 3) uint8, or (B, C, h, w) float32 with gradients to ``image``.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if isinstance(image, Tensor):
        batch, channels = image.shape[:2]
        rows = image.float().flatten(0, 1).permute(1, 2, 0)
        source = Sampler.cut(rows, photo_from_crop, (height, width))
        flat = torch.cat([values for _, values in source.bands(height, width)])
        return flat.view(height, width, batch, channels).permute(2, 3, 0, 1).contiguous()
    source = Sampler.cut(image, photo_from_crop, (height, width))
    crop = np.empty((height, width, image.shape[2]), np.uint8)
    for rows_done, values in source.bands(height, width):
        levels = values.round_().clamp_(0, 255).byte().numpy()
        crop[rows_done] = levels.reshape(-1, width, image.shape[2])
    return crop


def uncrop(
    crop: NDArray[Any], photo_from_crop: Similarity, box: Box
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw a crop where it lies in its photo.

    Args:
        crop: (h, w, C), any numeric type.
        photo_from_crop: maps pixels of this crop to photo pixels.
        box: the part of the photo to draw.

    Returns:
        The values (box height, box width, C) float32 in the crop's range (they may overshoot at
        edges), and how much of each pixel the crop covers, (box height, box width) in 0..1.
    """
    x0, y0, x1, y1 = box
    height, width = y1 - y0, x1 - x0
    crop_from_box = photo_from_crop.inverse().compose(Similarity.from_parts(shift=(x0, y0)))
    source = Sampler.whole(crop, crop_from_box)
    region = np.empty((height, width, crop.shape[2]), np.float32)
    for rows, values in source.bands(height, width):
        region[rows] = values.numpy().reshape(-1, width, crop.shape[2])
    return region, coverage(crop.shape[:2], crop_from_box, height, width)


def crop_box(photo_from_crop: Similarity, part: Box, photo_size: tuple[int, int]) -> Box:
    """The photo pixels that a part of a crop can reach, clipped to the photo (width, height)."""
    x0, y0, x1, y1 = part
    corners = photo_from_crop.apply(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float))
    low = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, photo_size)
    high = np.maximum(high, low)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def coverage(
    crop_shape: tuple[int, ...], crop_from_box: Similarity, height: int, width: int
) -> NDArray[np.float32]:
    """How much of each pixel of a box a crop covers.

    Args:
        crop_shape: (height, width) of the crop.
        crop_from_box: maps pixels of the box to crop pixels.
        height: of the box.
        width: of the box.

    Returns:
        (height, width) float32: 1 inside, 0 outside, a ramp of one box pixel on the edges.
    """
    (a, c, tx), (b, d, ty) = crop_from_box.matrix.astype(np.float32)
    x = np.arange(width, dtype=np.float32)[None] + 0.5
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5
    u, v = a * x + c * y + tx, b * x + d * y + ty
    inside = np.minimum(np.minimum(u, crop_shape[1] - u), np.minimum(v, crop_shape[0] - v))
    ramp: NDArray[np.float32] = np.clip(inside / np.float32(crop_from_box.scale) + 0.5, 0, 1)
    return ramp


@dataclass(frozen=True)
class Sampler:
    """A picture prepared for being sampled along one similarity.

    Attributes:
        pixels: (H, W, C) float32, already smoothed if the target is coarser.
        source_from_target: float64 (2, 3), maps target pixels to ``pixels``.
    """

    pixels: Tensor
    source_from_target: NDArray[np.float64]

    @classmethod
    def whole(cls, image: NDArray[Any] | Tensor, source_from_target: Similarity) -> Sampler:
        """Prepare all of an image (H, W, C)."""
        return cls(_smoothed(image, source_from_target.scale), source_from_target.matrix)

    @classmethod
    def cut(
        cls, image: NDArray[Any] | Tensor, source_from_target: Similarity, size: tuple[int, int]
    ) -> Sampler:
        """Prepare the part of an image (H, W, C) that a target (height, width) can see."""
        height, width = size
        corners = source_from_target.apply(
            np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
        )
        # blocks of at most half the reduction: their own aliasing is then filtered out below
        factor = max(1, int(source_from_target.scale / 2 + 1e-6))
        scale = source_from_target.scale / factor
        margin = factor * (3 + math.ceil(2 * max(scale, 1)))
        low = np.floor(corners.min(0)).astype(int) - margin
        span = np.ceil(corners.max(0)).astype(int) + margin - low
        span += -span % factor
        patch = _mirrored_patch(image, low[0], low[1], low[0] + span[0], low[1] + span[1])
        matrix = source_from_target.matrix.copy()
        matrix[:, 2] -= low
        if factor > 1:
            patch, matrix = _box_mean(patch, factor), matrix / factor
        return cls(_smoothed(patch, scale), matrix)

    def bands(self, height: int, width: int) -> Iterator[tuple[slice, Tensor]]:
        """Sample a target (height, width) some rows at a time: rows, values (rows * width, C)."""
        x = torch.arange(width, dtype=torch.float64) + 0.5
        step = max(1, _BAND // width)
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            y = torch.arange(rows.start, rows.stop, dtype=torch.float64)[:, None] + 0.5
            yield rows, self.at(x, y)

    def at(self, x: Tensor, y: Tensor) -> Tensor:
        """Sample at target points; x and y broadcast to one shape of N points. Returns (N, C)."""
        (a, c, tx), (b, d, ty) = self.source_from_target
        height, width, channels = self.pixels.shape
        columns, column_weights = _taps(a * x + c * y + tx, width)
        rows, row_weights = _taps(b * x + d * y + ty, height)
        flat = self.pixels.reshape(-1, channels)
        if _on_centres(column_weights) and _on_centres(row_weights):
            return flat[rows[1] * width + columns[1]]  # the values themselves, bit for bit
        total = torch.zeros((columns[0].numel(), channels), dtype=flat.dtype)
        column_factors = [weight[:, None] for weight in column_weights]
        for row, row_weight in zip(rows, row_weights, strict=True):
            start, line = row * width, torch.zeros_like(total)
            for column, factor in zip(columns, column_factors, strict=True):
                line = torch.addcmul(line, flat.index_select(0, start + column), factor)
            total = torch.addcmul(total, line, row_weight[:, None])
        return total


def _taps(position: Tensor, length: int) -> tuple[list[Tensor], list[Tensor]]:
    """Four indices along one axis and their Catmull-Rom weights (float32), borders repeated."""
    centre = position.reshape(-1) - 0.5
    nearest = centre.round()
    # matrices pass through inversions: a billionth of a pixel is no shift
    centre = torch.where((centre - nearest).abs() < 1e-7, nearest, centre)
    first = centre.floor()
    t = (centre - first).float()
    weights = [
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
    base = first.long()
    return [(base + i).clamp(0, length - 1) for i in (-1, 0, 1, 2)], weights


def _on_centres(weights: list[Tensor]) -> bool:
    return bool((weights[1] == 1).all())


def _mirrored_patch(
    image: NDArray[Any] | Tensor, x0: int, y0: int, x1: int, y1: int
) -> NDArray[Any] | Tensor:
    """Pixels of a box that may reach beyond the picture, which is mirrored there."""
    height, width = image.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return image[y0:y1, x0:x1]
    rows, columns = _mirrored(y0, y1, height), _mirrored(x0, x1, width)
    return image[rows][:, columns]


def _mirrored(start: int, stop: int, length: int) -> NDArray[np.intp]:
    index = np.arange(start, stop) % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)


def _box_mean(patch: NDArray[Any] | Tensor, factor: int) -> NDArray[Any] | Tensor:
    """Mean over blocks of factor x factor pixels; the sides are multiples of it."""
    if isinstance(patch, Tensor):
        return F.avg_pool2d(patch.permute(2, 0, 1)[None], factor)[0].permute(1, 2, 0)
    height, width = patch.shape[:2]
    size = (width // factor, height // factor)
    shrunk: NDArray[Any] = cv2.resize(patch, size, interpolation=cv2.INTER_AREA)
    return shrunk


def _smoothed(pixels: NDArray[Any] | Tensor, scale: float) -> Tensor:
    """Remove what cannot be shown ``scale`` times smaller; (H, W, C) to float32 (H, W, C)."""
    if scale <= 1 + 1e-4:
        if isinstance(pixels, Tensor):
            return pixels.float()
        return torch.from_numpy(np.array(pixels, np.float32))
    reach = math.ceil(2 * scale) - 1
    t = np.abs(np.arange(-reach, reach + 1) / scale)
    taps = np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2)
    taps = (taps / taps.sum()).astype(np.float32)
    if isinstance(pixels, Tensor):
        planes = pixels.float().permute(2, 0, 1)[:, None]
        kernel = torch.from_numpy(taps).to(planes)
        planes = F.pad(planes, (reach, reach, reach, reach), mode="replicate")
        planes = F.conv2d(F.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
        return planes[:, 0].permute(1, 2, 0).contiguous()
    source = np.ascontiguousarray(pixels, np.float32)
    filtered = cv2.sepFilter2D(source, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REPLICATE)
    return torch.from_numpy(filtered.reshape(source.shape))
