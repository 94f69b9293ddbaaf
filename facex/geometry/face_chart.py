# SPDX-License-Identifier: Apache-2.0
"""The face unrolled to a flat picture: a texel is the same place of every face (DESIGN 5).

The mean face is unrolled from a cylinder about the head's upright axis, so that cheeks and temples
get the room that a frontal view denies them. The inside of the mouth is left out: it is no surface
that a face always has.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from facex.geometry.raster import Drawing, draw, interpolate
from facex.geometry.shape_model import Mesh, bundled_mesh
from facex.geometry.topology import POINT_COUNT

Floats = NDArray[np.float32]

HEIGHT: Final = 96
WIDTH: Final = 80

_AXIS: Final = 1.1
"""Depth of the cylinder's axis behind the pupils, in distances between the pupils."""
_MARGIN: Final = 1.5
"""Texels left free around the face."""
_ROW: Final = 1024
"""Places in a row of a map: OpenCV's pictures are at most 32,767 wide."""


@dataclass(frozen=True, eq=False)
class FaceChart:
    """Where on the mesh each texel of a ``(HEIGHT, WIDTH)`` picture lies.

    Attributes:
        places: (478, 2) texel coordinates of the mesh's points, column and row.
        texels: (M,) flat indices of the texels that show the face, symmetric about the middle.
        corners: (M, 3) points of the triangle that each of them lies in.
        weights: (M, 3) float32 barycentric weights.
    """

    places: NDArray[np.float64]
    texels: NDArray[np.intp]
    corners: NDArray[np.int64]
    weights: Floats

    @functools.cached_property
    def mirror(self) -> NDArray[np.intp]:
        """(M,) for each texel the one on the other half of the face."""
        rows, columns = np.divmod(self.texels, WIDTH)
        return np.searchsorted(self.texels, rows * WIDTH + (WIDTH - 1 - columns))

    def spread(self, values: Tensor) -> Tensor:
        """What points have (B, 478, C), at the texels (B, M, C)."""
        weights = torch.from_numpy(self.weights).to(values)
        return (values[:, torch.from_numpy(self.corners)] * weights[..., None]).sum(2)

    def sample(self, image: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
        """Colours under the texels.

        Args:
            image: (B, C, H, W).
            points: (B, 478, 3) in its pixels.
            mode: as in ``grid_sample``.

        Returns:
            (B, M, C); zero outside the image.
        """
        size = image.new_tensor([image.shape[-1], image.shape[-2]])
        grid = self.spread(points.to(image))[..., :2] / size * 2 - 1
        found = F.grid_sample(image, grid[:, None], mode, "zeros", align_corners=False)
        return found[:, :, 0].mT

    def picture(self, values: Floats) -> Floats:
        """Texels (M, C) as a picture (HEIGHT, WIDTH, C), continued beyond the face's rim."""
        flat = np.zeros((HEIGHT * WIDTH, values.shape[1]), np.float32)
        flat[self.texels] = values
        return flat[self._nearest].reshape(HEIGHT, WIDTH, -1)

    @functools.cached_property
    def _nearest(self) -> NDArray[np.intp]:
        free = np.ones(HEIGHT * WIDTH, bool)
        free[self.texels] = False
        rows, columns = ndimage.distance_transform_edt(
            free.reshape(HEIGHT, WIDTH), return_distances=False, return_indices=True
        )
        return np.asarray(rows * WIDTH + columns, np.intp).ravel()

    def at(self, drawing: Drawing, mesh: Mesh | None = None) -> Floats:
        """(n, 2) texel coordinates of the pixels that a drawn mesh covers."""
        return interpolate(drawing, self.places, mesh)


@functools.lru_cache(maxsize=1)
def face_chart() -> FaceChart:
    """The chart of the bundled mesh, which every model shares."""
    mesh = bundled_mesh()
    places = unroll(mesh.mean)
    flat = np.column_stack([places, mesh.mean[:, 2]])
    drawing = draw(flat, (HEIGHT, WIDTH), mesh)
    triangle = drawing.triangle.copy()
    weights = np.zeros((HEIGHT * WIDTH, 3), np.float32)
    weights[drawing.pixels, 1:] = drawing.weights
    weights[:, 0] = 1 - weights[:, 1:].sum(1)
    weights = np.maximum(weights, 0)
    weights /= weights.sum(1, keepdims=True)
    shown = triangle >= 0
    shown[shown] = ~mesh.mouth[triangle[shown]]
    shown &= shown[:, ::-1]
    texels = np.flatnonzero(shown)
    corners = mesh.triangles[triangle.ravel()[texels]]
    return FaceChart(places, texels, corners, weights[texels])


def unroll(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Texel coordinates (478, 2) of canonical points (478, 3)."""
    angle = np.arctan2(mean[:, 0], _AXIS - mean[:, 2])
    flat = np.column_stack([angle * _AXIS, mean[:, 1]])[:POINT_COUNT]
    reach = np.abs(flat[:, 0]).max()
    low, high = flat[:, 1].min(), flat[:, 1].max()
    column = WIDTH / 2 + flat[:, 0] * (WIDTH / 2 - _MARGIN) / reach
    row = _MARGIN + (flat[:, 1] - low) * (HEIGHT - 2 * _MARGIN) / (high - low)
    return np.column_stack([column, row])


def looked_up(texture: Floats, place: Floats) -> Floats:
    """Values (n, C) of a texture (HEIGHT, WIDTH, C) at places (n, 2), by cubic interpolation."""
    count = len(place)
    rows = -(-count // _ROW)
    padded = np.zeros((rows * _ROW, 2), np.float32)
    padded[:count] = place
    maps = padded.reshape(rows, _ROW, 2)
    found = cv2.remap(texture, maps, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(rows * _ROW, -1)[:count], np.float32)
