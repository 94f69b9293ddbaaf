# SPDX-License-Identifier: Apache-2.0
"""What steers an edit: tokens, reference, where it is known and what may change (DESIGN 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class EditCondition:
    """Everything that steers one batch of edits.

    Attributes:
        inputs: token inputs ``(B, n, D)`` by name.
        present: ``(B,)`` bool by name; missing names are present.
        reference: ``(B, 3, H, W)`` in [-1, 1].
        known: ``(B, 1, H, W)`` in [0, 1], which of its pixels carry content.
        edit: ``(B, 1, H, W)`` in [0, 1], which pixels of the result may change.
        geometry: ``(B, 3, H, W)`` position map of the result's mesh in [-1, 1].
        target: ``(B, 3, H, W)`` in [-1, 1], what stays outside the edit.
    """

    inputs: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    reference: Tensor
    known: Tensor
    edit: Tensor
    geometry: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.reference)

    @classmethod
    def cat(cls, conditions: Sequence[Self]) -> Self:
        """One batch of several conditions with the same names."""
        first = conditions[0]
        images = {
            name: torch.cat([getattr(c, name) for c in conditions])
            for name in ("reference", "known", "edit", "geometry", "target")
        }
        return cls(
            inputs={n: torch.cat([c.inputs[n] for c in conditions]) for n in first.inputs},
            present={n: torch.cat([c.present[n] for c in conditions]) for n in first.present},
            **images,
        )

    def to(self, device: torch.device) -> Self:
        """The same condition on another device."""
        images = {
            name: getattr(self, name).to(device)
            for name in ("reference", "known", "edit", "geometry", "target")
        }
        return replace(
            self,
            inputs={n: t.to(device) for n, t in self.inputs.items()},
            present={n: t.to(device) for n, t in self.present.items()},
            **images,
        )
