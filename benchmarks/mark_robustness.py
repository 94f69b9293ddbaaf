# SPDX-License-Identifier: Apache-2.0
"""How often the invisible mark is read after what happens to photos, and how often by mistake.

    python benchmarks/mark_robustness.py FOLDER [--photos 3] [--unmarked 200]

FOLDER holds photos. Each is marked as a whole and in ovals as wide as a face, changed, and read
again; a cell is the share of photos from which the right payload came back. With --unmarked,
random tiles and all photos are read without a mark.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from facex.safety.mark import Payload, detect, embed

Picture = npt.NDArray[np.uint8]
Change = Callable[[Picture], Picture]


def jpeg(quality: int) -> Change:
    def change(rgb: Picture) -> Picture:
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer).convert("RGB"))

    return change


def resize(factor: float) -> Change:
    def change(rgb: Picture) -> Picture:
        size = round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)
        return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))

    return change


def crop(top: float = 0, bottom: float = 0, left: float = 0, right: float = 0) -> Change:
    def change(rgb: Picture) -> Picture:
        height, width = rgb.shape[:2]
        return rgb[
            round(height * top) : height - round(height * bottom),
            round(width * left) : width - round(width * right),
        ]

    return change


def blur(radius: float) -> Change:
    return lambda rgb: np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(radius)))


def brightness(factor: float) -> Change:
    return lambda rgb: np.clip(rgb * factor, 0, 255).astype(np.uint8)


def noise(sigma: float) -> Change:
    def change(rgb: Picture) -> Picture:
        grain = np.random.default_rng(0).normal(0, sigma, rgb.shape)
        return np.clip(rgb + grain, 0, 255).astype(np.uint8)

    return change


def chain(*changes: Change) -> Change:
    def change(rgb: Picture) -> Picture:
        for one in changes:
            rgb = one(rgb)
        return rgb

    return change


CHANGES: dict[str, Change] = {
    "none": lambda rgb: rgb,
    **{f"JPEG {quality}": jpeg(quality) for quality in (95, 80, 70, 60, 50)},
    **{f"resize {factor}": resize(factor) for factor in (0.5, 0.75, 1.5)},
    **{f"crop 10 % {side}": crop(**{side: 0.1}) for side in ("top", "bottom", "left", "right")},
    "crop 10 % all": crop(0.1, 0.1, 0.1, 0.1),
    "half, JPEG 85": chain(resize(0.5), jpeg(85)),
    "0.75, JPEG 80, crop": chain(crop(top=0.1), resize(0.75), jpeg(80)),
    "half, JPEG 70, crop": chain(crop(left=0.1), resize(0.5), jpeg(70)),
    "blur 1 px": blur(1),
    "brightness 1.2": brightness(1.2),
    "noise 5": noise(5),
}


def oval(shape: tuple[int, ...], width: int) -> npt.NDArray[np.float32]:
    """A feathered face: an ellipse of this width, 1.3 times as high, a bit above the middle."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    centre = shape[1] / 2, max(shape[0] * 0.45, 0.65 * width)
    radius = np.hypot((x - centre[0]) / (width / 2), (y - centre[1]) / (width * 0.65))
    return np.clip((1 - radius) * 8, 0, 1).astype(np.float32)


def psnr(before: Picture, after: Picture, mask: npt.NDArray[np.float32] | None) -> float:
    """dB over the marked area; feathered pixels count as much as their mask."""
    square = ((after.astype(np.float64) - before) ** 2).mean(2)
    area = square.size if mask is None else float(mask.sum())
    return float(10 * np.log10(255**2 * area / max(square.sum(), 1e-9)))


def robustness(pictures: list[Picture], widths: list[int]) -> None:
    columns: list[int | None] = [None, *widths]
    read = {name: dict.fromkeys(columns, 0) for name in CHANGES}
    count = dict.fromkeys(columns, 0)
    quality: dict[int | None, list[float]] = {column: [] for column in columns}
    seconds: list[float] = []
    wrong = 0
    for number, rgb in enumerate(pictures):
        for width in columns:
            if width is not None and (width > rgb.shape[1] or width * 1.3 > rgb.shape[0]):
                continue
            mask = None if width is None else oval(rgb.shape, width)
            payload = Payload(edit_id=(number * 7919 + (width or 0)) % (1 << 24))
            marked = embed(rgb, payload, mask)
            quality[width].append(psnr(rgb, marked, mask))
            count[width] += 1
            for name, change in CHANGES.items():
                changed = change(marked)
                start = time.perf_counter()
                reading = detect(changed)
                seconds.append((time.perf_counter() - start) / (changed.size / 3e6))
                read[name][width] += reading.payload == payload
                wrong += reading.found and reading.payload != payload
    head = ["whole" if column is None else f"{column} px" for column in columns]
    print(f"| {'change':20} | " + " | ".join(f"{text:>7}" for text in head) + " |")
    print(f"|{'-' * 22}|" + "|".join("-" * 9 for _ in head) + "|")
    for name, row in read.items():
        cells = [f"{row[c]:>3}/{count[c]:<3}" for c in columns]
        print(f"| {name:20} | " + " | ".join(cells) + " |")
    cells = [f"{min(quality[c]):>7.2f}" for c in columns if quality[c]]
    print(f"| {'lowest PSNR, dB':20} | " + " | ".join(cells) + " |")
    print(
        f"wrong payloads: {wrong}; reading takes {np.mean(seconds):.2f} s per megapixel on average"
    )


def false_alarms(pictures: list[Picture], tiles: int) -> None:
    rng = np.random.default_rng(0)
    found, least = 0, 1.0
    for number in range(len(pictures) + tiles):
        rgb = pictures[number % len(pictures)]
        if number >= len(pictures):
            size = int(rng.choice([96, 128, 192]))
            y = int(rng.integers(max(1, rgb.shape[0] - size)))
            x = int(rng.integers(max(1, rgb.shape[1] - size)))
            rgb = rgb[y : y + size, x : x + size]
        reading = detect(rgb)
        found += reading.found
        least = min(least, reading.p_value)
    total = len(pictures) + tiles
    print(f"false alarms: {found} of {total} unmarked pictures; lowest p-value {least:.2g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=3, help="how many photos to mark")
    parser.add_argument("--widths", type=int, nargs="*", default=[300, 200, 150, 120])
    parser.add_argument("--unmarked", type=int, default=0, help="how many unmarked tiles to read")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    files = sorted(p for p in options.folder.iterdir() if p.suffix.lower() in (".jpg", ".png"))
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    if options.photos:
        step = max(1, len(pictures) // options.photos)
        robustness(pictures[step // 2 :: step][: options.photos], options.widths)
    if options.unmarked:
        false_alarms(pictures, options.unmarked)


if __name__ == "__main__":
    main()
