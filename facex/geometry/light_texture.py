# SPDX-License-Identifier: Apache-2.0
"""Light and albedo of a face from the colours at its mesh points (DESIGN 2, fields light, texture).

colour = albedo * light(normal) in linear light, where the light is nine spherical harmonics for
each channel and the albedo the mean face's plus principal components. How dark a face is and how
bright its light cannot be told apart in a photo: a prior splits the difference between the two.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from facex.geometry.shape_model import ShapeModel, bundled
from facex.geometry.topology import SURFACE_COUNT

HARMONICS: Final = 9
LIGHT_MIRROR: Final[tuple[int, ...]] = (1, 1, 1, -1, -1, 1, 1, -1, 1)
"""Signs of a channel's nine coefficients after the picture is mirrored."""
TEXTURE_SIZE: Final = 64
FIT_FACES: Final = 1500

_RIDGE: Final = (0.004, 0.004, 0.004, 0.004, 0.01, 0.01, 0.01, 0.01, 0.01)
"""Pull of each coefficient towards plain white light, against albedos of about 0.3."""
_ROUNDS: Final = 3
_ALBEDO_NOISE: Final = 0.06
_LEAST_LIGHT: Final = 0.12


def to_linear(colour: Tensor) -> Tensor:
    """SRGB in [0, 1] to linear light."""
    colour = colour.clamp(0, 1)
    low = colour / 12.92
    return torch.where(colour <= 0.04045, low, ((colour + 0.055) / 1.055).pow(2.4))


