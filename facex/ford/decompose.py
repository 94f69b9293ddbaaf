# SPDX-License-Identifier: Apache-2.0
"""FORD: photo crop -> representation, by running extractors in order (DESIGN 3)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from facex.errors import RepresentationError
from facex.ford.extractor import Extractor
from facex.ford.representation import EXTRACTED_FIELDS, FaceRepresentation


class _Found(dict[str, Tensor]):
    """The fields found so far; asking for one that comes later names the culprit."""

    reader = ""

    def __missing__(self, name: str) -> Tensor:
        raise RepresentationError(
            f"{self.reader} needs {name!r}, which no extractor before it provides; found so far: "
            f"{', '.join(sorted(self)) or 'nothing'}"
        )


class FORD:
    """An ordered set of extractors that together fill a ``FaceRepresentation``.

    Args:
        extractors: run in this order; each sees the fields of those before it.
        name: name of the set, kept in every representation.

    Raises:
        RepresentationError: when a field is provided by nobody or by two, or is unknown.
    """

    def __init__(self, extractors: Sequence[Extractor], *, name: str) -> None:
        self.extractors = tuple(extractors)
        self.name = name
        owners: dict[str, str] = {}
        for extractor in self.extractors:
            label = type(extractor).__name__
            for field in extractor.provides:
                if field not in EXTRACTED_FIELDS:
                    raise RepresentationError(f"{label} provides {field!r}, an unknown field")
                if field in owners:
                    raise RepresentationError(f"{owners[field]} and {label} both provide {field!r}")
                owners[field] = label
        if missing := [field for field in EXTRACTED_FIELDS if field not in owners]:
            raise RepresentationError(
                f"the extractors {name!r} do not provide {', '.join(missing)}; "
                "is the model folder complete?"
            )

    def to(self, device: torch.device | str) -> FORD:
        """Moves the extractors, or the networks that they hold; returns itself."""
        for extractor in self.extractors:
            held = [extractor, *getattr(extractor, "__dict__", {}).values()]
            for module in held:
                if isinstance(module, nn.Module):
                    module.to(device)
        return self

    def provider(self, field: str) -> Extractor:
        """The extractor that finds a field."""
        return next(e for e in self.extractors if field in e.provides)

    def landmarks(self, crop: Tensor) -> Tensor:
        """Only the landmarks ``(B, 478, 3)`` of aligned crops, which is much faster than all."""
        found = _Found()
        for extractor in self.extractors:
            found.reader = type(extractor).__name__
            found.update(extractor(crop, found))
            if "landmarks" in found:
                break
        return found["landmarks"]

    def __call__(
        self,
        crop: Tensor,
        photo_from_crop: Tensor | None = None,
        *,
        known: Mapping[str, Tensor] | None = None,
        timings: dict[str, float] | None = None,
    ) -> FaceRepresentation:
        """Decomposes aligned crops.

        Gradients flow through; wrap the call in ``torch.inference_mode()`` when none are needed.

        Args:
            crop: (B, 3, S, S) RGB in [-1, 1].
            photo_from_crop: (B, 2, 3) maps crop pixels to photo pixels; None: the crop is the
                photo.
            known: fields that need not be read, for example landmarks that were smoothed over the
                frames of a video. They stay as they are; an extractor of which all fields are
                known does not run.
            timings: when given, receives the seconds each extractor took, by class name.

        Returns:
            The representation of the B faces.

        Raises:
            RepresentationError: when the crop has another shape or an extractor breaks its word.
        """
        if crop.ndim != 4 or crop.shape[1] != 3 or crop.shape[2] != crop.shape[3]:
            raise RepresentationError(f"crop has shape {tuple(crop.shape)}, expected (B, 3, S, S)")
        known = known or {}
        found = _Found()
        found.update(known)
        for extractor in self.extractors:
            if all(field in known for field in extractor.provides):
                continue
            found.reader = type(extractor).__name__
            start = time.perf_counter()
            fields = extractor(crop, found)
            if set(fields) != set(extractor.provides):
                raise RepresentationError(
                    f"{found.reader} returned {', '.join(sorted(fields)) or 'nothing'}, expected "
                    f"{', '.join(sorted(extractor.provides))}"
                )
            found.update({name: value for name, value in fields.items() if name not in known})
            if timings is not None:
                elapsed = time.perf_counter() - start
                timings[found.reader] = timings.get(found.reader, 0.0) + elapsed
        if photo_from_crop is None:
            photo_from_crop = torch.eye(2, 3, dtype=torch.float64).repeat(crop.shape[0], 1, 1)
        return FaceRepresentation(
            crop_size=crop.shape[-1],
            photo_from_crop=photo_from_crop.detach().to("cpu", torch.float64),
            extractors=self.name,
            **found,
        )
