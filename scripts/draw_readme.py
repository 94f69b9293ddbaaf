# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of the README with the bundled model: docs/images/demo.jpg and tasks/*.jpg.

python scripts/draw_readme.py [--out docs/images] [--model DIR]

The photos are the two public-domain portraits of examples/demo.py. A strip shows what goes in and
what comes out, left to right. Pictures are JPEG and together smaller than ``BUDGET``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import facex  # noqa: E402
from examples import demo  # noqa: E402
from facex.recipes.load import recipe_from_data  # noqa: E402

TILE = 260
GAP = 4
CAPTION = 24
QUALITY = 80
BUDGET = 600_000
"""Bytes that all pictures may take together."""

MIX = {
    "format_version": 1,
    "steps": [
        {"regions": {"nose": "source", "brows": "source"}},
        {"expression": {"jawOpen": 0.25}, "gaze": {"yaw": 12}},
        {"pose": {"yaw": 12}},
    ],
}
"""The recipe of the row "mix": the example of docs/recipes.md, shortened."""


@dataclass(frozen=True)
class Sitter:
    """A portrait and where the face in it is."""

    photo: Image.Image
    face: facex.FaceRepresentation

    def tile(self, photo: Image.Image | None = None, *, reach: float = 0.6) -> Image.Image:
        """The face in the portrait or in an edited version of it.

        Args:
            photo: the edited portrait.
            reach: half the side of the tile over the side of the model's crop.
        """
        matrix, size = self.face.photo_from_crop[0].numpy(), self.face.crop_size
        x, y = matrix @ np.array([size / 2, size / 2, 1])
        half = reach * size * float(np.hypot(*matrix[:, 0]))
        box = tuple(round(v) for v in (x - half, y - half, x + half, y + half))
        picture = (self.photo if photo is None else photo).crop(box)
        return picture.resize((TILE, TILE), Image.Resampling.LANCZOS)


Strip = list[Image.Image]


