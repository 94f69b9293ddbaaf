# SPDX-License-Identifier: Apache-2.0
"""Train base, FORS and FRC (DESIGN 6): one loop for every scale, through accelerate.

Data are a pure function of (seed, sample number), so a run that is killed and resumed sees the
same samples as one that was not. A checkpoint is a model folder (averaged weights, diffusers'
layout) and ``state.pt`` beside it (raw weights, optimizer, random state).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from facex.errors import OptionError
from facex.fors.conditioner import Conditioner
from facex.fors.representation_assembler import GROUPS
from facex.frc.base import Base, mini_scheduler, mini_unet
from facex.frc.condition import EditCondition
from facex.frc.controller import FaceXController
from facex.frc.native import correct_native, structure_trust
from facex.frc.pipeline import FaceXPipeline
from facex.models.klt import KLTAutoencoder
from facex.models.mini_ford import load_network
from facex.train.codes import Codes
from facex.train.facecache import FaceCache
from facex.train.generator_config import GeneratorConfig
from facex.train.make_cache import Teachers
from facex.train.samples import Sample, SampleMaker
from facex.train.sheet import write_sheet
from facex.train.stored import StoredSamples
from facex.train.windows import edit_windows


class Samples(Dataset[Sample]):
    """Sample number n, made or drawn from nothing but the seed and n."""

    def __init__(self, config: GeneratorConfig) -> None:
        self.config = config
        self.maker: SampleMaker | None = None
        self.stored = None if config.samples is None else StoredSamples(config.samples)
        self.codes = None if config.samples is None else Codes.load(str(config.codes))

    def __len__(self) -> int:
        return self.config.max_steps * self.config.batch_size * self.config.accumulate

    def __getitem__(self, number: int) -> Sample:
        """Make sample ``number``; the maker is opened in the worker that needs it."""
        rng = np.random.default_rng([self.config.seed, number])
        if self.stored is not None and self.codes is not None:
            return self.stored.sample(int(rng.integers(len(self.stored))), self.codes, rng)
        if self.maker is None:
            import cv2

            cv2.setNumThreads(1)
            torch.set_num_threads(1)
            cache = FaceCache.open(self.config.cache, self.config.index)
            self.maker = SampleMaker(cache, Codes.load(str(self.config.codes)), self.config.seed)
        self.maker.rng = rng
        return self.maker.sample()


class Trainable(nn.Module):
    """Base, controller and conditioner as one module, for wrappers that spread it over machines.

    The forward is the sampler's own (:meth:`FaceXPipeline.clean`): what is trained is what is used.
    """

    def __init__(self, pipeline: FaceXPipeline) -> None:
        super().__init__()
        self.unet = pipeline.base.unet
        self.controller, self.conditioner = pipeline.controller, pipeline.conditioner
        self._pipeline = pipeline

    def forward(self, condition: EditCondition, noisy: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Anchored clean latents ``(B, C, h, w)`` and kappa ``(B, 1, h, w)``."""
        encoded = self._pipeline.encode(condition)
        return self._pipeline.clean(encoded, encoded.context, noisy, t)


