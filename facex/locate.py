# SPDX-License-Identifier: Apache-2.0
"""From a photo to aligned, decomposed faces: detect, find landmarks, align, run FORD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.detect.choose import FaceChoice, choose_faces
from facex.detect.detector import Detection, Detector
from facex.detect.learned import NetDetector
from facex.errors import NoFaceFound
from facex.ford.decompose import FORD
from facex.ford.motion import MotionNet
from facex.ford.representation import FaceRepresentation
from facex.imaging.read import Photo, read_photo
from facex.imaging.tensors import to_tensor
from facex.imaging.warp import Similarity, crop_image, ffhq_alignment
from facex.models.folder import load_detector, load_ford, read_index
from facex.models.mini_ford import load_network
from facex.timing import timed

_ROUNDS = 2
"""Landmarks are read again in the crop that the first reading gave."""


@dataclass(frozen=True)
class LocatedFace:
    """A face of a photo, aligned and decomposed.

    Attributes:
        photo: ``(H, W, 3)`` uint8 pixels of the whole photo.
        photo_from_crop: maps crop pixels to photo pixels.
        crop: ``(1, 3, S, S)`` in [-1, 1].
        representation: batch of one.
        name: what to call the photo in messages.
    """

    photo: NDArray[np.uint8]
    photo_from_crop: Similarity
    crop: Tensor
    representation: FaceRepresentation
    name: str

    @property
    def native_size(self) -> int:
        """Side of the crop at the photo's own resolution, in pixels."""
        return round(self.representation.crop_size * self.photo_from_crop.scale)

    def pixels(self, size: int) -> NDArray[np.uint8]:
        """The crop cut from the photo at another resolution, ``(size, size, 3)``."""
        return np.asarray(crop_image(self.photo, self.frame(size), size))

    def frame(self, size: int) -> Similarity:
        """``photo_from_crop`` for a crop of ``size`` px."""
        factor = self.representation.crop_size / size
        return self.photo_from_crop.compose(Similarity.from_parts(scale=factor))


