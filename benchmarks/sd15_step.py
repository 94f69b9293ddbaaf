# SPDX-License-Identifier: Apache-2.0
"""What a training step at the size of Stable Diffusion 1.5 costs, with random weights.

``python benchmarks/sd15_step.py measure`` runs one full-size step on the CPU (256 px, float32,
about 9 GB). ``memory`` counts, on the meta device, the peak of a step at 512 px for batches of 1
to 32, and compares the same count at one small point with a real step.
``work`` counts FLOPs, likewise on the meta device. ``control`` times the step of FORS and FRC
against the bare base with gradients to as many of its own parameters (128 px on the CPU); with
``--count`` it counts their FLOPs at 128, 256 and 512 px instead. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary

from facex.ford.representation import TOKEN_INPUTS, region_input
from facex.ford.sd15.clip_regions import RegionAdapter, build_clip
from facex.fors.conditioner import Conditioner
from facex.frc.base import Base
from facex.frc.condition import EditCondition
from facex.frc.controller import FaceXController
from facex.train.sd15.freeze import freeze, table
from facex.train.sd15.model import RegionEncoder, Sd15Model, save_memory
from facex.types import REGIONS

UNET: dict[str, Any] = {
    "sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}  # fmt: skip
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4,
}  # fmt: skip
CLIP: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "image_size": 224, "patch_size": 14,
}  # fmt: skip
INPUTS: dict[str, tuple[int, int]] = {
    "identity": (49, 512), "pose": (1, 9), "expression": (1, 116), "gaze": (1, 4),
    "texture": (1, 80), "light": (1, 27), **{region_input(r): (1, 768) for r in REGIONS},
}  # fmt: skip
"""Tokens of the paper's extractors."""


