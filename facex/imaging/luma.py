# SPDX-License-Identifier: Apache-2.0
"""Brightness of a colour as it is seen on a screen; without torch, which takes a second to load."""

from __future__ import annotations

from typing import Final

LUMA: Final = (0.299, 0.587, 0.114)
"""How much red, green and blue of sRGB count, by Rec. 601, as in JPEG."""
