# SPDX-License-Identifier: Apache-2.0
"""Colour spaces, transfer of colour statistics, and grain.

Colour-space functions take sRGB and linear values in [0, 1], as tensors (..., 3, H, W) or arrays
(..., H, W, 3), and return the same kind. Functions on whole pictures take the library's images,
(B, 3, H, W) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, Protocol, cast, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


class ColourFunction(Protocol):
    """Works on tensors (..., 3, H, W) and on arrays (..., H, W, 3), and returns what it got."""

    @overload
    def __call__(self, colours: Tensor) -> Tensor: ...
    @overload
    def __call__(self, colours: NDArray[Any]) -> NDArray[np.float32]: ...


_XYZ_FROM_LINEAR: Final = (
    (0.4123907993, 0.3575843394, 0.1804807884),
    (0.2126390059, 0.7151686788, 0.0721923154),
    (0.0193308187, 0.1191947798, 0.9505321522),
)
"""IEC 61966-2-1 primaries and D65; the row sums are the white point."""
_EPSILON: Final = (6 / 29) ** 3
_SLOPE: Final = (29 / 6) ** 2 / 3


def _arrays_too(function: Callable[[Tensor], Tensor]) -> ColourFunction:
    @wraps(function)
    def either(colours: Tensor | NDArray[Any]) -> Tensor | NDArray[np.float32]:
        if isinstance(colours, Tensor):
            return function(colours)
        planes = torch.from_numpy(np.moveaxis(np.asarray(colours, np.float32), -1, -3).copy())
        return np.moveaxis(function(planes).numpy(), -3, -1)

    return cast(ColourFunction, either)


@_arrays_too
def srgb_to_linear(colours: Tensor) -> Tensor:
    """Undo the sRGB curve: [0, 1] to linear light in [0, 1]; negative values stay linear."""
    curve = ((colours.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(colours <= 0.04045, colours / 12.92, curve)


@_arrays_too
def linear_to_srgb(colours: Tensor) -> Tensor:
    """Apply the sRGB curve to linear light in [0, 1]; negative values stay linear."""
    curve = 1.055 * colours.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(colours <= 0.0031308, colours * 12.92, curve)


@_arrays_too
def srgb_to_lab(colours: Tensor) -> Tensor:
    """From sRGB in [0, 1] to CIE L*a*b* (D65): L in 0..100, a and b about -110..110."""
    matrix = colours.new_tensor(_XYZ_FROM_LINEAR)
    matrix = matrix / matrix.sum(1, keepdim=True)
    ratio = torch.einsum("ij,...jhw->...ihw", matrix, srgb_to_linear(colours))
    root = ratio.clamp_min(_EPSILON) ** (1 / 3)
    x, y, z = torch.where(ratio > _EPSILON, root, _SLOPE * ratio + 4 / 29).unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


@_arrays_too
def lab_to_srgb(colours: Tensor) -> Tensor:
    """From CIE L*a*b* (D65) back to sRGB; colours outside sRGB leave [0, 1]."""
    lightness, a, b = colours.unbind(-3)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], -3)
    ratio = torch.where(f > 6 / 29, f**3, (f - 4 / 29) / _SLOPE)
    matrix = colours.new_tensor(_XYZ_FROM_LINEAR)
    inverse = torch.linalg.inv((matrix / matrix.sum(1, keepdim=True)).float()).to(colours.dtype)
    return linear_to_srgb(torch.einsum("ij,...jhw->...ihw", inverse, ratio))


def match_statistics(
    source: Tensor,
    target: Tensor,
    source_mask: Tensor,
    target_mask: Tensor,
    *,
    max_gain: float = 1.6,
    max_shift: tuple[float, float] = (45.0, 30.0),
) -> Tensor:
    """Move the source's colours to the target's light: mean and spread in L*a*b*.

    Reinhard et al. 2001, with limits, so that a small or odd region cannot make neon skin.

    Args:
        source: (B, 3, H, W) in [-1, 1].
        target: (B, 3, H', W') in [-1, 1]; its size may differ.
        source_mask: (B, 1, H, W) in [0, 1], which pixels to measure.
        target_mask: (B, 1, H', W') in [0, 1].
        max_gain: the spread is scaled by 1/max_gain to max_gain.
        max_shift: largest change of the mean of L, and of a and b.

    Returns:
        (B, 3, H, W) in [-1, 1], every pixel changed, not only those of the mask. A picture whose
        mask, or whose target's mask, is empty is returned as it is.
    """
    lab = srgb_to_lab((source + 1) / 2)
    mean, spread, some = _moments(lab, source_mask)
    goal_mean, goal_spread, goal_some = _moments(srgb_to_lab((target + 1) / 2), target_mask)
    gain = (goal_spread / spread.clamp_min(1e-3)).clamp(1 / max_gain, max_gain)
    limit = lab.new_tensor([max_shift[0], max_shift[1], max_shift[1]]).view(1, 3, 1, 1)
    shift = torch.maximum(torch.minimum(goal_mean - mean, limit), -limit)
    moved = lab_to_srgb((lab - mean) * gain + mean + shift).clamp(0, 1) * 2 - 1
    return torch.where(some & goal_some, moved, source)


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean and spread (B, 3, 1, 1), and whether there is anything to weigh."""
    area = mask.sum((2, 3), keepdim=True)
    weight = mask / area.clamp_min(1e-6)
    mean = (values * weight).sum((2, 3), keepdim=True)
    variance = ((values - mean) ** 2 * weight).sum((2, 3), keepdim=True)
    return mean, (variance + 1e-8).sqrt(), area > 8


def estimate_grain(image: Tensor, mask: Tensor | None = None) -> Tensor:
    """The strength of a picture's noise, robust against edges and texture.

    Second differences in x and y (Immerkaer 1996), their median instead of their mean.

    Args:
        image: (B, 3, H, W) in [-1, 1], at least 3 x 3 pixels.
        mask: (B, 1, H, W); only pixels above 0.5 are measured.

    Returns:
        (B, 3) standard deviation in units of the image; 0 where nothing can be measured.
    """
    line = image.new_tensor([1.0, -2.0, 1.0])
    kernel = torch.outer(line, line).expand(3, 1, 3, 3)
    response = F.conv2d(image, kernel, groups=3).abs()
    if mask is not None:
        outside = F.max_pool2d((mask <= 0.5).to(image.dtype), 3, stride=1) > 0
        response = response.masked_fill(outside, float("nan"))
    median = response.flatten(2).nanmedian(2).values
    # a normal variable has its median size at 0.6745; the kernel multiplies the noise by 6
    return torch.nan_to_num(median / (0.6745 * 6))


def add_grain(
    image: Tensor,
    strength: Tensor | float,
    *,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Add noise, as `estimate_grain` measures it.

    Args:
        image: (B, 3, H, W) in [-1, 1].
        strength: standard deviation, a number or (B, 3).
        mask: (B, 1, H, W) in [0, 1] scales the noise.
        generator: makes it repeatable; draws on the CPU, so that devices agree.

    Returns:
        (B, 3, H, W) in [-1, 1].
    """
    noise = torch.randn(image.shape, generator=generator).to(image)
    if isinstance(strength, Tensor):
        strength = strength.to(image)[:, :, None, None]
    noise = noise * strength
    return (image + (noise if mask is None else noise * mask)).clamp(-1, 1)
