# SPDX-License-Identifier: Apache-2.0
"""Train the harmonizer on stored composites (``facex.train.composites``).

Where the true photo is known: absolute difference, LPIPS, identity. On edits that nobody knows the
answer of: identity of whom they show, nearness to what they were, and a discriminator that tells
photos from edits patch by patch (PatchGAN, Isola et al. 2017; hinge loss), whose gradient is scaled
to that of the rest at the picture, as in VQGAN (Esser et al. 2021).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from facex.errors import OptionError
from facex.ford.identity import align_for_identity
from facex.frc.harmonizer import Harmonizer
from facex.frc.native import as_smooth_as_light
from facex.models.mini_ford import load_network
from facex.train.composites import Composites
from facex.train.disharmony import disharmonize, features
from facex.train.generator_config import Share
from facex.train.make_cache import Teachers
from facex.train.sheet import write_sheet
from facex.train.windows import cut

_LEAST_AREA: Final = 400.0
"""Pixels that an edit counts at least."""
_RAMP: Final = 1000
"""Steps over which the discriminator's pull grows: at first it knows nothing."""


class HarmonizerConfig(BaseModel):
    """Everything that decides a run; saved with every checkpoint.

    Attributes:
        kind: names this trainer in a config file.
        composites: folder of ``facex.train.composites``; shards that appear while a run goes on
            are taken in.
        held: share of the rows, the first ones, that are measured and never trained on.
        teachers: folder with the perceptual network and the recogniser, or None for neither loss.
        out: run folder.
        start: folder of a harmonizer to begin from, or None for fresh weights.
        minutes: wall-clock budget of this call.
        max_steps: end of the whole run.
        batch_size: composites a step.
        learning_rate: of AdamW. Nothing is normalised: from 8e-4 on the network falls back to
            doing nothing, now and then.
        weight_decay: of AdamW.
        ema: decay of the averaged weights.
        widths: of the network.
        blocks: of the network; more than ``start`` has are added to it and change nothing at first.
        fold: of the network.
        tone: of the network; likewise.
        window: side of the random window in which LPIPS is taken, about the eyes and mouth or
            anywhere in the edit.
        perceptual_weight: of LPIPS.
        identity_weight: of one minus the cosine to whom the edit shows.
        adversarial_weight: of the discriminator, against all else; 0 trains none.
        stay_weight: of nearness to the composite where no answer is known.
        smooth_weight: of the difference that is as smooth as light.
        faulty: share of the repairs that get faults painted in (`facex.train.disharmony`); the
            others have those of the generator alone.
        feature_weight: how much more a difference counts in eyes and mouth.
        seed: of weights and order.
        mixed_precision: ``bf16`` or ``no``.
        save_minutes: time between checkpoints.
        keep: also keep the averaged network of every checkpoint, as ``kept/STEP``.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["harmonizer"] = "harmonizer"
    composites: Path
    held: Share = 0.03
    teachers: Path | None = None
    out: Path
    start: Path | None = None
    minutes: PositiveFloat = 60.0
    max_steps: PositiveInt = 10_000_000
    batch_size: PositiveInt = 8
    learning_rate: PositiveFloat = 1.5e-4
    weight_decay: NonNegativeFloat = 0.01
    ema: Share = 0.998
    widths: tuple[int, ...] = (64, 96, 128)
    blocks: tuple[int, ...] = (3, 3, 3)
    fold: PositiveInt = 4
    tone: bool = True
    window: PositiveInt = 128
    perceptual_weight: NonNegativeFloat = 1.0
    identity_weight: NonNegativeFloat = 0.1
    adversarial_weight: NonNegativeFloat = 0.0
    stay_weight: NonNegativeFloat = 0.3
    smooth_weight: NonNegativeFloat = 0.0
    faulty: Share = 1.0
    feature_weight: NonNegativeFloat = 2.0
    seed: int = 0
    mixed_precision: Literal["no", "bf16"] = "no"
    save_minutes: float = Field(default=8.0, gt=0)
    keep: bool = False


class Discriminator(nn.Module):
    """Says of every patch of 16 px whether it is a photo: ``(B, 3, S, S)`` -> ``(B, 1, s, s)``."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        widths = (3 * 4 + 4, width, 2 * width, 3 * width)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        # The first sees colours, which must not be normalised away.
        del layers[1]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def forward(self, images: Tensor, edit: Tensor) -> Tensor:
        """Scores, above 0 for photos."""
        return self.body(F.pixel_unshuffle(torch.cat([images, edit], 1), 2))


