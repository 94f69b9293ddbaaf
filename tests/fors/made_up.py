# SPDX-License-Identifier: Apache-2.0
"""Made-up aligned faces: the mean mesh, a parsing drawn by its outlines, plain colours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture
from facex.geometry.face_geometry import FaceGeometry, measure
from facex.geometry.pose import Pose, rotation_from_euler
from facex.geometry.shape_model import bundled
from facex.geometry.topology import region_polygon_mask
from facex.types import PARSING_CLASSES

SIZE = 128
"""Side of a crop in pixels."""

Floats = NDArray[np.floating]


def geometry(yaw: float = 0.0, roll: float = 0.0, size: int = SIZE) -> FaceGeometry:
    """The mean face, turned by degrees about the middle of the crop."""
    model = bundled()
    angles = torch.deg2rad(torch.tensor([[yaw], [0.0], [roll]]))
    middle = torch.tensor([[0.5 * size, 0.47 * size]])
    pose = Pose(rotation_from_euler(*angles), torch.tensor([0.24 * size]), middle, torch.zeros(1))
    neutral = torch.zeros(1, model.expression_size)
    points = model.pose_points(
        model.shape_points(torch.zeros(1, model.identity_size), neutral), pose
    )
    return measure(points, neutral, torch.zeros(1, 2, 2))


def landmarks(yaw: float = 0.0, roll: float = 0.0, size: int = SIZE) -> NDArray[np.float64]:
    return geometry(yaw, roll, size).landmarks[0].double().numpy()


def parsing(points: Floats, size: int = SIZE, *, fringe: bool = False) -> NDArray[np.uint8]:
    """Hair around the face, neck and clothes below it; ``fringe``: hair down to the brows."""
    classes = {name: index for index, name in enumerate(PARSING_CLASSES)}
    rows, columns = np.mgrid[:size, :size] + 0.5
    label = np.zeros((size, size), np.uint8)
    oval = region_polygon_mask(points, "face", size) > 0
    centre, half = points[:468, 0].mean(), np.ptp(points[:468, 0]) / 2
    chin, brow = points[152, 1], points[9, 1]
    label[rows > chin + 0.1 * size] = classes["cloth"]
    label[(abs(columns - centre) < half * 0.5) & (rows > brow)] = classes["neck"]
    label[rows > chin + 0.1 * size] = classes["cloth"]
    head = ((columns - centre) / (1.25 * half)) ** 2 + ((rows - brow) / (0.35 * size)) ** 2 < 1
    label[head & (rows < points[1, 1])] = classes["hair"]
    label[oval] = classes["skin"]
    for region, name in (
        ("nose", "nose"), ("lips", "u_lip"), ("mouth", "mouth"), ("left_eye", "l_eye"),
        ("right_eye", "r_eye"), ("brows", "l_brow"),
    ):  # fmt: skip
        label[region_polygon_mask(points, region, size) > 0] = classes[name]
    if fringe:
        label[oval & (rows < brow)] = classes["hair"]
    return label


def picture(
    colour: tuple[float, float, float] | Floats = (0.8, 0.6, 0.5),
    points: Floats | None = None,
    *,
    fringe: bool = False,
) -> FacePicture:
    """A face on an even colour, or on the picture ``colour`` ``(h, w, 3)`` in [0, 1]."""
    points = landmarks() if points is None else points
    image = np.asarray(colour, np.float32)
    if image.ndim == 1:
        image = np.broadcast_to(image, (SIZE, SIZE, 3)).copy()
    return FacePicture(image, points, parsing(points, fringe=fringe), SIZE)


def textured(seed: int = 0, size: int = SIZE) -> NDArray[np.float32]:
    """Smooth random colours, the same picture at every size."""
    import cv2

    coarse = np.random.default_rng(seed).uniform(0.2, 0.8, (12, 12, 3)).astype(np.float32)
    fine = cv2.resize(coarse, (512, 512), interpolation=cv2.INTER_CUBIC)
    return np.clip(cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA), 0, 1)


def middle(masks: Mapping[str, Floats], name: str) -> tuple[int, int]:
    """Row and column of the centre of a mask."""
    rows, columns = np.nonzero(masks[name] > 0.5)
    return round(float(rows.mean())), round(float(columns.mean()))
