# SPDX-License-Identifier: Apache-2.0
"""Judges: everything that is read off a picture once, before metrics compare readings.

With a teachers' folder landmarks, blendshapes, gaze and head angles come from the teachers; without
one, from the bundled FORD, which also steers the model: the report says which. Pose is the bundled
mesh fitted to the judge's landmarks. The parser (hair, skin, glasses) is always the bundled one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.evaluate.embedders import OWN, Embedder, teacher_embedders, user_embedder
from facex.evaluate.faces import Pixels
from facex.evaluate.perceptual import Network, find_features, find_lpips
from facex.geometry.light_texture import fit_light_texture
from facex.geometry.shape_model import bundled
from facex.geometry.topology import region_polygon_mask
from facex.imaging.colour import srgb_to_lab
from facex.models.hub import BUNDLED
from facex.models.mini_ford import load_mini_ford
from facex.types import PARSING_CLASSES

Array = NDArray[Any]
Reading = dict[str, Array]
"""What a judge reads off one picture, float32 but for ``parsing``:

``points`` (478, 3), ``blendshapes`` (52,), ``rotation`` (3, 3), ``head`` (3,) yaw, pitch, roll of a
second network (only with teachers), ``gaze`` (2,) pitch and yaw of both eyes' mean, ``skin`` (3,)
and ``hair`` (4,) mean L*a*b* (and the hair's share of the picture), ``glasses`` share, ``sharp``
variance of the Laplacian inside the face, ``light`` (27,) of the mesh's colours, ``parsing``
(128, 128) classes as uint8, ``features`` (D,), ``embedding:NAME`` (D,).
"""

CHUNK: Final = 8
PARSING_SIDE: Final = 128
"""Side at which label maps are kept."""
_NEEDED: Final = ("mp_face_landmarks", "mp_blendshapes", "ov_gaze", "ov_headpose")


@dataclass
class Judge:
    """Reads pictures; see :data:`Reading`.

    Attributes:
        teachers: the teachers' folder, or None: the bundled FORD reads.
        embedders: recognisers.
        lpips: perceptual distance, or None.
        features: feature network, or None.
        digest: hash of the networks' files, 16 hexadecimal digits.
    """

    teachers: Path | None
    embedders: list[Embedder]
    lpips: Network | None
    features: Network | None
    digest: str
    _ford: Any = field(repr=False)
    _loaded: Any = field(default=None, repr=False)

    @classmethod
    def load(
        cls,
        teachers: Path | None = None,
        *,
        embedders: Sequence[Path] = (),
        features: Path | None = None,
    ) -> Judge:
        """Find the networks.

        Args:
            teachers: folder with TorchScript networks; parts of it may be missing.
            embedders: further recognisers, see ``embedders.user_embedder``.
            features: a user's feature network.

        Raises:
            ModelNotFound: a file that was named is missing.
        """
        ford = load_mini_ford(BUNDLED / "ford")
        identity = next(e for e in ford.extractors if "identity" in e.provides)
        own: Any = getattr(identity, "net", None)
        known = [Embedder(OWN, 112, lambda crops: own(crops)[1], signed=True)]
        if teachers is not None:
            known += teacher_embedders(teachers)
        known += [user_embedder(path) for path in embedders]
        complete = teachers is not None and all(
            (teachers / f"{name}.ts.pt").is_file() for name in _NEEDED
        )
        loaded = None
        if complete and teachers is not None:
            from facex.train.make_cache import Teachers

            loaded = Teachers(teachers)
        given = [BUNDLED / "ford", *embedders, *([features] if features else [])]
        if teachers is not None:
            given += sorted(teachers.glob("*.ts.pt"))
        return cls(
            teachers if complete else None,
            known,
            find_lpips(teachers),
            find_features(teachers, features),
            _digest(given),
            ford,
            loaded,
        )

    @property
    def names(self) -> dict[str, str]:
        """What measures what, for the report."""
        motion = "MediaPipe landmarks and blendshapes, mesh fit; OpenVINO gaze and head pose"
        own = "the bundled FORD, which also steers the model: for comparisons only"
        return {
            "motion": motion if self._loaded is not None else own,
            "identity": ", ".join(e.name for e in self.embedders),
            "lpips": self.lpips.name if self.lpips else "none",
            "features": self.features.name if self.features else "none",
        }

    def read(self, pictures: Sequence[Pixels], *, light: bool = False) -> list[Reading]:
        """Read pictures.

        Args:
            pictures: ``(256, 256, 3)`` each, aligned.
            light: only landmarks, embeddings and features; for galleries.
        """
        found: list[Reading] = []
        for start in range(0, len(pictures), CHUNK):
            found += self._chunk(pictures[start : start + CHUNK], light=light)
        return found

    @torch.inference_mode()
    def _chunk(self, pictures: Sequence[Pixels], *, light: bool) -> list[Reading]:
        images = as_tensor(pictures)
        values = self._motion(images, light=light)
        points = values["points"]
        for embedder in self.embedders:
            values[f"embedding:{embedder.name}"] = embedder(images, points)
        if self.features is not None:
            values["features"] = self.features(images)
        arrays = {name: value.float().cpu().numpy() for name, value in values.items()}
        readings = [{name: value[i] for name, value in arrays.items()} for i in range(len(images))]
        if not light:
            parsing = self._parsing(images, points)
            for reading, picture, label in zip(readings, pictures, parsing, strict=True):
                reading.update(look(picture, reading["points"], label))
        return readings

    def _motion(self, images: Tensor, *, light: bool) -> dict[str, Tensor]:
        if self._loaded is None:
            motion = self._extract(images, "landmarks", {})
            values = {"points": motion["landmarks"], "blendshapes": motion["expression"]}
            if not light:
                values["gaze"] = self._extract(images, "gaze", motion)["gaze"].mean(1)
        else:
            from facex.train.make_cache import gaze, landmarks

            points, blend = landmarks(images, self._loaded)
            values = {"points": points, "blendshapes": blend}
            if not light:
                values["gaze"], values["head"] = gaze(images, points, self._loaded)
        if not light:
            values["rotation"] = bundled().fit(values["points"], values["blendshapes"]).rotation
            values["light"], _ = fit_light_texture(images * 2 - 1, values["points"])
        return values

    def _extract(self, images: Tensor, field: str, known: dict[str, Tensor]) -> dict[str, Tensor]:
        extractor = next(e for e in self._ford.extractors if field in e.provides)
        found: dict[str, Tensor] = extractor(images * 2 - 1, known)
        return found

    def _parsing(self, images: Tensor, points: Tensor) -> NDArray[np.uint8]:
        extractor = next(e for e in self._ford.extractors if "parsing" in e.provides)
        return np.asarray(extractor(images * 2 - 1, {"landmarks": points})["parsing"])


def _digest(places: Sequence[Path]) -> str:
    """Hash of files, and of all files in folders, by name and content."""
    digest = hashlib.sha256()
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file():
                digest.update(path.name.encode() + b"\n")
                with open(path, "rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def as_tensor(pictures: Sequence[Pixels]) -> Tensor:
    """Pictures ``(H, W, 3)`` uint8 as ``(B, 3, H, W)`` in [0, 1]."""
    stacked = torch.from_numpy(np.stack([np.asarray(p) for p in pictures]))
    return stacked.permute(0, 3, 1, 2).float() / 255


def look(picture: Pixels, points: Array, parsing: NDArray[np.uint8]) -> Reading:
    """Colours and sharpness of a face; ``parsing`` ``(H, W)`` in the 19 classes."""
    lab = np.asarray(srgb_to_lab(np.asarray(picture, np.float32) / 255))
    size = picture.shape[0]
    skin = face_skin(points, size) & (parsing == PARSING_CLASSES.index("skin"))
    if skin.mean() < 0.002:
        skin = face_skin(points, size)
    hair = parsing == PARSING_CLASSES.index("hair")
    colour = lab[hair].mean(0) if hair.any() else np.zeros(3)
    face = region_polygon_mask(points, "face", size) > 0
    return {
        "skin": np.asarray(lab[skin].mean(0) if skin.any() else lab.mean((0, 1)), np.float32),
        "hair": np.asarray([*colour, hair.mean()], np.float32),
        "glasses": np.asarray((parsing == PARSING_CLASSES.index("eye_g")).mean(), np.float32),
        "sharp": np.asarray(laplacian_variance(picture, face), np.float32),
        "parsing": cv2.resize(
            np.asarray(parsing, np.uint8),
            (PARSING_SIDE, PARSING_SIDE),
            interpolation=cv2.INTER_NEAREST,
        ),
    }


def face_skin(points: Array, size: int) -> NDArray[np.bool_]:
    """Inside the face's outline but not brows, eyes, lips or what is next to them."""
    face = cv2.erode(region_polygon_mask(points, "face", size), np.ones((9, 9), np.uint8))
    for region in ("brows", "eyes", "lips"):
        mask = region_polygon_mask(points, region, size)
        face = face * (1 - cv2.dilate(mask, np.ones((7, 7), np.uint8)))
    return np.asarray(face > 0)


def laplacian_variance(picture: Pixels, mask: NDArray[np.bool_]) -> float:
    """Variance of the Laplacian of the grey picture inside a mask; 0 for an empty one."""
    if not mask.any():
        return 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F)[mask].var())


def in_chunks(count: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices that cover ``range(count)``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
