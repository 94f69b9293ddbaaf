# SPDX-License-Identifier: Apache-2.0
"""What a metric sees of one case: the output beside everything that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facex.evaluate.faces import Pixels
from facex.evaluate.judges import Reading
from facex.evaluate.perceptual import Network
from facex.recipes.plan import Plan
from facex.recipes.values import TARGET

Floats = NDArray[np.float32]
Values = dict[str, float]


class Measure(NamedTuple):
    """How to read a number.

    Attributes:
        label: in tables.
        better: ``up``, ``down`` or ``none``: it only describes.
    """

    label: str
    better: Literal["up", "down", "none"]


@dataclass(frozen=True)
class Gallery:
    """Embeddings of everybody in one role, for retrieval.

    Attributes:
        people: who each row shows.
        embeddings: ``(N, D)`` unit rows by recogniser.
    """

    people: tuple[str, ...]
    embeddings: Mapping[str, Floats]

    def rank(self, name: str, embedding: Floats, person: str) -> int:
        """How many other people are nearer than this person: 0 is first."""
        scores = self.embeddings[name] @ embedding
        own = np.array([p == person for p in self.people])
        if not own.any():
            return len(self.people)
        nearer = {p for p, s in zip(self.people, scores, strict=True) if s > scores[own].max()}
        return len(nearer - {person})


@dataclass(frozen=True)
class View:
    """One output of one system.

    Attributes:
        output: ``(S, S, 3)``.
        reading: of the output.
        pictures: by role (``target``, ``source``, ...).
        readings: by role.
        people: who each role shows.
        plans: the steps of the recipe; empty for repairs.
        owners: role of each factor that is not the target's.
        galleries: by role.
        truth: the true answer, where there is one.
        truth_reading: of the true answer.
        hole: ``(S, S)`` in [0, 1], the inpainted part.
        edit: ``(S, S)`` in [0, 1], what the system said may change.
        steps: picture and reading after each step of a chain.
        lpips: perceptual distance, if any.
    """

    output: Pixels
    reading: Reading
    pictures: Mapping[str, Pixels]
    readings: Mapping[str, Reading]
    people: Mapping[str, str]
    plans: Sequence[Plan]
    owners: Mapping[str, str]
    galleries: Mapping[str, Gallery]
    truth: Pixels | None = None
    truth_reading: Reading | None = None
    hole: Floats | None = None
    edit: Floats | None = None
    steps: Sequence[tuple[Pixels, Reading]] = field(default_factory=list)
    lpips: Network | None = None

    def owner(self, factor: str) -> str:
        """The role that a factor comes from."""
        return self.owners.get(factor, TARGET)
