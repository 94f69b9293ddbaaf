# SPDX-License-Identifier: Apache-2.0
"""The sd15 loop: one process on a laptop's CPU or 64 GPUs, the same sums (through accelerate)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, set_seed
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.utils.data import DataLoader

from facex.errors import OptionError
from facex.ford.representation import region_input
from facex.train.generator import _to, condition_of
from facex.train.samples import Sample
from facex.train.sd15 import export, state
from facex.train.sd15.config import Sd15Config, check_paths
from facex.train.sd15.data import Sd15Samples, one_thread
from facex.train.sd15.freeze import freeze, table
from facex.train.sd15.loss import latent_loss, level_weight
from facex.train.sd15.model import (
    Sd15Model,
    load_base,
    load_index,
    load_regions,
    load_steering,
    region_width,
    save_memory,
    to_half,
    trained_index,
)
from facex.train.sd15.order import Batches
from facex.types import REGIONS


class Sd15Trainer:
    """Call :meth:`run`.

    Args:
        config: the run.

    Raises:
        OptionError: inputs are missing or do not fit together.
    """

    def __init__(self, config: Sd15Config) -> None:
        check_paths(config)
        self.config = config
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.accumulate,
            step_scheduler_with_optimizer=False,
        )
        set_seed(config.seed)
        self.index = load_index(config)
        self.base = load_base(config)
        self.model = self._model()
        self.parts = freeze(self.model, self.base.vae, train_clip=config.train_clip)
        if config.gradient_checkpointing:
            save_memory(self.model)
        self._prepare()
        self.step = 0
        self.recent: list[float] = []
        self._resume()

    def _model(self) -> Sd15Model:
        config = self.config
        regions = load_regions(config)
        self.data = Sd15Samples(config, self.index.crop_size, regions.cells)
        shapes = self.data.shapes()
        shapes |= {region_input(region): (1, region_width(regions)) for region in REGIONS}
        controller, conditioner, fresh = load_steering(
            config, self.base, shapes, self.index.crop_size
        )
        if fresh:
            for name, (mean, spread) in self.data.statistics(config.statistics).items():
                conditioner.representation.set_statistics(name, mean, spread)
        return Sd15Model(self.base, controller, conditioner, regions)

    def _prepare(self) -> None:
        config, device = self.config, self.accelerator.device
        # FSDP keeps one number format; it computes in bfloat16 all the same.
        spread = self.accelerator.distributed_type == DistributedType.FSDP
        if config.mixed_precision == "bf16" and not spread:
            to_half(self.model, torch.bfloat16)
        if config.channels_last:
            self.model.unet.to(memory_format=torch.channels_last)
        if config.compile:
            self.model.unet.compile()
        self.base.vae.to(device)
        self.model.train()
        parameters = list(state.trained(self.model).values())
        optimizer = make_optimizer(config, parameters, device)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self.model = self.accelerator.unwrap_model(self.wrapped)
        self.average = EMAModel(state.trained(self.model).values(), decay=config.ema)

    @property
    def _inner_optimizer(self) -> torch.optim.Optimizer:
        inner: torch.optim.Optimizer = self.optimizer.optimizer
        return inner

    @property
    def global_batch(self) -> int:
        """Samples of an optimizer step, over all processes."""
        config = self.config
        return config.batch_size * config.accumulate * self.accelerator.num_processes

    def _resume(self) -> None:
        found = state.checkpoints(self.config.out)
        if not found:
            return
        values = state.read_values(found[-1])
        if values["global_batch"] != self.global_batch:
            raise OptionError(
                f"out: {self.config.out} was begun with {values['global_batch']} samples a step, "
                f"not {self.global_batch}; keep batch_size x accumulate x processes as it was"
            )
        if values["seed"] != self.config.seed:
            raise OptionError(
                f"seed: {self.config.out} was begun with seed {values['seed']}; keep it, or name "
                "another out folder"
            )
        state.restore(
            found[-1],
            self.model,
            self._inner_optimizer,
            self.average.shadow_params,
            values["optimizer"],
        )
        self.average.optimization_step = values["averaged"]
        self.step, self.recent = values["step"], values["recent"]
        if self.accelerator.num_processes == 1:  # the loop itself draws nothing by chance
            state.set_random_state(values["random"])
        if self.accelerator.is_main_process:
            _cut_log(self.config.out / "log.jsonl", self.step)

    def _loader(self) -> DataLoader[Sample]:
        config = self.config
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        numbers = Batches(config.batch_size, rank, world, self.step * config.accumulate)
        return DataLoader(
            self.data,
            batch_sampler=numbers,
            num_workers=config.workers,
            worker_init_fn=one_thread,
            pin_memory=self.accelerator.device.type == "cuda",
            prefetch_factor=2 if config.workers else None,
            multiprocessing_context="spawn" if config.workers else None,
        )

    def run(self) -> Path:
        """Train to the last step; returns the model folder of the last checkpoint."""
        config = self.config
        config.out.mkdir(parents=True, exist_ok=True)
        self.accelerator.print(table(self.parts))
        batches = iter(self._loader()) if self.step < config.max_steps else iter(())
        begin, first = time.monotonic(), self.step
        folder: Path | None = None
        while self.step < config.max_steps:
            total = 0.0
            for _ in range(config.accumulate):
                total += self._micro_step(_to(next(batches), self.accelerator.device))
            self.average.step(state.trained(self.model).values())
            self.step += 1
            self.recent.append(total / config.accumulate)
            if self.step % config.log_steps == 0:
                rate = (self.step - first) * self.global_batch / (time.monotonic() - begin)
                self._log(rate)
            if self.step % config.save_steps == 0 or self.step == config.max_steps:
                folder = self.save()
        if folder is None:  # the run was finished before
            folder = state.checkpoints(config.out)[-1]
        self.accelerator.end_training()
        return folder / "model"

    def _micro_step(self, batch: dict[str, Any]) -> float:
        with self.accelerator.accumulate(self.wrapped):
            loss = self._loss(batch)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.clip_norm)
                for group in self.optimizer.param_groups:
                    group["lr"] = self._rate()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        mean: Tensor = self.accelerator.reduce(loss.detach(), reduction="mean")
        return float(mean)

    def _rate(self) -> float:
        return self.config.learning_rate * min(1.0, (self.step + 1) / max(1, self.config.warmup))

    def _loss(self, batch: dict[str, Any]) -> Tensor:
        clean = batch.get("latents")
        if clean is None:
            with torch.no_grad(), self.accelerator.autocast():
                clean = self.base.encode(batch["target"])
        clean, t = clean.float(), batch["t"]
        level = self.base.level(t)
        noisy = level.mix(clean, batch["noise"])
        found = self.wrapped(condition_of(batch), batch["look"], batch["masks"], noisy, t)
        weight = level_weight(level, self.config.snr_gamma, self.base.prediction_type)
        return latent_loss(found, clean, batch["edit"], weight, self.config.outside_weight)

    def _log(self, rate: float) -> None:
        line = {
            "step": self.step,
            "loss": sum(self.recent) / len(self.recent),
            "learning_rate": self._rate(),
            "samples_per_second": round(rate, 3),
        }
        self.recent = []
        if self.accelerator.is_main_process:
            with open(self.config.out / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            self.accelerator.print(json.dumps(line))

    def save(self) -> Path:
        """Write a checkpoint; every process must call it."""
        config = self.config
        names = state.trained(self.model)
        tensors, plain = state.gather(self.model, self._inner_optimizer, self.average.shadow_params)
        averages = {name: tensors[f"average/{name}"] for name in names}
        parts = export.trained_parts(self.model, averages)
        folder = config.out / f"step-{self.step:08d}"
        if self.accelerator.is_main_process:
            values = {
                "global_batch": self.global_batch,
                "seed": config.seed,
                "optimizer": plain,
                "averaged": self.average.optimization_step,
                "recent": self.recent,
                "random": state.random_state(),
                "config": config.model_dump(mode="json"),
                "parts": [part._asdict() for part in self.parts],
            }
            index = trained_index(config, self.index, config.out)
            folder = state.write(
                config.out,
                self.step,
                tensors,
                values,
                lambda place: export.write_model(config.model, place, index, parts),
                config.keep,
            )
        self.accelerator.wait_for_everyone()
        return folder


def make_optimizer(
    config: Sd15Config, parameters: list[Any], device: torch.device
) -> torch.optim.Optimizer:
    """AdamW, of 8 bits where that is asked for or can be had.

    Raises:
        OptionError: 8 bits were asked for, but bitsandbytes is not installed.
    """
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": config.betas,
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "adamw8bit" or (config.optimizer == "auto" and device.type == "cuda"):
        try:
            import bitsandbytes  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            if config.optimizer == "adamw8bit":
                raise OptionError(
                    "optimizer: adamw8bit needs bitsandbytes, which no extra of facex brings: "
                    "pip install bitsandbytes, or take optimizer: adamw"
                ) from error
        else:
            made: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, **options)
            return made
    return torch.optim.AdamW(parameters, **options)


def _cut_log(path: Path, step: int) -> None:
    """Forget the lines of steps that will be done again."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    os.replace(fresh, path)
