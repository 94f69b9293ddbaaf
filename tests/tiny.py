# SPDX-License-Identifier: Apache-2.0
"""Tiny stand-ins of the real classes: same layout, same tensor names, few channels.

Nothing here is a mock: each part is what a user's folder would hold, only narrower.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from torch import nn

from facex.ford.sd15 import (
    ArcFaceExtractor,
    ArcFaceNet,
    BiSeNet,
    BiSeNetExtractor,
    ClipRegionExtractor,
    D3DFRExtractor,
    D3DFRNet,
    L2CSExtractor,
    L2CSNet,
    RegionAdapter,
)
from facex.ford.sd15.clip_regions import build_clip

CONTEXT_DIM = 32
"""Token width of the tiny base; 768 in Stable Diffusion 1.5."""

TINY_ARCFACE: dict[str, Any] = {"width": 4, "embedding_dim": 16}
TINY_BISENET: dict[str, Any] = {"width": 4}
TINY_D3DFR: dict[str, Any] = {"width": 4}
TINY_L2CS: dict[str, Any] = {"width": 4}
TINY_CLIP: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 56, "patch_size": 14,
}  # fmt: skip
TINY_ADAPTER: dict[str, Any] = {"in_channels": 16, "width": 8, "out_channels": 12}

SD15_UNET: dict[str, Any] = {
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "center_input_sample": False,
    "flip_sin_to_cos": True, "freq_shift": 0, "layers_per_block": 2, "act_fn": "silu",
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768,
    "attention_head_dim": 8, "downsample_padding": 1, "mid_block_scale_factor": 1,
    "norm_eps": 1e-05, "norm_num_groups": 32,
}  # fmt: skip
"""unet/config.json of the published Stable Diffusion 1.5."""

TINY_UNET: dict[str, Any] = {
    **SD15_UNET, "sample_size": 8, "block_out_channels": (8, 16, 32, 32), "norm_num_groups": 8,
    "cross_attention_dim": CONTEXT_DIM,
}  # fmt: skip

TINY_VAE: dict[str, Any] = {
    "sample_size": 64, "in_channels": 3, "out_channels": 3, "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (8, 8, 16, 16), "layers_per_block": 2, "act_fn": "silu",
    "norm_num_groups": 4, "scaling_factor": 0.18215,
}  # fmt: skip

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "steps_offset": 1, "set_alpha_to_one": False,
}  # fmt: skip


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Build something from a fixed seed without touching the caller's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def tiny_unet(seed: int = 0) -> UNet2DConditionModel:
    with seeded(seed):
        return UNet2DConditionModel(**TINY_UNET).eval()


def tiny_vae(seed: int = 0) -> AutoencoderKL:
    with seeded(seed):
        return AutoencoderKL(**TINY_VAE).eval()


def make_tiny_sd15_folder(
    path: str | Path, *, extractors: bool = True, scheduler: str = "pndm", seed: int = 0
) -> Path:
    """Write a folder in the layout of Stable Diffusion 1.5, as a user would download it.

    Args:
        path: the folder to make.
        extractors: add ``ford/<name>/`` for every public extractor.
        scheduler: ``pndm`` (as published) or ``ddim``.
        seed: of the random weights; two seeds are two fine-tunes of one layout.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    tiny_unet(seed).save_pretrained(folder / "unet")
    tiny_vae(seed).save_pretrained(folder / "vae")
    if scheduler == "pndm":
        PNDMScheduler(**SCHEDULER, skip_prk_steps=True).save_pretrained(folder / "scheduler")
    else:
        DDIMScheduler(**SCHEDULER, clip_sample=False).save_pretrained(folder / "scheduler")
    # A published folder has these too; FaceX has no text and must not look into them.
    for name in ("text_encoder", "tokenizer", "safety_checker", "feature_extractor"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text("this is not read", encoding="utf-8")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.6.0",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "scheduler": ["diffusers", "PNDMScheduler" if scheduler == "pndm" else "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    if extractors:
        save_tiny_extractors(folder)
    return folder


def calm(net: nn.Module) -> nn.Module:
    """Random deep residual networks explode; damp the branches so that outputs stay near 1."""
    with torch.no_grad():
        for name, module in net.named_modules():
            if isinstance(module, nn.BatchNorm2d) and name.endswith("bn3"):
                module.weight.fill_(0.3)
    return net.eval()


def _built(build: Callable[[], nn.Module], seed: int) -> Any:
    with seeded(seed):
        return calm(build())


def tiny_arcface(seed: int = 0) -> ArcFaceNet:
    return _built(lambda: ArcFaceNet(**TINY_ARCFACE), seed)


def tiny_bisenet(seed: int = 0) -> BiSeNet:
    return _built(lambda: BiSeNet(**TINY_BISENET), seed)


def tiny_d3dfr(seed: int = 0) -> D3DFRNet:
    return _built(lambda: D3DFRNet(**TINY_D3DFR), seed)


def tiny_l2cs(seed: int = 0) -> L2CSNet:
    return _built(lambda: L2CSNet(**TINY_L2CS), seed)


def tiny_clip(seed: int = 0) -> Any:
    return _built(lambda: build_clip(TINY_CLIP), seed)


def tiny_adapter(seed: int = 0) -> RegionAdapter:
    return _built(lambda: RegionAdapter(**TINY_ADAPTER), seed)


def tiny_sd15_extractors(seed: int = 0) -> tuple[Any, ...]:
    """The five public extractors in the order in which they run; they need ``landmarks``."""
    return (
        ArcFaceExtractor(tiny_arcface(seed)),
        BiSeNetExtractor(tiny_bisenet(seed)),
        D3DFRExtractor(tiny_d3dfr(seed)),
        L2CSExtractor(tiny_l2cs(seed)),
        ClipRegionExtractor(tiny_clip(seed), tiny_adapter(seed)),
    )


def save_tiny_extractors(folder: str | Path, seed: int = 0) -> None:
    """Write ``ford/<name>/`` for every public extractor."""
    ford = Path(folder) / "ford"
    tiny_arcface(seed).save_pretrained(ford / "arcface")
    tiny_bisenet(seed).save_pretrained(ford / "bisenet")
    tiny_d3dfr(seed).save_pretrained(ford / "d3dfr")
    tiny_l2cs(seed).save_pretrained(ford / "l2cs")
    tiny_clip(seed).save_pretrained(ford / "clip")
    tiny_adapter(seed).save_pretrained(ford / "region_adapter")


def tiny_landmarks(batch: int = 1, size: int = 512) -> torch.Tensor:
    """Landmarks ``(B, 478, 3)`` of an upright face in the middle of a crop: the mean mesh."""
    from facex.geometry.shape_model import bundled_mesh

    mean = torch.from_numpy(bundled_mesh().mean).float()
    scale = 0.25 * size
    points = mean * scale + torch.tensor([size / 2, size * 0.45, 0.0])
    return points.expand(batch, -1, -1).clone()
