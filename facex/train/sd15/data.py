# SPDX-License-Identifier: Apache-2.0
"""Training samples from the shards of ``facex prepare``; sample n depends on the seed and n alone.

Faces are read from the tar files by place, so a run can begin anywhere. A sample carries its own
noise, timestep and dropped tokens: the loss does not know how many processes work.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from facex.errors import OptionError, OutputError
from facex.ford.representation import factor_inputs, region_input
from facex.ford.sd15.clip_regions import MIN_PIXELS, region_masks
from facex.fors.face_picture import FacePicture
from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.light_texture import fit_light_texture
from facex.prepare.read import PreparedFace, PreparedShards, face_of_files
from facex.prepare.shard import RECORD
from facex.train import augment
from facex.train.samples import Sample, SampleMaker, other_photos
from facex.train.sd15.config import Sd15Config
from facex.train.sd15.loss import dropped
from facex.train.sd15.order import FaceOrder
from facex.types import BLENDSHAPES, REGIONS

_FACES_KEPT: Final = 24
"""Decoded faces that a worker keeps: a sample asks for its two or three several times."""


class ShardIndex:
    """Where the files of a shard's kept faces lie, found by reading the tar's headers once.

    Args:
        shards: the prepared folder.
        shard: an entry of its manifest.

    Raises:
        OutputError: the shard is missing or damaged.
    """

    def __init__(self, shards: PreparedShards, shard: dict[str, Any]) -> None:
        self.path = shards.folder / shard["name"]
        self.rows = list(shards.rows(shard))
        places: dict[str, dict[str, tuple[int, int]]] = {row["key"]: {} for row in self.rows}
        try:
            with tarfile.open(self.path, "r:") as tar:
                for member in tar:
                    key, dot, suffix = member.name.partition(".")
                    if key in places:
                        places[key][dot + suffix] = (member.offset_data, member.size)
                    tar.members = []  # type: ignore[attr-defined]  # it would keep every header
        except (OSError, tarfile.TarError) as error:
            raise OutputError(f"{self.path} is damaged ({error}); prepare it again") from error
        self.places = [places[row["key"]] for row in self.rows]
        if not all(RECORD in files for files in self.places):
            raise OutputError(f"{self.path} lacks faces of its manifest; prepare it again")

    def face(self, row: int) -> PreparedFace:
        """Read and decode one face."""
        with self.path.open("rb") as file:
            files = {}
            for suffix, (start, size) in self.places[row].items():
                file.seek(start)
                files[suffix] = file.read(size)
        return face_of_files(files, self.rows[row])


class Group:
    """The faces of a few shards, by row; knows what `FaceCodes` asks for.

    Args:
        indices: of the shards.
    """

    def __init__(self, indices: Sequence[ShardIndex]) -> None:
        self.indices = indices
        self.ends = np.cumsum([len(index.rows) for index in indices])
        self.face = lru_cache(maxsize=_FACES_KEPT)(self._read)
        self.same = other_photos(record["person"] for index in indices for record in index.rows)
        """Other photos of a face's person in these shards, where there are any."""

    def __len__(self) -> int:
        return int(self.ends[-1])

    def _read(self, row: int) -> PreparedFace:
        shard = int(np.searchsorted(self.ends, row, side="right"))
        first = int(self.ends[shard - 1]) if shard else 0
        return self.indices[shard].face(row - first)

    def points(self, row: int) -> NDArray[np.float64]:
        """Landmarks ``(478, 3)`` in pixels."""
        return self.face(row).representation.landmarks[0].double().numpy()

    def light(self, row: int) -> NDArray[np.float32]:
        """Spherical harmonics ``(27,)`` on the mesh, whatever the extractors' light is."""
        face = self.face(row)
        light, _ = fit_light_texture(face.crop, face.representation.landmarks)
        return np.asarray(light[0].numpy(), np.float32)

    def geometry(self, row: int) -> FaceGeometry:
        """The face's geometry as a batch of one; of the expression only the blendshapes."""
        rep = self.face(row).representation
        values = {name: getattr(rep, name).float() for name in FaceGeometry.__dataclass_fields__}
        return FaceGeometry(**{**values, "expression": values["expression"][:, : len(BLENDSHAPES)]})

    def inputs(self, row: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Token inputs but for the regions', which phi^Reg makes while it is trained."""
        found = factor_inputs(self.face(row).representation)
        return {name: v[0].float() for name, v in found.items() if not name.startswith("region:")}

    def drawable(self, row: int) -> dict[str, Tensor] | None:
        """None: the texture of these extractors is no code of an albedo that we can draw."""
        return None

    def present(self, row: int) -> dict[str, bool]:
        """All that `inputs` gives is present."""
        return dict.fromkeys(self.inputs(row), True)


class PreparedMaker(SampleMaker):
    """The mini generator's kinds of damage on prepared faces of any size.

    Args:
        group: faces to choose from.
        size: side of the crops.
        seed: of the sample.
        pairs: whether references may be made from another photo of the same person.
    """

    def __init__(self, group: Group, size: int, seed: Sequence[int], *, pairs: bool = True) -> None:
        self.group = group
        self._set_up(group, 0, size)
        if pairs:
            self.same = group.same
        self.rng = np.random.default_rng(list(seed))

    def face(self, row: int) -> FacePicture:
        """A face as the assembler sees it."""
        face = self.group.face(row)
        image = ((face.crop[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
        parsing = face.representation.parsing[0].numpy()
        return FacePicture(image, self.group.points(row), parsing, self.size)


class Sd15Samples(Dataset[Sample]):
    """Sample number n; see :meth:`__getitem__`.

    Args:
        config: the run.
        crop_size: side of the crops.
        cells: side of phi^Reg's feature map.

    Raises:
        OptionError: the shards are of another size, or hold no face.
    """

    def __init__(self, config: Sd15Config, crop_size: int, cells: int) -> None:
        self.config, self.size, self.cells = config, crop_size, cells
        self.shards = PreparedShards.open(config.data)
        self.entries = [shard for shard in self.shards.manifest["shards"] if shard["kept"]]
        sizes = [int(shard["kept"]) for shard in self.entries]
        if not sizes:
            raise OptionError(f"data: {config.data} holds no face; prepare more photos")
        self.order = FaceOrder(sizes, config.seed, config.shards_at_once)
        self._index = lru_cache(maxsize=2 * config.shards_at_once)(self._open)
        self._group = lru_cache(maxsize=2)(self._gather)
        first = self._group((0,)).face(0)
        if first.crop.shape[-1] != crop_size:
            raise OptionError(
                f"data: the crops of {config.data} have {first.crop.shape[-1]} px, the model "
                f"takes {crop_size}; prepare the photos with --model {config.model}"
            )
        self.extractors = first.representation.extractors

    def __len__(self) -> int:
        return self.config.max_steps * self.config.batch_size * self.config.accumulate

    def _open(self, shard: int) -> ShardIndex:
        return ShardIndex(self.shards, self.entries[shard])

    def _gather(self, shards: tuple[int, ...]) -> Group:
        return Group([self._index(shard) for shard in shards])

    def __getitem__(self, number: int) -> Sample:
        """One sample.

        The keys of `SampleMaker.sample` without ``kind``, and ``look`` (3, S, S) the face in
        another light, for phi^Reg; ``masks`` (13, g, g) of its regions; ``latents`` (C, h, w) of
        the answer, if they are cached; ``noise`` (C, h, w); ``t`` () int64; ``present`` also for
        the regions and the reference.
        """
        seed = (self.config.seed, number)
        place = self.order.place(number)
        group = self._group(place.group)
        maker = PreparedMaker(group, self.size, seed, pairs=self.config.pairs)
        sample = maker.sample(row=place.row)
        del sample["kind"]
        face = group.face(place.row)
        look = augment.photometric(maker.face(place.row).image.astype(np.uint8), maker.rng, 0.5)
        sample["look"] = torch.from_numpy(np.ascontiguousarray(look.transpose(2, 0, 1))) / 127.5 - 1
        rep = face.representation
        masks = region_masks(rep.parsing, rep.landmarks.float())
        sample["masks"] = F.interpolate(masks, (self.cells, self.cells), mode="area")[0]
        shown = (masks.mean((2, 3)) >= MIN_PIXELS)[0].tolist()
        present = sample["present"] | dict(zip(map(region_input, REGIONS), shown, strict=True))
        if self.config.cached_latents and face.latents is not None:
            sample["latents"] = face.latents[0]
        channels, side = 4 if face.latents is None else face.latents.shape[1], self.size // 8
        generator = torch.Generator().manual_seed(_mixed(seed))
        sample["noise"] = torch.randn((channels, side, side), generator=generator)
        sample["t"] = torch.randint(0, 1000, (), generator=generator)
        sample["present"] = dropped(present, self.config, generator)
        return sample

    def statistics(self, count: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and spread ``(D,)`` of the token inputs over the first faces."""
        rows = [
            inputs
            for shard in range(len(self.entries))
            for inputs in self._first_inputs(shard, count)
        ][:count]
        found = {}
        for name in rows[0]:
            values = torch.cat([row[name] for row in rows])
            spread = values.std(0) if len(values) > 1 else torch.ones_like(values[0])
            found[name] = (values.mean(0), spread.masked_fill(spread < 1e-3, 1.0))
        return found

    def _first_inputs(self, shard: int, count: int) -> list[dict[str, Tensor]]:
        before = sum(int(entry["kept"]) for entry in self.entries[:shard])
        if before >= count:
            return []
        group = self._group((shard,))
        return [group.inputs(row) for row in range(min(len(group), count - before))]

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Tokens and width of every input, but for the regions'."""
        inputs = self._group((0,)).inputs(0)
        return {name: (int(v.shape[0]), int(v.shape[1])) for name, v in inputs.items()}

    def __getstate__(self) -> dict[str, Any]:
        """For workers: everything but the caches."""
        return {"config": self.config, "size": self.size, "cells": self.cells}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"], state["size"], state["cells"])  # type: ignore[misc]


def one_thread(_worker: int) -> None:
    """A worker is one core's."""
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _mixed(seed: Sequence[int]) -> int:
    """One number of several, such that neighbours have nothing to do with one another."""
    return int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0] >> np.uint64(1))
