# SPDX-License-Identifier: Apache-2.0
"""The one protocol that every extractor of FORD meets (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Extractor(Protocol):
    """Finds some fields of a ``FaceRepresentation`` in crops.

    A module with an attribute ``provides`` and a ``forward(crop, fields)`` is an extractor.
    """

    @property
    def provides(self) -> tuple[str, ...]:
        """Names of the fields of ``FaceRepresentation`` that a call returns."""
        ...

    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Extracts.

        Args:
            crop: (B, 3, S, S) RGB in [-1, 1].
            fields: what earlier extractors found, by field name (landmarks for alignment,
                parsing for pooling). Not to be changed.

        Returns:
            One tensor for each name in ``provides``, in the shape that ``FaceRepresentation``
            asks for. Differentiable with respect to ``crop`` where it serves as a loss.
        """
        ...
