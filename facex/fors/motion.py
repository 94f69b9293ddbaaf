# SPDX-License-Identifier: Apache-2.0
"""The plan's motion, applied: geometry of the result and the token inputs that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.ford.extractor import Extractor
from facex.ford.representation import FaceRepresentation, factor_inputs, region_input
from facex.fors.eyes import Look
from facex.fors.morphology import grow
from facex.fors.region_masks import eye_openings
from facex.geometry.drive import combine
from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.features import with_features
from facex.geometry.gaze import LOOK
from facex.geometry.opening import match_opening
from facex.geometry.sliders import Sliders
from facex.recipes.plan import Motion, Plan
from facex.recipes.values import NONE, TARGET
from facex.types import BLENDSHAPES, REGIONS, Factor, Region

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

_SAME: Final = 1e-3
"""Change of blendshapes that is none."""
_LID: Final = 0.012
"""How far lids reach beyond the openings of the eyes, as a share of the side."""


def geometry_of(representation: FaceRepresentation) -> FaceGeometry:
    """The geometric fields of a representation.

    The first 52 expression coefficients are the blendshapes that move the mesh; what an extractor
    set knows beyond them (sd15: D3DFR's) only becomes tokens.
    """
    rep = representation
    return FaceGeometry(
        rep.landmarks,
        rep.shape,
        rep.expression[:, : len(BLENDSHAPES)],
        rep.rotation,
        rep.scale,
        rep.translation,
        rep.residual,
        rep.gaze,
    )


def result_geometry(motion: Motion, faces: Mapping[str, FaceGeometry]) -> FaceGeometry:
    """The mesh of the result.

    Args:
        motion: whose shape, pose, expression and gaze, and numbers on top.
        faces: geometry by picture, always with ``target``.

    Returns:
        The geometry in the target's crop; the target's own object when nothing was asked.
    """

    def other(name: str) -> FaceGeometry | None:
        return None if name == TARGET else faces[name]

    sliders = Sliders(
        yaw=motion.yaw,
        pitch=motion.pitch,
        roll=motion.roll,
        gaze_yaw=motion.gaze_yaw,
        gaze_pitch=motion.gaze_pitch,
        expression=dict(motion.blendshapes),
    )

    def shaped(name: str) -> FaceGeometry:
        return combine(
            faces[TARGET],
            identity=other(name),
            head=other(motion.head),
            pose=other(motion.pose),
            expression=other(motion.expression),
            gaze=other(motion.gaze),
            relative=motion.relative,
            sliders=sliders,
        )

    donors = {region: shaped(name) for region, name in motion.features.items()}
    result = with_features(shaped(motion.shape), donors)
    if motion.shape == motion.expression or motion.relative or motion.blendshapes:
        return result
    return match_opening(result, faces[motion.expression])


def changes_of_expression(
    result: FaceGeometry, faces: Mapping[str, FaceGeometry]
) -> dict[str, Floats]:
    """By how much each picture's blendshapes ``(52,)`` change, but for where eyes look.

    Args:
        result: geometry of the result.
        faces: geometry by picture.

    Returns:
        Only of pictures whose expression changes.
    """
    found = {}
    for name, face in faces.items():
        change = (result.expression - face.expression)[0].detach().cpu().numpy().astype(np.float32)
        change[list(LOOK)] = 0
        if np.abs(change).max() > _SAME:
            found[name] = change
    return found


def token_inputs(
    plan: Plan, faces: Mapping[str, FaceRepresentation], result: FaceGeometry
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What phi^R reads: every factor from the picture that the plan names.

    Pose, expression and gaze are those of the result's mesh, which has them from the plan's
    pictures and sliders but sits where the target's head sits.

    Args:
        plan: the resolved step.
        faces: representations by picture, batches of the same size.
        result: geometry of the result.

    Returns:
        Inputs ``(B, n, D)`` by name and flags ``(B,)``; ``none`` and unseen regions are absent.
    """
    target = faces[TARGET]
    batch = target.batch_size
    own = {name: factor_inputs(rep) for name, rep in faces.items()}
    inputs: dict[str, Tensor] = {}
    present: dict[str, Tensor] = {}
    for name, origin in plan.tokens.items():
        here = origin != NONE
        inputs[name] = own[origin if here else TARGET][name]
        present[name] = torch.full((batch,), here)
    inputs |= motion_inputs(result, target.crop_size)
    # A change of blendshapes says nothing of coefficients beyond them: those stay a picture's.
    teller = TARGET if plan.motion.relative else plan.motion.expression
    beyond = faces[teller].expression[:, None, len(BLENDSHAPES) :]
    moved = inputs[Factor.EXPRESSION.value]
    inputs[Factor.EXPRESSION.value] = torch.cat([moved, beyond.to(moved)], 2)
    for index, region in enumerate(REGIONS):
        name = region_input(region)
        origin = plan.tokens[name]
        if origin != NONE:
            present[name] = faces[origin].region_present[:, index].cpu()
    return inputs, present


def look_of(result: FaceGeometry, extractor: Extractor) -> Look:
    """Where the eyes of a result ``(1, ...)`` look, and who says where painted ones do.

    Args:
        result: its geometry.
        extractor: provides ``gaze`` of crops with landmarks.
    """
    device = result.gaze.device

    def read(image: Floats, points: NDArray[np.float64]) -> Floats:
        crop = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None] * 2 - 1
        landmarks = torch.from_numpy(points).float()[None]
        found = extractor(crop.to(device), {"landmarks": landmarks.to(device)})["gaze"]
        return np.asarray(found[0].float().cpu().numpy(), np.float32)

    return Look(result.gaze[0].float().cpu().numpy(), read)


def placed_eyes(plan: Plan, before: Points, after: Points, size: int) -> Floats:
    """Openings of eyes that an edit turns; of the target's own also what lids open or shut.

    Args:
        plan: the resolved step.
        before: landmarks ``(478, 3)`` of the target in its crop.
        after: those of the result.
        size: side of the crop.

    Returns:
        ``(size, size)`` in [0, 1].
    """
    motion = plan.motion
    eyes = np.zeros((size, size), np.float32)
    if motion.turns_eyes or motion.changes_expression or plan.pixels[Region.EYES] != TARGET:
        eyes = eye_openings(after, size)
    if motion.changes_expression and plan.pixels[Region.EYES] == TARGET:
        eyes = grow(np.maximum(eyes, eye_openings(before, size)), max(1, round(_LID * size)))
    return np.asarray(eyes, np.float32)


def motion_inputs(geometry: FaceGeometry, crop_size: int) -> dict[str, Tensor]:
    """Token inputs of pose, expression and gaze of a geometry; see ``factor_inputs``."""
    rotation = torch.cat([geometry.rotation[:, :, 0], geometry.rotation[:, :, 1]], 1)
    place = torch.cat([geometry.scale.log()[:, None], geometry.translation / crop_size - 0.5], 1)
    return {
        Factor.POSE.value: torch.cat([rotation, place], 1)[:, None].float(),
        Factor.EXPRESSION.value: geometry.expression[:, None].float(),
        Factor.GAZE.value: geometry.gaze.flatten(1)[:, None].float(),
    }
