# SPDX-License-Identifier: Apache-2.0
"""Correction at native resolution (DESIGN 6): the model's change, on the photo's own pixels.

The model works on a small crop, but the reference can be painted from the photos' original pixels.
So the result is the native reference plus the *difference* the model made, enlarged. What the
autoencoder loses cancels out, and an edit that changes nothing returns the reference exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def correct_native(
    reference: Tensor, known: Tensor, decoded: Tensor, redecoded: Tensor, kappa: Tensor
) -> Tensor:
    """Apply a crop-sized answer to a reference of any size.

    Args:
        reference: ``(B, 3, H, W)`` in [-1, 1], painted at native resolution.
        known: ``(B, 1, H, W)`` in [0, 1], what of it is known.
        decoded: ``(B, 3, S, S)``, the model's answer D(z).
        redecoded: ``(B, 3, S, S)``, the crop-sized reference through the autoencoder D(E(I_R)).
        kappa: ``(B, 1, h, w)`` in [0, 1], the model's confidence in the reference.

    Returns:
        ``(B, 3, H, W)``: ``I_R + up(D(z) - D(E(I_R)))`` where kappa is 1, ``up(D(z))`` where 0.
    """
    size = reference.shape[-2:]
    trust = _enlarge(kappa, size).clamp(0, 1) * known
    change = decoded - redecoded
    corrected = reference + _enlarge(change, size)
    if bool((trust >= 1).all()):
        return corrected
    drawn = _enlarge(decoded, size)
    return torch.where(trust >= 1, corrected, trust * corrected + (1 - trust) * drawn)


def _enlarge(image: Tensor, size: torch.Size) -> Tensor:
    if image.shape[-2:] == size:
        return image
    smaller = image.shape[-1] > size[-1]
    mode = "bilinear" if smaller or image.shape[1] == 1 else "bicubic"
    return F.interpolate(image, size=tuple(size), mode=mode, antialias=smaller)
