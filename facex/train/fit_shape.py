# SPDX-License-Identifier: Apache-2.0
"""Fit the shape model (DESIGN 5) to a landmark cache.

``python -m facex.train.fit_shape CACHE.npz INDEX.csv OUT_FOLDER [FACES.npy]``: the cache holds
``points`` (N, 478, 3), ``blendshapes`` (N, 52) and ``names``; the index a row a face with its
split, person and head angles; the faces, uint8 (N, S, S, 3) in the cache's order, give the albedo.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.geometry.light_texture import fit_albedo
from facex.geometry.pose import Pose, euler_from_rotation, fit_pose, rotation_from_euler, unplace
from facex.geometry.shape_model import ShapeModel
from facex.geometry.topology import (
    IRIS_CENTRES,
    POINT_COUNT,
    STABLE_POINTS,
    mirror_permutation,
    triangulate,
    unwrap,
)
from facex.types import BLENDSHAPES

IDENTITY_SIZE: Final = 80
_IDENTITY_TO_NOISE: Final = 4.0
"""Variance between people over variance within a person, of a point."""
_EXPRESSION_RIDGE: Final = 2.0
_ROUNDS: Final = 3
_FLIP: Final = (-1.0, 1.0, 1.0)


class Faces(NamedTuple):
    """The training faces.

    Attributes:
        points: (N, 478, 3) float64 pixels.
        blendshapes: (N, 52) float64.
        person: (N,) int64.
        yaw, pitch: (N,) degrees of the teacher, in FaceX's signs.
        rows: (N,) their rows in the cache.
    """

    points: Tensor
    blendshapes: Tensor
    person: Tensor
    yaw: Tensor
    pitch: Tensor
    rows: NDArray[np.int64]


def read_faces(cache: Path, index: Path) -> Faces:
    """Read the training split of a landmark cache."""
    with index.open(encoding="utf-8", newline="") as file:
        table = {row["name"]: row for row in csv.DictReader(file)}
    with np.load(cache) as data:
        names, presence = data["names"], data["presence"]
        used = [
            i
            for i, name in enumerate(names.tolist())
            if presence[i] > 0.5 and name in table and table[name]["split"] == "train"
        ]
        rows = np.asarray(used, np.int64)
        points = torch.from_numpy(data["points"][rows].astype(np.float64))
        blendshapes = torch.from_numpy(data["blendshapes"][rows].astype(np.float64))
    entries = [table[str(names[i])] for i in rows]
    people = {person: i for i, person in enumerate(sorted({e["person"] for e in entries}))}
    return Faces(
        points,
        blendshapes,
        torch.tensor([people[e["person"]] for e in entries]),
        torch.tensor([float(e["yaw"]) for e in entries], dtype=torch.float64),
        # The teacher's pitch is positive downwards.
        torch.tensor([-float(e["pitch"]) for e in entries], dtype=torch.float64),
        rows,
    )


def blendshape_mirror() -> Tensor:
    """Permutation of the blendshapes when the face is mirrored: (52,)."""

    def partner(name: str) -> str:
        if name.endswith("Left"):
            return name[: -len("Left")] + "Right"
        return name[: -len("Right")] + "Left" if name.endswith("Right") else name

    return torch.tensor([BLENDSHAPES.index(partner(name)) for name in BLENDSHAPES])


def align(points: Tensor, shape: Tensor) -> tuple[Tensor, Pose]:
    """Canonical points and poses of faces (N, 478, 3) against a shape (478, 3) or (N, 478, 3)."""
    stable = list(STABLE_POINTS)
    pose = fit_pose(points[:, stable], shape[..., stable, :])
    return unplace(points, pose), pose


def normalise(shape: Tensor) -> Tensor:
    """Origin midway between the pupils, unit their distance."""
    right, left = shape[IRIS_CENTRES[0]], shape[IRIS_CENTRES[1]]
    return (shape - (right + left) / 2) / (left - right)[:2].norm()


def mean_shape(faces: Faces) -> tuple[Tensor, Tensor]:
    """Symmetric mean of all faces and the mirror permutation."""
    frontal = faces.yaw.abs() < 5
    mean = normalise(faces.points[frontal].mean(dim=0))
    mirror = torch.from_numpy(mirror_permutation(mean.numpy()))
    flip = torch.tensor(_FLIP, dtype=torch.float64)
    for _ in range(_ROUNDS):
        canonical, _ = align(faces.points, mean)
        mean = canonical[faces.yaw.abs() < 25].mean(dim=0)
        mean = normalise((mean + mean[mirror] * flip) / 2)
    # The teacher says which way is straight ahead.
    _, pose = align(faces.points, mean)
    _, pitch, _ = euler_from_rotation(pose.rotation)
    offset = torch.deg2rad(faces.pitch[frontal]).median() - pitch[frontal].median()
    zero = torch.zeros((), dtype=torch.float64)
    return normalise(mean @ rotation_from_euler(zero, offset, zero)), mirror


def symmetric(basis: Tensor, mirror: Tensor, columns: Tensor) -> Tensor:
    """Average a basis (478, 3, K) with its mirror image; ``columns`` pairs the coefficients."""
    flip = torch.tensor(_FLIP, dtype=basis.dtype)
    return (basis + basis[mirror][:, :, columns] * flip[:, None]) / 2


def locality(shape: Tensor) -> Tensor:
    """Which points a blendshape may move: (478, 52) in [0, 1].

    Statistics alone would let a smile lift the forehead, because both come with laughter.
    """
    x, y = shape[:, 0], shape[:, 1]

    def rise(low: float, high: float, value: Tensor) -> Tensor:
        t = ((value - low) / (high - low)).clamp(0, 1)
        return t * t * (3 - 2 * t)

    columns = []
    for name in BLENDSHAPES:
        sign = 1.0 if name.endswith("Left") else -1.0
        from_eye = torch.hypot(x - sign * 0.5, y)
        if name == "_neutral":
            column = torch.zeros_like(x)
        elif name.startswith("eye"):
            column = 1 - rise(0.3, 0.52, from_eye)
        elif name.startswith("cheekSquint"):
            column = 1 - rise(0.6, 1.0, from_eye)
        elif name.startswith("brow"):
            column = 1 - rise(-0.1, 0.25, y)
        elif name.startswith("noseSneer"):
            column = (1 - rise(0.4, 0.8, x.abs())) * (1 - rise(0.8, 1.2, y)) * rise(-0.3, 0.1, y)
        else:
            column = rise(0.1, 0.55, y)
        columns.append(column)
    return torch.stack(columns, dim=1)


def expression_basis(
    canonical: Tensor, faces: Faces, weight: Tensor, mirror: Tensor
) -> tuple[Tensor, Tensor]:
    """Ridge regression of shape on blendshapes with people's own shapes as random effects.

    Returns:
        Intercept (478, 3) and basis (478, 3, 52).
    """
    count = torch.bincount(faces.person).double()[faces.person][:, None]
    inputs = torch.cat([torch.ones_like(faces.blendshapes[:, :1]), faces.blendshapes], dim=1)
    outputs = canonical.flatten(1)

    def whiten(values: Tensor) -> Tensor:
        # What all photos of a person share says little about expression: weigh it down.
        people = int(faces.person.max()) + 1
        total = torch.zeros(people, values.shape[1], dtype=values.dtype)
        mean = total.index_add(0, faces.person, values)[faces.person] / count
        shared = (1 + count * _IDENTITY_TO_NOISE).rsqrt()
        return (values - mean + shared * mean) * weight.sqrt()[:, None]

    x, y = whiten(inputs), whiten(outputs)
    # Each point has its own penalties: an eyelid must not learn from the mouth.
    local = locality(canonical.mean(dim=0))
    penalty = torch.cat([torch.zeros(POINT_COUNT, 1), _EXPRESSION_RIDGE / (local**2 + 1e-5)], 1)
    right = (x.mT @ y).unflatten(1, (POINT_COUNT, 3)).permute(1, 0, 2)
    solution = torch.linalg.solve(x.mT @ x + torch.diag_embed(penalty.double()), right)
    flip = torch.tensor(_FLIP, dtype=solution.dtype)
    mean = solution[:, 0]
    mean = (mean + mean[mirror] * flip) / 2
    basis = solution[:, 1:].mT * (local > 0)[:, None]
    return mean, symmetric(basis, mirror, blendshape_mirror())


def identity_basis(neutral: Tensor, weight: Tensor, mirror: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components (478, 3, K), scaled by their deviations (K,), of both mirror images."""
    flip = torch.tensor(_FLIP, dtype=neutral.dtype)
    both = torch.cat([neutral, neutral[:, mirror] * flip]).flatten(1)
    weights = torch.cat([weight, weight])
    covariance = (both * (weights / weights.sum())[:, None]).mT @ both
    values, vectors = torch.linalg.eigh(covariance)
    std = values[-IDENTITY_SIZE:].flip(0).clamp_min(0).sqrt()
    basis = vectors[:, -IDENTITY_SIZE:].flip(1) * std
    return basis.unflatten(0, (POINT_COUNT, 3)), std


