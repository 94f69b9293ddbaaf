# SPDX-License-Identifier: Apache-2.0
"""What FORS and FRC cost per sampling step, beside ControlNet and IP-Adapter.

Every round runs each variant once, in turn and in one process, so that whatever else the machine
does hits all of them alike. The ratio is the median over rounds of (variant / bare base in the
same round). Weights are random at full size: time does not depend on them.

    python benchmarks/overhead.py --repeats 7
    python benchmarks/overhead.py --arithmetic      counts operations at full size, without memory
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from facex.fors.conditioner import Conditioner
from facex.frc.base import Base, mini_scheduler, mini_unet
from facex.frc.controller import FaceXController
from facex.models.hub import BUNDLED
from facex.models.klt import KLTAutoencoder

TEXT_TOKENS = 77
STEPS = 6
"""Over which the cost per edit is spread in the last column."""

SD15_INPUTS = {
    "identity": (49, 512), "pose": (1, 9), "expression": (1, 116), "gaze": (1, 4),
    "texture": (1, 80), "light": (1, 27), **{f"region:{i}": (1, 768) for i in range(13)},
}  # fmt: skip
"""Token inputs of the sd15 extractors."""

Run = Callable[[], object]


@dataclass
class Variant:
    """Something to be timed against the first of its list.

    Attributes:
        name: row of the table.
        step: one evaluation, as in a sampling step.
        parameters: how many it adds to the base.
        once: what is done once per edit instead of per step.
    """

    name: str
    step: Run
    parameters: int = 0
    once: Run | None = None
    seconds: list[float] = field(default_factory=list)
    once_seconds: list[float] = field(default_factory=list)


def count(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def timed(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ours(base: Base, controller: FaceXController, conditioner: Conditioner, cells: int) -> Variant:
    """FORS and FRC, with the keys and values of f_SD in memory as in the pipeline."""
    channels = base.latent_channels
    inputs = {
        name: torch.randn(1, *shape) for name, shape in conditioner.representation.layout.items()
    }
    latents, reference = torch.randn(2, 1, channels, cells, cells)
    pixels = 8 * cells
    known, edit = torch.ones(2, 1, 1, pixels, pixels)
    geometry = torch.randn(1, 3, pixels, pixels)
    stack = torch.cat([reference, torch.ones(1, 2, cells, cells)], 1)

    def once() -> tuple[Tensor, Any]:
        context = conditioner(inputs, {}, stack)
        return context, controller.spatial(reference, known, edit, geometry)

    context, features = once()
    controller.attach(base.unet)
    t = torch.tensor([500])
    return Variant(
        f"FORS + FRC ({context.shape[1]} tokens)",
        lambda: controller(base, latents, t, context, features),
        count(controller, conditioner),
        once,
    )


def bare(base: Base, tokens: int, cells: int) -> Variant:
    latents = torch.randn(1, base.latent_channels, cells, cells)
    context = torch.randn(1, tokens, base.context_dim)
    return Variant(
        f"bare base ({tokens} tokens)",
        lambda: base.predict(latents, torch.tensor([500]), context),
    )


def mini_variants() -> tuple[list[Variant], Base, FaceXController]:
    """The bundled shapes; the bundled weights if they are there."""
    if (BUNDLED / "controller" / "config.json").is_file():
        unet = UNet2DConditionModel.from_pretrained(BUNDLED / "unet").float().eval()
        controller = FaceXController.from_pretrained(BUNDLED / "controller").float().eval()
        conditioner = Conditioner.from_pretrained(BUNDLED / "conditioner").float().eval()
    else:
        unet = mini_unet((128, 160, 160)).eval()
        controller = FaceXController.for_unet(unet, latent_channels=32).eval()
        sizes = {"identity": (49, 64), "texture": (1, 64), "expression": (1, 52)}
        regions = {name: (1, 287) for name in SD15_INPUTS if name.startswith("region:")}
        conditioner = Conditioner({**SD15_INPUTS, **regions, **sizes}).eval()
    vae, scheduler = KLTAutoencoder(), mini_scheduler()
    base, steered = (Base(net, vae, scheduler) for net in (unet, sharing(unet)))
    controlled = ours(steered, controller, conditioner, 32)
    tokens = int(controlled.name.split("(")[1].split()[0])
    return [bare(base, tokens, 32), controlled], base, controller


def sd15_variants() -> tuple[list[Variant], Base, FaceXController]:
    """Stable Diffusion 1.5 at full size and 256 px, and what others add to it."""
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, attention_head_dim=8
    ).eval()  # diffusers' defaults are SD 1.5's
    with torch.device("meta"):
        vae = AutoencoderKL(
            latent_channels=4,
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
    base, steered = (Base(net, vae, DDIMScheduler()) for net in (unet, sharing(unet)))
    controller = FaceXController.for_unet(
        steered.unet,
        latent_channels=4,
        frc_width=None,
        head_width=64,
        spatial_widths=(128, 256, 512, 512),
        anchor_init="zero",
    ).eval()
    conditioner = Conditioner(
        SD15_INPUTS, 768, 768, reference_channels=4, reference_tokens=64, fold=2
    ).eval()
    controlled = ours(steered, controller, conditioner, 32)
    tokens = int(controlled.name.split("(")[1].split()[0])
    variants = [
        bare(base, TEXT_TOKENS, 32), bare(base, tokens, 32), controlled,
        controlnet(base), ip_adapter(base),
    ]  # fmt: skip
    return variants, steered, controller


def sharing(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Another module tree over the very same weights."""
    with torch.device("meta"):
        twin = UNet2DConditionModel(**unet.config)
    twin.load_state_dict(unet.state_dict(), assign=True)
    return twin.eval()