class GeneratorTrainer:
    """The loop. Call :meth:`run`.

    Args:
        config: the run.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        self.config = config
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.accumulate,
        )
        _check_inputs(config)
        torch.manual_seed(config.seed)
        vae = load_network(KLTAutoencoder, config.vae).requires_grad_(False)
        unet, controller, conditioner = self._parts(vae)
        self.base = Base(unet, vae.to(self.accelerator.device), mini_scheduler())
        controller.attach(unet)
        self.model = Trainable(FaceXPipeline(self.base, controller, conditioner))
        for part in (self.model, vae):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.average = EMAModel(
            self.model.parameters(), decay=config.ema, use_ema_warmup=True, power=0.8, foreach=True
        )
        self.step = 0
        self.lpips: Any = None
        if config.teachers is not None and config.perceptual_share > 0:
            self.lpips = Teachers(config.teachers).net("lpips_squeeze").to(self.accelerator.device)
        self._resume()
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        self.average.to(self.accelerator.device)

    def _parts(self, vae: KLTAutoencoder) -> tuple[Any, FaceXController, Conditioner]:
        # A run that goes on keeps the architecture of its own last checkpoint.
        start = self.config.out / "model" if self._state_file.exists() else self.config.start
        if start is not None:
            return (
                load_network(UNet2DConditionModel, start / "unet"),
                load_network(FaceXController, start / "controller"),
                load_network(Conditioner, start / "conditioner"),
            )
        channels = vae.config["latent_channels"]
        unet = mini_unet(
            self.config.base_channels,
            channels=channels * 4,
            layers_per_block=self.config.layers_per_block,
        )
        # Until it has learned something the base adds nothing to the reference.
        nn.init.zeros_(unet.conv_out.weight)
        nn.init.zeros_(unet.conv_out.bias)
        controller = FaceXController.for_unet(
            unet, latent_channels=channels, draw_from_reference=True
        )
        controller.spatial.open_outputs(0.5)
        codes = Codes.load(str(self.config.codes))
        rows = np.random.default_rng(0).choice(len(codes), min(400, len(codes)), replace=False)
        examples = [codes.inputs(int(row)) for row in rows]
        # In the order of the names, as a saved config gives them back: the optimizer knows
        # parameters by their place.
        shapes = {name: tuple(examples[0][name].shape) for name in sorted(examples[0])}
        conditioner = Conditioner(shapes, reference_channels=channels)
        for name in shapes:
            values = torch.cat([example[name] for example in examples])
            conditioner.representation.set_statistics(name, values.mean(0), values.std(0))
        return unet, controller, conditioner

    @property
    def _state_file(self) -> Path:
        return self.config.out / "state.pt"

    def _resume(self) -> None:
        if not self._state_file.exists():
            return
        state = torch.load(self._state_file, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.step = int(state["step"])

    def _loader(self) -> DataLoader[Sample]:
        per_step = self.config.batch_size * self.config.accumulate
        first = self.step * per_step * self.accelerator.num_processes
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        data = Samples(self.config)
        numbers = range(first + rank, len(data), world)
        return DataLoader(
            data,
            batch_size=self.config.batch_size,
            sampler=numbers,
            num_workers=self.config.workers,
            persistent_workers=False,
            prefetch_factor=3 if self.config.workers else None,
        )

    def run(self) -> Path:
        """Train until the budget is spent; returns the model folder of the last checkpoint."""
        config, begin = self.config, time.monotonic()
        saved = logged = begin
        config.out.mkdir(parents=True, exist_ok=True)
        micro = 0
        for batch in self._loader():
            batch = _to(batch, self.accelerator.device)
            _, figures = self._micro_step(batch, self.step * config.accumulate + micro)
            micro += 1
            if micro < config.accumulate:
                continue
            micro, self.step = 0, self.step + 1
            self.average.step(self.model.parameters())
            now = time.monotonic()
            if now - logged > 30 and self.accelerator.is_main_process:
                logged = now
                self._log({"step": self.step, "minutes": (now - begin) / 60, **figures})
            if now - saved > config.save_minutes * 60:
                saved = now
                self.save(batch)
            if now - begin > config.minutes * 60 or self.step >= config.max_steps:
                break
        return self.save(batch)

    def _micro_step(self, batch: dict[str, Any], number: int) -> tuple[Tensor, dict[str, float]]:
        with self.accelerator.accumulate(self.wrapped):
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
            loss, figures = self._loss(batch, generator)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
                for group in self.optimizer.param_groups:
                    group["lr"] = self.config.learning_rate * min(1.0, (self.step + 1) / 100)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return loss, figures

    def _loss(
        self, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        device = self.accelerator.device
        with torch.no_grad():
            clean = self.base.encode(batch["target"])
            reference = self.base.encode(batch["reference"])
        noise = torch.randn(clean.shape, generator=generator).to(device)
        t = torch.randint(0, 1000, (len(clean),), generator=generator)
        full = torch.rand(len(clean), generator=generator) < self.config.full_noise
        t = t.masked_fill(full, 999).to(device)
        noisy = self.base.level(t).mix(clean, noise)
        condition = condition_of({**batch, "present": self._drop(batch, generator)})
        found, kappa = self.wrapped(condition, noisy, t)
        weight = self._weight(batch, found.shape[-2:])
        squared = ((found - clean) ** 2 * weight).mean()
        bare = ((reference - clean) ** 2 * weight).mean()
        loss = squared
        figures = {"mse": squared.item(), "bare": bare.item(), "kappa": kappa.mean().item()}
        if self.lpips is not None:
            count = max(1, round(len(clean) * self.config.perceptual_share))
            seen = {name: batch[name][:count] for name in ("target", "reference", "known", "edit")}
            seen |= {"found": found[:count], "bare": reference[:count]}
            inner = slice(None)
            if self.config.perceptual_window is not None:
                face = (batch["geometry"][:count] != 0).any(1, keepdim=True)
                side, scale = self.config.perceptual_window, self.base.downscale
                seen, inner = edit_windows(seen, face, side, scale, generator)
            shown = self._shown(seen, seen["found"], seen["bare"])
            pair = (image[..., inner, inner] / 2 + 0.5 for image in (shown, seen["target"]))
            distance = self.lpips(*pair).mean()
            loss = loss + self.config.perceptual_weight * distance
            figures["lpips"] = distance.item()
        return loss, figures

    def _shown(self, batch: dict[str, Any], found: Tensor, reference: Tensor) -> Tensor:
        """The picture that a user would get: corrected natively, outside the edit untouched."""
        decoded = self.base.decode(found)
        with torch.no_grad():
            redecoded = self.base.decode(reference)
        trust = structure_trust(decoded.detach(), redecoded)
        final = correct_native(batch["reference"], batch["known"], decoded, redecoded, trust)
        return (batch["target"] + (final - batch["target"]) * batch["edit"]).clamp(-1, 1)

    def _drop(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        present = dict(batch["present"])
        count = len(batch["target"])
        for names in GROUPS.values():
            kept = torch.rand(count, generator=generator) >= self.config.drop_group
            for name in names:
                present[name] = present[name] & kept.to(present[name].device)
        kept = torch.rand(count, generator=generator) >= self.config.drop_reference
        return present | {"reference": kept.to(batch["target"].device)}

    def _weight(self, batch: dict[str, Any], size: torch.Size) -> Tensor:
        edit = F.interpolate(batch["edit"], tuple(size), mode="area")
        return self.config.outside_weight + (1 - self.config.outside_weight) * edit

    def _log(self, line: dict[str, Any]) -> None:
        rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}
        with open(self.config.out / "log.jsonl", "a") as file:
            file.write(json.dumps(rounded) + "\n")

    def save(self, batch: dict[str, Any]) -> Path:
        """Write the averaged model folder, the exact state and a sample sheet."""
        folder = self.config.out / "model"
        if not self.accelerator.is_main_process:
            return folder
        fresh = self.config.out / "model.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self.average.store(self.model.parameters())
        self.average.copy_to(self.model.parameters())
        self.base.unet.save_pretrained(fresh / "unet")
        self.model.controller.save_pretrained(fresh / "controller")
        self.model.conditioner.save_pretrained(fresh / "conditioner")
        self.base.scheduler.save_pretrained(fresh / "scheduler")
        self._sheet(batch)
        self.average.restore(self.model.parameters())
        (fresh / "train.json").write_text(self.config.model_dump_json(indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "step": self.step,
        }
        torch.save(state, str(self._state_file) + ".new")
        os.replace(str(self._state_file) + ".new", self._state_file)
        return folder

    @torch.no_grad()
    def _sheet(self, batch: dict[str, Any]) -> None:
        few = _to(_first(batch, 6), self.accelerator.device)
        reference = self.base.encode(few["reference"])
        generator = torch.Generator().manual_seed(0)
        noisy = torch.randn(reference.shape, generator=generator).to(reference.device)
        few["present"] = few["present"] | {
            "reference": torch.ones(len(reference), dtype=torch.bool, device=reference.device)
        }
        scheduler = self.base.scheduler
        scheduler.set_timesteps(6)
        for t in scheduler.timesteps:
            times = t.repeat(len(reference)).to(reference.device)
            clean, _ = self.model(condition_of(few), noisy, times)
            output = self.base.from_clean(clean, noisy, times)
            noisy = scheduler.step(output, t, noisy).prev_sample
        rows = [few["reference"], few["known"].expand(-1, 3, -1, -1) * 2 - 1]
        rows += [self._shown(few, clean, reference), few["target"]]
        write_sheet(rows, self.config.out / "sheet.png")


def _check_inputs(config: GeneratorConfig) -> None:
    for name in ("cache", "index", "codes", "vae"):
        path = getattr(config, name)
        if not path.exists():
            raise OptionError(
                f"{name}: there is no {path}; make it with facex.train.make_cache, "
                "facex.train.encode_faces or facex.train.autoencoder"
            )
    if config.samples is not None and not any(config.samples.glob("*/rows.npz")):
        raise OptionError(
            f"samples: there are none in {config.samples}; make them with facex.train.stored"
        )


def condition_of(batch: dict[str, Any]) -> EditCondition:
    """A collated batch of samples as the pipeline's condition."""
    return EditCondition(**{item.name: batch[item.name] for item in fields(EditCondition)})


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, dict):
        return {key: _to(value, device) for key, value in batch.items()}
    return batch.to(device) if isinstance(batch, Tensor) else batch


def _first(batch: Any, count: int) -> Any:
    if isinstance(batch, dict):
        return {key: _first(value, count) for key, value in batch.items()}
    return batch[:count]