class FaceLocator:
    """Finds and reads the faces of photos.

    Args:
        detector: finds boxes.
        landmarks: finds the 478 points in a roughly centred crop.
        ford: reads aligned crops.
        crop_size: side of the aligned crops.
        device: where the networks are.
    """

    def __init__(
        self,
        detector: Detector,
        landmarks: MotionNet,
        ford: FORD,
        crop_size: int,
        device: torch.device,
    ) -> None:
        self.detector, self.net, self.ford = detector, landmarks, ford
        self.crop_size, self.device = crop_size, device

    def find(
        self, photo: Photo, choice: FaceChoice, timings: dict[str, float] | None = None
    ) -> list[LocatedFace]:
        """The chosen faces of a photo, left to right for ``all``.

        Args:
            photo: to look at.
            choice: which of its faces.
            timings: the seconds of ``detect`` and ``decompose`` are added here.

        Raises:
            NoFaceFound: there is none, or none that fits the choice.
        """
        pixels = photo.array
        name = photo.path.name if photo.path is not None else "the picture"
        with timed(timings, "detect"):
            found = self.detector(pixels)
        if not found:
            raise NoFaceFound(
                f"no face was found in {name}; use a photo in which a face is seen from the front "
                "or half turned, at least 60 pixels wide"
            )

        def similarity(other: Path) -> list[float]:
            wanted = self.find(read_photo(other), FaceChoice())[0].representation.identity
            faces = [self.read(pixels, box, name).representation.identity for box in found]
            return [float((face * wanted).sum()) for face in faces]

        with timed(timings, "decompose"):
            chosen = choose_faces(found, choice, similarity)
            return [self.read(pixels, found[i], name) for i in chosen]

    @torch.inference_mode()
    def read(self, pixels: NDArray[np.uint8], detection: Detection, name: str) -> LocatedFace:
        """Align and decompose one detected face."""
        return self.read_aligned(pixels, self._align(pixels, detection), name)

    @torch.inference_mode()
    def read_aligned(
        self,
        pixels: NDArray[np.uint8],
        photo_from_crop: Similarity,
        name: str,
        known: Mapping[str, Tensor] | None = None,
    ) -> LocatedFace:
        """Decompose the crop of a known frame, for example after an edit of the same photo.

        Args:
            pixels: ``(H, W, 3)`` of the photo.
            photo_from_crop: where the crop is.
            name: what to call the photo.
            known: fields of the representation that need not be read again.
        """
        crop = self._cut(pixels, photo_from_crop, self.crop_size).to(self.device)
        matrix = torch.tensor(np.array(photo_from_crop.matrix, np.float64))[None]
        representation = self.ford(crop, matrix, known=known)
        return LocatedFace(pixels, photo_from_crop, crop.cpu(), representation.to("cpu"), name)

    def read_crop(self, pixels: NDArray[np.uint8], name: str) -> LocatedFace:
        """Decompose an aligned crop ``(S, S, 3)`` of any size; the crop itself is the photo."""
        scale = pixels.shape[0] / self.crop_size
        return self.read_aligned(pixels, Similarity.from_parts(scale=scale), name)

    def _align(self, pixels: NDArray[np.uint8], detection: Detection) -> Similarity:
        return self.settle(pixels, rough_frame(detection, self.crop_size))

    @torch.inference_mode()
    def settle(
        self, pixels: NDArray[np.uint8], frame: Similarity, rounds: int = _ROUNDS
    ) -> Similarity:
        """The aligned frame of the face that is about at ``frame``."""
        for _ in range(rounds):
            crop = self._cut(pixels, frame, self.crop_size).to(self.device)
            points = self.net(crop)[0][0, :, :2].double().cpu().numpy()
            frame = ffhq_alignment(frame.apply(points), self.crop_size)
        return frame

    @torch.inference_mode()
    def landmarks(self, pixels: NDArray[np.uint8], frame: Similarity) -> NDArray[np.float64]:
        """Landmarks ``(478, 3)`` in photo pixels of the face in an aligned frame, z in the same."""
        crop = self._cut(pixels, frame, self.crop_size).to(self.device)
        points = self.ford.landmarks(crop)[0].double().cpu().numpy()
        return np.concatenate([frame.apply(points[:, :2]), points[:, 2:] * frame.scale], 1)

    @staticmethod
    def _cut(pixels: NDArray[np.uint8], frame: Similarity, size: int) -> Tensor:
        from PIL import Image

        return to_tensor(Image.fromarray(np.asarray(crop_image(pixels, frame, size))))


def rough_frame(detection: Detection, crop_size: int) -> Similarity:
    """About the aligned crop of a detection: its box sits from the brows to the chin."""
    x0, y0, x1, y1 = detection.box
    side = 1.85 * max(x1 - x0, y1 - y0)
    cos, sin = np.cos(detection.roll), np.sin(detection.roll)
    up = np.array([sin, -cos])
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + up * (0.06 * (y1 - y0))
    scale = side / crop_size
    turned = Similarity.from_parts(scale=scale, rotation=detection.roll)
    middle = turned.apply(np.array([[crop_size / 2, crop_size / 2]]))[0]
    shift = (float(centre[0] - middle[0]), float(centre[1] - middle[1]))
    return Similarity.from_parts(scale=scale, rotation=detection.roll, shift=shift)


def load_locator(folder: Path, device: torch.device) -> FaceLocator:
    """The analysis of a model folder, without its generator.

    Raises:
        ModelNotFound: a part is missing.
        WeightsCorrupt: a part is damaged.
    """
    index = read_index(folder)
    landmarks = load_network(MotionNet, folder / "ford" / "motion").to(device)
    landmarks.requires_grad_(False)
    detector = NetDetector(load_detector(folder, device))
    ford = load_ford(index, folder / "ford").to(device)
    return FaceLocator(detector, landmarks, ford, index.crop_size, device)
