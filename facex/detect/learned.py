# SPDX-License-Identifier: Apache-2.0
"""The bundled detector: `DetectorNet` on a picture at a few sizes, then again on what it found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from facex.detect.detector import Attempt, Detection, suppress, turned
from facex.detect.net import STRIDES, DetectorNet, decode, fused
from facex.imaging.warp import Similarity

ATTEMPTS: Final = (
    Attempt((640, 320), (0,), 0.4),
    Attempt((1280,), (0,), 0.4, enlarge=True),
    Attempt((640,), (90, -90, 180), 0.4),
    Attempt((640, 1280), (0,), 0.3, enlarge=True),
)
"""From cheap and sure to dear and doubtful; the first that finds a face ends the search.

Small pictures of large ones find faces that fill them; the network was trained on faces of 14 to
320 pixels. Thresholds are those of the first look: they leave candidates to the second."""
CONFIRMED: Final = 0.6
"""Least mean of the first look and the second ones. Badges, patterned ties and ears score up to .85
when they are small, and much less when they are looked at from near; faces do not."""
_SURE: Final = 0.9
"""First score from which on no second look is needed: on 60 photos nothing else than faces had more
than .84."""
_NEAR: Final = (32, 48, 72)
"""Pixels that the face is wide in the pictures of the second look."""
_FIELD: Final = 128
"""Side of those pictures."""
_GREY: Final = (127, 127, 127)
_SMALLEST: Final = 16
"""Shorter side in pixels below which a picture is not halved again."""
_BATCH: Final = 32
"""Faces whose second looks are taken together."""
_MULTIPLE: Final = STRIDES[-1]
_MOST: Final = 400
"""Cells that are looked at, surest first."""


class NetDetector:
    """Faces from about 15 pixels to the whole picture, also in profile and turned by any angle.

    Args:
        net: trained weights.
    """

    def __init__(self, net: DetectorNet) -> None:
        # The copy for inference: half the time of the network as it was trained.
        self.net = fused(net).to(memory_format=torch.channels_last)
        self._device = net.device

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """All faces of an image (H, W, 3) uint8 RGB, surest first."""
        longest = max(image.shape[:2])
        halves = _halves(image)
        for attempt in ATTEMPTS:
            found: list[Detection] = []
            for scale in attempt.scales(longest):
                for turn in attempt.turns:
                    found += self._look(image, scale, math.radians(turn), attempt.threshold)
            sure = self._confirmed(halves, suppress(found))
            if kept := [face for face in sure if face.score >= CONFIRMED]:
                return sorted(kept, key=lambda face: -face.score)
        return []

    @torch.inference_mode()
    def _look(
        self, image: NDArray[np.uint8], scale: float, roll: float, threshold: float
    ) -> list[Detection]:
        upright, photo_from_upright = turned(image, scale, roll)
        height, width = upright.shape[:2]
        spare = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
        rows = self._run(F.pad(_pixels(upright[None]), spare))[0]
        rows = rows[rows[:, 0] > threshold]
        rows = rows[rows[:, 0].argsort(descending=True)[:_MOST]]
        return [_to_photo(row, photo_from_upright) for row in rows.double().cpu().numpy()]

    @torch.inference_mode()
    def _confirmed(
        self, halves: Sequence[NDArray[np.uint8]], faces: Sequence[Detection]
    ) -> list[Detection]:
        """Faces that are not sure, with their mean score when they are looked at again.

        A look counts where it finds the same box; sure ones stay as they are.
        """
        result = [face for face in faces if face.score >= _SURE]
        faces = [face for face in faces if face.score < _SURE]
        for start in range(0, len(faces), _BATCH):
            batch = faces[start : start + _BATCH]
            views = [
                _near_view(halves, face, side / face.width) for face in batch for side in _NEAR
            ]
            rows = self._run(_pixels(np.stack(views)))
            sides = torch.tensor(_NEAR * len(batch))[:, None]
            beside = (rows[..., 1:3].cpu() - _FIELD / 2).abs().amax(2) < 0.3 * sides
            alike = (rows[..., 3].cpu() / sides).log().abs() < 0.5
            scores = (rows[..., 0].cpu() * (beside & alike)).amax(1).view(len(batch), len(_NEAR))
            for face, again in zip(batch, scores.double().numpy(), strict=True):
                result.append(replace(face, score=float(np.mean([face.score, *again]))))
        return result

    def _run(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self._device, memory_format=torch.channels_last)
        levels = self.net(pixels)
        return torch.cat([decode(m, s) for m, s in zip(levels, STRIDES, strict=True)], 1)


def _pixels(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2).div_(127.5).sub_(1)


def _halves(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """A picture, half of it, half of that and so on."""
    halves = [image]
    while min(halves[-1].shape[:2]) > 2 * _SMALLEST:
        size = (halves[-1].shape[1] // 2, halves[-1].shape[0] // 2)
        halves.append(cv2.resize(halves[-1], size, interpolation=cv2.INTER_AREA))
    return halves


def _near_view(
    halves: Sequence[NDArray[np.uint8]], face: Detection, scale: float
) -> NDArray[np.uint8]:
    """A square picture of ``_FIELD`` pixels with the face upright in its middle."""
    # Drawn at twice the size and halved: from the picture that is nearest above that.
    fine, field = 2 * scale, 2 * _FIELD
    level = min(max(math.floor(-math.log2(fine)), 0), len(halves) - 1)
    image = halves[level]
    shrunk = np.array(image.shape[1::-1]) / np.array(halves[0].shape[1::-1])
    turn = Similarity.from_parts(scale=fine / float(shrunk[0]), rotation=-face.roll)
    shift = field / 2 - turn.apply(np.array(face.centre) * shrunk)
    # cv2 counts pixel centres from 0, we from 0.5
    half = Similarity.from_parts(shift=(0.5, 0.5))
    placed = Similarity.from_parts(shift=(float(shift[0]), float(shift[1]))).compose(turn)
    matrix = half.inverse().compose(placed).compose(half).matrix
    drawn = cv2.warpAffine(image, matrix, (field, field), flags=cv2.INTER_LINEAR, borderValue=_GREY)
    return np.asarray(cv2.resize(drawn, (_FIELD, _FIELD), interpolation=cv2.INTER_AREA), np.uint8)


def _to_photo(row: NDArray[np.float64], photo_from_upright: Similarity) -> Detection:
    """A row of `decode` in photo pixels."""
    x, y = photo_from_upright.apply(row[1:3])
    half = row[3] * photo_from_upright.scale / 2
    points = photo_from_upright.apply(row[5:].reshape(5, 2))
    box = (float(x - half), float(y - half), float(x + half), float(y + half))
    keypoints = tuple((float(u), float(v)) for u, v in points)
    roll = math.remainder(float(row[4]) + photo_from_upright.rotation, 2 * math.pi)
    return Detection(box, float(row[0]), roll, keypoints)
