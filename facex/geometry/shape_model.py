# SPDX-License-Identifier: Apache-2.0
"""The mini 3DMM: shape = mean + identity + expression + the photo's own residual (DESIGN 5).

Canonical frame: frontal, x right in the picture, y down, z away from the viewer; the origin lies
midway between the pupils and the unit is the mean distance between them.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from facex.errors import ModelNotFound, WeightsCorrupt
from facex.geometry.pose import Pose, fit_pose, place, unplace
from facex.geometry.topology import POINT_COUNT, STABLE_POINTS

WEIGHTS_NAME: Final = "diffusion_pytorch_model.safetensors"
CONFIG_NAME: Final = "config.json"
FORMAT_VERSION: Final = 1

_LANDMARK_NOISE: Final = 0.004
"""Deviation of a landmark's coordinate that the model need not explain: a quarter of a pixel."""

_TENSORS: Final[dict[str, tuple[int, ...]]] = {
    "mean": (POINT_COUNT, 3),
    "identity_basis": (POINT_COUNT, 3, -1),
    "identity_std": (-1,),
    "expression_basis": (POINT_COUNT, 3, -1),
    "uv": (POINT_COUNT, 2),
    "mirror": (POINT_COUNT,),
    "triangles": (-1, 3),
    "mouth_interior": (-1,),
    "eye_interior": (-1,),
    "albedo_mean": (-1, 3),
    "albedo_basis": (-1, 3, -1),
    "albedo_std": (-1,),
}


class FitResult(NamedTuple):
    """A face taken apart.

    Attributes:
        shape: (B, Kid) identity coefficients, of unit variance over people.
        rotation: (B, 3, 3).
        scale: (B,) pixels per canonical unit.
        translation: (B, 2) pixels.
        depth: (B,) pixels, the landmarks' zero of depth.
        residual: (B, 478, 3) what the model cannot say, canonical frame.
    """

    shape: Tensor
    rotation: Tensor
    scale: Tensor
    translation: Tensor
    depth: Tensor
    residual: Tensor

    @property
    def pose(self) -> Pose:
        """Rotation, scale, translation and depth together."""
        return Pose(self.rotation, self.scale, self.translation, self.depth)


