# SPDX-License-Identifier: Apache-2.0
"""Features of another shape: theirs in form, the face's own in place, nothing far away moves."""

from __future__ import annotations

import pytest
import torch

from facex.fors.motion import result_geometry
from facex.geometry.drive import combine
from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.features import FEATURES, with_features
from facex.geometry.shape_model import bundled
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from facex.types import Region
from tests.fors import made_up


def person(seed: int, yaw: float = 0.0) -> FaceGeometry:
    """A made-up face of another shape."""
    face, model = made_up.geometry(yaw, size=256), bundled()
    random = torch.Generator().manual_seed(seed)
    shape = 1.5 * model.identity_std * torch.randn(1, model.identity_size, generator=random)
    other = made_up.geometry(yaw, size=256)
    return combine(face, identity=FaceGeometry(**{**vars(other), "shape": shape}))


@pytest.mark.parametrize("region", FEATURES)
def test_a_feature_has_the_donors_form_in_the_faces_place(region: Region) -> None:
    target, source = person(1), person(2, yaw=10)
    step = Step(regions={region.value: "source"})
    plan = plan_step(step)
    assert plan.motion.features == {region: "source"}
    result = result_geometry(plan.motion, {"target": target, "source": source})
    donor = combine(target, identity=source)
    for side in FEATURES[region]:
        points = list(side)
        found, theirs, own = (g.landmarks[0, points] for g in (result, donor, target))
        torch.testing.assert_close(
            found - found.mean(0), theirs - theirs.mean(0), atol=0.25, rtol=0
        )
        assert (found.mean(0) - own.mean(0)).norm() < 0.5
        assert (found - own).norm(dim=1).max() > 0.2
    far = (target.landmarks[0] - result.landmarks[0]).norm(dim=1)
    away = torch.cdist(bundled().mean, bundled().mean[[p for s in FEATURES[region] for p in s]])
    assert far[away.min(1).values > 0.35].max() < 1e-3


def test_the_result_can_be_taken_apart_again() -> None:
    target, source = person(1), person(2)
    plan = plan_step(Step(regions={"nose": "source"}, sliders={"yaw": 8}))
    result = result_geometry(plan.motion, {"target": target, "source": source})
    points = bundled().pose_points(
        bundled().shape_points(result.shape, result.expression, result.residual), result.pose()
    )
    torch.testing.assert_close(points, result.landmarks, atol=1e-2, rtol=0)


def test_nothing_taken_changes_nothing() -> None:
    target = person(1)
    assert with_features(target, {}) is target
    swap = plan_step(Step(identity="source", regions={"face": "source"}))
    assert not swap.motion.features
    kept = plan_step(Step(identity="source", regions={"face": "source", "lips": "target"}))
    assert kept.motion.features == {Region.LIPS: "target"}
