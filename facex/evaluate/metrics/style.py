# SPDX-License-Identifier: Apache-2.0
"""Stylization: how far the wanted style was reached.

What a style should look like is what the classical filter that it was learned from makes of the
same photo (``facex.train.style.filters``); a style of another origin gets no numbers here.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from facex.evaluate.faces import Pixels
from facex.evaluate.metrics.pictures import lpips
from facex.evaluate.view import Measure, Values, View
from facex.recipes.values import TARGET
from facex.train.style.filters import FILTERS

MEASURES: Final = {
    "style_lpips": Measure("LPIPS to the filter's picture", "down"),
    "style_reached": Measure("way from the photo to the style, 1 = the filter's picture", "up"),
}


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    return MEASURES.get(name)


def measure(view: View) -> Values:
    """Distance to the filter's picture; nothing without a style, a filter or LPIPS."""
    style = next((plan.style for plan in view.plans if plan.style is not None), None)
    if style not in FILTERS or view.lpips is None:
        return {}
    photo = view.pictures[TARGET]
    wanted = filtered(style, photo)
    whole = lpips(view.lpips, photo, wanted)
    left = lpips(view.lpips, view.output, wanted)
    return {"style_lpips": left, "style_reached": 1 - left / whole if whole > 0 else 1.0}


def filtered(style: str, photo: Pixels) -> Pixels:
    """What a style's filter makes of a photo, uint8."""
    drawn = FILTERS[style]((photo.astype(np.float32) / 255).astype(np.float32))
    return np.asarray(np.rint(np.clip(drawn, 0, 1) * 255), np.uint8)
