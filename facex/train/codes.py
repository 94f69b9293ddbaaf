# SPDX-License-Identifier: Apache-2.0
"""What training knows of its faces without reading them again: FORD's codes, made once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.ford.regions import COLOUR_FEATURES
from facex.ford.representation import TOKEN_INPUTS, region_input
from facex.fors.portrait import PORTRAYED
from facex.geometry.albedo import bundled_albedo
from facex.geometry.face_geometry import FaceGeometry
from facex.types import REGIONS

SIZE: Final = 256
"""Side of the training faces in pixels."""


@dataclass(frozen=True)
class Codes:
    """FORD's codes of the training faces, see ``facex.train.encode_faces``."""

    arrays: dict[str, NDArray[Any]]

    @classmethod
    def load(cls, path: str) -> Codes:
        """Read ``codes.npz``."""
        with np.load(path) as file:
            return cls({name: file[name] for name in file.files})

    def __len__(self) -> int:
        return len(self.arrays["index"])

    def inputs(self, row: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Token inputs of a face; with ``rng`` the regions' colours are those of another light."""
        a = self.arrays

        def get(name: str) -> Tensor:
            return torch.from_numpy(np.asarray(a[name][row]).astype(np.float32))

        rotation = get("rotation")
        place = torch.cat([get("scale").log().reshape(1), get("translation") / SIZE - 0.5])
        inputs = {
            "identity": get("identity_tokens"),
            "pose": torch.cat([rotation[:, :2].T.flatten(), place])[None],
            "expression": get("expression")[None],
            "gaze": get("gaze").flatten()[None],
            "texture": get("texture")[None],
            "light": get("light")[None],
        }
        regions = get("region_features")
        if rng is not None:
            # The answer's own light must not be readable from its regions' colours.
            shift = rng.normal(0, 1, 3) * np.array([0.25, 0.06, 0.06])
            regions[:, -COLOUR_FEATURES:-4] += torch.from_numpy(shift).float()
        for index, region in enumerate(REGIONS):
            inputs[region_input(region)] = regions[index][None]
        return inputs

    def drawable(self, row: int) -> dict[str, Tensor] | None:
        """What a portrait is drawn from; None where the texture is another albedo's code."""
        if self.arrays["texture"].shape[1] != bundled_albedo().size:
            return None
        return {name: torch.from_numpy(self.arrays[name][row : row + 1]) for name in PORTRAYED}

    def present(self, row: int) -> dict[str, bool]:
        """Which regions can be seen; everything else always is."""
        seen = self.arrays["region_present"][row]
        found = dict.fromkeys(TOKEN_INPUTS, True)
        return found | {region_input(r): bool(seen[i]) for i, r in enumerate(REGIONS)}

    def points(self, row: int) -> NDArray[np.float64]:
        """Landmarks ``(478, 3)`` in pixels."""
        return np.asarray(self.arrays["landmarks"][row], np.float64)

    def light(self, row: int) -> NDArray[np.float32]:
        """Spherical harmonics ``(27,)``."""
        return np.asarray(self.arrays["light"][row], np.float32)

    def geometry(self, row: int) -> FaceGeometry:
        """The face's geometry as a batch of one."""
        values = {
            item.name: torch.from_numpy(
                np.asarray(self.arrays[item.name][row : row + 1], np.float32)
            )
            for item in fields(FaceGeometry)
        }
        return FaceGeometry(**values)


class FaceCodes(Protocol):
    """What a sample must know of the faces it is made from; the methods are those of `Codes`."""

    def __len__(self) -> int:
        """Number of faces."""
        ...

    def points(self, row: int) -> NDArray[np.float64]:
        """Landmarks in pixels."""
        ...

    def light(self, row: int) -> NDArray[np.float32]:
        """Spherical harmonics."""
        ...

    def geometry(self, row: int) -> FaceGeometry:
        """Geometry as a batch of one."""
        ...

    def inputs(self, row: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Token inputs without the batch."""
        ...

    def drawable(self, row: int) -> dict[str, Tensor] | None:
        """What a portrait is drawn from, None if none can be."""
        ...

    def present(self, row: int) -> dict[str, bool]:
        """Which of them can be seen."""
        ...
