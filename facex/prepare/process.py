# SPDX-License-Identifier: Apache-2.0
"""The one function of every engine: photos of a job in, a shard on disk out."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import imagehash
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save as tensor_bytes

from facex.detect.choose import FaceChoice, choose_faces
from facex.errors import FaceXError
from facex.ford.representation import FaceRepresentation
from facex.imaging.read import read_photo
from facex.imaging.tensors import to_tensor
from facex.imaging.write import encode_photo
from facex.prepare.index import CARRIED, Row, refuses
from facex.prepare.items import Item, items_of
from facex.prepare.options import PrepareOptions
from facex.prepare.parts import Aligned, Parts, load_parts
from facex.prepare.quality import Reason, measure, reject_place, sharpness
from facex.prepare.shard import (
    FORMAT_VERSION,
    LATENTS,
    RECORD,
    REPRESENTATION,
    ShardFiles,
    ShardWriter,
    Summary,
    sha256_of,
    to_json,
    with_sorted_metadata,
    writing,
)
from facex.prepare.sources import Job
from facex.timing import timed


class Outcome(NamedTuple):
    """What a job came to; small enough to be sent anywhere.

    Attributes:
        number: of the shard.
        photos: that were looked at.
        faces: that are in the shard.
        error: why there is no shard, or nothing.
    """

    number: int
    photos: int
    faces: int
    error: str = ""


def prepare(job: Job, options: PrepareOptions, digest: str) -> Outcome:
    """Make the shard of a job; nothing that is wrong with it is raised.

    Args:
        job: its photos.
        options: how.
        digest: of job and options; by it the shard is known as finished next time.

    Returns:
        The outcome. The shard is on disk, whole or not at all.
    """
    try:
        torch.set_num_threads(1)  # a job is one core's; and sums keep their order
        summary = _Run(job, options, load_parts(options.model, options.device)).shard(digest)
        return Outcome(job.number, summary["photos"], len(summary["faces"]))
    except FaceXError as error:
        return Outcome(job.number, 0, 0, str(error))
    except Exception as error:  # one bad shard must not end a run of days
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        return Outcome(job.number, 0, 0, " ".join(text.split()))


@dataclass
class _Run:
    """One pass over the photos of a job."""

    job: Job
    options: PrepareOptions
    parts: Parts
    dropped: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    vectors: list[NDArray[np.float16]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    photos: int = 0
    found: int = 0

    def shard(self, digest: str) -> Summary:
        """Write the tar, the vectors and the summary."""
        files = ShardFiles(self.options.out, self.job.number)
        files.summary.unlink(missing_ok=True)  # of a shard that is made again
        with writing(files.tar) as writer:
            try:
                for item in items_of(self.job):
                    self._photo(item, writer)
            except FaceXError as error:  # the rest of a tar or video; what was read is kept
                self.failures.append({"file": self.job.names[0], "error": str(error)})
        with timed(self.timings, "write"):
            sha256 = sha256_of(files.tar)
        width = self.vectors[0].shape[0] if self.vectors else 0
        vectors = np.stack(self.vectors) if self.vectors else np.zeros((0, width), np.float16)
        summary = {
            "format_version": FORMAT_VERSION,
            "digest": digest,
            "name": files.name,
            "sha256": sha256,
            "bytes": files.tar.stat().st_size,
            "crop_size": self.parts.crop_size,
            "extractors": self.parts.ford.name,
            "photos": self.photos,
            "found": self.found,
            "dropped": {str(reason): self.dropped[reason] for reason in sorted(self.dropped)},
            "failures": self.failures,
            "timings": {name: round(value, 4) for name, value in self.timings.items()},
            "faces": self.records,
        }
        files.finish(summary, vectors)
        return summary

    def _photo(self, item: Item, writer: ShardWriter) -> None:
        number, self.photos = self.photos, self.photos + 1
        if refuses(item.row):
            self.dropped[Reason.NO_CONSENT] += 1
            return
        try:
            with timed(self.timings, "read"):
                if item.source is None:
                    raise FaceXError(item.error)
                pixels = read_photo(item.source).array
        except FaceXError as error:
            self.failures.append({"file": item.name, "error": str(error)})
            return
        with timed(self.timings, "detect"):
            detections = self.parts.detector(pixels)
        self.found += len(detections)
        if not detections:
            self.dropped[Reason.NO_FACE] += 1
            return
        choice = FaceChoice.parse(self.options.face)
        for face in choose_faces(detections, choice):
            with timed(self.timings, "align"):
                aligned = self.parts.align(pixels, detections[face])
            size = (pixels.shape[1], pixels.shape[0])
            values = measure(detections[face], aligned, size, self.parts.crop_size)
            reason = reject_place(values, self.options.limits)
            if reason is None:
                with timed(self.timings, "align"):
                    crop = self.parts.cut(pixels, aligned.frame)
                    values["sharpness"] = sharpness(crop)
                if values["sharpness"] < self.options.limits.sharpness:
                    reason = Reason.TOO_BLURRED
            if reason is not None:
                self.dropped[reason] += 1
                continue
            key = f"{self.job.number:06d}-{number:05d}-{face}"
            self._face(key, item, crop, aligned, values, writer)

    def _face(
        self,
        key: str,
        item: Item,
        crop: NDArray[np.uint8],
        aligned: Aligned,
        values: dict[str, float],
        writer: ShardWriter,
    ) -> None:
        pixels = to_tensor(crop)
        with timed(self.timings, "ford"):
            representation = self._decompose(pixels, aligned)
        latents = None
        if self.options.latents:
            with timed(self.timings, "latents"):
                latents = self.parts.encode(pixels)[0].contiguous()
        with timed(self.timings, "write"):
            picture = Image.fromarray(crop)
            record = {
                "key": key,
                "file": item.name,
                "photo_from_crop": aligned.frame.matrix.tolist(),
                "crop_size": self.parts.crop_size,
                "quality": values,
                "phash": str(imagehash.phash(picture)),
                "extractors": self.parts.ford.name,
                "caption": "",
                **_carried(item.row),
            }
            suffix = f".{self.options.crops}"
            writer.add(key + suffix, encode_photo(picture, suffix, quality=100))
            if latents is not None:
                writer.add(key + LATENTS, tensor_bytes({"latents": latents}))
            writer.add(key + REPRESENTATION, with_sorted_metadata(representation.to_bytes()))
            writer.add(key + RECORD, to_json(record))
        self.records.append(record)
        self.vectors.append(representation.identity[0].half().numpy())

    @torch.inference_mode()
    def _decompose(self, crop: torch.Tensor, aligned: Aligned) -> FaceRepresentation:
        matrix = torch.tensor(np.array(aligned.frame.matrix, np.float64))[None]
        return self.parts.ford(crop.to(self.parts.device), matrix).to("cpu")


def _carried(row: Row) -> dict[str, Any]:
    """The known columns, empty where nothing is known, and all others under ``columns``."""
    others = {name: value for name, value in row.items() if name not in CARRIED}
    return {**{name: row.get(name, "") for name in CARRIED}, "columns": others}
