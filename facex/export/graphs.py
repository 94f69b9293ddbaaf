# SPDX-License-Identifier: Apache-2.0
"""What each graph computes, as modules that take and return plain tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facex.ford.gaze import eye_patches, head_angles
from facex.ford.identity import align_for_identity
from facex.fors.representation_assembler import REGION_PREFIX
from facex.frc.anchor import anchor, drawn, known_cells
from facex.frc.harmonizer import Harmonizer
from facex.frc.spatial import SpatialFeatures
from facex.models.folder import LoadedModel
from facex.types import REGIONS


def extractor_of(model: LoadedModel, field_name: str) -> Any:
    """The extractor that provides a field of the representation."""
    return next(e for e in model.ford.extractors if field_name in e.provides)


def plain_factors(model: LoadedModel) -> list[str]:
    """Token inputs that are no regions, in the conditioner's order."""
    layout = model.conditioner.representation.layout
    return [name for name in layout if not name.startswith(REGION_PREFIX)]


class DetectorGraph(nn.Module):
    """Photo to cells of three levels."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.net = model.detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the ports of the stage."""
        return tuple(self.net(images))


class MotionGraph(nn.Module):
    """Crop to landmarks, refined, and blendshapes."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        extractor = extractor_of(model, "landmarks")
        self.net, self.refiner = extractor.net, extractor.refiner

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the ports of the stage."""
        landmarks, expression = self.net(images)
        if self.refiner is not None:
            landmarks = self.refiner(images, landmarks)
            expression = self.net.blendshapes(landmarks)
        return landmarks, expression


class GazeGraph(nn.Module):
    """Crop and landmarks to both eyes' angles; the patches are cut out inside."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.net = extractor_of(model, "gaze").net

    def forward(self, images: Tensor, landmarks: Tensor) -> tuple[Tensor]:
        """See the ports of the stage."""
        patches, _ = eye_patches(images, landmarks)
        return (self.net(patches, head_angles(landmarks)),)


class IdentityGraph(nn.Module):
    """Crop and landmarks to tokens and unit vector; aligned inside."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.net = extractor_of(model, "identity").net

    def forward(self, images: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """See the ports of the stage."""
        tokens, embedding = self.net(align_for_identity(images, landmarks))
        return tokens, embedding


class ParsingGraph(nn.Module):
    """Crop to class logits and the maps that are pooled by region."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        extractor = extractor_of(model, "parsing")
        self.net, self.levels = extractor.net, extractor.levels

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the ports of the stage."""
        logits, maps = self.net.logits_and_features(images)
        return (logits, *(maps[level] for level in self.levels))


class EncoderGraph(nn.Module):
    """Picture to scaled latents."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.base, self.vae = model.base, model.base.vae

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """See the ports of the stage."""
        return (self.base.encode(images),)


class DecoderGraph(EncoderGraph):
    """Scaled latents to picture."""

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        """See the ports of the stage."""
        return (self.base.decode(latents),)


class ConditionerGraph(nn.Module):
    """Factors, presence and reference to f_SD."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.net = model.conditioner
        self.factors = plain_factors(model)

    def forward(self, *values: Tensor) -> tuple[Tensor]:
        """See the ports of the stage."""
        *factors, regions, present, reference, known, edit = values
        inputs = dict(zip(self.factors, factors, strict=True))
        names = [*self.factors, *(f"{REGION_PREFIX}{region}" for region in REGIONS)]
        for index, region in enumerate(REGIONS):
            inputs[f"{REGION_PREFIX}{region}"] = regions[:, index : index + 1]
        here = {name: present[:, index] for index, name in enumerate(names)}
        size = reference.shape[-2:]
        cells = known_cells(known, *size)
        edited = F.interpolate(edit, size, mode="area")
        return (self.net(inputs, here, torch.cat([reference, cells, edited], 1)),)


class SpatialGraph(nn.Module):
    """Reference, masks and position map to the spatial path's features."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.net = model.controller.spatial

    def forward(
        self, reference: Tensor, known: Tensor, edit: Tensor, geometry: Tensor
    ) -> tuple[Tensor, ...]:
        """See the ports of the stage."""
        features = self.net(reference, known, edit, geometry)
        return (features.entry, features.trunk, *features.stages)


class StepGraph(nn.Module):
    """What ``FaceXPipeline.clean`` does, with the controller attached for good."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.base, self.unet, self.controller = model.base, model.base.unet, model.controller

    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        context: Tensor,
        reference: Tensor,
        known: Tensor,
        entry: Tensor,
        trunk: Tensor,
        *stages: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See the ports of the stage."""
        with self.controller.attached(self.unet):
            features = SpatialFeatures(entry, tuple(stages), trunk)
            steered = self.controller(self.base, latents, t, context, features)
        trust = known_cells(known, *reference.shape[-2:]) * steered.confidence
        own = drawn(
            self.base.to_clean(steered.output, latents, t),
            reference,
            from_reference=self.controller.config["draw_from_reference"],
        )
        return anchor(own, reference, steered.correction, trust), trust


class LastLookGraph(nn.Module):
    """The last look at an edit or at a hole."""

    def __init__(self, network: Harmonizer) -> None:
        super().__init__()
        self.network = network

    def forward(self, composite: Tensor, known: Tensor, edit: Tensor, geometry: Tensor) -> Any:
        """See the ports of the stage."""
        return (self.network(composite, known, edit, geometry),)
