# SPDX-License-Identifier: Apache-2.0
"""Average what open mouths show, for ``facex.geometry.mouth``.

``python -m facex.train.fit_mouth CACHE INDEX CODES OUT.png``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.geometry.means import write_means
from facex.geometry.mouth import OPENNESS, mouth_grid
from facex.geometry.pose import euler_from_rotation
from facex.train.codes import Codes
from facex.train.facecache import FaceCache
from facex.types import PARSING_CLASSES

_BINS: Final = ((0.08, 0.16), (0.16, 0.26), (0.26, 0.4), (0.4, 0.65), (0.65, 1.2))
_MOST: Final = 500
_MOUTH, _SKIN = PARSING_CLASSES.index("mouth"), PARSING_CLASSES.index("skin")
_TURNED: Final = 0.45
"""Radians of yaw beyond which a face is left out."""


def turned_away(codes: Codes) -> NDArray[np.bool_]:
    """Which faces are turned too far for a mean, ``(n,)``."""
    import torch

    rotation = torch.from_numpy(np.asarray(codes.arrays["rotation"], np.float32))
    return euler_from_rotation(rotation)[0].abs().numpy() >= _TURNED


def main(arguments: list[str]) -> int:
    """Average and write; see the module's docstring."""
    if len(arguments) != 4:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    cache, codes = FaceCache.open(arguments[0], arguments[1]), Codes.load(arguments[2])
    points, parsing = codes.arrays["landmarks"], codes.arrays["parsing"]
    turned = turned_away(codes)
    opened = np.array([mouth_grid(face)[1] for face in points])
    means = []
    for low, high in _BINS:
        rows = np.flatnonzero((opened > low) & (opened < high) & ~turned)
        found = []
        for row in np.random.default_rng(0).permutation(rows)[:_MOST]:
            image = np.asarray(cache.faces[codes.arrays["index"][row]], np.float32) / 255
            places = mouth_grid(points[row])[0] - np.float32(0.5)
            label = (parsing[row] == _MOUTH).astype(np.float32)
            if cv2.remap(label, places, None, cv2.INTER_LINEAR).mean() < 0.5:
                continue
            skin = image[parsing[row] == _SKIN].mean(0)
            colours = cv2.remap(image, places, None, cv2.INTER_LINEAR)
            found.append(colours / np.maximum(skin, 0.1))
        median = np.median(found, axis=0)
        means.append((median + median[:, ::-1]) / 2)
        print(f"height over width {low} to {high}: {len(found)} mouths")
    if len(means) != len(OPENNESS):
        raise SystemExit("the means do not fit facex.geometry.mouth.OPENNESS")
    write_means(Path(arguments[3]), np.concatenate(means))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
