# SPDX-License-Identifier: Apache-2.0
"""The sd15 run as a config; every default names its source.

FA stands for Face-Adapter (Han et al. 2024, "Face-Adapter for Pre-Trained Diffusion Models with
Fine-Grained ID and Attribute Control"), the closest published system with known numbers: the
FaceX paper gives none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from facex.errors import OptionError

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Count: TypeAlias = Annotated[int, Field(ge=0)]


class Sd15Config(BaseModel):
    """Everything that decides a run; kept beside every checkpoint.

    Attributes:
        kind: names this trainer in a config file.
        model: folder in the layout of Stable Diffusion 1.5 with ``facex_index.json`` and ``ford/``;
            ``controller/``, ``conditioner/`` and ``ford/region_adapter/`` may be missing and then
            start fresh.
        data: folder of ``facex prepare``, made with the same model.
        out: run folder.
        max_steps: optimizer steps of the whole run.
        batch_size: samples for each process and micro-step.
        accumulate: micro-steps whose gradients are added up.
        learning_rate: after the warm-up, constant.
        warmup: steps of linear warm-up.
        betas: of Adam.
        weight_decay: of AdamW.
        clip_norm: largest norm of the gradient.
        optimizer: ``auto`` takes 8-bit AdamW where bitsandbytes is installed and a GPU is used.
        ema: decay of the averaged weights, which are the ones that are published.
        snr_gamma: of min-SNR weights, or null for the plain noise error.
        outside_weight: weight of latent cells that may not change.
        drop_all: share of samples without any condition.
        drop_region: share of all samples, beside those, without region tokens (attributes).
        drop_identity: share of all samples, beside those, without identity tokens.
        drop_motion: share of all samples, beside those, without motion tokens.
        train_clip: whether the CLIP tower of phi^Reg is trained, too.
        tokens_width: d of the tokens before phi^SD.
        reference_fold: side of the square of latent cells that phi^Inp reads as one.
        frc_width: inner width of the FRC blocks; null: half of each block's own.
        spatial_width: channels of the spatial path.
        statistics: faces from which mean and spread of the token inputs are taken.
        pairs: make references of faces and heads from another photo of the person, most of the
            time, where one is in the shards at hand.
        cached_latents: use the latents of the shards for the answer; they are of half precision.
        mixed_precision: as in accelerate.
        gradient_checkpointing: in the UNet and CLIP.
        compile: ``torch.compile`` for the base UNet.
        channels_last: memory layout of the base UNet.
        seed: of weights, noise, timesteps, dropped tokens and the order of the faces.
        shards_at_once: shards whose faces are mixed with one another.
        workers: processes that make samples, for each training process.
        save_steps: steps between checkpoints.
        keep: checkpoints that stay.
        log_steps: steps between two lines of ``log.jsonl``.
        licence: of the trained weights, for the model's index.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["sd15"] = "sd15"
    model: Path
    data: Path
    out: Path
    max_steps: PositiveInt = 70_000  # FA
    batch_size: PositiveInt = 4  # FA: 32 in all, on 8 GPUs
    accumulate: PositiveInt = 1  # with fewer GPUs so many more
    learning_rate: PositiveFloat = 1e-4  # FA, constant
    warmup: Count = 500  # ours (the default of diffusers' examples); FA names none
    betas: tuple[Share, Share] = (0.9, 0.999)  # of AdamW (Loshchilov, Hutter 2019)
    weight_decay: NonNegativeFloat = 0.01  # the default of AdamW; FA names none
    clip_norm: PositiveFloat = 1.0  # diffusers' examples
    optimizer: Literal["auto", "adamw", "adamw8bit"] = "auto"
    ema: Share = 0.9999  # Stable Diffusion's own (Rombach et al. 2022)
    snr_gamma: PositiveFloat | None = 5.0  # Hang et al. 2023; FA: null, plain noise error
    outside_weight: Share = 1.0  # FA: no mask in the loss
    drop_all: Share = 0.05  # FA
    drop_region: Share = 0.45  # FA: attribute tokens of another 45 %
    drop_identity: Share = 0.0  # FA
    drop_motion: Share = 0.0  # FA
    train_clip: bool = True  # FA: frozen CLIP costs 1.2 to 1.9 FID
    tokens_width: PositiveInt = 768  # width of the base's context, FA
    reference_fold: PositiveInt = 2  # 512 px: 16 x 16 tokens, as CLIP ViT-L/14 has
    frc_width: PositiveInt | None = None  # ours
    spatial_width: PositiveInt = 128  # ours
    statistics: PositiveInt = 256  # ours
    pairs: bool = True  # FA: source and target are two frames of one person
    cached_latents: bool = True
    mixed_precision: Literal["no", "bf16"] = "bf16"  # FA: fp16 on V100; bf16 needs no scaling
    gradient_checkpointing: bool = True
    compile: bool = False
    channels_last: bool = False
    seed: int = 0
    shards_at_once: PositiveInt = 8
    workers: Count = 4
    save_steps: PositiveInt = 1000
    keep: PositiveInt = 2
    log_steps: PositiveInt = 10
    licence: str = "not stated"


def check_paths(config: Sd15Config) -> None:
    """Refuse a run whose inputs are not there.

    Raises:
        OptionError: the folder and what makes it are named.
    """
    if not (config.model / "facex_index.json").is_file():
        raise OptionError(
            f"model: {config.model} has no facex_index.json; lay the model out as in "
            "docs/train-sd15.md"
        )
    if not (config.data / "manifest.json").is_file():
        raise OptionError(
            f"data: {config.data} holds no finished preparation; make it with facex prepare"
        )
    if config.out.exists() and not config.out.is_dir():
        raise OptionError(f"out: {config.out} is a file; name a folder")
