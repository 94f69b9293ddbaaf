# SPDX-License-Identifier: Apache-2.0
"""Flicker and speed of a swap in a clip, against the same edit frame by frame.

``python benchmarks/flicker.py SOURCE CLIP [--out FOLDER]``; the clip is any video, GIF or WebP.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from skimage.color import rgb2lab

from facex.api import FaceX
from facex.evaluate.metrics.flicker import warp_error
from facex.recipes.schema import Recipe
from facex.video.clip import Clip
from facex.video.edit import edit_clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--out", type=Path, default=Path("."))
    args = parser.parse_args()
    editor = FaceX.from_pretrained()
    originals = [frame.pixels for frame in Clip(args.clip).frames()]
    begin, single, masks = time.perf_counter(), [], []
    for pixels in originals:
        result = editor.swap(args.source, pixels)
        single.append(np.asarray(result.image))
        masks.append(result.mask)
    alone = time.perf_counter() - begin
    begin = time.perf_counter()
    out = args.out / "flicker.webp"
    recipe = Recipe.for_task("swap", given=["source"])
    smooth: list[np.ndarray] = []
    import facex.video.parts as parts

    keep = parts.write_part

    def spy(path: Path, frames: list) -> None:
        smooth.extend(frame.pixels for frame in frames)
        keep(path, frames)

    parts.write_part = spy
    edit_clip(editor, Clip(args.clip), recipe, out, photos={"source": args.source})
    together = time.perf_counter() - begin
    rows = {"the clip itself": originals, "frame by frame": single, "as a clip": smooth}
    print(f"{len(originals)} frames of {originals[0].shape[1]} x {originals[0].shape[0]} pixels")
    for name, frames in rows.items():
        colour = [rgb2lab(f / 255)[m > 0.5].mean(0) for f, m in zip(frames, masks, strict=True)]
        drift = np.abs(np.diff(np.array(colour), axis=0)).mean()
        print(f"{name:16s} warp error {warp_error(originals, frames, masks):.3f}, "
              f"colour step {drift:.3f}")  # fmt: skip
    print(f"frame by frame {len(originals) / alone:.2f} frames/s, as a clip "
          f"{len(originals) / together:.2f} frames/s")  # fmt: skip


if __name__ == "__main__":
    main()
