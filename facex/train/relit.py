# SPDX-License-Identifier: Apache-2.0
"""A training face under another lamp: what is left of its light after an edit must be recognised.

The assembler moves a source's colours to the target's light by smooth gains. Shadows that a nose, a
brim or a window frame throws, light from one side and shine on the skin stay, so training faces get
them: irradiance of another face's spherical harmonics on the mesh's normals, shadows with hard and
soft borders, and a mirror lobe.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facex.fors.fill import push_pull
from facex.geometry.light_texture import irradiance, to_linear
from facex.geometry.raster import draw, interpolate, vertex_normals

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

_MOST: Final = 1.3
"""Limit of the logarithm of what one lamp gives over what the other gave."""
_RELIGHT, _SHADOW, _SHINE = 0.6, 0.35, 0.15
"""How often each happens."""


def relit(
    image: Image,
    points: NDArray[np.floating],
    old: NDArray[Any],
    new: NDArray[Any],
    rng: np.random.Generator,
) -> Image:
    """Put a face into another light.

    Args:
        image: ``(S, S, 3)`` sRGB.
        points: ``(478, 3)`` landmarks in its pixels.
        old: (27,) its own light (`facex.geometry.light_texture.irradiance`).
        new: (27,) that of another face.
        rng: source of randomness.

    Returns:
        ``(S, S, 3)``.
    """
    size = image.shape[0]
    normals = vertex_normals(points)
    values = np.zeros((len(points), 4), np.float32)
    if rng.random() < _RELIGHT:
        values[:, :3] = _log_ratio(old, new, normals) * rng.uniform(0.4, 1.0)
    if rng.random() < _SHINE:
        values[:, 3] = _shine(normals, rng)
    light = np.ones((size, size, 3), np.float32)
    if np.any(values):
        drawing = draw(np.asarray(points, np.float64), (size, size))
        field, seen = np.zeros((size * size, 4), np.float32), np.zeros(size * size, np.float32)
        field[drawing.pixels], seen[drawing.pixels] = interpolate(drawing, values), 1
        whole = push_pull(field.reshape(size, size, 4), seen.reshape(size, size))
        whole = cv2.GaussianBlur(whole, (0, 0), size / 100)
        # Shine is of skin alone.
        shine = whole[..., 3] * cv2.GaussianBlur(seen.reshape(size, size), (0, 0), size / 60)
        light = np.exp(whole[..., :3])
    else:
        shine = np.zeros((size, size), np.float32)
    if rng.random() < _SHADOW:
        light = light * _shadow(points, size, rng)
    colours = to_linear(torch.from_numpy(image.astype(np.float32) / 255)).numpy()
    lit = np.clip(colours * light + shine[..., None], 0, 1)
    srgb = np.where(lit <= 0.0031308, lit * 12.92, 1.055 * lit ** (1 / 2.4) - 0.055)
    return np.asarray(np.clip(srgb * 255 + 0.5, 0, 255), np.uint8)


def _log_ratio(old: NDArray[Any], new: NDArray[Any], normals: Floats) -> Floats:
    lights = torch.from_numpy(np.stack([old, new]).astype(np.float32))
    lit = irradiance(lights, torch.from_numpy(normals)[None].expand(2, -1, -1)).numpy()
    ratio = np.log(lit[1]) - np.log(lit[0])
    # How bright and how tinted on the whole is what the assembler can tell; a part of it stays.
    seen = np.clip(-normals[:, 2:], 0, 1)
    mean = (ratio * seen).sum(0) / seen.sum()
    return np.asarray(np.clip(ratio - 0.7 * mean, -_MOST, _MOST), np.float32)


def _shine(normals: Floats, rng: np.random.Generator) -> Floats:
    half = np.array([rng.uniform(-0.6, 0.6), rng.uniform(-0.7, 0.2), -1.0])
    facing = np.clip(normals @ (half / np.linalg.norm(half)), 0, 1)
    return np.asarray(rng.uniform(0.05, 0.3) * facing ** rng.uniform(6, 40), np.float32)


def _shadow(points: NDArray[np.floating], size: int, rng: np.random.Generator) -> Floats:
    """A half plane or a blob over the face that the lamp does not reach."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    mask = np.zeros((size, size), np.uint8)
    centre = low + rng.uniform(0.1, 0.9, 2) * (high - low)
    if rng.random() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        along, across = (
            np.array([np.cos(angle), np.sin(angle)]),
            np.array([-np.sin(angle), np.cos(angle)]),
        )
        steps = np.linspace(-2, 2, 9)[:, None] * size
        wave = rng.normal(0, 0.04, (9, 1)) * size
        border = centre + steps * along + wave * across
        polygon = np.concatenate([border, border[::-1] + across * 4 * size])
    else:
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        radius = rng.uniform(0.08, 0.3) * size * rng.uniform(0.7, 1.3, 12)
        polygon = centre + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    cv2.fillPoly(mask, [np.clip(polygon, -8000, 8000).astype(np.int32)], 1)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), float(rng.uniform(0.004, 0.05) * size))
    depth = rng.uniform(0.3, 0.8) * np.exp(rng.normal(0, 0.05, 3))
    return np.asarray(1 + (depth - 1) * soft[..., None], np.float32)
