# SPDX-License-Identifier: Apache-2.0
"""One loop for the small analysis networks: time budget, cosine schedule, EMA, checkpoints."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train.

    Attributes:
        minutes: wall-clock budget; the learning rate falls to zero over it.
        batch_size: samples a step.
        learning_rate: peak rate of AdamW.
        weight_decay: of AdamW.
        ema: decay of the averaged weights, which are what is saved.
        log_every: seconds between log lines.
        save_every: seconds between checkpoints.
        bf16: computes in bfloat16, which is faster where the cores have matrix units for it.
    """

    minutes: float = 20.0
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    ema: float = 0.998
    log_every: float = 30.0
    save_every: float = 180.0
    bf16: bool = False


def train_loop(
    model: Any,
    make_batch: Callable[[int], Batch],
    loss_of: Callable[[nn.Module, Batch], tuple[Tensor, dict[str, float]]],
    out: Path,
    config: LoopConfig,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
) -> None:
    """Train ``model`` and save its average to ``out`` in diffusers' layout.

    Args:
        model: a diffusers ``ModelMixin``.
        make_batch: makes a batch of the given size.
        loss_of: loss and figures of a batch.
        out: model folder; ``log.jsonl`` is written beside it.
        config: budget and rates.
        evaluate: measured on the averaged weights at every checkpoint.
    """
    model.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    start = logged = saved = time.monotonic()
    step, seen = 0, 0
    out.parent.mkdir(parents=True, exist_ok=True)
    log = open(out.parent / f"{out.name}.log.jsonl", "a")  # noqa: SIM115
    log.write(json.dumps({"config": asdict(config)}) + "\n")
    while (elapsed := time.monotonic() - start) < config.minutes * 60:
        share = elapsed / (config.minutes * 60)
        rate = (
            config.learning_rate * min(1.0, (step + 1) / 100) * (1 + math.cos(math.pi * share)) / 2
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.train()
        batch = make_batch(config.batch_size)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            loss, figures = loss_of(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        step, seen = step + 1, seen + config.batch_size
        _update_average(average, model, min(config.ema, (1 + step) / (10 + step)))
        now = time.monotonic()
        if now - logged > config.log_every:
            logged = now
            line = {"step": step, "seen": seen, "minutes": round(elapsed / 60, 1), **figures}
            log.write(json.dumps(line) + "\n")
            log.flush()
        if now - saved > config.save_every:
            saved = now
            _checkpoint(average, out, log, evaluate, step)
    _checkpoint(average, out, log, evaluate, step)
    log.close()


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for old, now in zip(average.buffers(), model.buffers(), strict=True):
        if old.dtype.is_floating_point:
            old.lerp_(now, 1 - decay)
        else:
            old.copy_(now)


def _checkpoint(
    average: Any,
    out: Path,
    log: Any,
    evaluate: Callable[[nn.Module], dict[str, float]] | None,
    step: int,
) -> None:
    average.save_pretrained(out)
    if evaluate is not None:
        average.eval()
        with torch.no_grad():
            log.write(json.dumps({"step": step, "dev": evaluate(average)}) + "\n")
        log.flush()
