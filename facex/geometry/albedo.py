# SPDX-License-Identifier: Apache-2.0
"""The texture of a face: principal components of its dense albedo (DESIGN 2, field texture).

An albedo is a picture on the face's chart (:mod:`facex.geometry.face_chart`) with the light divided
out: brightness at every texel, tint at every second, in square roots of linear light, where equal
steps look about equal. Faces show only part of their chart; what hair, glasses or the turn of the
head hide follows from the rest by the components, as it does for most of the code of a face.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.spatial import cKDTree
from torch import Tensor, nn

from facex.errors import ModelNotFound, WeightsCorrupt
from facex.geometry.face_chart import HEIGHT, WIDTH, face_chart
from facex.geometry.light_texture import fit_light, irradiance, surface_normals, to_linear
from facex.geometry.shape_model import CONFIG_NAME, WEIGHTS_NAME
from facex.geometry.topology import POINT_COUNT, SURFACE_COUNT
from facex.types import PARSING_CLASSES

Floats = NDArray[np.float32]

_TINT_WEIGHT: Final = 1.5
"""Of a texel of tint against one of brightness, of which there are four."""
_MIRRORED: Final = 0.3
"""How much a texel counts that only the other half of the face shows."""
_ROUNDS: Final = 12
_BRIGHTEST: Final = 1.25
_BARE: Final = tuple(
    index
    for index, name in enumerate(PARSING_CLASSES)
    if name in ("skin", "nose", "l_brow", "r_brow", "l_eye", "r_eye", "u_lip", "l_lip")
)


class AlbedoModel(nn.Module):
    """Mean and components.

    Args:
        mean: (N,) brightness of the M texels, then two tints of every second row and column.
        basis: (K, N) orthonormal components as int8, each divided by its largest value.
        scale: (K,) that value.
        std: (K,) deviation of each coefficient over people.
        noise: deviation of a value that the components do not explain.

    Raises:
        WeightsCorrupt: shapes that do not belong together.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor
    std: Tensor
    noise: Tensor

    def __init__(
        self, mean: Tensor, basis: Tensor, scale: Tensor, std: Tensor, noise: Tensor
    ) -> None:
        super().__init__()
        if basis.shape != (len(std), len(mean)) or scale.shape != std.shape:
            raise WeightsCorrupt(f"albedo: components {tuple(basis.shape)}, mean {len(mean)}")
        for name, value in zip(
            ("mean", "basis", "scale", "std", "noise"),
            (mean, basis, scale, std, noise),
            strict=True,
        ):
            self.register_buffer(name, value if value.dtype == torch.int8 else value.float())
        components = basis.float() * scale.float()[:, None]
        self.register_buffer("_components", components, persistent=False)

    _components: Tensor

    @property
    def size(self) -> int:
        """Number of coefficients K."""
        return len(self.std)

    @classmethod
    def from_folder(cls, folder: str | Path) -> AlbedoModel:
        """Load the component folder.

        Raises:
            ModelNotFound: it does not exist.
            WeightsCorrupt: it cannot be read.
        """
        path = Path(folder) / WEIGHTS_NAME
        if not path.is_file():
            raise ModelNotFound(f"albedo model: {path} does not exist")
        try:
            return cls(**load_file(path)).eval()
        except (TypeError, OSError, SafetensorError) as error:
            raise WeightsCorrupt(f"{folder}: no readable albedo model ({error})") from error

    def save(self, folder: str | Path) -> None:
        """Write the component folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()
        }
        save_file(tensors, str(folder / WEIGHTS_NAME), metadata={"format": "pt"})
        config = {"_class_name": "AlbedoModel", "chart": [HEIGHT, WIDTH], "size": self.size}
        (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def encode(self, values: Tensor, weight: Tensor) -> Tensor:
        """Most likely coefficients of partly seen albedos.

        Args:
            values: (B, N) as :func:`measure` gives them.
            weight: (B, N) in [0, 1], how far each value is seen.

        Returns:
            (B, K), of unit variance over people.
        """
        offset = values - self.mean
        found = torch.zeros_like(offset)
        # What is seen counts; what is not is what the components say, again and again.
        shrink = self.std**2 / (self.std**2 + self.noise**2)
        code = offset.new_zeros(len(values), self.size)
        for _ in range(_ROUNDS):
            filled = weight * offset + (1 - weight) * found
            code = (filled @ self._components.mT) * shrink
            found = code @ self._components
        return code / self.std

    def decode(self, code: Tensor) -> Tensor:
        """Albedos (B, N) of coefficients (B, K)."""
        return self.mean + (code * self.std) @ self._components

    def colours(self, code: Tensor) -> Tensor:
        """Linear albedo (B, M, 3) at the chart's texels."""
        return to_colours(self.decode(code))


@functools.lru_cache(maxsize=1)
def bundled_albedo() -> AlbedoModel:
    """The albedo model that comes with the package (read once)."""
    folder = resources.files("facex") / "models" / "mini" / "ford" / "albedo"
    return AlbedoModel.from_folder(Path(str(folder)))


