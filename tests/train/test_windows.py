# SPDX-License-Identifier: Apache-2.0
"""Windows: latents and pictures are cut at the same place, inside of what may change."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from facex.train.windows import edit_windows


def test_latents_and_pictures_are_cut_at_the_same_place() -> None:
    size, scale, side = 128, 8, 32
    latents = torch.arange(2 * 16 * 16).float().reshape(2, 1, 16, 16)
    pictures = F.interpolate(latents, scale_factor=scale)
    edit = torch.zeros(2, 1, size, size)
    edit[0, :, 40:56, 40:56] = 1
    edit[1, :, :16, 112:] = 1
    parts = {"latents": latents, "pictures": pictures, "edit": edit}
    face = torch.zeros(2, 1, size, size, dtype=torch.bool)
    for seed in range(8):
        cut, inner = edit_windows(parts, face, side, scale, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(
            F.interpolate(cut["latents"], scale_factor=scale), cut["pictures"]
        )
        assert cut["pictures"][..., inner, inner].shape[-2:] == (side, side)
        # Whole where the margin leaves room for it.
        assert cut["edit"][0, :, inner, inner].sum() == 16 * 16
        assert cut["edit"][1].sum() == 16 * 16


def test_a_window_as_large_as_the_picture_is_the_picture() -> None:
    edit = torch.ones(1, 1, 64, 64)
    parts, inner = edit_windows({"edit": edit}, edit > 0, 64, 8, torch.Generator())
    assert parts["edit"].shape == edit.shape
    assert (inner.start, inner.stop) == (0, 64)
