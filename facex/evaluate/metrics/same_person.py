# SPDX-License-Identifier: Apache-2.0
"""Against another photo of the same person: PSNR, SSIM and LPIPS of the face.

Two photos are aligned each by itself, so the true one is first laid on the result by a similarity
of the points that expressions hardly move; the rest of the picture, which may be another room, is
replaced by the true photo's. Light and camera differ, too: these numbers compare systems on one
list of cases, and no system reaches a perfect one.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.evaluate.faces import Pixels
from facex.evaluate.judges import Reading
from facex.evaluate.metrics.pictures import lpips, psnr, ssim
from facex.evaluate.view import Measure, Values, View
from facex.geometry.topology import STABLE_POINTS, region_polygon_mask
from facex.imaging.warp import Similarity

MEASURES: Final = {
    "face_psnr": Measure("PSNR of the face to the true photo, dB", "up"),
    "face_ssim": Measure("SSIM of the face to the true photo", "up"),
    "face_lpips": Measure("LPIPS of the face to the true photo", "down"),
}


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    return MEASURES.get(name)


def measure(view: View) -> Values:
    """Distances of the face; nothing where there is no true photo."""
    if view.truth is None or view.truth_reading is None:
        return {}
    truth, face = laid_on(view.truth, view.truth_reading, view.reading)
    only = np.where(face[..., None], view.output, truth)
    values = {"face_psnr": psnr(view.output[face], truth[face]), "face_ssim": ssim(only, truth)}
    if view.lpips is not None:
        values["face_lpips"] = lpips(view.lpips, only, truth)
    return values


def laid_on(picture: Pixels, own: Reading, there: Reading) -> tuple[Pixels, NDArray[np.bool_]]:
    """A photo moved so that its face lies on another's, and where that face is."""
    size, stable = picture.shape[0], list(STABLE_POINTS)
    move = Similarity.from_points(there["points"][stable, :2], own["points"][stable, :2])
    matrix = np.array(move.matrix)
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(picture, matrix, (size, size), flags=flags,
                           borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    points = move.inverse().apply(np.asarray(own["points"], np.float64)[:, :2])
    return np.asarray(moved, np.uint8), region_polygon_mask(points, "face", size) > 0
