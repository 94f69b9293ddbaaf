# SPDX-License-Identifier: Apache-2.0
"""Chained edits: how colour, sharpness and identity drift with the number of steps.

Everything is measured against the picture after the last step that took identity or texture from
another photo: from then on the skin should stay. Numbers end in the step, ``skin_drift:5``.
"""

from __future__ import annotations

import numpy as np

from facex.evaluate.metrics.identity import PREFIX, known_as
from facex.evaluate.view import Measure, Values, View
from facex.recipes.values import TARGET
from facex.types import Factor


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    kind, _, step = name.partition(":")
    kind, _, embedder = kind.partition("@")
    if kind == "skin_drift":
        return Measure(f"skin colour drift after {step} steps, CIELAB", "down")
    if kind == "sharp_drift":
        return Measure(f"sharpness after {step} steps against the first", "up")
    if kind == "identity_drift":
        return Measure(
            f"cosine to the first picture after {step} steps ({known_as(embedder)})", "up"
        )
    return None


def measure(view: View) -> Values:
    """Drift after each step behind the start."""
    if len(view.steps) < 2:
        return {}
    begin = 0
    for number, plan in enumerate(view.plans[: len(view.steps)]):
        if any(plan.factors[factor] != TARGET for factor in (Factor.IDENTITY, Factor.TEXTURE)):
            begin = number
    first = view.steps[begin][1]
    values: Values = {}
    for number, (_, reading) in enumerate(view.steps[begin + 1 :], begin + 2):
        values[f"skin_drift:{number}"] = float(np.linalg.norm(reading["skin"] - first["skin"]))
        sharp = float(reading["sharp"]) / max(float(first["sharp"]), 1e-6)
        values[f"sharp_drift:{number}"] = min(sharp, 2.0)
        for key in first:
            if key.startswith(PREFIX):
                cosine = float(reading[key] @ first[key])
                values[f"identity_drift@{key.removeprefix(PREFIX)}:{number}"] = cosine
    return values
