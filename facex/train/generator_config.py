# SPDX-License-Identifier: Apache-2.0
"""Everything that decides a run of the generator's training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class GeneratorConfig(BaseModel):
    """Everything that decides a run; saved with every checkpoint.

    Attributes:
        kind: names this trainer in a config file.
        cache: folder of ``facex.train.make_cache``.
        index: ``index.csv`` of the faces.
        codes: file of ``facex.train.encode_faces``.
        samples: folder of ``facex.train.stored`` to draw samples from, or None: each is made.
        vae: folder of the autoencoder.
        teachers: folder with the perceptual network, or None for no perceptual loss.
        out: run folder.
        start: model folder to begin from, or None for fresh weights.
        minutes: wall-clock budget of this call.
        max_steps: end of the whole run.
        batch_size: samples a step and process.
        accumulate: steps whose gradients are added up.
        learning_rate: of AdamW, after 100 steps of warm-up.
        weight_decay: of AdamW.
        ema: decay of the averaged weights.
        base_channels: widths of the base's stages.
        layers_per_block: of the base.
        drop_group: probability of dropping each factor group (for guidance).
        drop_reference: probability of dropping the reference tokens.
        full_noise: share of the samples that begin, as every edit does, from noise alone; the
            others see a random level. Of few steps the first decides nearly everything.
        perceptual_share: share of the batch that is decoded for LPIPS.
        perceptual_window: side in pixels of the random window of the edit in which that is done,
            or None for the whole picture.
        perceptual_weight: weight of that loss.
        outside_weight: weight of latent cells that may not change.
        seed: of weights, noise and data.
        workers: processes that make samples.
        mixed_precision: as in accelerate.
        save_minutes: time between checkpoints.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["generator"] = "generator"
    cache: Path
    index: Path
    codes: Path
    samples: Path | None = None
    vae: Path
    teachers: Path | None = None
    out: Path
    start: Path | None = None
    minutes: PositiveFloat = 60.0
    max_steps: PositiveInt = 10_000_000
    batch_size: PositiveInt = 8
    accumulate: PositiveInt = 1
    learning_rate: PositiveFloat = 3e-4
    weight_decay: NonNegativeFloat = 0.01
    ema: Share = 0.999
    base_channels: tuple[int, ...] = (128, 160, 160)
    layers_per_block: int = 1
    drop_group: Share = 0.08
    drop_reference: Share = 0.05
    full_noise: Share = 0.5
    perceptual_share: Share = 1.0
    perceptual_window: PositiveInt | None = None
    perceptual_weight: float = 1.0
    outside_weight: float = 0.1
    seed: int = 0
    workers: int = 1
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    save_minutes: float = 8.0