class HarmonizerTrainer:
    """The loop. Call :meth:`run`.

    Args:
        config: the run.
    """

    def __init__(self, config: HarmonizerConfig) -> None:
        self.config = config
        if not config.composites.is_dir():
            raise OptionError(
                f"composites: there is no {config.composites}; make it with facex.train.composites"
            )
        torch.manual_seed(config.seed)
        self.data = Composites(config.composites)
        self.held = max(1, round(len(self.data) * config.held))
        if len(self.data) <= self.held:
            raise OptionError(f"composites: {config.composites} holds too few; make more")
        self.lpips: Any = None
        self.embed: Any = None
        if config.teachers is not None:
            teachers = Teachers(config.teachers)
            self.lpips, self.embed = teachers.net("lpips_squeeze"), teachers.net("id_edgeface_xs")
        last = config.out / "model"
        start = last if self._state_file.exists() else config.start
        self.model: Harmonizer = (
            Harmonizer(config.widths, config.blocks, fold=config.fold, tone=config.tone)
            if start is None
            else _grown(load_network(Harmonizer, start), config.blocks, tone=config.tone)
        )
        self.model.train().to(memory_format=torch.channels_last)
        self.critic = Discriminator()
        rate = config.learning_rate
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self.critic_optimizer = torch.optim.AdamW(
            self.critic.parameters(), rate, weight_decay=0.0, betas=(0.5, 0.98)
        )
        self.average = EMAModel(
            self.model.parameters(), decay=config.ema, use_ema_warmup=True, power=0.8
        )
        self.step = 0
        self._resume()

    @property
    def _state_file(self) -> Path:
        return self.config.out / "state.pt"

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "critic": self.critic,
            "optimizer": self.optimizer,
            "critic_optimizer": self.critic_optimizer,
            "average": self.average,
        }

    def _resume(self) -> None:
        if not self._state_file.exists():
            return
        state = torch.load(self._state_file, map_location="cpu", weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = int(state["step"])

    def run(self) -> Path:
        """Train until the budget is spent; returns the folder of the averaged network."""
        config, begin = self.config, time.monotonic()
        saved = logged = begin
        config.out.mkdir(parents=True, exist_ok=True)
        while True:
            figures = self._train(self._batch())
            self.step += 1
            now = time.monotonic()
            if now - logged > 30:
                logged = now
                self._log({"step": self.step, "minutes": (now - begin) / 60, **figures})
            over = now - begin > config.minutes * 60 or self.step >= config.max_steps
            if now - saved > config.save_minutes * 60 or over:
                saved = now
                self.data.refresh()
                self.save()
            if over:
                return config.out / "model"

    def _batch(self) -> dict[str, Tensor]:
        # A function of seed and step alone, but for rows that were written meanwhile.
        rng = np.random.default_rng([self.config.seed, self.step])
        rows = np.arange(self.held, len(self.data))
        if self.config.adversarial_weight == 0:
            # Without a discriminator an edit that nobody knows the answer of teaches little.
            rows = rows[self.data.repairs[self.held :]]
        numbers = rng.choice(rows, self.config.batch_size)
        batch = self.data.batch(numbers)
        if rng.random() < 0.5:
            batch = mirrored(batch)
        tint = np.exp(rng.normal(0, 0.06, (self.config.batch_size, 3, 1, 1)))
        for name in ("composite", "truth"):
            image = (batch[name] + 1) * torch.from_numpy(tint).float()
            batch[name] = image.clamp(0, 2) - 1
        faulty = disharmonize(batch, rng)
        painted = torch.from_numpy(rng.random(len(numbers)) < self.config.faulty)
        painted = (painted & batch["repair"])[:, None, None, None]
        batch["composite"] = torch.where(painted, faulty, batch["composite"])
        return batch

    def _harmonized(self, batch: dict[str, Tensor]) -> Tensor:
        bf16 = self.config.mixed_precision == "bf16"
        inputs = [batch[name] for name in ("composite", "known", "edit", "geometry")]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            change = self.model(*inputs)
        return batch["composite"] + change.float()

    def _scores(self, images: Tensor, edit: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's scores, and how much each counts: inside of the edit."""
        bf16 = self.config.mixed_precision == "bf16"
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            scores = self.critic(images, edit).float()
        weight = F.interpolate(edit, scores.shape[-2:], mode="area")
        return scores, weight / weight.sum().clamp_min(1e-3)

    def _train(self, batch: dict[str, Tensor]) -> dict[str, float]:
        config = self.config
        rate = config.learning_rate * min(1.0, (self.step + 1) / 100)
        for optimizer in (self.optimizer, self.critic_optimizer):
            optimizer.param_groups[0]["lr"] = rate
        made = self._harmonized(batch)
        shown = made.detach().requires_grad_(True)
        losses = self._losses(batch, shown)
        total = sum(losses.values(), shown.new_zeros(()))
        (gradient,) = torch.autograd.grad(total, shown)
        figures = {name: float(value.detach()) for name, value in losses.items()}
        if config.adversarial_weight > 0:
            figures |= self._train_critic(batch, made.detach())
            scores, weight = self._scores(shown, batch["edit"])
            (pull,) = torch.autograd.grad(-(scores * weight).sum(), shown)
            scale = gradient.norm() / pull.norm().clamp_min(1e-8)
            share = config.adversarial_weight * min(1.0, self.step / _RAMP)
            gradient = gradient + share * scale * pull
        made.backward(gradient)
        figures["gradient"] = float(nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.step(self.model.parameters())
        return figures

    def _losses(self, batch: dict[str, Tensor], shown: Tensor) -> dict[str, Tensor]:
        config, repair = self.config, batch["repair"]
        # Without an answer: not far from what it was.
        trust = torch.where(repair, 1.0, config.stay_weight)[:, None, None, None]
        answer = torch.where(repair[:, None, None, None], batch["truth"], batch["composite"])
        weight = trust * (1 + config.feature_weight * features(batch["points"], shown.shape[-1]))
        # By the area that may change, so that small edits count as much as large ones.
        area = 3 * batch["edit"].sum((1, 2, 3)).clamp_min(_LEAST_AREA)
        gap = ((shown - answer).abs() * weight * batch["edit"]).sum((1, 2, 3))
        losses = {"l1": (gap / area).mean()}
        if config.smooth_weight > 0:
            broad = as_smooth_as_light((shown - answer) * batch["edit"]).abs() * batch["edit"]
            gap = (broad * trust).sum((1, 2, 3))
            losses["smooth"] = config.smooth_weight * (gap / area).mean()
        if self.lpips is None:
            return losses
        # Half of the batch for each judge: they cost more than the network that learns from them.
        half = (len(shown) + 1) // 2
        side = config.window
        windows = [_window(batch, number, side, self.step) for number in range(half)]
        one, other = (cut(image[:half], windows, side) for image in (shown, answer))
        distance = self.lpips(one / 2 + 0.5, other / 2 + 0.5)
        losses["lpips"] = config.perceptual_weight * (distance * trust[:half, 0, 0, 0]).mean()
        if config.identity_weight > 0:
            faces = align_for_identity(shown[-half:] / 2 + 0.5, batch["points"][-half:])
            cosine = F.cosine_similarity(self.embed(faces), batch["identity"][-half:])
            losses["identity"] = config.identity_weight * (1 - cosine).mean()
        return losses

    def _train_critic(self, batch: dict[str, Tensor], made: Tensor) -> dict[str, float]:
        real, weight = self._scores(batch["truth"], batch["edit"])
        fake, _ = self._scores(made, batch["edit"])
        loss = ((F.relu(1 - real) + F.relu(1 + fake)) * weight).sum()
        loss.backward()
        self.critic_optimizer.step()
        self.critic_optimizer.zero_grad(set_to_none=True)
        told = ((real > 0).float() + (fake < 0).float()) / 2
        return {"critic": float(loss.detach()), "told": float((told * weight).sum())}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """LPIPS (without teachers: mean difference) to the truth on held-out repairs.

        ``held``: as they are; ``faulty``: with faults painted in, the same ones every time.
        """
        sums = dict.fromkeys(("held_before", "held_after", "faulty_before", "faulty_after"), 0.0)
        count = 0
        for start in range(0, self.held, 8):
            batch = self.data.batch(np.arange(start, min(start + 8, self.held)))
            repair = batch["repair"]
            faulty = disharmonize(batch, np.random.default_rng(start))
            shown = {
                "held_before": batch["composite"],
                "held_after": self._harmonized(batch),
                "faulty_before": faulty,
                "faulty_after": self._harmonized({**batch, "composite": faulty}),
            }
            for name, image in shown.items():
                distance = (image - batch["truth"]).abs().mean((1, 2, 3))
                if self.lpips is not None:
                    distance = self.lpips(image / 2 + 0.5, batch["truth"] / 2 + 0.5)
                sums[name] += float((distance * repair).sum())
            count += int(repair.sum())
        return {name: value / max(count, 1) for name, value in sums.items()}

    def _log(self, line: dict[str, Any]) -> None:
        rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}
        with open(self.config.out / "log.jsonl", "a") as file:
            file.write(json.dumps(rounded) + "\n")

    def save(self) -> None:
        """Write the averaged network, the exact state, a sheet, and measure."""
        folder, fresh = self.config.out / "model", self.config.out / "model.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self.average.store(self.model.parameters())
        self.average.copy_to(self.model.parameters())
        self.model.save_pretrained(fresh)
        self._log({"step": self.step, "rows": len(self.data), **self.measure()})
        self._sheet()
        self.average.restore(self.model.parameters())
        (fresh / "train.json").write_text(self.config.model_dump_json(indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
        if self.config.keep:
            shutil.copytree(folder, self.config.out / "kept" / f"{self.step:07d}")
        state = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save({**state, "step": self.step}, str(self._state_file) + ".new")
        os.replace(str(self._state_file) + ".new", self._state_file)

    @torch.no_grad()
    def _sheet(self) -> None:
        batch = self.data.batch(np.arange(min(12, self.held)))
        faulty = {**batch, "composite": disharmonize(batch, np.random.default_rng(0))}
        rows = [faulty["composite"], self._harmonized(faulty), batch["truth"]]
        write_sheet(rows, self.config.out / "sheet.png")


def _grown(model: Harmonizer, blocks: tuple[int, ...], *, tone: bool) -> Harmonizer:
    """The network with at least so many blocks a level, and a map of tones; it does the same."""
    config = model.config
    more = tuple(max(pair) for pair in zip(config["blocks"], blocks, strict=True))
    tone = tone or config["tone"]
    if more == tuple(config["blocks"]) and tone == config["tone"]:
        return model
    grown = Harmonizer(config["widths"], more, config["heads"], config["fold"], tone=tone)
    # The last convolution of a new block is zero, as are those of tones.
    grown.load_state_dict(model.state_dict(), strict=False)
    return grown


def mirrored(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch as a mirror shows it; faces' vectors hardly change, landmarks change sides."""
    from facex.geometry.shape_model import bundled

    flipped = {k: v.flip(-1) if v.ndim == 4 else v for k, v in batch.items()}
    flipped["geometry"] = flipped["geometry"] * torch.tensor([-1.0, 1, 1])[:, None, None]
    points, size = batch["points"][:, bundled().mirror], batch["composite"].shape[-1]
    flipped["points"] = points * torch.tensor([-1.0, 1, 1]) + torch.tensor([float(size), 0, 0])
    return flipped


def _window(batch: dict[str, Tensor], number: int, side: int, step: int) -> tuple[int, int]:
    """Corner of a window about a random landmark, or anywhere that may change."""
    rng = np.random.default_rng([step, number])
    size = batch["composite"].shape[-1]
    if rng.random() < 0.5:
        centre = batch["points"][number, rng.integers(478), :2].flip(0).numpy()
    else:
        inside = batch["edit"][number, 0].flatten().nonzero()
        place = int(inside[rng.integers(len(inside))]) if len(inside) else size * size // 2
        centre = np.array(divmod(place, size))
    corner = np.clip(centre - side / 2, 0, size - side).astype(int)
    return int(corner[0]), int(corner[1])
