# SPDX-License-Identifier: Apache-2.0
"""Tiny real models of both scales and random edits for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from facex.fors.conditioner import Conditioner
from facex.frc.base import Base, mini_scheduler, mini_unet
from facex.frc.condition import EditCondition
from facex.frc.controller import FaceXController
from facex.frc.pipeline import FaceXPipeline
from facex.models.klt import KLTAutoencoder
from tests import tiny

SIZE = 128
"""Pixels per side of a crop: 16 x 16 latent cells."""

INPUTS = {
    "identity": (4, 6), "pose": (1, 9), "expression": (1, 5), "gaze": (1, 4), "texture": (1, 3),
    "light": (1, 27), "region:skin": (1, 7), "region:lips": (1, 7),
}  # fmt: skip
SCALES = ("mini", "sd15")


def make_base(scale: str, seed: int = 0) -> Base:
    """``mini``: three stages, latents folded 2 x 2; ``sd15``: four stages, not folded."""
    if scale == "sd15":
        scheduler = DDIMScheduler(**tiny.SCHEDULER, clip_sample=False)
        return Base(tiny.tiny_unet(seed), tiny.tiny_vae(seed), scheduler)
    with tiny.seeded(seed):
        unet = mini_unet((16, 32, 32), channels=32, context_dim=32, head_width=8, sample_size=8)
        vae = KLTAutoencoder(latent_channels=8, width=8, blocks=(1, 1))
        vae.fit(torch.rand(4, 3, SIZE, SIZE) * 2 - 1)
    return Base(unet.eval(), vae.eval(), mini_scheduler())


def make_controller(base: Base, anchor_init: str = "known", seed: int = 0) -> FaceXController:
    with tiny.seeded(seed):
        return FaceXController.for_unet(
            base.unet,
            latent_channels=base.latent_channels,
            frc_width=16,
            head_width=8,
            spatial_widths=[16] * len(base.unet.down_blocks),
            anchor_init=anchor_init,
        ).eval()


def make_conditioner(base: Base, seed: int = 0) -> Conditioner:
    with tiny.seeded(seed):
        return Conditioner(
            INPUTS,
            context_dim=base.context_dim,
            width=24,
            reference_channels=base.latent_channels,
            reference_tokens=16 if base.fold == 2 else 64,
            fold=base.fold,
        ).eval()


def make_pipeline(
    scale: str, anchor_init: str = "known", *, stirred: bool = False, seed: int = 0
) -> FaceXPipeline:
    base = make_base(scale, seed)
    controller, conditioner = make_controller(base, anchor_init, seed), make_conditioner(base, seed)
    if stirred:
        stir(controller)
    return FaceXPipeline(base, controller, conditioner)


def stir(net: nn.Module, seed: int = 1) -> None:
    """Stand in for training: nothing stays at its zero initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if not bool(parameter.any()):
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))


def make_condition(batch: int = 1, seed: int = 0) -> EditCondition:
    """Known in the left half, editable in the middle half, the rest random."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * 2 - 1

    known, edit = torch.zeros(batch, 1, SIZE, SIZE), torch.zeros(batch, 1, SIZE, SIZE)
    known[..., : SIZE // 2] = 1
    edit[..., SIZE // 4 : 3 * SIZE // 4, :] = 1
    return EditCondition(
        inputs={name: noise(batch, *shape) for name, shape in INPUTS.items()},
        present={},
        reference=noise(batch, 3, SIZE, SIZE),
        known=known,
        edit=edit,
        geometry=noise(batch, 3, SIZE, SIZE),
        target=noise(batch, 3, SIZE, SIZE),
    )


def part(condition: EditCondition, index: int) -> EditCondition:
    """One edit of a batch."""
    pick = slice(index, index + 1)
    images = ("reference", "known", "edit", "geometry", "target")
    return EditCondition(
        inputs={name: value[pick] for name, value in condition.inputs.items()},
        present={name: value[pick] for name, value in condition.present.items()},
        **{name: getattr(condition, name)[pick] for name in images},
    )


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


def hooks(net: nn.Module) -> list[tuple[str, int, int]]:
    """Modules that carry hooks, and how many."""
    return [
        (name, len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in net.named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    ]


@contextmanager
def counted(*modules: nn.Module) -> Iterator[list[Any]]:
    """A list that gets an entry whenever one of the modules runs."""
    calls: list[Any] = []
    handles = [m.register_forward_hook(lambda m, *_: calls.append(m)) for m in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
