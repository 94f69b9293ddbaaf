# SPDX-License-Identifier: Apache-2.0
"""The parts of a model that preparing needs, loaded once in every worker process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor

from facex.detect.detector import Detection, Detector
from facex.detect.learned import NetDetector
from facex.ford.decompose import FORD
from facex.ford.motion import MotionNet
from facex.frc.base import Base
from facex.geometry.pose import euler_from_rotation
from facex.geometry.shape_model import bundled
from facex.imaging.tensors import to_tensor
from facex.imaging.warp import Similarity, crop_image, ffhq_alignment
from facex.locate import rough_frame
from facex.models.folder import load_detector, load_scheduler, read_index
from facex.models.klt import KLTAutoencoder
from facex.models.mini_ford import load_mini_ford, load_network

_ROUNDS = 2
"""As in `facex.locate`: landmarks are read again in the crop that the first reading gave."""


@dataclass(frozen=True)
class Aligned:
    """Where a face is, before anything dear is done with it.

    Attributes:
        frame: photo_from_crop.
        points: (478, 2) landmarks in photo pixels.
        yaw: radians, + looks to the picture's right.
        pitch: radians, + up.
    """

    frame: Similarity
    points: NDArray[np.float64]
    yaw: float
    pitch: float


@dataclass(frozen=True)
class Parts:
    """Detector, landmarks, extractors and autoencoder; no generator, no steering.

    Attributes:
        detector: finds boxes.
        landmarks: finds the 478 points.
        ford: reads aligned crops.
        base: for its `encode` only: its UNet has no weights.
        crop_size: side of the crops in pixels.
        device: where the networks are.
    """

    detector: Detector
    landmarks: MotionNet
    ford: FORD
    base: Base
    crop_size: int
    device: torch.device

    def cut(self, photo: NDArray[np.uint8], frame: Similarity) -> NDArray[np.uint8]:
        """The aligned crop (S, S, 3) of a photo (H, W, 3)."""
        return crop_image(photo, frame, self.crop_size)

    @torch.inference_mode()
    def align(self, photo: NDArray[np.uint8], detection: Detection) -> Aligned:
        """The very frame that `FaceLocator.find` gives, and what is known on the way to it."""
        frame = rough_frame(detection, self.crop_size)
        for _ in range(_ROUNDS):
            crop = to_tensor(self.cut(photo, frame)).to(self.device)
            found, blendshapes = self.landmarks(crop)
            points = frame.apply(found[0, :, :2].double().cpu().numpy())
            frame = ffhq_alignment(points, self.crop_size)
        fit = bundled().fit(found.float().cpu(), blendshapes.float().cpu())
        yaw, pitch, _ = euler_from_rotation(fit.rotation[0])
        return Aligned(frame, points, float(yaw), float(pitch))

    @torch.inference_mode()
    def encode(self, crop: Tensor) -> Tensor:
        """Latents (1, C, h, w) of a crop (1, 3, S, S), float16: what is cached for training."""
        return self.base.encode(crop.to(self.device)).half().cpu()


@lru_cache(maxsize=1)
def load_parts(model: str, device: str) -> Parts:
    """Load from a model folder; a worker that does several jobs loads once.

    Raises:
        ModelNotFound: a part is missing.
        WeightsCorrupt: a part is damaged.
    """
    folder, where = Path(model), torch.device(device)
    index = read_index(folder)
    if index.scale == "mini":
        ford, autoencoder = load_mini_ford(folder / "ford"), KLTAutoencoder
    else:
        from facex.models.sd15_ford import load_sd15_ford

        ford, autoencoder = load_sd15_ford(folder / "ford"), AutoencoderKL
    config = UNet2DConditionModel.load_config(folder / "unet")
    with torch.device("meta"):  # a base wants to know its UNet's shape; the weights stay on disk
        unet = UNet2DConditionModel.from_config(config)
    vae = load_network(autoencoder, folder / "vae").to(where)
    landmarks = load_network(MotionNet, folder / "ford" / "motion").to(where)
    for network in (vae, landmarks):
        network.requires_grad_(False)
    base = Base(unet, vae, load_scheduler(folder / "scheduler"))
    detector = NetDetector(load_detector(folder, where))
    return Parts(detector, landmarks, ford.to(where), base, index.crop_size, where)