def controlnet(base: Base) -> Variant:
    """diffusers' ControlNet for the same UNet: a copy of its down and middle stages, each step."""
    net = ControlNetModel.from_unet(base.unet).eval()
    latents, t = torch.randn(1, 4, 32, 32), torch.tensor([500])
    context, picture = torch.randn(1, TEXT_TOKENS, 768), torch.rand(1, 3, 256, 256)

    def step() -> Tensor:
        down, middle = net(latents, t, context, picture, return_dict=False)
        return base.predict(
            latents,
            t,
            context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        )

    return Variant("ControlNet (diffusers)", step, count(net))


def ip_adapter(base: Base) -> Variant:
    """diffusers' IP-Adapter (4 image tokens, decoupled attention), random weights."""
    unet = sharing(base.unet)
    before = {id(p) for p in unet.parameters()}
    weights: dict[str, Tensor] = {}
    number = 1
    for name in unet.attn_processors:
        if name.endswith("attn2.processor"):
            width = unet.get_submodule(name.removesuffix(".processor")).inner_dim
            for part in ("k", "v"):
                weights[f"{number}.to_{part}_ip.weight"] = 0.02 * torch.randn(width, 768)
            number += 2
    projection = {
        "proj.weight": 0.02 * torch.randn(4 * 768, 1024), "proj.bias": torch.zeros(4 * 768),
        "norm.weight": torch.ones(768), "norm.bias": torch.zeros(768),
    }  # fmt: skip
    unet._load_ip_adapter_weights(
        [{"image_proj": projection, "ip_adapter": weights}], low_cpu_mem_usage=False
    )
    adapted = Base(unet.eval(), base.vae, base.scheduler)
    latents, context = torch.randn(1, 4, 32, 32), torch.randn(1, TEXT_TOKENS, 768)
    image = [torch.randn(1, 1, 1024)]
    return Variant(
        "IP-Adapter (diffusers)",
        lambda: adapted.predict(
            latents, torch.tensor([500]), context, added_cond_kwargs={"image_embeds": image}
        ),
        sum(p.numel() for p in unet.parameters() if id(p) not in before),
    )


def measure(
    variants: Sequence[Variant], controller: FaceXController, repeats: int, budget: float
) -> int:
    """Run rounds until ``repeats`` or ``budget`` seconds are reached; returns the rounds done."""
    end = time.monotonic() + budget
    with torch.inference_mode(), controller.cache.enabled():
        for variant in variants:
            variant.step()
            if variant.once is not None:
                variant.once()
        for _ in range(repeats):
            for variant in variants:
                variant.seconds.append(timed(variant.step))
                if variant.once is not None:
                    variant.once_seconds.append(timed(variant.once))
            if time.monotonic() > end:
                break
    return len(variants[0].seconds)


def table(title: str, variants: Sequence[Variant], rounds: int) -> str:
    """A Markdown table; the first variant is what the others are compared with."""
    first = variants[0]
    lines = [
        f"### {title} (median of {rounds} rounds)",
        "",
        f"| | added parameters | ms a step | ratio | once per edit, ms | ratio, {STEPS} steps |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for variant in variants:
        pairs = list(zip(variant.seconds, first.seconds, strict=True))
        ratio = statistics.median(own / base for own, base in pairs)
        once = statistics.median(variant.once_seconds) if variant.once_seconds else 0.0
        whole = ratio + once / (STEPS * statistics.median(first.seconds))
        lines.append(
            f"| {variant.name} | {variant.parameters / 1e6:.1f} M "
            f"| {1e3 * statistics.median(variant.seconds):.1f} | {ratio:.3f} "
            f"| {1e3 * once:.1f} | {whole:.3f} |"
        )
    return "\n".join(lines)


def operations(run: Run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def arithmetic() -> str:
    """What a step computes at full size, on the meta device: no noise, no weights, no memory."""
    lines = ["| | operations a step | ratio |", "| --- | ---: | ---: |"]
    with torch.device("meta"), torch.inference_mode():
        variants, _, controller = sd15_variants()
        first = operations(variants[0].step)
        for variant in variants:
            if variant.once is not None:
                found = operations(variant.step)
                name = f"{variant.name}, keys and values anew in each step"
                lines.append(f"| {name} | {found / 1e9:.1f} G | {found / first:.3f} |")
            with controller.cache.enabled():
                variant.step()
                found = operations(variant.step)
            lines.append(f"| {variant.name} | {found / 1e9:.1f} G | {found / first:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=("mini", "sd15", "all"), default="all")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds per scale")
    parser.add_argument("--arithmetic", action="store_true")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args()
    if args.arithmetic:
        print(arithmetic())
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    kinds = {"mini": mini_variants, "sd15": sd15_variants}
    titles = {
        "mini": "mini, 256 px, batch 1",
        "sd15": "Stable Diffusion 1.5 at full size, 256 px (32 x 32 latents), batch 1",
    }
    print(f"PyTorch {torch.__version__}, CPU, float32, {torch.get_num_threads()} thread(s)\n")
    for scale, build in kinds.items():
        if args.scale in (scale, "all"):
            variants, _, controller = build()
            # The small one is quick enough for many rounds.
            repeats = args.repeats * (8 if scale == "mini" else 1)
            rounds = measure(variants, controller, repeats, args.budget)
            print(table(titles[scale], variants, rounds), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
