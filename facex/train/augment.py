# SPDX-License-Identifier: Apache-2.0
"""Random geometry and colour for training pictures (numpy and OpenCV, a few hundred us each)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]


def random_similarity(
    rng: np.random.Generator,
    size: int,
    out: int,
    *,
    turn: float = 0.35,
    zoom: float = 0.2,
    shift: float = 0.08,
) -> Matrix:
    """A random similarity that maps source pixels to pixels of an ``out`` px patch.

    Args:
        rng: source of randomness.
        size: side of the source picture.
        out: side of the patch.
        turn: standard deviation of the angle is half of this, in radians (clipped at ``turn``).
        zoom: largest relative change of size.
        shift: largest shift, as a share of the side.

    Returns:
        2x3 matrix ``patch_from_picture`` (pixel centres at +0.5).
    """
    angle = float(np.clip(rng.normal(0, turn / 2), -turn, turn))
    scale = out / size * float(np.exp(rng.uniform(-zoom, zoom)))
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    rotation = np.array([[cos, -sin], [sin, cos]])
    centre = np.full(2, size / 2) + rng.uniform(-shift, shift, 2) * size
    return np.concatenate([rotation, (out / 2 - rotation @ centre)[:, None]], 1)


def warp(image: Image, patch_from_picture: Matrix, out: int, *, nearest: bool = False) -> Image:
    """Apply :func:`random_similarity`'s matrix; borders are reflected."""
    matrix = patch_from_picture.copy()
    # OpenCV counts pixel centres from 0.
    matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    interpolation = (
        cv2.INTER_NEAREST if nearest else cv2.INTER_AREA if scale < 0.75 else cv2.INTER_LINEAR
    )
    if interpolation == cv2.INTER_AREA:
        # warpAffine has no area filter: blur by the amount that the shrinking asks for.
        image = cv2.GaussianBlur(image, (0, 0), 0.35 / scale)
        interpolation = cv2.INTER_LINEAR
    border = cv2.BORDER_CONSTANT if nearest else cv2.BORDER_REFLECT_101
    return np.asarray(
        cv2.warpAffine(
            image, matrix, (out, out), flags=interpolation, borderMode=border, borderValue=255
        )
    )


def transform_points(points: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
    """Move ``(N, 3)`` landmarks by a 2x3 similarity; z is scaled along."""
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    xy = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([xy, points[:, 2:] * scale], 1).astype(np.float32)


def photometric(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Random light, colour, blur, noise and JPEG, each with some probability."""
    x = image.astype(np.float32) / 255
    x = x ** np.exp(rng.normal(0, 0.25 * strength))
    x = x * np.exp(rng.normal(0, 0.08 * strength, 3)) * np.exp(rng.normal(0, 0.15 * strength))
    if rng.random() < 0.3 * strength:
        ramp = np.linspace(-1, 1, image.shape[1]) * rng.normal(0, 0.35)
        x = x * np.exp(ramp if rng.random() < 0.6 else ramp[:, None][: image.shape[0]])[..., None]
    if rng.random() < 0.15 * strength:
        x = x.mean(-1, keepdims=True) * np.ones(3, np.float32)
    if rng.random() < 0.3 * strength:
        x = x + (x.mean(-1, keepdims=True) - x) * rng.uniform(-0.5, 0.8)
    if rng.random() < 0.25 * strength:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.4, 2.0)))
    if rng.random() < 0.25 * strength:
        x = x + rng.normal(0, rng.uniform(0.01, 0.06), x.shape)
    result = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.25 * strength:
        quality = int(rng.integers(20, 80))
        ok, data = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, quality])
        result = cv2.imdecode(data, cv2.IMREAD_COLOR) if ok else result
    return np.asarray(result)


def random_occluder(
    image: Image, rng: np.random.Generator, donor: Image
) -> tuple[Image, NDArray[np.bool_]]:
    """Paste a blob of another picture somewhere, as a hand or a microphone would lie.

    Returns:
        The picture and where it is hidden now.
    """
    side = image.shape[0]
    mask = np.zeros((side, side), np.uint8)
    centre = rng.uniform(0.1, 0.9, 2) * side
    axes = rng.uniform(0.05, 0.22, 2) * side
    cv2.ellipse(
        mask,
        (int(centre[0]), int(centre[1])),
        (int(axes[0]), int(axes[1])),
        float(rng.uniform(0, 180)),
        0,
        360,
        255,
        -1,
    )
    soft = cv2.GaussianBlur(mask, (0, 0), 1.0).astype(np.float32)[..., None] / 255
    patch = np.roll(donor, (int(rng.integers(side)), int(rng.integers(side))), (0, 1))
    return (image * (1 - soft) + patch * soft).astype(np.uint8), mask > 0


def random_lock(
    image: Image, hair: NDArray[np.bool_], face: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Image, NDArray[np.bool_]]:
    """Let a lock of a picture's own hair fall over its face.

    Args:
        image: ``(S, S, 3)``.
        hair: ``(S, S)``, where there is hair.
        face: ``(S, S)``, where there is face.
        rng: source of chance.

    Returns:
        The picture and where it shows the lock; nowhere without hair or face.
    """
    side = image.shape[0]
    strands = np.zeros((side, side), np.uint8)
    if min(hair.sum(), face.sum()) < 0.01 * side * side:
        return image, strands > 0
    places = [np.argwhere(part)[:, ::-1] for part in (hair, face)]
    root, tip = (found[rng.integers(len(found))] for found in places)
    bend = (root + tip) / 2 + rng.normal(0, 0.12 * side, 2)
    along = np.linspace(0, 1, 24)[:, None]
    curve = root * (1 - along) ** 2 + 2 * bend * along * (1 - along) + tip * along**2
    # Strands of one lock run side by side; a wide one is a fringe, a single one a hair.
    across = np.array([-(tip - root)[1], (tip - root)[0]]) / max(np.hypot(*(tip - root)), 1)
    width = rng.exponential(0.035) * side
    for _ in range(int(rng.integers(1, 12))):
        line = curve + across * rng.normal(0, width) * along ** rng.uniform(0, 1)
        thick = int(rng.integers(1, max(2, round(0.03 * side))))
        cv2.polylines(strands, [np.round(line).astype(np.int32)], False, 255, thick)
    # What the lock looks like: the hair around its root, moved to where it lies now.
    shift = np.round(tip - root).astype(int)[::-1]
    texture = np.where(hair[..., None], image, np.mean(image[hair], 0))
    moved = np.roll(texture, shift, (0, 1)) * rng.uniform(0.8, 1.15)
    soft = cv2.GaussianBlur(strands, (0, 0), 0.6).astype(np.float32)[..., None] / 255
    soft = soft * np.float32(rng.uniform(0.75, 1))
    return np.clip(image + (moved - image) * soft, 0, 255).astype(np.uint8), strands > 0


def to_float(images: list[NDArray[np.uint8]]) -> Tensor:
    """Stack HxWx3 uint8 pictures to ``(B, 3, H, W)`` in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1
