# SPDX-License-Identifier: Apache-2.0
"""Train the age network of the content filter, and say how often it is wrong.

    python scripts/train_age.py --cache DIR --index index.csv --ford facex/models/mini/ford \
        --features features.npz --out facex/server/age.safetensors

Ages are the index's column ``age``: a teacher network's guess, not birthdays. Landmarks are FORD's
own, as in the service. The size of the network and the threshold are judged by five folds of the
training people; the people of the dev split are only looked at in the end. ``--features`` keeps
what was computed from the pictures; delete it when landmarks or shape model have changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from facex.models.mini_ford import load_mini_ford
from facex.server.age import FEATURES, LEAST_YEARS, age_features
from facex.train.arguments import faces_parser
from facex.train.augment import to_float
from facex.train.facecache import FaceCache

ADULT = 18.0
_MIRRORED_UNDER = 25.0
"""Younger faces are few; they are also used mirrored."""
_EVERY: Final = 4
"""Of older ones, which there are plenty of, each fourth is used."""

Table = dict[str, NDArray[np.float32]]


def compute(cache: FaceCache, ford_folder: Path) -> Table:
    """Features of all faces, with row, age, and whether mirrored."""
    ford = load_mini_ford(ford_folder)
    ages = np.array([float(row["age"] or "nan") for row in cache.rows], np.float32)
    young = np.flatnonzero((ages < _MIRRORED_UNDER) & is_dev(cache, False))
    known = ~np.isnan(ages) & ((ages < _MIRRORED_UNDER) | (np.arange(len(ages)) % _EVERY == 0))
    known |= ~np.isnan(ages) & is_dev(cache)
    items = [(row, 0) for row in np.flatnonzero(known)] + [(row, 1) for row in young]
    features = np.zeros((len(items), FEATURES), np.float16)
    for start in range(0, len(items), 16):
        part = items[start : start + 16]
        faces = [np.asarray(cache.faces[row]) for row, _ in part]
        crops = [np.ascontiguousarray(face[:, ::-1] if flip else face)
                 for face, (_, flip) in zip(faces, part, strict=True)]  # fmt: skip
        shapes = _shapes(ford, to_float(crops))
        for k, (crop, shape) in enumerate(zip(crops, shapes, strict=True)):
            features[start + k] = age_features(crop, shape)
        if start % 1600 == 0:
            print(f"{start} of {len(items)} pictures read", flush=True)
    rows = np.array(items)
    return {
        "features": features,
        "row": rows[:, 0],
        "mirrored": rows[:, 1],
        "age": ages[rows[:, 0]],
    }


@torch.inference_mode()
def _shapes(ford: object, crops: Tensor) -> NDArray[np.float32]:
    found: dict[str, Tensor] = {}
    for extractor in ford.extractors:  # type: ignore[attr-defined]
        found.update(extractor(crops, found))
        if "shape" in found:
            break
    return np.asarray(found["shape"].float().numpy())


def is_dev(cache: FaceCache, wanted: bool = True) -> NDArray[np.bool_]:
    """Which rows are of dev people."""
    return np.array([(row["split"] == "dev") == wanted for row in cache.rows])


class Head(nn.Module):
    """The network that is trained; normalising its inputs is folded into it afterwards."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(FEATURES, units), nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        years: Tensor = self.out(F.relu(self.hidden(x)))[:, 0] * 12 + 33
        return years