def vertex_colours(image: Tensor, points: Tensor) -> Tensor:
    """Colours under the points.

    Args:
        image: (B, 3, H, W) in [-1, 1].
        points: (B, 478, 3) in its pixels.

    Returns:
        (B, 478, 3) sRGB in [0, 1], averaged over a few thousandths of the picture.
    """
    side = max(image.shape[-2:])
    kernel = max(1, side // 128) | 1
    if kernel > 1:
        image = F.avg_pool2d(image, kernel, 1, kernel // 2, count_include_pad=False)
    size = image.new_tensor([image.shape[-1], image.shape[-2]])
    grid = (points[:, None, :, :2] / size * 2 - 1).to(image.dtype)
    # grid_sample's coordinates span the picture as ours do when corners are not aligned.
    found = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    return (found[:, :, 0].mT + 1) / 2


def surface_normals(points: Tensor, model: ShapeModel | None = None) -> Tensor:
    """Outward unit normals (B, 468, 3) of points (B, 478, 3); camera frame, z < 0 faces it."""
    model = model or bundled()
    triangles = model.triangles[(model.mouth_interior + model.eye_interior) == 0]
    corners = points[:, triangles]
    faces = torch.linalg.cross(
        corners[:, :, 2] - corners[:, :, 0], corners[:, :, 1] - corners[:, :, 0]
    )
    normals = torch.zeros_like(points[:, :SURFACE_COUNT])
    normals = normals.index_add(1, triangles.flatten(), faces.repeat_interleave(3, dim=1))
    return F.normalize(normals, dim=-1)


def harmonics(normals: Tensor) -> Tensor:
    """Nine real spherical harmonics (..., 9) of unit normals (..., 3), the constant one being 1."""
    x, y, z = normals.unbind(-1)
    one, two = 3**0.5, 15**0.5
    return torch.stack(
        [
            torch.ones_like(x),
            one * y,
            one * z,
            one * x,
            two * x * y,
            two * y * z,
            5**0.5 / 2 * (3 * z * z - 1),
            two * x * z,
            two / 2 * (x * x - y * y),
        ],
        dim=-1,
    )


def irradiance(light: Tensor, normals: Tensor) -> Tensor:
    """How bright surfaces are lit.

    Args:
        light: (B, 27), nine coefficients of red, of green, of blue.
        normals: (B, N, 3) unit normals.

    Returns:
        (B, N, 3) factors on a linear albedo, 1 under plain white light; never below a small floor.
    """
    lit = harmonics(normals) @ light.unflatten(1, (3, HARMONICS)).mT
    return lit.clamp_min(_LEAST_LIGHT)


def fit_light_texture(
    image: Tensor, points: Tensor, model: ShapeModel | None = None
) -> tuple[Tensor, Tensor]:
    """Take colours apart into light and albedo.

    Args:
        image: (B, 3, H, W) in [-1, 1].
        points: (B, 478, 3) in its pixels.
        model: the shape model; the bundled one by default.

    Returns:
        light (B, 27): see :func:`irradiance`; texture (B, 64): albedo coefficients of unit
        variance over people.
    """
    model = model or bundled()
    colours = to_linear(vertex_colours(image.float(), points.float()))[:, :SURFACE_COUNT]
    normals = surface_normals(points.float(), model)
    weight = _facing(normals)
    albedo = model.albedo_mean.expand_as(colours)
    texture = colours.new_zeros(len(colours), model.albedo_basis.shape[-1])
    light = fit_light(colours, albedo, normals, weight)
    for _ in range(2):
        texture = _project(colours / irradiance(light, normals), weight, model)
        albedo = (model.albedo_mean + _albedo_offset(texture, model)).clamp_min(0.01)
        light = fit_light(colours, albedo, normals, weight)
    return light, texture


def fit_light(colours: Tensor, albedo: Tensor, normals: Tensor, weight: Tensor) -> Tensor:
    """Robust ridge least squares of the light (B, 27).

    Args:
        colours: (B, N, 3) linear.
        albedo: (B, N, 3) linear.
        normals: (B, N, 3).
        weight: (B, N), 0 for points that are not seen.
    """
    basis = harmonics(normals)
    ridge = torch.diag(basis.new_tensor(_RIDGE))
    prior = basis.new_zeros(HARMONICS)
    prior[0] = 1
    robust = weight
    light = colours.new_zeros(len(colours), 3, HARMONICS)
    for _ in range(_ROUNDS):
        share = robust / robust.sum(dim=1, keepdim=True).clamp_min(1e-6)
        # One row of unknowns per channel: design = albedo * basis.
        design = albedo.mT[..., None] * basis[:, None]
        weighted = design * share[:, None, :, None]
        left = weighted.mT @ design + ridge
        right = weighted.mT @ colours.mT[..., None] + (ridge @ prior)[:, None]
        light = torch.linalg.solve(left, right)[..., 0]
        error = (design @ light[..., None])[..., 0].mT - colours
        # Fringes, glasses and cast shadows are no skin in this light.
        size = error.norm(dim=-1)
        typical = size.median(dim=1, keepdim=True).values.clamp_min(1e-3)
        robust = weight / (1 + (size / (2 * typical)).square())
    return light.flatten(1)


def _facing(normals: Tensor) -> Tensor:
    return (-normals[..., 2] * 1.5 - 0.2).clamp(0, 1)


def _albedo_offset(texture: Tensor, model: ShapeModel) -> Tensor:
    return torch.einsum("pck,bk->bpc", model.albedo_basis, texture)


def _project(albedo: Tensor, weight: Tensor, model: ShapeModel) -> Tensor:
    """Most likely coefficients of a partly seen albedo (B, 468, 3)."""
    basis = model.albedo_basis.flatten(0, 1)
    difference = (albedo.clamp(0, 1) - model.albedo_mean).flatten(1)
    rows = weight.repeat_interleave(3, dim=1)[..., None] * basis
    noise = _ALBEDO_NOISE**2 * 40 * torch.eye(basis.shape[1], device=basis.device)
    solved = torch.linalg.solve(rows.mT @ basis + noise, rows.mT @ difference[..., None])
    return solved[..., 0]


@torch.no_grad()
def fit_albedo(
    model: ShapeModel, pictures: NDArray[Any], points: Tensor, rows: NDArray[Any]
) -> None:
    """Fit mean and components of the albedo and put them into the model.

    Args:
        model: gets ``albedo_mean``, ``albedo_basis`` and ``albedo_std``.
        pictures: (N, S, S, 3) uint8.
        points: (M, 478, 3) landmarks.
        rows: (M,) each face's row in ``pictures``.
    """
    step = max(1, len(rows) // FIT_FACES)
    chosen = torch.arange(0, len(rows), step)
    colours = torch.cat([_face_colours(pictures, points, rows, part) for part in chosen.split(64)])
    normals = torch.cat([surface_normals(points[part], model) for part in chosen.split(64)])
    weight = _facing(normals)
    mirror = model.mirror[:SURFACE_COUNT]
    mean = torch.full((SURFACE_COUNT, 3), 0.3)
    for _ in range(_ROUNDS):
        light = fit_light(colours, mean.expand_as(colours), normals, weight)
        albedo = (colours / irradiance(light, normals)).clamp(0, 1)
        seen = weight[..., None]
        mean = (albedo * seen).sum(dim=0) / seen.sum(dim=0).clamp_min(1e-3)
        mean = (mean + mean[mirror]) / 2
    offset = (albedo - mean).clamp(-0.35, 0.35) * seen
    # Faces are coloured alike on both sides; what differs is light, and must not be learnt here.
    even = ((offset + offset[:, mirror]) / 2).flatten(1).double()
    values, vectors = torch.linalg.eigh(even.mT @ even / len(even))
    std = values[-TEXTURE_SIZE:].flip(0).clamp_min(1e-12).sqrt()
    basis = vectors[:, -TEXTURE_SIZE:].flip(1) * std
    model.albedo_mean.copy_(mean)
    model.albedo_basis.copy_(basis.unflatten(0, (SURFACE_COUNT, 3)))
    model.albedo_std.copy_(std)


def _face_colours(
    pictures: NDArray[Any], points: Tensor, rows: NDArray[Any], part: Tensor
) -> Tensor:
    image = torch.from_numpy(pictures[rows[part.numpy()]]).permute(0, 3, 1, 2).float()
    return to_linear(vertex_colours(image / 127.5 - 1, points[part]))[:, :SURFACE_COUNT]
