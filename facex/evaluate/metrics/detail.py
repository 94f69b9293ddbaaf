# SPDX-License-Identifier: Apache-2.0
"""Fine detail: the variance of the Laplacian inside the face, against that of whose skin it is."""

from __future__ import annotations

from typing import Final

import numpy as np

from facex.evaluate.view import Measure, Values, View
from facex.types import Factor

MEASURES: Final = {
    "detail": Measure("fine detail against the picture it comes from (log2, 0 is equal)", "none"),
    "detail_ratio": Measure("fine detail against the picture it comes from", "up"),
}


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    return MEASURES.get(name)


def measure(view: View) -> Values:
    """Ratio of the variances, at most 2, because sharper than the photo is no merit."""
    if "sharp" not in view.reading:
        return {}
    own = float(view.readings[view.owner(Factor.TEXTURE.value)]["sharp"])
    ratio = float(view.reading["sharp"]) / max(own, 1e-6)
    return {"detail": float(np.log2(max(ratio, 1e-3))), "detail_ratio": min(ratio, 2.0)}