class Studio:
    """The model, the two portraits, and one method per strip.

    Args:
        model: a loaded model.
    """

    def __init__(self, model: facex.FaceX) -> None:
        self.model = model
        paths = (
            demo.inside_package("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg"),
            demo.inside_package("skimage", "data", "astronaut.png"),
        )
        self.hopper, self.collins = (self._sitter(Image.open(p).convert("RGB")) for p in paths)

    def _sitter(self, photo: Image.Image) -> Sitter:
        return Sitter(photo, self.model.decompose(photo)[0])

    def strips(self) -> dict[str, Callable[[], Strip]]:
        """What draws each strip, by the name of its file."""
        return {
            "swap": self.swap,
            "head-swap": self.head_swap,
            "attribute": self.attribute,
            "glasses": self.glasses,
            "pose": self.pose,
            "expression": self.expression,
            "gaze": self.gaze,
            "reenact": self.reenact,
            "inpaint": self.inpaint,
            "stylize": self.stylize,
            "mix": self.mix,
        }

    def swap(self) -> Strip:
        """Target, source, result."""
        result = self.model.swap(self.collins.photo, self.hopper.photo)
        return self._with_source(result)

    def head_swap(self) -> Strip:
        """Target, source, result."""
        result = self.model.head_swap(self.collins.photo, self.hopper.photo)
        return self._with_source(result)

    def attribute(self) -> Strip:
        """Target, source, the target with the source's hair and the cap on it."""
        result = self.model.attribute(self.hopper.photo, self.collins.photo, ["hair"])
        return [self.collins.tile(), self.hopper.tile(), self.collins.tile(result.image)]

    def glasses(self) -> Strip:
        """Target, a drawing of glasses, the target wearing them."""
        drawing = demo.glasses()
        drawing.thumbnail((TILE, TILE))
        shown = Image.new("RGB", (TILE, TILE), "white")
        shown.paste(drawing, (0, (TILE - drawing.height) // 2), drawing)
        result = demo.wear(self.model, self.collins.photo)
        return [self.collins.tile(), shown, self.collins.tile(result.image)]

    def pose(self) -> Strip:
        """Turned to the left, as it was, turned to the right."""
        left, right = (self.model.pose(self.collins.photo, yaw=yaw) for yaw in (-18, 18))
        return self._around(left, right, reach=0.5)

    def expression(self) -> Strip:
        """Smile taken back, as it was, mouth open."""
        calm = {"mouthSmileLeft": 0.0, "mouthSmileRight": 0.0}
        left = self.model.expression(self.collins.photo, calm)
        right = self.model.expression(self.collins.photo, {"jawOpen": 0.4})
        return self._around(left, right, reach=0.35)

    def gaze(self) -> Strip:
        """Eyes to the left, as they were, to the right."""
        left, right = (self.model.gaze(self.collins.photo, yaw=yaw) for yaw in (-20, 20))
        return self._around(left, right, reach=0.3)

    def reenact(self) -> Strip:
        """Photo, driver, the photo with the driver's motion."""
        result = self.model.reenact(self.hopper.photo, self.collins.photo)
        return self._with_source(result)

    def inpaint(self) -> Strip:
        """Photo, what is redrawn in white, result."""
        photo = self.collins.photo
        mask = demo.hole(photo, self.collins.face)
        holed = np.where(mask[..., None] > 0.5, 255, np.asarray(photo)).astype(np.uint8)
        result = self.model.inpaint(photo, mask)
        pictures = (photo, Image.fromarray(holed), result.image)
        return [self.collins.tile(picture, reach=0.5) for picture in pictures]

    def stylize(self) -> Strip:
        """Eileen Collins in the three bundled styles."""
        photo = self.collins.photo
        drawn = (self.model.stylize(photo, style).image for style in ("pencil", "comic", "oil"))
        return [self.collins.tile(), *(self.collins.tile(image) for image in drawn)]

    def mix(self) -> Strip:
        """Target, source, the outcome of :data:`MIX`."""
        photos = {"source": self.collins.photo}
        result = self.model.edit(self.hopper.photo, recipe_from_data(MIX), photos=photos)
        return self._with_source(result)

    def _with_source(self, result: facex.Result) -> Strip:
        return [self.hopper.tile(), self.collins.tile(), self.hopper.tile(result.image)]

    def _around(self, left: facex.Result, right: facex.Result, *, reach: float) -> Strip:
        pictures = (left.image, None, right.image)
        return [self.collins.tile(picture, reach=reach) for picture in pictures]


def row(tiles: Strip) -> Image.Image:
    """Tiles side by side on white."""
    width = len(tiles) * TILE + (len(tiles) - 1) * GAP
    picture = Image.new("RGB", (width, TILE), "white")
    for index, tile in enumerate(tiles):
        picture.paste(tile, (index * (TILE + GAP), 0))
    return picture


def overview(strips: dict[str, Strip]) -> Image.Image:
    """The README's first picture: both portraits, then six answers with captions."""
    photo, other, swapped = strips["swap"]
    tiles = [("photo", photo), ("another photo", other), ("face swap", swapped)]
    chosen = ["head-swap", "glasses", "pose", "expression", "gaze"]
    tiles += [(name.replace("-", " "), strips[name][-1]) for name in chosen]
    font = ImageFont.load_default(size=15)
    size = (4 * TILE + 3 * GAP, 2 * (TILE + CAPTION))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for index, (name, tile) in enumerate(tiles):
        x, y = index % 4 * (TILE + GAP), index // 4 * (TILE + CAPTION)
        draw.text((x + 4, y + 2), name, "black", font=font)
        picture.paste(tile, (x, y + CAPTION))
    return picture


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--model", type=Path, help="model folder; default: the bundled model")
    args = parser.parse_args()
    (args.out / "tasks").mkdir(parents=True, exist_ok=True)
    studio = Studio(facex.FaceX.from_pretrained(args.model))
    pictures: dict[Path, Image.Image] = {}
    strips: dict[str, Strip] = {}
    for name, draw in studio.strips().items():
        strips[name] = draw()
        pictures[args.out / "tasks" / f"{name}.jpg"] = row(strips[name])
    pictures[args.out / "demo.jpg"] = overview(strips)
    total = 0
    for path, picture in pictures.items():
        picture.save(path, quality=QUALITY, optimize=True, progressive=True)
        total += path.stat().st_size
        print(f"{path.stat().st_size / 1e3:6.1f} kB  {path}")
    print(f"{total / 1e3:6.1f} kB  of at most {BUDGET / 1e3:.0f} kB")
    return 0 if total <= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
