# SPDX-License-Identifier: Apache-2.0
"""Train a personalised base: it learns to draw as a filter does, FORS and FRC stay frozen.

What is trained is a low-rank difference (Hu et al. 2021) to the decoder of the base's autoencoder.
Lines and flat colours are matters of single pixels; mini's UNet sees cells of 16 x 16 of them and
learned them ten times more slowly, even with all of its weights free (``docs/training-log.md``).
The decoder is shown what the steered UNet makes of a slightly noised photo, as in an edit. A run
goes on from the style that it finds in its folder.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, Dataset

from facex.errors import OptionError
from facex.fors.conditioner import Conditioner
from facex.frc.base import Base
from facex.frc.controller import FaceXController
from facex.frc.pipeline import FaceXPipeline, remaining_times
from facex.models.folder import load_scheduler
from facex.models.klt import KLTAutoencoder
from facex.models.mini_ford import load_network
from facex.models.styles import INDEX_NAME, LOW_RANK_FILE, STYLES, StyleIndex, product
from facex.train.codes import Codes
from facex.train.facecache import FaceCache
from facex.train.generator import condition_of
from facex.train.generator_config import Share
from facex.train.make_cache import Teachers
from facex.train.sheet import write_sheet
from facex.train.style.filters import FILTERS
from facex.train.style.samples import StyleSamples


class StyleConfig(BaseModel):
    """Everything that decides a run.

    Attributes:
        kind: names this trainer in a config file.
        style: name of a filter in ``facex.train.style.filters``.
        model: model folder whose base is personalised.
        cache: folder of ``facex.train.make_cache``.
        index: ``index.csv`` of the faces.
        codes: file of ``facex.train.encode_faces``, made with the model's FORD.
        teachers: folder with the perceptual network, or None for no perceptual loss.
        out: folder that ``styles/STYLE`` is written into.
        minutes: wall-clock budget of this call.
        max_steps: end of the run.
        batch_size: samples a step.
        learning_rate: of AdamW, after 50 steps of warm-up, down to a twentieth along a cosine.
        rank: of the difference of every convolution.
        strength: how much noise an edit in this style starts from; written beside the weights.
        steps: of the schedule that ``strength`` is a share of.
        perceptual_weight: weight of LPIPS on the decoded picture.
        seed: of weights, noise and data.
        workers: processes that make samples.
        save_minutes: time between checkpoints.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    kind: Literal["style"] = "style"
    style: str
    model: Path
    cache: Path
    index: Path
    codes: Path
    teachers: Path | None = None
    out: Path
    minutes: PositiveFloat = 60.0
    max_steps: PositiveInt = 1_000_000
    batch_size: PositiveInt = 8
    learning_rate: PositiveFloat = 2e-3
    rank: PositiveInt = 24
    strength: Share = 0.17
    steps: PositiveInt = 6
    perceptual_weight: float = 0.5
    seed: int = 0
    workers: int = 1
    save_minutes: float = 5.0


class LowRank(nn.Module):
    """A weight plus a trained product of two thin ones; nothing is added before training."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rank = min(rank, len(weight))
        self.down = nn.Parameter(torch.empty(rank, *weight.shape[1:]))
        self.up = nn.Parameter(torch.zeros(len(weight), rank, *(1 for _ in weight.shape[2:])))
        nn.init.kaiming_uniform_(self.down.view(rank, -1), a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight, of the same shape."""
        return weight + product(self.down, self.up)


