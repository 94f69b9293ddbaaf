# SPDX-License-Identifier: Apache-2.0
"""Swap the faces of two public-domain portraits and draw every task on one contact sheet.

The portraits come inside packages: ``grace_hopper.jpg`` (United States Navy) in matplotlib's
sample data, ``astronaut.png`` (NASA, Eileen Collins) in scikit-image.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import facex
from facex.errors import FaceXError

TILE = 300


def inside_package(package: str, *parts: str) -> Path:
    """Path of a file that comes inside an installed package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the demo needs {package}: pip install 'facex[demo]'")
    return Path(spec.origin).parent.joinpath(*parts)


def glasses() -> Image.Image:
    """A drawn pair of glasses on a transparent ground."""
    picture = Image.new("RGBA", (720, 240), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    for x in (70, 400):
        draw.rounded_rectangle((x, 40, x + 250, 210), 70, (40, 60, 80, 70), (25, 25, 30, 255), 18)
    draw.arc((305, 60, 415, 150), 200, 340, (25, 25, 30, 255), 16)
    draw.line((0, 85, 75, 95), (25, 25, 30, 255), 18)
    draw.line((645, 95, 720, 85), (25, 25, 30, 255), 18)
    return picture


def hole(photo: Image.Image, face: facex.FaceRepresentation) -> np.ndarray:
    """A mask over the left half of the mouth and cheek of a face."""
    matrix = face.photo_from_crop[0].numpy()
    points = face.landmarks[0, [152, 1, 263, 291], :2].numpy() @ matrix[:, :2].T + matrix[:, 2]
    mask = Image.new("L", photo.size)
    x0, y0 = points.min(0)
    x1, y1 = points.max(0)
    ImageDraw.Draw(mask).ellipse((x0, y0, x1, y1), 255)
    return np.asarray(mask, np.float32) / 255


def head(photo: Image.Image, face: facex.FaceRepresentation) -> Image.Image:
    """The surroundings of the face, as a tile."""
    matrix, size = face.photo_from_crop[0].numpy(), face.crop_size
    centre = matrix @ np.array([size / 2, size / 2, 1])
    half = 0.62 * size * float(np.hypot(*matrix[:, 0]))
    box = [centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half]
    return photo.crop([round(v) for v in box]).resize((TILE, TILE), Image.Resampling.LANCZOS)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    hopper = Image.open(
        inside_package("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")
    ).convert("RGB")
    collins = Image.open(inside_package("skimage", "data", "astronaut.png")).convert("RGB")
    start = time.perf_counter()
    model = facex.FaceX.from_pretrained()
    print(f"model loaded in {time.perf_counter() - start:.1f} s")
    face_h, face_c = model.decompose(hopper)[0], model.decompose(collins)[0]
    mask = hole(collins, face_c)
    smile = {"mouthSmileLeft": 0.0, "mouthSmileRight": 0.0, "jawOpen": 0.0}
    jobs: list[tuple[str, facex.FaceRepresentation, Callable[[], facex.Result]]] = [
        ("swap 1", face_h, lambda: model.swap(collins, hopper)),
        ("swap 2", face_c, lambda: model.swap(hopper, collins)),
        ("head-swap", face_h, lambda: model.head_swap(collins, hopper)),
        ("attribute", face_h, lambda: model.attribute(collins, hopper, ["lips", "brows"])),
        ("glasses", face_c, lambda: wear(model, collins)),
        ("pose", face_c, lambda: model.pose(collins, yaw=-20)),
        ("expression", face_c, lambda: model.expression(collins, smile)),
        ("gaze", face_h, lambda: model.gaze(hopper, yaw=18)),
        ("reenact", face_h, lambda: model.reenact(hopper, collins)),
        ("inpaint", face_c, lambda: model.inpaint(collins, mask)),
        ("stylize", face_c, lambda: model.stylize(collins, "pencil")),
    ]
    tiles = [("photo 1", head(hopper, face_h)), ("photo 2", head(collins, face_c))]
    for name, face, run in jobs:
        start = time.perf_counter()
        try:
            result = run()
        except FaceXError as error:
            print(f"{name:12s} not possible: {error}")
            continue
        seconds = time.perf_counter() - start
        path = result.save(args.out / f"{name.replace(' ', '-')}.png")
        print(f"{name:12s} {seconds:5.1f} s  {path}")
        tiles.append((name, head(result.image, face)))
    print(f"sheet        {sheet(tiles, args.out / 'sheet.png')}")


def wear(model: facex.FaceX, photo: Image.Image) -> facex.Result:
    """Put the drawn glasses on."""
    recipe = facex.Recipe.for_task("attribute", place={"picture": "source", "kind": "glasses"})
    return model.edit(photo, recipe, photos={"source": glasses()})


def sheet(tiles: list[tuple[str, Image.Image]], path: Path) -> Path:
    """Write the tiles with captions, four in a row."""
    rows = (len(tiles) + 3) // 4
    picture = Image.new("RGB", (4 * TILE, rows * (TILE + 22)), "white")
    draw = ImageDraw.Draw(picture)
    for index, (name, tile) in enumerate(tiles):
        x, y = index % 4 * TILE, index // 4 * (TILE + 22)
        picture.paste(tile, (x, y + 22))
        draw.text((x + 6, y + 5), name, "black")
    picture.save(path)
    return path


if __name__ == "__main__":
    main()
