# SPDX-License-Identifier: Apache-2.0
"""Draw random edits at full size, since a number is only believed once its pictures were looked at.

``python benchmarks/look.py DATA --out sheet.png [--task swap] [--seed 0] [--model DIR ...]``

A row shows target, source, the reference that the (first) model was shown, and each model's edit.
DATA is a folder of photos, or of aligned faces in tar shards (the dev split of its index).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from facex.api import EditOptions, FaceX
from facex.errors import FaceXError
from facex.evaluate.faces import SUFFIXES, FaceSet
from facex.imaging.read import read_photo
from facex.recipes.schema import Recipe
from facex.recipes.tasks import task_table

TASKS = ("swap", "head-swap", "pose", "expression", "gaze", "reenact")
"""Those that need nothing but another photo."""


def pictures(data: Path) -> tuple[list[str], Callable[[str], Image.Image]]:
    """Names of the faces of shards, or else of the photos of a folder, and what reads one."""
    if any(data.glob("*.tar")):
        faces = FaceSet.open(data, split="dev")
        return list(faces.names), lambda name: Image.fromarray(faces.image(name))
    files = {p.name: p for p in sorted(data.iterdir()) if p.suffix.lower() in SUFFIXES}
    return list(files), lambda name: read_photo(files[name]).image


def tile(image: Image.Image, height: int) -> Image.Image:
    """A picture brought to a height."""
    return image.resize(
        (round(image.width * height / image.height), height), Image.Resampling.LANCZOS
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", default="swap", choices=TASKS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--model", type=Path, action="append", help="the bundled one, if none")
    parser.add_argument("--height", type=int, default=384)
    args = parser.parse_args()
    models = [FaceX.from_pretrained(folder) for folder in args.model or [None]]
    names, read = pictures(args.data)
    rng = np.random.default_rng(args.seed)
    other = "source" if task_table()[args.task].needs.source != "never" else "driver"
    rows: list[Image.Image] = []
    while len(rows) < args.count:
        chosen = [names[i] for i in rng.permutation(len(names))[:2]]
        target, source = (read(name) for name in chosen)
        cells, labels = [target, source], chosen
        for number, model in enumerate(models):
            try:
                recipe = Recipe.for_task(args.task, given=[other])
                result = model.edit(
                    target, recipe, photos={other: source}, options=EditOptions(seed=0)
                )
            except FaceXError as error:
                print(f"{chosen}: {error}")
                break
            if number == 0 and result.crops:
                cells.append(result.crops[0]["reference"])
                labels = [*labels, "reference"]
            cells.append(result.image)
            labels = [*labels, str((args.model or ["bundled"])[number])]
        else:
            tiles = [tile(cell, args.height) for cell in cells]
            row = Image.new("RGB", (sum(t.width for t in tiles), args.height + 14), "white")
            x = 0
            for each, label in zip(tiles, labels, strict=True):
                row.paste(each, (x, 14))
                ImageDraw.Draw(row).text((x + 2, 1), label, "black")
                x += each.width
            rows.append(row)
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    y = 0
    for row in rows:
        sheet.paste(row, (0, y))
        y += row.height
    sheet.save(args.out)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