class Shift(nn.Module):
    """A bias plus a trained difference."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.difference = nn.Parameter(torch.zeros_like(bias))

    def forward(self, bias: Tensor) -> Tensor:
        """The changed bias, of the same shape."""
        return bias + self.difference


def _stored(weight: LowRank, bias: Shift) -> dict[str, nn.Parameter]:
    return {"A.weight": weight.down, "B.weight": weight.up, "B.bias": bias.difference}


class StyleTrainer:
    """The loop. Call :meth:`run`.

    Args:
        config: the run.

    Raises:
        OptionError: no such filter, or a file is missing.
    """

    def __init__(self, config: StyleConfig) -> None:
        self.config = config
        if config.style not in FILTERS:
            raise OptionError(f"style: {config.style!r} is unknown; there are {', '.join(FILTERS)}")
        for name in ("model", "cache", "index", "codes"):
            if not getattr(config, name).exists():
                raise OptionError(f"{name}: there is no {getattr(config, name)}")
        torch.manual_seed(config.seed)
        folder = config.model
        unet = load_network(UNet2DConditionModel, folder / "unet").float()
        vae = load_network(KLTAutoencoder, folder / "vae")
        base = Base(unet, vae, load_scheduler(folder / "scheduler"))
        controller = load_network(FaceXController, folder / "controller").float()
        conditioner = load_network(Conditioner, folder / "conditioner").float()
        for network in (unet, vae, controller, conditioner):
            network.requires_grad_(False)
        self.pipeline = FaceXPipeline(base, controller, conditioner)
        self.changes = self._add(vae)
        self._go_on()
        parameters = [p for pair in self.changes.values() for c in pair for p in c.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, config.learning_rate, weight_decay=0.0)
        self.lpips: Any = None
        if config.teachers is not None and config.perceptual_weight > 0:
            self.lpips = Teachers(config.teachers).net("lpips_squeeze")
        self.step = 0
        base.scheduler.set_timesteps(config.steps)
        times = remaining_times(base.scheduler, config.steps, config.strength)
        if not len(times):
            raise OptionError(f"strength: {config.strength} leaves no step of {config.steps}")
        self.start = times[:1]

    def _add(self, vae: KLTAutoencoder) -> dict[str, tuple[LowRank, Shift]]:
        changes = {}
        for name, module in vae.named_modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                pair = LowRank(module.weight, self.config.rank), Shift(module.bias)
                changes[name] = pair
        for name, (weight, bias) in changes.items():
            parametrize.register_parametrization(vae.get_submodule(name), "weight", weight)
            parametrize.register_parametrization(vae.get_submodule(name), "bias", bias)
        return changes

    def _go_on(self) -> None:
        """Begin with the style that is there already, if it fits."""
        path = self.folder / LOW_RANK_FILE
        if not path.is_file():
            return
        known = load_file(path)
        for name, (weight, bias) in self.changes.items():
            for suffix, value in _stored(weight, bias).items():
                old = known.get(f"vae.{name}.lora_{suffix}")
                if old is None or old.shape != value.shape:
                    raise OptionError(
                        f"{path} is of another rank or base; choose another out, or remove it"
                    )
                value.data.copy_(old.float())

    @property
    def folder(self) -> Path:
        """Where the style is written."""
        return self.config.out / STYLES / self.config.style

    def run(self) -> Path:
        """Train until the budget is spent; returns the style's folder."""
        config, begin = self.config, time.monotonic()
        saved = logged = begin
        self.folder.mkdir(parents=True, exist_ok=True)
        data: Dataset[dict[str, Any]] = StyleSamples(
            FaceCache.open(config.cache, config.index), Codes.load(str(config.codes)),
            FILTERS[config.style], config.seed, config.max_steps * config.batch_size,
        )  # fmt: skip
        loader = DataLoader(data, config.batch_size, num_workers=config.workers)
        with self.pipeline.controller.attached(self.pipeline.base.unet):
            for batch in loader:
                share = min(1.0, (time.monotonic() - begin) / (config.minutes * 60))
                figures, shown = self._step(batch, share)
                now = time.monotonic()
                if now - logged > 15:
                    logged = now
                    self._log({"step": self.step, "minutes": (now - begin) / 60, **figures})
                if now - saved > config.save_minutes * 60:
                    saved = now
                    self.save(batch, shown)
                if now - begin > config.minutes * 60 or self.step >= config.max_steps:
                    break
        return self.save(batch, shown)

    def _step(self, batch: dict[str, Any], share: float) -> tuple[dict[str, float], Tensor]:
        config, pipeline = self.config, self.pipeline
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        with torch.no_grad():
            encoded = pipeline.encode(condition_of(batch))
            noise = torch.randn(encoded.reference.shape, generator=generator)
            t = self.start.expand(len(noise))
            noisy = pipeline.base.level(t).mix(encoded.reference, noise)
            drawn, _ = pipeline.clean(encoded, encoded.context, noisy, t, kappa=0.0)
        shown = pipeline.base.decode(drawn)
        loss = (shown - batch["styled"]).abs().mean()
        bare = (batch["reference"] - batch["styled"]).abs().mean()
        figures = {"l1": loss.item(), "bare": bare.item()}
        if self.lpips is not None:
            pair = [x.clamp(-1, 1) / 2 + 0.5 for x in (shown, batch["styled"])]
            distance = self.lpips(*pair).mean()
            loss = loss + config.perceptual_weight * distance
            figures["lpips"] = distance.item()
        loss.backward()
        warm = min(1.0, (self.step + 1) / 50)
        rate = config.learning_rate * warm * (0.05 + 0.95 * (1 + np.cos(np.pi * share)) / 2)
        for group in self.optimizer.param_groups:
            group["lr"] = float(rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return figures, shown.detach()

    def _log(self, line: dict[str, Any]) -> None:
        rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}
        with open(self.config.out / f"{self.config.style}.jsonl", "a") as file:
            file.write(json.dumps(rounded) + "\n")

    def save(self, batch: dict[str, Any], shown: Tensor) -> Path:
        """Write the difference in half precision, and a sheet of what it draws."""
        tensors = {}
        for name, (weight, bias) in self.changes.items():
            for suffix, value in _stored(weight, bias).items():
                tensors[f"vae.{name}.lora_{suffix}"] = value.detach().half().contiguous()
        path = self.folder / LOW_RANK_FILE
        fresh = path.with_suffix(".new")
        save_file(tensors, fresh)
        os.replace(fresh, path)
        index = StyleIndex(strength=self.config.strength)
        (self.folder / INDEX_NAME).write_text(index.model_dump_json(indent=2) + "\n")
        rows = [batch["reference"], shown, batch["styled"]]
        write_sheet([row[:6] for row in rows], self.config.out / f"{self.config.style}.png")
        return self.folder