@functools.lru_cache(maxsize=1)
def _layout() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Texels with a tint of their own (indices into the M), and for each texel its nearest such."""
    chart = face_chart()
    rows, columns = np.divmod(chart.texels, WIDTH)
    # Mirror images must have their tints at mirrored places.
    folded = np.where(columns < WIDTH // 2, columns, WIDTH - 1 - columns)
    own = np.flatnonzero((rows % 2 == 0) & (folded % 2 == 0))
    place = np.stack([rows, columns], -1)
    nearest = cKDTree(place[own]).query(place)[1]
    return own, np.asarray(nearest, np.intp)


@functools.lru_cache(maxsize=1)
def mirror_values() -> Tensor:
    """(N,) permutation of an albedo's values when the face is mirrored."""
    chart, (own, _) = face_chart(), _layout()
    at = np.full(len(chart.texels), -1)
    at[own] = np.arange(len(own))
    tint = at[chart.mirror[own]]
    count = len(chart.texels)
    return torch.from_numpy(
        np.concatenate([chart.mirror, count + tint, count + len(own) + tint]).astype(np.int64)
    )


def measure(image: Tensor, points: Tensor, light: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """What a photo shows of a face's albedo.

    Args:
        image: (B, 3, H, W) in [-1, 1].
        points: (B, 478, 3) in its pixels.
        light: (B, 27), see ``light_texture.irradiance``.
        seen: (B, 1, H, W) in [0, 1], where the picture shows bare face.

    Returns:
        values (B, N) and how far each is seen (B, N).
    """
    chart = face_chart()
    colours = to_linear((chart.sample(image.float(), points.float()) + 1) / 2)
    normals = _normals(points.float())
    weight = chart.sample(seen.float(), points.float())[..., 0] * _facing(normals)
    return _observed(colours, normals, light, weight)


def _facing(normals: Tensor) -> Tensor:
    return (-normals[..., 2] * 1.5 - 0.2).clamp(0, 1)


def _observed(
    colours: Tensor, normals: Tensor, light: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Albedo values (B, N) of linear colours (B, M, 3), and how far they are seen."""
    albedo = (colours / irradiance(light, normals)).clamp(0, _BRIGHTEST)
    values, seen_at = to_values(albedo), to_weights(weight)
    order = mirror_values().to(values.device)
    rest = (1 - seen_at) * seen_at[:, order] * _MIRRORED
    total = seen_at + rest
    both = (values * seen_at + values[:, order] * rest) / total.clamp_min(1e-6)
    return both, total


@torch.no_grad()
def fit_visible(
    model: AlbedoModel, image: Tensor, points: Tensor, seen: Tensor, rounds: int = 2
) -> tuple[Tensor, Tensor]:
    """Light and albedo of faces of which only a part may be used.

    Args:
        model: the components.
        image: (B, 3, H, W) in [-1, 1].
        points: (B, 478, 3) in its pixels.
        seen: (B, 1, H, W) in [0, 1]; nothing is read where it is 0.
        rounds: how often each is found again with the other.

    Returns:
        light (B, 27) and codes (B, K).
    """
    chart = face_chart()
    image, points = image.float(), points.float()
    colours = to_linear((chart.sample(image, points) + 1) / 2)
    normals = _normals(points)
    weight = chart.sample(seen.float(), points)[..., 0] * _facing(normals)
    code = colours.new_zeros(len(colours), model.size)
    light = colours.new_zeros(0)
    for _ in range(rounds):
        light = fit_light(colours, model.colours(code), normals, weight)
        code = model.encode(*_observed(colours, normals, light, weight))
    return light, code


def bare_face(parsing: Tensor) -> Tensor:
    """Where labels (B, S, S) say that bare face is shown: (B, 1, S, S) float in {0, 1}."""
    shown = torch.zeros(parsing.shape, device=parsing.device)
    for index in _BARE:
        shown = shown + (parsing == index)
    return shown[:, None]


def to_values(albedo: Tensor) -> Tensor:
    """Linear albedo (B, M, 3) as brightness and tints (B, N)."""
    own, _ = _layout()
    root = albedo.clamp_min(0).sqrt()
    bright = root.mean(-1)
    tint = (root[..., ::2] - root[..., 1:2])[:, torch.from_numpy(own)]
    return torch.cat([bright, tint[..., 0] * _TINT_WEIGHT, tint[..., 1] * _TINT_WEIGHT], 1)


def to_colours(values: Tensor) -> Tensor:
    """The inverse of :func:`to_values`, tints being constant over two by two texels."""
    own, nearest = _layout()
    count = len(face_chart().texels)
    tint = values[:, count:].unflatten(1, (2, len(own))).mT / _TINT_WEIGHT
    tint = tint[:, torch.from_numpy(nearest)]
    green = values[:, :count] - tint.sum(-1) / 3
    root = torch.stack([green + tint[..., 0], green, green + tint[..., 1]], -1)
    return root.clamp(0, _BRIGHTEST**0.5).square()


def to_weights(weight: Tensor) -> Tensor:
    """Weights of texels (B, M) as weights of values (B, N)."""
    own, _ = _layout()
    tint = weight[:, torch.from_numpy(own)]
    return torch.cat([weight, tint, tint], 1)


def _normals(points: Tensor) -> Tensor:
    normals = points.new_zeros(len(points), POINT_COUNT, 3)
    normals[:, :SURFACE_COUNT] = surface_normals(points)
    # Eyeballs look where the lids around them look.
    normals[:, SURFACE_COUNT:] = torch.tensor([0.0, 0.0, -1.0])
    spread = face_chart().spread(normals)
    return torch.nn.functional.normalize(spread, dim=-1)
