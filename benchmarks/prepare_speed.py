# SPDX-License-Identifier: Apache-2.0
"""How fast ``facex prepare`` is on one core, beside the bare detector on the same photos.

python benchmarks/prepare_speed.py PHOTOS [--rounds 3] [--model DIR] [--count 60]

Rounds of the detector alone and of a whole preparation (one process, one thread, every round into a
new folder) alternate, so that other load on the machine falls on both; medians over the rounds are
printed. So is the process' own memory after each round: what a worker holds must not grow. Linux
only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there

import torch

from facex.imaging.read import read_photo
from facex.models.hub import BUNDLED
from facex.prepare.options import PrepareOptions
from facex.prepare.parts import load_parts
from facex.prepare.run import Engine, run
from facex.prepare.sources import PICTURES, Plan, plan_jobs


def own_megabytes() -> float:
    """Memory that belongs to this process alone."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith("RssAnon"))
    return int(value) / 1e3


def bare(photos: list[Path], model: str) -> float:
    """Seconds that the detector takes for all photos, without reading them."""
    detector = load_parts(model, "cpu").detector
    seconds = 0.0
    for photo in photos:
        pixels = read_photo(photo).array
        start = time.perf_counter()
        detector(pixels)
        seconds += time.perf_counter() - start
    return seconds


def whole(plan: Plan, model: str) -> dict[str, float]:
    """Seconds by stage of a preparation."""
    with tempfile.TemporaryDirectory() as out:
        report = run(plan, PrepareOptions(out, model), engine=Engine(workers=1))
    seconds: dict[str, float] = report["seconds"]
    return {**seconds, "faces": report["faces_in_shards"], "kept": report["kept"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder")
    parser.add_argument("--model", default=str(BUNDLED))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=60, help="photos to take, the first ones")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = sorted(p for p in args.photos.rglob("*") if p.suffix.lower() in PICTURES)
    photos = found[: args.count]
    plan = plan_jobs(photos, photos=16)
    bare(photos[:1], args.model)  # loads
    alone, rounds, memory = [], [], []
    for _ in range(args.rounds):
        alone.append(bare(photos, args.model))
        rounds.append(whole(plan, args.model))
        memory.append(round(own_megabytes()))
    counts = {name: rounds[0].pop(name) for name in ("faces", "kept")}
    stages = {
        name: statistics.median(values[name] for values in rounds) / len(photos) * 1e3
        for name in rounds[0]
    }
    every, detector = sum(stages.values()), statistics.median(alone) / len(photos) * 1e3
    line = {
        "photos": len(photos), **counts,
        "ms a photo": {name: round(value, 1) for name, value in stages.items()},
        "all, ms": round(every, 1), "photos a second": round(1e3 / every, 2),
        "detector alone, ms": round(detector, 1),
        "detector's share": round(detector / every, 3),
        "own MB after each round": memory,
    }  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()