def fit(x: Tensor, y: Tensor, *, units: int, decay: float, epochs: int, seed: int = 0) -> Head:
    """Train on normalised features; children count as much as everybody else together."""
    torch.manual_seed(seed)
    head = Head(units)
    young = y < ADULT
    weight = torch.where(young, 0.4 / young.float().mean(), 0.6 / (~young).float().mean())
    optimiser = torch.optim.AdamW(head.parameters(), 1e-3, weight_decay=decay)
    steps = epochs * (len(x) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(0, len(x), (128,), generator=generator)
        seen = x[chosen]
        seen = seen + torch.randn(seen.shape, generator=generator) * 0.3
        seen = F.dropout(seen, 0.2)
        years = head(seen)
        error = F.smooth_l1_loss(years, y[chosen], beta=4.0, reduction="none") / 10
        # What matters is on which side of adulthood a face is put.
        side = F.binary_cross_entropy_with_logits(
            (ADULT - years) / 3, young[chosen].float(), reduction="none"
        )
        loss = ((error + side) * weight[chosen]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return head.eval()


def auc(score: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative."""
    order = np.sort(score[~positive])
    return float(np.searchsorted(order, score[positive]).mean() / len(order))


def describe(years: NDArray[np.float32], ages: NDArray[np.float32], name: str) -> None:
    """Error, area under the curve, and what thresholds would refuse and miss."""
    print(f"\n{name}: {len(ages)} faces, {(ages < ADULT).sum()} below {ADULT:g} by the teacher")
    print(f"  mean error {np.abs(years - ages).mean():.1f} years, "
          f"area under the curve {auc(-years, ages < ADULT):.4f}")  # fmt: skip
    groups = ((0, 3), (3, 8), (8, 13), (13, 16), (16, 18), (18, 20), (20, 22), (22, 25), (25, 30),
              (30, 100))  # fmt: skip
    print("  refused of  " + " ".join(f"{a:>3}-{b:<4}" for a, b in groups) + "  <18    >=18   >=25")
    for limit in (14.0, 16.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0):
        cells = [years[(ages >= a) & (ages < b)] < limit for a, b in groups]
        cells += [years[ages < 18] < limit, years[ages >= 18] < limit, years[ages >= 25] < limit]
        row = " ".join(f"{100 * cell.mean():6.1f}%" + " " if len(cell) else "    -   "
                       for cell in cells)  # fmt: skip
        print(f"  below {limit:4.1f} {row}{'  <- chosen' if limit == LEAST_YEARS else ''}")
    print("  faces       " + " ".join(
        f"{((ages >= a) & (ages < b)).sum():6d}  " for a, b in groups))  # fmt: skip


def main() -> None:
    """Command line."""
    parser = faces_parser(__doc__)
    parser.add_argument("--ford", required=True, type=Path)
    parser.add_argument("--features", required=True, type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--decay", type=float, default=3.0)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--folds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    cache = FaceCache.open(args.cache, args.index)
    if not args.features.exists():
        np.savez(args.features, **compute(cache, args.ford))
    with np.load(args.features) as file:
        table = {name: file[name] for name in file.files}
    x, y = torch.from_numpy(table["features"].astype(np.float32)), torch.from_numpy(table["age"])
    rows, once = table["row"].astype(int), table["mirrored"] == 0
    dev = is_dev(cache)[rows]
    mean, spread = x[~dev].mean(0), x[~dev].std(0) + 1e-3
    x = (x - mean) / spread
    how = {"units": args.units, "decay": args.decay, "epochs": args.epochs}
    people = np.array([cache.rows[row]["person"] or str(row) for row in rows])
    fold = np.unique(people, return_inverse=True)[1] * 7919 % max(args.folds, 1)
    if args.folds:
        guess = np.zeros(len(y), np.float32)
        for number in range(args.folds):
            out = (fold == number) & ~dev
            with torch.inference_mode(False):
                head = fit(x[~out & ~dev], y[~out & ~dev], **how)
            guess[out] = head(x[out]).detach().numpy()
        describe(guess[once & ~dev], table["age"][once & ~dev], "train people, five folds")
    if args.out is None:
        return
    head = fit(x[~dev], y[~dev], **how)
    describe(head(x[once & dev]).detach().numpy(), table["age"][once & dev], "dev people")
    weight = head.hidden.weight.detach() / spread
    save_file(
        {
            "hidden.weight": weight.half().numpy(),
            "hidden.bias": (head.hidden.bias.detach() - weight @ mean).numpy(),
            "out.weight": (head.out.weight.detach()[0] * 12).numpy(),
            "out.bias": (head.out.bias.detach() * 12 + 33).numpy(),
        },
        args.out,
    )
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
