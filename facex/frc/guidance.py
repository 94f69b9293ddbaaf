# SPDX-License-Identifier: Apache-2.0
"""Classifier-free guidance per factor group, by dropping tokens (DESIGN 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from facex.errors import OptionError


@dataclass(frozen=True)
class Guidance:
    """Strength per group of factors; 1 leaves a group as it is and costs nothing.

    Attributes:
        identity: identity and texture tokens.
        motion: pose, expression and gaze tokens.
        region: region and light tokens.
    """

    identity: float = 1.0
    motion: float = 1.0
    region: float = 1.0

    def __post_init__(self) -> None:
        for name in ("identity", "motion", "region"):
            if not 0 <= getattr(self, name) <= 20:
                raise OptionError(f"guidance for {name} must be 0 to 20, got {getattr(self, name)}")

    @property
    def groups(self) -> dict[str, float]:
        """The groups whose strength is not 1."""
        named = {"identity": self.identity, "motion": self.motion, "region": self.region}
        return {name: weight for name, weight in named.items() if weight != 1.0}

    def compose(self, full: Tensor, without: Callable[[str], Tensor]) -> Tensor:
        """Guided clean latents.

        Args:
            full: ``(B, C, h, w)``, predicted with all tokens.
            without: predicts without the tokens of one group; called for groups in ``groups`` only.

        Returns:
            ``full + sum_g (w_g - 1) (full - without_g)``.
        """
        guided = full
        for name, weight in self.groups.items():
            guided = guided + (weight - 1) * (full - without(name))
        return guided
