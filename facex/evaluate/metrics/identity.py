# SPDX-License-Identifier: Apache-2.0
"""Identity: is the result the person that it should be, and not the other one?

Cosines and retrieval by every recogniser. The gallery is the whole fixed list of a protocol, so
that a run on a part of it is as hard as the whole.
"""

from __future__ import annotations

from facex.evaluate.embedders import OWN
from facex.evaluate.view import Measure, Values, View
from facex.recipes.values import TARGET
from facex.types import Factor

PREFIX = "embedding:"


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    kind, _, embedder = name.partition("@")
    labels = {
        "cosine": Measure("cosine to the person it should be", "up"),
        "top1": Measure("found first", "up"),
        "top5": Measure("among the first five", "up"),
        "kept_cosine": Measure("cosine to the target", "none"),
        "target_top1": Measure("the replaced person found first", "down"),
        "nearer": Measure("nearer to the source than to the target", "up"),
    }
    if kind not in labels:
        return None
    return Measure(f"{labels[kind].label} ({known_as(embedder)})", labels[kind].better)


def known_as(embedder: str) -> str:
    """A recogniser in tables; the bundled one is no judge of the model that it steers."""
    return f"{embedder}, steers the model" if embedder == OWN else embedder


def measure(view: View) -> Values:
    """Cosines in [-1, 1] and shares (0 or 1) by recogniser: ``cosine@NAME``, ..."""
    owner = view.owner(Factor.IDENTITY.value)
    values: Values = {}
    for key, embedding in view.reading.items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        cosine = float(embedding @ view.readings[owner][key])
        values[f"cosine@{name}"] = cosine
        if owner in view.galleries:
            rank = view.galleries[owner].rank(name, embedding, view.people[owner])
            values[f"top1@{name}"] = float(rank == 0)
            values[f"top5@{name}"] = float(rank < 5)
        if owner != TARGET:
            kept = float(embedding @ view.readings[TARGET][key])
            values[f"kept_cosine@{name}"] = kept
            values[f"nearer@{name}"] = float(cosine > kept)
            if TARGET in view.galleries:
                rank = view.galleries[TARGET].rank(name, embedding, view.people[TARGET])
                values[f"target_top1@{name}"] = float(rank == 0)
    return values
