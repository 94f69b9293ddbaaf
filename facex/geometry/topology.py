# SPDX-License-Identifier: Apache-2.0
"""Which of the 478 points is what: contours, mirror pairs, regions, and the making of triangles.

Points 0-467 are the face surface, 468-472 the right iris (centre first) and 473-477 the left one;
``left`` and ``right`` are the person's own. The triangles are ours: :func:`triangulate` makes them
once from the mean face (``facex.train.fit_shape``) and the shape model carries them.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from facex.errors import OptionError

POINT_COUNT: Final = 478
SURFACE_COUNT: Final = 468
"""Points before the irises."""

FACE_OVAL: Final[tuple[int, ...]] = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Outline of the mesh, from the forehead over the left ear and the chin round to the right ear."""
LIPS_OUTER: Final[tuple[int, ...]] = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
)  # fmt: skip
LIPS_INNER: Final[tuple[int, ...]] = (
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
)  # fmt: skip
RIGHT_EYE: Final[tuple[int, ...]] = (
    33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
)  # fmt: skip
"""Lid edge of the right eye: outer corner, upper lid, inner corner, lower lid."""
LEFT_EYE: Final[tuple[int, ...]] = (
    263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249,
)  # fmt: skip
"""Lid edge of the left eye, in the order that mirrors :data:`RIGHT_EYE`."""
RIGHT_BROW: Final[tuple[int, ...]] = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW: Final[tuple[int, ...]] = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
RIGHT_IRIS: Final[tuple[int, ...]] = (468, 469, 470, 471, 472)
LEFT_IRIS: Final[tuple[int, ...]] = (473, 474, 475, 476, 477)
NOSE: Final[tuple[int, ...]] = (
    168, 122, 174, 198, 49, 48, 64, 98, 97, 2, 326, 327, 294, 278, 279, 420, 399, 351,
)  # fmt: skip
"""Loop round the nose: root, right side and wing, base, left wing and side."""

Sides = tuple[bool, bool]
"""Something of the (right, left) eye or brow, in the order of what follows."""
EACH: Final[tuple[Sides, Sides]] = ((True, False), (False, True))
"""The right one alone, and the left one."""
EYES: Final[tuple[tuple[int, ...], tuple[int, ...]]] = (RIGHT_EYE, LEFT_EYE)
IRISES: Final[tuple[tuple[int, ...], tuple[int, ...]]] = (RIGHT_IRIS, LEFT_IRIS)
EYE_CORNERS: Final[tuple[tuple[int, int], tuple[int, int]]] = ((33, 133), (362, 263))
"""(right eye, left eye) x the two corners, from the picture's left to its right."""
IRIS_CENTRES: Final[tuple[int, int]] = (468, 473)
NOSE_TIP: Final = 1
CHIN: Final = 152
GLABELLA: Final = 9
UPPER_LIP: Final = 0
LOWER_LIP: Final = 17
FOREHEAD: Final = 10

STABLE_POINTS: Final[tuple[int, ...]] = (
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 122, 351, 193, 417, 245, 465, 10, 109, 338,
    67, 297, 103, 332, 54, 284, 21, 251, 162, 389, 127, 356, 234, 454, 151, 108, 337, 9, 8,
    48, 278, 64, 294, 2, 94, 98, 327, 93, 323,
)  # fmt: skip
"""Points that expressions hardly move; poses are fitted on them."""

# The forehead's tip and the sides of the face near the mouth's height close the beard's outline.
_BEARD_LOOP: Final[tuple[int, ...]] = (
    454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132,
    93, 234, 227, 123, 50, 205, 203, 98, 97, 2, 326, 327, 423, 425, 280, 352, 447,
)  # fmt: skip

_REGION_LOOPS: Final[dict[str, tuple[tuple[int, ...], ...]]] = {
    "eyes": EYES,
    "right_eye": (RIGHT_EYE,),
    "left_eye": (LEFT_EYE,),
    "irises": (RIGHT_IRIS[1:], LEFT_IRIS[1:]),
    "brows": (RIGHT_BROW, LEFT_BROW),
    "lips": (LIPS_OUTER,),
    "mouth": (LIPS_INNER,),
    "nose": (NOSE,),
    "face": (FACE_OVAL,),
    "beard": (_BEARD_LOOP,),
}
REGION_POLYGONS: Final[tuple[str, ...]] = tuple(_REGION_LOOPS)
"""Names that :func:`region_polygon_mask` knows. ``lips`` includes the mouth inside."""


def region_polygon_mask(
    landmarks: NDArray[np.floating], region: str, size: int | tuple[int, int]
) -> NDArray[np.uint8]:
    """Rasterise a region's outline.

    Args:
        landmarks: (478, 2 or 3) points in pixels of the mask.
        region: one of :data:`REGION_POLYGONS`; ``beard`` is the lower face below nose and cheeks
            without the lips.
        size: side or (height, width) of the mask.

    Returns:
        (H, W) uint8, 1 inside.

    Raises:
        OptionError: the region has no polygon.
    """
    if region not in _REGION_LOOPS:
        raise OptionError(f"no outline for region {region!r}; known: {', '.join(REGION_POLYGONS)}")
    height, width = (size, size) if isinstance(size, int) else size
    mask = np.zeros((height, width), np.uint8)
    points = np.asarray(landmarks, np.float64)[:, :2]
    for loop in _REGION_LOOPS[region]:
        cv2.fillPoly(mask, [_fixed(points[list(loop)])], 1, cv2.LINE_8, _SHIFT)
    if region == "beard":
        cv2.fillPoly(mask, [_fixed(points[list(LIPS_OUTER)])], 0, cv2.LINE_8, _SHIFT)
    return mask


