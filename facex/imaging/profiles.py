# SPDX-License-Identifier: Apache-2.0
"""Pixels of any mode and ICC profile to 8 bit sRGB, and the transform back."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms


def to_srgb(original: Image.Image, name: str) -> tuple[Image.Image, bytes | None]:
    """Bring a picture into sRGB.

    Args:
        original: any mode, with its profile in ``info["icc_profile"]``.
        name: what warnings call it.

    Returns:
        RGB image without metadata, and the profile: None if there is none or it is unusable
        (then a warning is given and the colours are taken as sRGB).
    """
    profile = original.info.get("icc_profile") or None
    if profile is not None and original.mode != "LAB":  # L*a*b* means colours by itself
        try:
            planes = colour_planes(original, profile)
            transform = profile_transform(profile, planes.mode, to_srgb=True)
            if transform is not None:
                planes = ImageCms.applyTransform(planes, transform) or planes
            return _without_info(planes.convert("RGB")), profile
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            warnings.warn(f"{name}: its colour profile is unusable and was ignored", stacklevel=2)
    planes = colour_planes(original, None)
    if planes.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        transform = ImageCms.buildTransform(lab, _srgb(), "LAB", "RGB")
        planes = ImageCms.applyTransform(planes, transform) or planes
    return _without_info(planes.convert("RGB")), None


def colour_planes(original: Image.Image, profile: bytes | None) -> Image.Image:
    """The colours of a file without alpha, 8 bit, not yet converted to sRGB.

    Args:
        original: any mode, upright.
        profile: its ICC profile; a grey picture with a colour profile becomes RGB.

    Returns:
        Image of mode L, RGB, CMYK or LAB.
    """
    mode = original.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        planes = Image.fromarray(_to_8_bit(np.asarray(original)))
    elif mode in ("CMYK", "LAB"):
        return original
    elif mode in ("1", "L"):
        planes = original.convert("L")
    elif mode in ("LA", "La"):
        planes = original.convert("LA").convert("L")
    elif mode == "RGB":
        planes = original
    else:  # palettes may hold transparency: through RGBA, which keeps colours below it
        planes = original.convert("RGBA").convert("RGB")
    if planes.mode == "L" and profile is not None and _colour_space(profile) == "RGB":
        planes = planes.convert("RGB")
    return planes


def profile_transform(
    profile: bytes, mode: str, *, to_srgb: bool
) -> ImageCms.ImageCmsTransform | None:
    """The colour transform between a profile and sRGB.

    Args:
        profile: an ICC profile.
        mode: L, RGB or CMYK, the mode of the pictures in that profile.
        to_srgb: direction; False leads from sRGB into the profile.

    Returns:
        The transform, or None if the profile is sRGB itself (no colour moves by more than 1).

    Raises:
        PyCMSError: the profile does not fit the mode, or has no such direction.
        OSError: the profile is damaged.
    """
    theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    ends = ((theirs, mode), (_srgb(), "RGB"))
    (source, source_mode), (goal, goal_mode) = ends if to_srgb else ends[::-1]
    transform = ImageCms.buildTransform(
        source, goal, source_mode, goal_mode, ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip
    if mode == "RGB":
        steps = np.linspace(0, 255, 9, dtype=np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(9, 81, 3)
        moved = ImageCms.applyTransform(Image.fromarray(grid), transform)
        if np.abs(np.asarray(moved).astype(int) - grid).max() <= 1:
            return None
    return transform


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _colour_space(profile: bytes) -> str:
    return str(ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space).strip()


def alpha_channel(original: Image.Image) -> Image.Image | None:
    """The transparency of any mode as an image of mode L, or None."""
    if original.mode.startswith(("I", "F")) or not original.has_transparency_data:
        return None
    return _without_info(original.convert("RGBA").getchannel("A"))


def _without_info(image: Image.Image) -> Image.Image:
    """A copy that carries pixels only, so that no metadata travels on by accident."""
    clean = image.copy()
    clean.info = {}
    return clean


def _to_8_bit(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale deep grey to 8 bit: 16 bit by its range, others by what they contain."""
    values = np.nan_to_num(grey.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    if grey.dtype.kind == "f" and low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if high <= 1 else 255.0
    elif grey.dtype.kind != "f" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    scaled = (values - low) * (255 / max(high - low, 1e-9))
    return np.rint(scaled).astype(np.uint8)
