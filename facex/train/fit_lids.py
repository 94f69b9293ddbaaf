# SPDX-License-Identifier: Apache-2.0
"""Average what shut eyes show, for ``facex.geometry.lids``.

``python -m facex.train.fit_lids CACHE INDEX CODES OUT.png``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from facex.fors.lids import lid_ground
from facex.geometry.lids import BANDS, lid_grids
from facex.geometry.means import write_means
from facex.geometry.topology import EYES
from facex.geometry.visibility import eye_openness
from facex.train.codes import Codes
from facex.train.facecache import FaceCache
from facex.train.fit_mouth import turned_away
from facex.types import PARSING_CLASSES

_SHUT: Final = 0.12
_GLASSES: Final = PARSING_CLASSES.index("eye_g")
_FEWEST: Final = 20
_TINT: Final = 3.0
"""Deviation of the blur of their colour, in cells."""


def main(arguments: list[str]) -> int:
    """Average and write; see the module's docstring."""
    if len(arguments) != 4:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    cache, codes = FaceCache.open(arguments[0], arguments[1]), Codes.load(arguments[2])
    points, turned = np.asarray(codes.arrays["landmarks"], np.float64), turned_away(codes)
    found: list[list[np.ndarray]] = [[], []]
    people: set[str] = set()
    for row, face in enumerate(points):
        opened = max(eye_openness(face[list(eye)]) for eye in EYES)
        if opened > _SHUT or turned[row] or (codes.arrays["parsing"][row] == _GLASSES).any():
            continue
        index = int(codes.arrays["index"][row])
        person = cache.rows[index].get("person", "")
        if person and person in people:
            continue
        people.add(person)
        image = np.asarray(cache.faces[index], np.float32) / np.float32(255)
        for eye in range(len(EYES)):
            ratio = image / np.maximum(lid_ground(image, face, eye), 0.05)
            for band, grid in zip(found, lid_grids(face, eye), strict=True):
                band.append(cv2.remap(ratio, grid - np.float32(0.5), None, cv2.INTER_LINEAR))
    print(f"{len(found[0])} shut eyes")
    if len(found[0]) < _FEWEST:
        raise SystemExit("too few; give codes of more faces")
    means = np.concatenate([_toned(np.median(band, axis=0)) for band in found])
    if means.shape[:2] != (sum(rows for rows, _ in BANDS), BANDS[0][1]):
        raise SystemExit("the means do not fit facex.geometry.lids.BANDS")
    write_means(Path(arguments[3]), means)
    return 0


def _toned(mean: np.ndarray) -> np.ndarray:
    """A mean without the specks of colour that so few faces leave in it."""
    grey = mean.mean(-1, keepdims=True)
    return grey + cv2.GaussianBlur(np.asarray(mean - grey, np.float32), (0, 0), _TINT)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
