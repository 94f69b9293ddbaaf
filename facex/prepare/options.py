# SPDX-License-Identifier: Apache-2.0
"""What a user may set about a preparation, checked once; small and picklable for every worker."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from facex.errors import OptionError

CROP_SUFFIXES: Final = ("png", "webp")
"""Lossless formats of the crops; WebP is about a quarter smaller and several times slower."""

FACES: Final = ("all", "largest")

_EDGE_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class QualityLimits:
    """From which values on a face is left out.

    Attributes:
        score: least score of the detector, 0 to 1; what it finds at all has .6 and more.
        size: least side of the crop in the photo's own pixels, as a share of the crop's size;
            below 1 the crop is enlarged.
        sharpness: least `quality.sharpness`; a face out of focus has some thousandths.
        yaw: largest turn to a side, degrees either way.
        pitch: largest nod, degrees either way.
        outside: largest share of the crop that lies beyond the photo.
    """

    score: float = 0.1
    size: float = 0.7
    sharpness: float = 0.004
    yaw: float = 60.0
    pitch: float = 40.0
    outside: float = 0.25

    def __post_init__(self) -> None:
        limits = {"size": 100.0, "sharpness": 100.0, "yaw": 180.0, "pitch": 180.0, "outside": 1.0}
        for name, largest in limits.items():
            if not 0 <= getattr(self, name) <= largest:
                raise OptionError(f"{name} must be 0 to {largest:g}, got {getattr(self, name)}")


@dataclass(frozen=True)
class PrepareOptions:
    """Everything that decides the bytes of a shard, beside its photos.

    Attributes:
        out: folder that is filled; on a cluster every machine sees it under this path.
        model: model folder on every machine.
        device: where the networks run.
        face: ``all`` faces of a photo, or the ``largest``.
        crops: ``png`` or ``webp``, both lossless.
        latents: cache the autoencoder's latents too.
        limits: what a face must keep to.
    """

    out: str
    model: str
    device: str = "cpu"
    face: str = "all"
    crops: str = "png"
    latents: bool = True
    limits: QualityLimits = field(default_factory=QualityLimits)

    def __post_init__(self) -> None:
        for name, allowed in (("face", FACES), ("crops", CROP_SUFFIXES)):
            if getattr(self, name) not in allowed:
                raise OptionError(
                    f"{name} is {getattr(self, name)!r}, but must be {' or '.join(allowed)}"
                )

    def digest(self) -> str:
        """Sixteen hex digits that change with whatever changes the bytes of a shard."""
        values = dataclasses.asdict(self)
        for place in ("out", "model"):  # where they lie does not matter
            del values[place]
        values["model"] = model_fingerprint(Path(self.model))
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class MergeOptions:
    """What the pass over all shards decides by.

    Attributes:
        same_photo: bits of 64 by which the perceptual hashes of near-duplicates differ at most.
        same_face: identity cosine from which on two faces count as one picture.
        same_person: identity cosine from which on two faces count as one person.
    """

    same_photo: int = 4
    same_face: float = 0.95
    same_person: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.same_photo <= 15:
            raise OptionError(f"same_photo must be 0 to 15 bits, got {self.same_photo}")
        for name in ("same_face", "same_person"):
            if not 0 < getattr(self, name) <= 1:
                raise OptionError(
                    f"{name} must be above 0 and at most 1, not {getattr(self, name)}"
                )


def model_fingerprint(folder: Path) -> str:
    """Hex digits of the parts of a model that prepare uses.

    Weight files of gigabytes are told apart by name, size, and their first and last 64 KB.
    """
    digest = hashlib.sha256()
    used = [
        folder / "facex_index.json",
        *(folder / "ford").rglob("*"),
        *(folder / "vae").rglob("*"),
    ]
    for path in sorted(p for p in used if p.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_EDGE_BYTES))
            file.seek(max(0, size - _EDGE_BYTES))
            digest.update(file.read())
    return digest.hexdigest()[:16]
