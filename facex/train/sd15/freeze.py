# SPDX-License-Identifier: Apache-2.0
"""Which parts are trained and which are not, with their numbers of parameters."""

from __future__ import annotations

from typing import Final, NamedTuple

from torch import nn

from facex.train.sd15.model import Sd15Model

_UNUSED: Final = ("post_layernorm",)
"""Parts of CLIP behind the map that phi^Reg reads; they never get a gradient."""


class Part(NamedTuple):
    """One part of the model.

    Attributes:
        name: as in the paper's figure 2.
        trained: parameters that change.
        frozen: parameters that stay.
    """

    name: str
    trained: int
    frozen: int


def freeze(model: Sd15Model, autoencoder: nn.Module, *, train_clip: bool) -> list[Part]:
    """Decide what is trained.

    Args:
        model: all networks; their flags are set.
        autoencoder: frozen, listed for completeness.
        train_clip: whether phi^Reg's tower is trained, too.

    Returns:
        All parts, in the order of the data's way.
    """
    model.requires_grad_(True)
    model.unet.requires_grad_(False)
    autoencoder.requires_grad_(False)
    model.regions.clip.requires_grad_(train_clip)
    for name, parameter in model.regions.clip.named_parameters():
        if any(part in name for part in _UNUSED):
            parameter.requires_grad_(False)
    steering, tokens = model.controller, model.conditioner
    parts: list[tuple[str, nn.Module]] = [
        ("phi^Reg, CLIP", model.regions.clip),
        ("phi^Reg, FPN branches", model.regions.adapter),
        ("phi^R", tokens.representation),
        ("phi^Inp", tokens.reference),
        ("phi^SD", tokens.adapter),
        ("FRC", steering.frc),
        ("spatial path", steering.spatial),
        ("anchor", steering.anchor),
        ("base UNet", model.unet),
        ("autoencoder", autoencoder),
    ]
    counted = [_count(name, module) for name, module in parts]
    null = tokens.null_reference.numel()
    return [p._replace(trained=p.trained + null) if p.name == "phi^Inp" else p for p in counted]


def table(parts: list[Part]) -> str:
    """The parts as lines of text, in millions of parameters."""
    lines = [f"{'part':<24}{'trained':>12}{'frozen':>12}   millions of parameters"]
    total = Part("all", sum(p.trained for p in parts), sum(p.frozen for p in parts))
    lines += [
        f"{p.name:<24}{p.trained / 1e6:>12.3f}{p.frozen / 1e6:>12.3f}" for p in [*parts, total]
    ]
    return "\n".join(lines)


def _count(name: str, module: nn.Module) -> Part:
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    trained = sum(size for size, on in sizes if on)
    return Part(name, trained, sum(size for size, _ in sizes) - trained)
