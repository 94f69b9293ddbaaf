# SPDX-License-Identifier: Apache-2.0
"""Leaks: how much of one factor a linear probe reads out of the code of another one.

A ridge regression from the standardised code to the standardised labels, in five folds of people;
what is reported is the share of variance explained on people that the probe has not seen (R2, over
all columns). 0 is nothing, and a probe that guesses worse than the mean counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
FOLDS: Final = 5
_STRENGTHS: Final = (1.0, 10.0, 100.0, 1000.0, 10000.0)
_COLUMNS: Final = 32
"""Labels are reduced to so many principal components."""


def leak_table(
    codes: Mapping[str, Floats], labels: Mapping[str, Floats], people: Sequence[str]
) -> dict[str, dict[str, float]]:
    """R2 of every label from every code.

    Args:
        codes: ``(N, D)`` by name.
        labels: ``(N, K)`` by name.
        people: who each row shows; nobody is in two folds.
    """
    order = {person: number for number, person in enumerate(dict.fromkeys(people))}
    folds = np.array([order[person] % FOLDS for person in people])
    return {
        code: {label: explained(x, y, folds) for label, y in labels.items()}
        for code, x in codes.items()
    }


def explained(code: Floats, label: Floats, folds: NDArray[np.int64]) -> float:
    """Share of the label's variance that a linear probe explains on held-out folds, at least 0."""
    x, y = _standard(code), _components(_standard(label))
    # The strength is chosen on the probe's own behalf: the best one bounds what a probe can read.
    return max(0.0, *(_held_out(x, y, folds, strength) for strength in _STRENGTHS))


def _held_out(x: Floats, y: Floats, folds: NDArray[np.int64], strength: float) -> float:
    error = 0.0
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        a, b = x[train], y[train]
        middle = b.mean(0)
        kernel = a @ a.T + strength * np.eye(len(a))
        weights = a.T @ np.linalg.solve(kernel, b - middle)
        error += float(np.square(y[test] - middle - x[test] @ weights).sum())
    return 1 - error / max(float(np.square(y - y.mean(0)).sum()), 1e-9)


def _standard(values: Floats) -> Floats:
    values = np.asarray(values, np.float64)
    return np.asarray((values - values.mean(0)) / np.maximum(values.std(0), 1e-6))


def _components(values: Floats) -> Floats:
    if values.shape[1] <= _COLUMNS:
        return values
    u, s, _ = np.linalg.svd(values, full_matrices=False)
    return np.asarray(u[:, :_COLUMNS] * s[:_COLUMNS])