_SHIFT: Final = 4


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    # OpenCV puts pixel centres at whole numbers, FaceX at one half.
    clipped = np.clip(points - 0.5, -30000, 30000)
    return np.round(clipped * (1 << _SHIFT)).astype(np.int32)


def mirror_permutation(mean: NDArray[np.floating]) -> NDArray[np.int64]:
    """Find for each point its partner on the other side of the face.

    Args:
        mean: (478, 3) frontal mean shape, x centred on the face.

    Returns:
        (478,) indices ``p`` with ``mean[p] * (-1, 1, 1)`` close to ``mean`` and ``p[p] == i``.
    """
    mean = np.asarray(mean, np.float64)
    result = np.zeros(POINT_COUNT, np.int64)
    surface = np.arange(SURFACE_COUNT)
    parts = ((surface, surface), (np.array(RIGHT_IRIS), np.array(LEFT_IRIS)))
    for here, there in parts:
        distance = np.linalg.norm(
            mean[here][:, None] - mean[there][None] * np.array([-1.0, 1.0, 1.0]), axis=-1
        )
        rows, columns = linear_sum_assignment(distance)
        result[here[rows]] = there[columns]
        result[there[columns]] = here[rows]
    if not np.array_equal(result[result], np.arange(POINT_COUNT)):
        raise ValueError("the mean shape is not symmetric enough to pair its points")
    return result


def unwrap(mean: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cylindrical coordinates of a canonical shape: (478, 2), about [0, 1], v down."""
    mean = np.asarray(mean, np.float64)
    # The cylinder's axis stands a head radius behind the eyes.
    angle = np.arctan2(mean[:, 0], 1.3 - mean[:, 2])
    u = 0.5 + angle / np.pi
    v = (mean[:, 1] + 1.2) / 3.4
    return np.stack([u, v], axis=1)


def triangulate(
    mean_open: NDArray[np.floating],
) -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.bool_]]:
    """Make the mesh: constrained Delaunay on the unwrapped mean face.

    Args:
        mean_open: (478, 3) canonical mean with mouth and eyes open, so that lids and lips are
            loops.

    Returns:
        triangles (T, 3) int16, seen clockwise in the picture when they face the camera; flags (T,)
        of those that fill the mouth and those that fill the eyes. Iris points are not part of the
        mesh: eyeballs turn below the lids (:mod:`facex.geometry.texture_map`).
    """
    plane = unwrap(mean_open)[:SURFACE_COUNT] * np.array([3.4, 3.4])
    triangles = Delaunay(plane).simplices.astype(np.int64)
    for loop in (LIPS_OUTER, LIPS_INNER, RIGHT_EYE, LEFT_EYE, FACE_OVAL):
        for a, b in zip(loop, loop[1:] + loop[:1], strict=True):
            triangles = _insert_edge(triangles, plane, a, b)
    corners = plane[triangles]
    area = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    centres = corners.mean(axis=1).astype(np.float32)

    def inside(loop: tuple[int, ...]) -> NDArray[np.bool_]:
        outline = plane[list(loop)].astype(np.float32)
        return np.array(
            [cv2.pointPolygonTest(outline, (float(x), float(y)), False) > 0 for x, y in centres]
        )

    keep = inside(FACE_OVAL)
    mouth, eye = inside(LIPS_INNER), inside(RIGHT_EYE) | inside(LEFT_EYE)
    return triangles[keep].astype(np.int16), mouth[keep], eye[keep]


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _insert_edge(
    triangles: NDArray[np.int64], plane: NDArray[np.float64], a: int, b: int
) -> NDArray[np.int64]:
    """Make a-b an edge of the triangulation by flipping what crosses it."""
    for _ in range(64):
        sides = _edges(triangles)
        if (min(a, b), max(a, b)) in sides:
            return triangles
        for (c, d), owners in sides.items():
            if len(owners) == 2 and _flip(triangles, plane, (a, b), (c, d), owners):
                break
        else:
            break
    raise ValueError(f"cannot put the edge {a}-{b} into the mesh")


def _edges(triangles: NDArray[np.int64]) -> dict[tuple[int, int], list[int]]:
    sides: dict[tuple[int, int], list[int]] = {}
    for index, triangle in enumerate(triangles.tolist()):
        for c, d in ((0, 1), (1, 2), (2, 0)):
            key = (min(triangle[c], triangle[d]), max(triangle[c], triangle[d]))
            sides.setdefault(key, []).append(index)
    return sides


def _flip(
    triangles: NDArray[np.int64],
    plane: NDArray[np.float64],
    wanted: tuple[int, int],
    edge: tuple[int, int],
    owners: list[int],
) -> bool:
    """Replace ``edge`` by the other diagonal if it crosses ``wanted`` and the quad is convex."""
    if set(wanted) & set(edge) or not _crosses(plane, wanted, edge):
        return False
    first, second = triangles[owners[0]].tolist(), triangles[owners[1]].tolist()
    p = next(v for v in first if v not in edge)
    q = next(v for v in second if v not in edge)
    if not _crosses(plane, (p, q), edge):
        return False
    triangles[owners[0]] = (p, q, edge[0])
    triangles[owners[1]] = (p, q, edge[1])
    return True


def _crosses(plane: NDArray[np.float64], one: tuple[int, int], two: tuple[int, int]) -> bool:
    a, b, c, d = (plane[i] for i in (*one, *two))
    return bool(
        _cross(b - a, c - a) * _cross(b - a, d - a) < 0
        and _cross(d - c, a - c) * _cross(d - c, b - c) < 0
    )
