# SPDX-License-Identifier: Apache-2.0
"""phi^R: the chosen factors become tokens f^Rep (DESIGN, section 4).

One small network per factor, a learned embedding of factor and region, and a learned null token
for whatever is missing. Tokens come in a fixed order, so that one layout serves all tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from facex.errors import OptionError
from facex.types import REGIONS, Factor

REGION_PREFIX: Final = "region:"

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "identity": (Factor.IDENTITY.value, Factor.TEXTURE.value),
    "motion": (Factor.POSE.value, Factor.EXPRESSION.value, Factor.GAZE.value),
    "region": (*(f"{REGION_PREFIX}{region}" for region in REGIONS), Factor.LIGHT.value),
}
"""Factor groups that guidance and training drop as a whole."""


def drop_groups(
    present: Mapping[str, Tensor], inputs: Mapping[str, Tensor], groups: Collection[str]
) -> dict[str, Tensor]:
    """Marks whole groups as missing.

    Args:
        present: (B,) bool per input; inputs without an entry are present.
        inputs: the inputs, for names and batch size.
        groups: names from ``GROUPS``.

    Returns:
        A new ``present`` in which every input of these groups is absent.
    """
    gone = {name for group in groups for name in GROUPS[group]}
    kept = {name: flags for name, flags in present.items() if name not in gone}
    missing = {
        name: torch.zeros(len(tensor), dtype=torch.bool, device=tensor.device)
        for name, tensor in inputs.items()
        if name in gone
    }
    return kept | missing


class RepresentationAssembler(nn.Module):
    """Factors of a face -> tokens (B, N, width).

    Args:
        inputs: per input its tokens and their width; ``region:<name>`` inputs share one network
            and must have the same width. Tokens come in the order of the names, whatever the order
            here: a saved config does not keep it.
        width: d of the tokens.
        hidden: inner width of the small networks; None: ``width``.
    """

    def __init__(
        self, inputs: Mapping[str, Sequence[int]], width: int, hidden: int | None = None
    ) -> None:
        super().__init__()
        self.layout: dict[str, tuple[int, int]] = {
            name: (int(inputs[name][0]), int(inputs[name][1])) for name in sorted(inputs)
        }
        inner = width if hidden is None else hidden
        self.networks = nn.ModuleDict()
        self.embeddings = nn.ParameterDict()
        self.nulls = nn.ParameterDict()
        # Parameters keep the given order, by which optimizers and averages know them.
        for name in inputs:
            count, size = self.layout[name]
            factor = _factor(name)
            if factor not in self.networks:
                self.networks[factor] = nn.Sequential(
                    nn.Linear(size, inner), nn.SiLU(), nn.Linear(inner, width)
                )
                if factor != name:
                    self.embeddings[factor] = nn.Parameter(0.02 * torch.randn(1, width))
            self.embeddings[name] = nn.Parameter(0.02 * torch.randn(count, width))
            self.nulls[name] = nn.Parameter(0.02 * torch.randn(count, width))
            self.register_buffer(f"mean_{name}", torch.zeros(size))
            self.register_buffer(f"std_{name}", torch.ones(size))

    @property
    def token_count(self) -> int:
        """N, always the same."""
        return sum(count for count, _ in self.layout.values())

    def set_statistics(self, name: str, mean: Tensor, std: Tensor) -> None:
        """Stores mean and standard deviation (D,) of an input over the training faces."""
        self.get_buffer(f"mean_{name}").copy_(mean)
        self.get_buffer(f"std_{name}").copy_(std.clamp_min(1e-4))

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Assembles the tokens of one edit.

        Args:
            inputs: (B, n, D) per name; a missing name is absent for the whole batch.
            present: (B,) bool per name; a missing name means that what is given is present.

        Returns:
            (B, N, width).

        Raises:
            OptionError: an unknown name, a wrong shape, or no input at all.
        """
        unknown = inputs.keys() - self.layout.keys()
        if unknown or not inputs:
            raise OptionError(
                f"factors {sorted(unknown)} are unknown to this model; "
                f"expected some of {list(self.layout)}"
            )
        batch = len(next(iter(inputs.values())))
        return torch.cat(
            [
                self._tokens(name, batch, inputs.get(name), present.get(name))
                for name in self.layout
            ],
            dim=1,
        )

    def _tokens(
        self, name: str, batch: int, values: Tensor | None, present: Tensor | None
    ) -> Tensor:
        null = self.nulls[name].expand(batch, -1, -1)
        if values is None:
            return null
        count, size = self.layout[name]
        if values.shape != (batch, count, size):
            raise OptionError(
                f"factor {name!r} has shape {tuple(values.shape)}; "
                f"this model expects {(batch, count, size)}"
            )
        mean, std = self.get_buffer(f"mean_{name}"), self.get_buffer(f"std_{name}")
        values = (values.to(mean.dtype) - mean) / std
        here = None
        if present is not None:
            # absent values may be anything, NaN too, and must reach neither result nor gradient
            here = present.to(values.device).view(batch, 1, 1)
            values = torch.where(here, values, torch.zeros_like(values))
        factor = _factor(name)
        tokens = self.networks[factor](values) + self.embeddings[name]
        if factor != name:
            tokens = tokens + self.embeddings[factor]
        return tokens if here is None else torch.where(here, tokens, null.to(tokens.dtype))


def _factor(name: str) -> str:
    return "region" if name.startswith(REGION_PREFIX) else name
