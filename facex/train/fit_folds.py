# SPDX-License-Identifier: Apache-2.0
"""Fit how the brightness of a face follows its expression, for ``facex.geometry.folds``.

``python -m facex.train.fit_folds --cache DIR --index FILE --sources a,b --out folds.safetensors``

Photos of one person in one light that differ by the expression: each is compared with the person's
mean, so that what is the person's own drops out, and smoothed brightness is divided out, so that
light does. Ridge regression on the blendshapes, with all mirror images.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from facex.geometry.face_chart import HEIGHT, WIDTH, face_chart
from facex.geometry.topology import EYES, LEFT_BROW, LIPS_OUTER, RIGHT_BROW
from facex.imaging.luma import LUMA
from facex.train.arguments import faces_parser
from facex.train.augment import to_float
from facex.train.facecache import FaceCache
from facex.train.ford import blendshape_mirror

Floats = NDArray[np.float32]

_MOST_YAW: Final = 15.0
"""Degrees; one cheek of faces turned further is hidden."""
_LIGHT: Final = 10.0
"""Deviation of the blur that stands for light, in texels."""
_DARKEST: Final = 0.02
_RIDGE: Final = 10.0
_SOFT: Final = 0.7
"""Deviation of the blur of what was found, in texels."""
_LEFT_OUT: Final = (
    *((eye, 3.0) for eye in EYES),
    (RIGHT_BROW, 2.0),
    (LEFT_BROW, 2.0),
    (LIPS_OUTER, 2.0),
)
"""What moves rather than creases, and how many texels around it."""
_NOSTRILS: Final = (1, 2, 97, 326, 98, 327)
_NOSTRIL: Final = 5.0
_RIM: Final = 5


def main() -> None:
    """Command line."""
    parser = faces_parser(__doc__)
    parser.add_argument("--sources", required=True, help="whose photos are alike but for the face")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    cache, sources = FaceCache.open(args.cache, args.index), args.sources.split(",")
    changes, shades = expressions(cache, "train", sources)
    found = fit(changes, shades)
    unseen, truth = expressions(cache, "dev", sources)
    shown = creases()
    left = np.square((truth - unseen @ found) * shown).sum() / np.square(truth * shown).sum()
    print(f"{len(changes)} pictures; of {len(unseen)} others {1 - left:.1%} of the change is told")
    scale = np.maximum(np.abs(found).max(1), 1e-6).astype(np.float32) / 127
    basis = np.round(found / scale[:, None]).astype(np.int8)
    save_file({"basis": basis, "scale": scale}, args.out)


def expressions(cache: FaceCache, split: str, sources: list[str]) -> tuple[Floats, Floats]:
    """How expressions and shades differ from their person's mean: ``(n, 52)`` and ``(n, M)``."""
    people: dict[str, list[int]] = defaultdict(list)
    for i in cache.select(split):
        row = cache.rows[i]
        if row["source"] in sources and abs(float(row["yaw"])) < _MOST_YAW:
            people[row["person"]].append(int(i))
    swap, mirror = blendshape_mirror(), face_chart().mirror
    changes, shades = [], []
    for faces in (chosen for chosen in people.values() if len(chosen) > 1):
        shade = np.stack([shade_of(cache, i) for i in faces])
        blend = cache.blendshapes[faces]
        for x, y in ((blend, shade), (blend[:, swap], shade[:, mirror])):
            changes.append(x - x.mean(0))
            shades.append(y - y.mean(0))
    return np.concatenate(changes), np.concatenate(shades)


def shade_of(cache: FaceCache, face: int) -> Floats:
    """Logarithm of brightness ``(M,)`` at the chart's texels, without what is smooth."""
    chart = face_chart()
    image = to_float([np.asarray(cache.faces[face])]) / 2 + 0.5
    grey = (image * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    seen = chart.sample(grey, torch.from_numpy(cache.points[face])[None])[0, :, 0].numpy()
    value = np.log(seen + _DARKEST)
    return np.asarray(value - _blurred(value, _LIGHT), np.float32)


def fit(changes: Floats, shades: Floats) -> Floats:
    """Weights ``(52, M)``: what each blendshape adds to the logarithm of brightness."""
    gram = changes.T @ changes + _RIDGE * np.eye(changes.shape[1])
    found = np.linalg.solve(gram, changes.T @ shades)
    return np.stack([_blurred(row, _SOFT) for row in found.astype(np.float32)]) * creases()


def creases() -> Floats:
    """Where skin creases: ``(M,)`` in [0, 1]."""
    chart = face_chart()
    shown = np.zeros((HEIGHT, WIDTH), np.uint8)
    shown.flat[chart.texels] = 1
    inner = cv2.erode(cv2.copyMakeBorder(shown, 1, 1, 1, 1, cv2.BORDER_CONSTANT), np.ones((3, 3)))
    away = cv2.distanceTransform(inner, cv2.DIST_L2, 5)[1:-1, 1:-1]
    free = np.clip(away / _RIM, 0, 1)
    for loop, room in _LEFT_OUT:
        part = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(part, [_ring(chart.places[list(loop)])], 1)
        beside = cv2.distanceTransform(1 - part, cv2.DIST_L2, 5)
        free = np.minimum(free, np.clip(beside / room - 0.5, 0, 1))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for column, row in chart.places[list(_NOSTRILS)]:
        beside = np.hypot(columns - column, rows - row)
        free = np.minimum(free, np.clip(beside / _NOSTRIL - 0.5, 0, 1))
    return np.asarray(free.ravel()[chart.texels], np.float32)


def _ring(places: NDArray[np.floating]) -> NDArray[np.int32]:
    return np.round(cv2.convexHull(places.astype(np.float32)) - 0.5).astype(np.int32)


def _blurred(values: NDArray[np.floating], sigma: float) -> Floats:
    """Texels ``(M,)`` blurred over the chart, of which nothing lies beyond its rim."""
    chart = face_chart()
    picture, weight = np.zeros(HEIGHT * WIDTH, np.float32), np.zeros(HEIGHT * WIDTH, np.float32)
    picture[chart.texels], weight[chart.texels] = values, 1
    sums = [
        cv2.GaussianBlur(x.reshape(HEIGHT, WIDTH), (0, 0), sigma).ravel()[chart.texels]
        for x in (picture, weight)
    ]
    return np.asarray(sums[0] / np.maximum(sums[1], 1e-3), np.float32)


if __name__ == "__main__":
    main()