def build(crop: int, *, checkpointing: bool, half: bool = False) -> tuple[Sd15Model, Base]:
    """The model of a run, with random weights on the current device.

    Args:
        crop: side of the crops.
        checkpointing: as in the config.
        half: the base in bfloat16.
    """
    before = torch.get_default_dtype()
    # Made in its format, for a fake tensor's cannot be changed later.
    torch.set_default_dtype(torch.bfloat16 if half else before)
    unet = UNet2DConditionModel(**UNET).eval()
    torch.set_default_dtype(before)
    base = Base(
        unet,
        AutoencoderKL(**VAE).eval(),
        DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    )
    controller = FaceXController.for_unet(
        base.unet, latent_channels=4, frc_width=None, head_width=40, anchor_init="zero"
    )
    conditioner = Conditioner(
        {name: INPUTS[name] for name in sorted(TOKEN_INPUTS)},
        context_dim=768, width=768, reference_channels=4, reference_tokens=(crop // 32) ** 2,
    )  # fmt: skip
    model = Sd15Model(
        base, controller, conditioner, RegionEncoder(build_clip(CLIP), RegionAdapter())
    )
    parts = freeze(model, base.vae, train_clip=True)
    if checkpointing and not half:
        print(table(parts), flush=True)
    if checkpointing:
        save_memory(model)
    return model.train(), base


def batch_of(size: int, crop: int, device: str = "cpu") -> tuple[Any, ...]:
    """Arguments of the model: a batch of noise."""
    t = torch.full((size,), 500, device=device)
    cells = crop // 8

    def noise(*shape: int) -> Tensor:
        return torch.rand(shape, device=device)

    condition = EditCondition(
        inputs={n: noise(size, *s) for n, s in INPUTS.items() if not n.startswith("region:")},
        present={n: torch.ones(size, dtype=torch.bool, device=device) for n in INPUTS},
        reference=noise(size, 3, crop, crop), known=noise(size, 1, crop, crop),
        edit=noise(size, 1, crop, crop), geometry=noise(size, 3, crop, crop),
        target=noise(size, 3, crop, crop),
    )  # fmt: skip
    return (
        condition, noise(size, 3, crop, crop), noise(size, len(REGIONS), 64, 64),
        noise(size, 4, cells, cells), t,
    )  # fmt: skip


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages that are alive, and their largest sum so far."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen = WeakIdKeyDictionary()

    def add(self, value: Any) -> None:
        """Count the tensors in a value, each storage once."""
        for tensor in tree_leaves(value):
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is None or storage in self._seen:
                continue
            self._seen[storage] = True
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count what it made."""
        found = function(*args, **(kwargs or {}))
        self.add(found)
        return found


def step(model: Sd15Model, arguments: tuple[Any, ...], *, half: bool) -> None:
    """Forward and backward; gradients stay."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = model(*arguments).square().mean()
    loss.backward()


def counted_peak(crop: int, size: int, *, checkpointing: bool) -> tuple[int, int]:
    """Bytes of a step without memory being used: all, and what was there before.

    Fake tensors are the meta device's, which believe to be on the CPU: autocast wants to know.
    Weights and gradients are counted, Adam and averages are not.
    """
    with FakeTensorMode():
        model, base = build(crop, checkpointing=checkpointing, half=True)
        arguments = batch_of(size, crop)
        live = LiveBytes()
        live.add([*model.parameters(), *model.buffers(), *base.vae.parameters()])
        weights = live.now
        with live:
            step(model, arguments, half=True)
    return live.peak, weights


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def gib(size: float) -> float:
    return round(size / 2**30, 2)


def weight_bytes(model: nn.Module, base: Base) -> dict[str, float]:
    """What does not depend on the batch, in GiB: weights, gradients, Adam, averages."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
    vae = sum(p.numel() * p.element_size() for p in base.vae.parameters())
    return {
        "weights": gib(4 * trained + frozen + vae), "gradients": gib(4 * trained),
        "adam": gib(8 * trained), "adam 8 bits": gib(2 * trained), "averages": gib(4 * trained),
    }  # fmt: skip


def measure(crop: int, size: int) -> None:
    """One real step in float32."""
    torch.manual_seed(0)
    model, _ = build(crop, checkpointing=True)
    arguments = batch_of(size, crop)
    begin_memory, begin = resident(), time.perf_counter()
    loss = model(*arguments).square().mean()
    forward = time.perf_counter()
    loss.backward()
    end = time.perf_counter()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = {
        "crop": crop, "batch": size, "weights in memory GiB": gib(begin_memory),
        "peak GiB": gib(peak), "forward s": round(forward - begin, 1),
        "backward s": round(end - forward, 1),
        "without gradient": len(missing),
    }  # fmt: skip
    print(json.dumps(line))


def work(crop: int, size: int) -> None:
    """TFLOP of a step, by part and in all, on fake tensors."""
    with FakeTensorMode():
        model, base = build(crop, checkpointing=False)
        arguments = batch_of(size, crop)
        again, _ = build(crop, checkpointing=True)
        parts = {
            "autoencoder": _tflop(lambda: base.encode(arguments[0].reference)),
            "phi^Reg": _tflop(lambda: model.regions(*arguments[1:3])),
            "forward": _tflop(lambda: model(*arguments)),
            "all": _tflop(lambda: step(model, arguments, half=False)),
            "all, checkpointing": _tflop(lambda: step(again, arguments, half=False)),
        }
    print(json.dumps({"crop": crop, "batch": size} | {k: round(v, 3) for k, v in parts.items()}))


def memory(crop: int, sizes: list[int], check: int) -> None:
    """The table of peaks, and one point compared with a real step."""
    for checkpointing in (False, True):
        for size in sizes:
            peak, _ = counted_peak(crop, size, checkpointing=checkpointing)
            line = {"crop": crop, "batch": size, "checkpointing": checkpointing}
            print(json.dumps({**line, "peak GiB": gib(peak)}), flush=True)
    with FakeTensorMode():
        model, base = build(crop, checkpointing=False, half=True)
        print(json.dumps(weight_bytes(model, base)))
    if not check:
        return
    counted, weights = counted_peak(check, 1, checkpointing=True)
    model, _ = build(check, checkpointing=True, half=True)
    before = resident()
    step(model, batch_of(1, check), half=True)
    real = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    compared: dict[str, Any] = {"crop": check, "batch": 1, "checkpointing": True}
    compared |= {"counted above the weights GiB": gib(counted - weights)}
    print(json.dumps({**compared, "measured GiB": gib(real - before)}))


def control(crop: int, size: int, repeats: int) -> None:
    """FORS and FRC against the bare base with gradients to as many of its own parameters."""
    for layout in (torch.contiguous_format, torch.channels_last):
        name = str(layout).removeprefix("torch.")
        line: dict[str, Any] = {"layout": name, "crop": crop, "batch": size}
        print(json.dumps(line | _control(crop, size, repeats, layout)), flush=True)


def counted_control(crop: int, size: int) -> None:
    """The same in TFLOP, on fake tensors: any size, and no other load disturbs."""
    with FakeTensorMode():
        steps = _Steps(crop, size, torch.contiguous_format)
        steered = _tflop(steps.steered)
        encoder = _tflop(steps.encoder)
        steps.open_base()
        bare = _tflop(lambda: steps.bare(77))
    line = {
        "crop": crop, "batch": size, "steered": steered, "of it the autoencoder": encoder,
        "bare": bare, "ratio without it": (steered - encoder) / bare,
        "ratio with it": steered / bare,
    }  # fmt: skip
    print(json.dumps({name: round(value, 3) for name, value in line.items()}), flush=True)


class _Steps:
    """What is compared: a step of FORS and FRC, and one of the bare base.

    Args:
        crop: side of the crops.
        size: of the batch.
        layout: of the base's memory.
    """

    def __init__(self, crop: int, size: int, layout: torch.memory_format) -> None:
        torch.manual_seed(0)
        self.model, self.base = build(crop, checkpointing=False)
        self.model.regions.requires_grad_(False)  # phi^Reg is no part of FORS and FRC
        if layout != torch.contiguous_format:  # fake tensors cannot be changed
            self.base.unet.to(memory_format=layout)
        condition, _, _, self.noisy, self.t = batch_of(size, crop)
        features = torch.rand(size, len(REGIONS), 768)
        regions = {region_input(r): features[:, i : i + 1] for i, r in enumerate(REGIONS)}
        self.condition = replace(condition, inputs={**condition.inputs, **regions})
        self.wanted = sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def steered(self) -> None:
        pipeline = self.model._pipeline[0]
        encoded = pipeline.encode(self.condition)
        found = pipeline.clean(encoded, encoded.context, self.noisy, self.t)[0]
        found.square().mean().backward()

    @torch.no_grad()
    def encoder(self) -> None:
        self.base.encode(self.condition.reference)

    @torch.no_grad()
    def tokens(self) -> int:
        return int(self.model._pipeline[0].encode(self.condition).context.shape[1])

    def open_base(self) -> int:
        """Detach the controller, and give the base as many trained parameters."""
        self.model.controller.detach()
        return _open_from_the_end(self.base.unet, self.wanted)

    def bare(self, tokens: int) -> None:
        context = torch.rand(len(self.noisy), tokens, 768)
        self.base.predict(self.noisy, self.t, context).square().mean().backward()


def _control(crop: int, size: int, repeats: int, layout: torch.memory_format) -> dict[str, Any]:
    steps = _Steps(crop, size, layout)
    tokens = steps.tokens()
    times = {
        "steered s": _seconds(steps.steered, repeats),
        "of it the autoencoder s": _seconds(steps.encoder, 1),
    }
    got = steps.open_base()
    times["bare s, 77 tokens"] = _seconds(lambda: steps.bare(77), repeats)
    times["bare s, as many tokens"] = _seconds(lambda: steps.bare(tokens), repeats)
    own = times["steered s"] - times["of it the autoencoder s"]
    return {
        "tokens": tokens, "trained M": round(steps.wanted / 1e6, 1),
        "base trained M": round(got / 1e6, 1),
        **{name: round(value, 2) for name, value in times.items()},
        "ratio": round(own / times["bare s, 77 tokens"], 2),
        "ratio with the autoencoder": round(times["steered s"] / times["bare s, 77 tokens"], 2),
        "ratio, as many tokens": round(own / times["bare s, as many tokens"], 2),
    }  # fmt: skip


def _open_from_the_end(unet: nn.Module, wanted: int) -> int:
    """Train cross-attentions first, then what comes last."""
    found = 0
    attention = [p for n, p in unet.named_parameters() if ".attn2." in n]
    others = [p for n, p in unet.named_parameters() if ".attn2." not in n]
    for parameter in [*attention, *reversed(others)]:
        if found + parameter.numel() <= wanted * 1.02:
            parameter.requires_grad_(True)
            found += parameter.numel()
    return found


def _tflop(call: Callable[[], Any]) -> float:
    """As matrix products, for the counter does not know the CPU's fused attention."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e12


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    """The fastest of a few calls: the machine is shared."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("measure", "work", "memory", "control"))
    parser.add_argument("--crop", type=int, help="256 to measure, 512 for memory, 128 for control")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--check", type=int, default=256, help="crop of the real pass; 0: none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--count", action="store_true", help="control: FLOPs in place of times")
    args = parser.parse_args()
    if args.what == "measure":
        measure(args.crop or 256, args.batch)
    elif args.what == "work":
        work(args.crop or 512, args.batch)
    elif args.what == "memory":
        memory(args.crop or 512, args.batches, args.check)
    elif args.count:
        for crop in [args.crop] if args.crop else [128, 256, 512]:
            counted_control(crop, args.batch)
    else:
        control(args.crop or 128, args.batch, args.repeats)


if __name__ == "__main__":
    main()
