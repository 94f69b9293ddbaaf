# SPDX-License-Identifier: Apache-2.0
"""Turn a folder of aligned faces and a folder of teacher networks into a training cache.

``python -m facex.train.make_cache DATA TEACHERS OUT [--only landmarks,identity,gaze,parsing]``

DATA holds ``index.csv`` and tar shards of 256 px pictures named as in the index. TEACHERS holds
TorchScript networks: ``mp_face_landmarks``, ``mp_blendshapes``, ``id_edgeface_xs``,
``id_faceres1024``, ``ov_gaze``, ``ov_headpose`` (each ``NAME.ts.pt``). They are trusted development
files and never part of the package. Everything made here can be made again.
"""

from __future__ import annotations

import argparse
import csv
import io
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facex.ford.identity import align_for_identity
from facex.ford.layers import sample_affine

_CHUNK = 32


class Teachers:
    """TorchScript networks of a folder, loaded when first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.net = cache(self._load)

    def _load(self, name: str) -> Any:
        return torch.jit.load(str(self.folder / f"{name}.ts.pt"), map_location="cpu").eval()


def box_affine(centre: Tensor, side: Tensor, angle: Tensor, size: int) -> Tensor:
    """Matrices ``(B, 2, 3)`` that map a ``size`` px patch to a turned square of the picture."""
    cos, sin = torch.cos(angle) * side / size, torch.sin(angle) * side / size
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    middle = torch.full((2, 1), size / 2, dtype=centre.dtype)
    return torch.cat([rotation, centre[..., None] - rotation @ middle], -1)


def faces(data: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """All pictures that the index counts, in shard order."""
    with open(data / "index.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    pictures, names = [], []
    for shard in sorted({row["shard"] for row in rows.values()}):
        with tarfile.open(data / shard) as tar:
            for member in tar:
                name, content = Path(member.name).stem, tar.extractfile(member)
                if name in rows and content is not None:
                    picture = Image.open(io.BytesIO(content.read())).convert("RGB")
                    pictures.append(np.asarray(picture))
                    names.append(name)
    return np.stack(pictures), names


def landmarks(images: Tensor, teachers: Teachers) -> tuple[Tensor, Tensor]:
    """478 points ``(B, 478, 3)`` and blendshapes of aligned 256 px faces in [0, 1]."""
    count = len(images)
    centre = torch.tensor([[128.0, 142.0]]).repeat(count, 1)
    side, angle = torch.full((count,), 205.0), torch.zeros(count)
    points = torch.zeros(count, 478, 3)
    for _ in range(2):
        matrix = box_affine(centre, side, angle, 256)
        seen = sample_affine(images, matrix, (256, 256))
        # A third faster on the CPU.
        seen = seen.contiguous(memory_format=torch.channels_last)
        found = teachers.net("mp_face_landmarks")(seen)[0]
        xy = found[..., :2] @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]
        points = torch.cat([xy, found[..., 2:] * (side / 256)[:, None, None]], -1)
        low, high = xy[:, :468].amin(1), xy[:, :468].amax(1)
        centre, side = (low + high) / 2, 1.5 * (high - low).amax(1)
        line = xy[:, 263] - xy[:, 33]
        angle = torch.atan2(line[:, 1], line[:, 0])
    return points, teachers.net("mp_blendshapes")(points)


def gaze(images: Tensor, points: Tensor, teachers: Teachers) -> tuple[Tensor, Tensor]:
    """Gaze ``(B, 2)`` (pitch, yaw) and head angles ``(B, 3)`` (yaw, pitch, roll), radians.

    The picture and its mirror image are read and averaged, which removes the teacher's side bias.
    """
    first, angles = _gaze_once(images, points, teachers)
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([256.0, 0.0, 0.0])
    swap = torch.arange(478)
    for a, b in ((33, 263), (133, 362)):
        swap[a], swap[b] = b, a
    second, other = _gaze_once(images.flip(-1), mirrored[:, swap], teachers)
    first = (first + second * torch.tensor([1.0, -1.0])) / 2
    # The teacher counts pitch downwards.
    angles = (angles * torch.tensor([1.0, -1.0, 1.0]) - other * torch.tensor([1.0, 1.0, 1.0])) / 2
    return first, angles


def _gaze_once(images: Tensor, points: Tensor, teachers: Teachers) -> tuple[Tensor, Tensor]:
    xy = points[..., :2]
    low, high = xy[:, :468].amin(1), xy[:, :468].amax(1)
    line = xy[:, 263] - xy[:, 33]
    roll = torch.atan2(line[:, 1], line[:, 0])
    box = box_affine((low + high) / 2, 1.15 * (high - low).amax(1), torch.zeros(len(images)), 60)
    head = teachers.net("ov_headpose")(sample_affine(images, box, (60, 60)))
    eyes = []
    for a, b in ((362, 263), (33, 133)):  # the person's left eye, then the right one
        centre, width = (xy[:, a] + xy[:, b]) / 2, (xy[:, a] - xy[:, b]).norm(dim=1)
        eyes.append(sample_affine(images, box_affine(centre, 1.8 * width, roll, 60), (60, 60)))
    upright = torch.stack([head[:, 0], head[:, 1], torch.zeros(len(head))], 1)
    vector = F.normalize(teachers.net("ov_gaze")(eyes[0], eyes[1], upright), dim=1)
    pitch, yaw = torch.asin(vector[:, 1]), torch.atan2(vector[:, 0], -vector[:, 2])
    return torch.stack([pitch, yaw], 1), torch.deg2rad(head)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("teachers", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="landmarks,identity,gaze")
    args = parser.parse_args()
    wanted = args.only.split(",")
    args.out.mkdir(parents=True, exist_ok=True)
    teachers = Teachers(args.teachers)
    if not (args.out / "faces.npy").exists():
        pictures, names = faces(args.data)
        np.save(args.out / "faces.npy", pictures)
        np.save(args.out / "names.npy", np.array(names))
    pictures, names = (
        np.load(args.out / "faces.npy", mmap_mode="r"),
        np.load(args.out / "names.npy"),
    )
    keep: dict[str, list[NDArray[np.float16]]] = {}

    def add(key: str, values: Tensor) -> None:
        keep.setdefault(key, []).append(values.half().numpy())

    known = None
    if "landmarks" not in wanted:
        known = torch.from_numpy(np.load(args.out / "landmarks.npz")["points"].astype(np.float32))
    with torch.inference_mode():
        for start in range(0, len(pictures), _CHUNK):
            images = torch.from_numpy(pictures[start : start + _CHUNK].copy())
            images = images.permute(0, 3, 1, 2).float() / 255
            if known is None:
                points, blend = landmarks(images, teachers)
                add("points", points)
                add("blendshapes", blend)
            else:
                points = known[start : start + _CHUNK]
            if "identity" in wanted:
                small, large = (align_for_identity(images, points, size) for size in (112, 224))
                add("edgeface", teachers.net("id_edgeface_xs")(small))
                add("faceres", teachers.net("id_faceres1024")(large)[0])
            if "gaze" in wanted:
                direction, angles = gaze(images, points, teachers)
                add("gaze", direction)
                add("angles", angles)
    groups = {
        "landmarks": ("points", "blendshapes"),
        "identity": ("edgeface", "faceres"),
        "gaze": ("gaze", "angles"),
    }
    for group, keys in groups.items():
        if group in wanted:
            values = {key: np.concatenate(keep[key]) for key in keys}
            np.savez(args.out / f"{group}.npz", allow_pickle=False, names=names, **values)


if __name__ == "__main__":
    main()
