# SPDX-License-Identifier: Apache-2.0
"""Parts of a batch in which a costly loss looks: decoding whole pictures is most of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_MARGIN: Final = 2
"""Latent cells around a window, as a decoder looks around."""


def edit_windows(
    parts: Mapping[str, Tensor],
    face: Tensor,
    side: int,
    downscale: int,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], slice]:
    """A window of every sample about a random place of its edit, half of the time of the face.

    Args:
        parts: pictures ``(B, C, S, S)`` and latents ``(B, C, S / downscale, S / downscale)`` by
            name; ``edit`` (B, 1, S, S) must be among them.
        face: ``(B, 1, S, S)`` bool.
        side: of the window in pixels.
        downscale: pixels per latent cell and side.
        generator: source of randomness, on the CPU.

    Returns:
        The parts, cut with a margin, and where in the cut pictures the window lies.
    """
    size = parts["edit"].shape[-1]
    most = size // downscale
    margin = _MARGIN if side < size else 0
    cells = min(most, side // downscale + 2 * margin)
    edit = F.avg_pool2d(parts["edit"], downscale).flatten(1).cpu() + 1e-6
    inside = F.avg_pool2d(face.float(), downscale).flatten(1).cpu() + 1e-3
    about_face = torch.rand(len(edit), 1, generator=generator) < 0.5
    places = torch.multinomial(torch.where(about_face, edit * inside, edit), 1, generator=generator)
    centres = [divmod(int(cell), most) for cell in places]
    corners = np.clip(np.array(centres) - cells // 2, 0, most - cells).tolist()
    found = {}
    for name, images in parts.items():
        scale = images.shape[-1] // most
        found[name] = cut(images, [(y * scale, x * scale) for y, x in corners], cells * scale)
    inner = slice(margin * downscale, (cells - margin) * downscale)
    return found, inner


def cut(images: Tensor, corners: Sequence[tuple[int, int]], side: int) -> Tensor:
    """Squares of ``(B, C, S, S)``, one of each: ``(B, C, side, side)``.

    Args:
        images: to cut.
        corners: upper and left border of each square.
        side: of the squares.
    """
    return torch.stack(
        [
            image[..., y : y + side, x : x + side]
            for image, (y, x) in zip(images, corners, strict=True)
        ]
    )