def fit_tensors(faces: Faces) -> dict[str, Tensor]:
    """All tensors of the shape model but the albedo."""
    mean, mirror = mean_shape(faces)
    # Turned faces are seen less well by the landmark net.
    weight = (1 + (faces.yaw / 25).square()).reciprocal()
    canonical, _ = align(faces.points, mean)
    for _ in range(_ROUNDS):
        mean, basis = expression_basis(canonical, faces, weight, mirror)
        mean = normalise(mean)
        offset = torch.einsum("pck,bk->bpc", basis, faces.blendshapes)
        canonical, _ = align(faces.points, mean + offset)
    components, std = identity_basis(canonical - offset - mean, weight, mirror)
    opened = torch.zeros(len(BLENDSHAPES), dtype=torch.float64)
    for name in ("jawOpen", "eyeWideLeft", "eyeWideRight"):
        opened[BLENDSHAPES.index(name)] = 0.7
    triangles, mouth, eye = triangulate((mean + basis @ opened).numpy())
    return {
        "mean": mean,
        "identity_basis": components,
        "identity_std": std,
        "expression_basis": basis,
        "uv": torch.from_numpy(unwrap(mean.numpy())),
        "mirror": mirror,
        "triangles": torch.from_numpy(triangles.astype(np.int64)),
        "mouth_interior": torch.from_numpy(mouth.astype(np.int64)),
        "eye_interior": torch.from_numpy(eye.astype(np.int64)),
        "albedo_mean": torch.full((468, 3), 0.5),
        "albedo_basis": torch.zeros(468, 3, 64),
        "albedo_std": torch.ones(64),
    }


def main(arguments: list[str]) -> int:
    """Fit and write; see the module's docstring."""
    if len(arguments) not in (3, 4):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    cache, index, folder = (Path(a) for a in arguments[:3])
    faces = read_faces(cache, index)
    model = ShapeModel({name: v.float() if v.is_floating_point() else v
                        for name, v in fit_tensors(faces).items()})  # fmt: skip
    if len(arguments) == 4:
        pictures = np.load(arguments[3], mmap_mode="r")
        fit_albedo(model, pictures, faces.points.float(), faces.rows)
    model.save(folder)
    print(f"{len(faces.rows)} faces, {len(model.triangles)} triangles -> {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