class ShapeModel(nn.Module):
    """Mean, bases and mesh, as buffers.

    Args:
        tensors: the named tensors of the weight file; floats of any precision.

    Raises:
        WeightsCorrupt: a tensor is missing, has a wrong shape or is not finite.
    """

    mean: Tensor
    identity_basis: Tensor
    identity_std: Tensor
    expression_basis: Tensor
    uv: Tensor
    mirror: Tensor
    triangles: Tensor
    mouth_interior: Tensor
    eye_interior: Tensor
    albedo_mean: Tensor
    albedo_basis: Tensor
    albedo_std: Tensor

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        _check(tensors)
        for name in _TENSORS:
            value = tensors[name]
            value = value.float() if value.is_floating_point() else value.long()
            self.register_buffer(name, value)
        # Least squares with unit-variance coefficients against the landmarks' noise, solved once.
        basis = self.identity_basis.double().flatten(0, 1)
        gram = basis.mT @ basis + _LANDMARK_NOISE**2 * torch.eye(basis.shape[1]).double()
        solver = torch.linalg.solve(gram, basis.mT).float()
        self.register_buffer("_identity_solver", solver, persistent=False)
        self._stable = list(STABLE_POINTS)

    _identity_solver: Tensor

    @property
    def identity_size(self) -> int:
        """Number of identity coefficients."""
        return self.identity_basis.shape[-1]

    @property
    def expression_size(self) -> int:
        """Number of blendshapes."""
        return self.expression_basis.shape[-1]

    @classmethod
    def from_folder(cls, folder: str | Path) -> ShapeModel:
        """Load ``config.json`` and the safetensors of a component folder.

        Raises:
            ModelNotFound: the folder or one of its two files does not exist.
            WeightsCorrupt: the files are damaged, of another layout or newer than this program.
        """
        folder = Path(folder)
        config_path, weights_path = folder / CONFIG_NAME, folder / WEIGHTS_NAME
        for path in (config_path, weights_path):
            if not path.is_file():
                raise ModelNotFound(f"shape model: {path} does not exist")
        try:
            version = json.loads(config_path.read_text(encoding="utf-8"))["format_version"]
            if int(version) > FORMAT_VERSION:
                raise WeightsCorrupt(f"{config_path}: format {version} needs a newer facex")
            tensors = load_file(weights_path)
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise WeightsCorrupt(f"{folder}: no readable shape model ({error})") from error
        return cls(tensors)

    def save(self, folder: str | Path, *, half: bool = True) -> None:
        """Write the component folder; floats in half precision, indices in 16 bit."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        for name in _TENSORS:
            value: Tensor = getattr(self, name).detach().cpu()
            if value.is_floating_point():
                exact = name in ("mean", "uv", "identity_std", "albedo_std")
                value = value.half() if half and not exact else value.float()
            else:
                value = value.to(torch.uint8 if name.endswith("interior") else torch.int16)
            tensors[name] = value.contiguous()
        save_file(tensors, str(folder / WEIGHTS_NAME), metadata={"format": "pt"})
        config = {
            "_class_name": "ShapeModel",
            "format_version": FORMAT_VERSION,
            "points": POINT_COUNT,
            "triangles": len(tensors["triangles"]),
            "identity_size": self.identity_size,
            "expression_size": self.expression_size,
            "texture_size": self.albedo_basis.shape[-1],
        }
        text = json.dumps(config, indent=2) + "\n"
        (folder / CONFIG_NAME).write_text(text, encoding="utf-8")

    def neutral(self, shape: Tensor) -> Tensor:
        """Expression-free face (B, 478, 3) of identity coefficients (B, Kid)."""
        return self.mean + torch.einsum("pck,bk->bpc", self.identity_basis, shape)

    def expression_offset(self, expression: Tensor) -> Tensor:
        """What blendshapes (B, Ke) in [0, 1] add to a face: (B, 478, 3), canonical."""
        return torch.einsum("pck,bk->bpc", self.expression_basis, expression)

    def shape_points(
        self, shape: Tensor, expression: Tensor, residual: Tensor | None = None
    ) -> Tensor:
        """The canonical face: identity (B, Kid), expression (B, Ke), residual -> (B, 478, 3)."""
        points = self.neutral(shape) + self.expression_offset(expression)
        return points if residual is None else points + residual

    def fit(self, landmarks: Tensor, expression: Tensor) -> FitResult:
        """Take faces apart into pose, identity and residual (DESIGN 5).

        Args:
            landmarks: (B, 478, 3) in pixels.
            expression: (B, Ke) blendshapes in [0, 1].

        Returns:
            Coefficients such that posing ``shape_points(shape, expression, residual)`` gives the
            landmarks back to rounding.
        """
        offset = self.expression_offset(expression)
        guess = self.mean + offset
        pose = self._stable_pose(landmarks, guess)
        shape = self._identity(unplace(landmarks, pose) - guess)
        # Once more against the person's own shape: a long nose is no pitch.
        fitted = self.neutral(shape) + offset
        pose = self._stable_pose(landmarks, fitted)
        canonical = unplace(landmarks, pose)
        shape = self._identity(canonical - guess)
        residual = canonical - self.neutral(shape) - offset
        return FitResult(shape, *pose, residual)

    def pose_points(self, points: Tensor, pose: Pose) -> Tensor:
        """Put canonical points (B, N, 3) into the picture (pixels)."""
        return place(points, pose)

    def _stable_pose(self, landmarks: Tensor, shape: Tensor) -> Pose:
        return fit_pose(landmarks[:, self._stable], shape[:, self._stable])

    def _identity(self, difference: Tensor) -> Tensor:
        return difference.flatten(1) @ self._identity_solver.mT


class Mesh(NamedTuple):
    """What the rasterisers need of a shape model, as arrays.

    Attributes:
        mean: (478, 3) float64 canonical mean.
        triangles: (T, 3) int64.
        mouth, eye: (T,) bool; the triangle fills the mouth or an eye.
    """

    mean: NDArray[np.float64]
    triangles: NDArray[np.int64]
    mouth: NDArray[np.bool_]
    eye: NDArray[np.bool_]


@functools.lru_cache(maxsize=1)
def bundled() -> ShapeModel:
    """The shape model that comes with the package (read once)."""
    folder = resources.files("facex") / "models" / "mini" / "ford" / "shape_model"
    return ShapeModel.from_folder(Path(str(folder))).eval()


@functools.lru_cache(maxsize=1)
def bundled_mesh() -> Mesh:
    """The bundled model's mesh as arrays; every model shares its triangles."""
    return mesh_of(bundled())


def mesh_of(model: ShapeModel) -> Mesh:
    """The mesh of a shape model as arrays."""
    return Mesh(
        model.mean.double().cpu().numpy(),
        model.triangles.cpu().numpy(),
        model.mouth_interior.cpu().numpy() > 0,
        model.eye_interior.cpu().numpy() > 0,
    )


def _check(tensors: dict[str, Tensor]) -> None:
    for name, expected in _TENSORS.items():
        if name not in tensors:
            raise WeightsCorrupt(f"shape model: {name} is missing")
        value = tensors[name]
        fits = value.dim() == len(expected) and all(
            wanted in (-1, got) for wanted, got in zip(expected, value.shape, strict=True)
        )
        if not fits:
            raise WeightsCorrupt(f"shape model: {name} has shape {tuple(value.shape)}")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsCorrupt(f"shape model: {name} holds values that are no numbers")
