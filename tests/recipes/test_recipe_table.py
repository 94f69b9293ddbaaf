# SPDX-License-Identifier: Apache-2.0
"""The task table, measured: one factor of one picture is disturbed, and the tokens tell.

``test_recipe_plan`` reads the names in a plan; here whole representations go through plan, geometry
and ``token_inputs``, so that a cell also holds where motion is recomputed from the result's mesh.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from facex.ford.representation import FaceRepresentation, region_input
from facex.fors.motion import geometry_of, result_geometry, token_inputs
from facex.geometry.face_geometry import measure
from facex.geometry.pose import Pose, rotation_from_euler
from facex.geometry.shape_model import bundled
from facex.recipes.plan import plan_recipe
from facex.recipes.schema import Recipe
from facex.recipes.tasks import task_table
from facex.types import BLENDSHAPES, FACE_REGIONS, HEAD_REGIONS, REGIONS, Factor, Region

PICTURES = {"T": "target", "S": "source", "D": "driver"}
TURNED: dict[str, Any] = {"sliders": {"yaw": 10}}
OPENED: dict[str, Any] = {"sliders": {"blendshapes": {"jawOpen": 0.5}}}
LOOKING: dict[str, Any] = {"sliders": {"gaze_yaw": 10}}

# DESIGN 7, written out: the picture of identity, pose, expression, gaze, texture, hair, light and
# background, and how the row is asked for.
TABLE: dict[str, tuple[str, dict[str, Any]]] = {
    "inpaint": ("TTTTTTTT", {}),
    "inpaint with a guide": ("STTTTTTT", {"given": ["source"]}),
    "swap": ("STTTSTTT", {}),
    "head-swap": ("STTTSSTT", {}),
    "attribute lips": ("TTTTTTTT", {"chosen": ["lips"]}),
    "attribute hair": ("TTTTTSTT", {"chosen": ["hair"]}),
    "attribute skin": ("TTTTSTTT", {"chosen": ["skin"]}),
    "attribute background": ("TTTTTTTS", {"chosen": ["background"]}),
    "pose": ("TDTTTTTT", {"given": ["driver"]}),
    "pose in degrees": ("TTTTTTTT", TURNED),
    "expression": ("TTDTTTTT", {"given": ["driver"]}),
    "expression in numbers": ("TTTTTTTT", OPENED),
    "gaze": ("TTTDTTTT", {"given": ["driver"]}),
    "gaze in degrees": ("TTTTTTTT", LOOKING),
    "reenact": ("TDDDTTTT", {"given": ["driver"]}),
    "stylize": ("TTTTTTTT", {"style": "pencil"}),
}
FOREIGN_REGIONS: dict[str, tuple[Region, ...]] = {
    "swap": (*FACE_REGIONS, Region.GLASSES),
    "head-swap": HEAD_REGIONS,
    "attribute lips": (Region.LIPS,),
    "attribute hair": (Region.HAIR,),
    "attribute skin": (Region.SKIN, Region.BEARD),
    "attribute background": (Region.BACKGROUND,),
}
EYES_RIDE_ON_THE_HEAD = ("pose", "pose in degrees")
"""Rows whose gaze is the target's, eye in head: in the camera frame it turns with the head."""

LOOKS = [name.startswith("eyeLook") for name in BLENDSHAPES]
"""Lids follow the eyes: these blendshapes belong to the gaze, not to the expression."""

CELLS = [(title, factor) for title in TABLE for factor in Factor]


def face(seed: int, yaw: float) -> FaceRepresentation:
    """A made-up face whose geometry fits together."""
    random, model = torch.Generator().manual_seed(seed), bundled()

    def normal(*shape: int) -> Tensor:
        return torch.randn((1, *shape), generator=random)

    expression = torch.rand(1, 52, generator=random) * 0.2
    angles = torch.deg2rad(torch.tensor([[yaw], [3.0 * seed], [-2.0 * seed]]))
    pose = Pose(
        rotation_from_euler(*angles),
        torch.tensor([60.0 + seed]),
        torch.tensor([[128.0, 120.0 + seed]]),
        torch.zeros(1),
    )
    shape = normal(model.identity_size) * 0.5
    points = model.pose_points(model.shape_points(shape, expression, normal(478, 3) * 0.001), pose)
    geometry = measure(points, expression, normal(2, 2) * 0.1)
    return FaceRepresentation(
        crop_size=256,
        photo_from_crop=torch.eye(2, 3, dtype=torch.float64)[None],
        identity_tokens=normal(4, 5),
        identity=torch.nn.functional.normalize(normal(6)),
        region_features=normal(len(REGIONS), 7),
        region_present=torch.ones(1, len(REGIONS), dtype=torch.bool),
        parsing=torch.zeros(1, 256, 256, dtype=torch.uint8),
        texture=normal(9),
        light=normal(27),
        extractors="made-up",
        **vars(geometry),
    )


FACES = {"target": face(0, 4), "source": face(1, -6), "driver": face(2, 9)}


def disturbed(rep: FaceRepresentation, factor: Factor) -> FaceRepresentation:
    """The representation with one factor changed and all others as they were."""
    if factor in (Factor.HAIR, Factor.BACKGROUND):
        return other_region(rep, Region(factor.value))
    if factor is Factor.POSE:
        turn = rotation_from_euler(*torch.deg2rad(torch.tensor([[7.0], [4.0], [3.0]])))
        return replace(rep, rotation=turn @ rep.rotation)
    if factor is Factor.EXPRESSION:
        values = rep.expression.clone()
        values[:, ~torch.tensor(LOOKS)] = 0.9 - values[:, ~torch.tensor(LOOKS)]
        return replace(rep, expression=values)
    field = "identity_tokens" if factor is Factor.IDENTITY else factor.value
    return replace(rep, **{field: getattr(rep, field) + 0.2})


def other_region(rep: FaceRepresentation, region: Region) -> FaceRepresentation:
    features = rep.region_features.clone()
    features[:, REGIONS.index(region)] += 1
    return replace(rep, region_features=features)


def tokens(title: str, faces: dict[str, FaceRepresentation]) -> Any:
    """Token inputs and flags of a row for these pictures."""
    plan = plan_recipe(Recipe.for_task(title.split()[0], **TABLE[title][1]))[0]
    geometry = {name: geometry_of(rep) for name, rep in faces.items()}
    return token_inputs(plan, faces, result_geometry(plan.motion, geometry))


def by_factor(inputs: dict[str, Tensor]) -> dict[Factor, Tensor]:
    """What the tokens say of each factor.

    Of the pose the rotation alone: place and size of the head are always the target's. Of the
    expression all but the lids' looks.
    """
    values = {factor: inputs.get(factor.value, torch.empty(0)) for factor in Factor}
    values[Factor.POSE] = inputs["pose"][..., :6]
    values[Factor.EXPRESSION] = inputs["expression"][..., ~torch.tensor(LOOKS)]
    for factor in (Factor.HAIR, Factor.BACKGROUND):
        values[factor] = inputs[region_input(Region(factor.value))]
    return values


def differ(one: Tensor, two: Tensor) -> bool:
    return not torch.allclose(one, two, atol=1e-4)


def test_every_row_of_the_table_is_here() -> None:
    assert list(dict.fromkeys(title.split()[0] for title in TABLE)) == list(task_table())
    assert all(len(cells) == len(Factor) for cells, _ in TABLE.values())


@pytest.mark.parametrize(("title", "factor"), CELLS, ids=lambda value: str(value))
def test_a_factor_comes_from_the_picture_of_its_cell_alone(title: str, factor: Factor) -> None:
    cell = PICTURES[TABLE[title][0][list(Factor).index(factor)]]
    before = by_factor(tokens(title, FACES)[0])
    for name, rep in FACES.items():
        after = by_factor(tokens(title, {**FACES, name: disturbed(rep, factor)})[0])
        moved = {key for key in Factor if differ(before[key], after[key])}
        if factor is Factor.POSE and title in EYES_RIDE_ON_THE_HEAD:
            moved -= {Factor.GAZE}
        assert moved == ({factor} if name == cell else set()), name


@pytest.mark.parametrize("title", TABLE)
def test_a_region_comes_from_its_picture_alone(title: str) -> None:
    foreign = FOREIGN_REGIONS.get(title, ())
    inputs, present = tokens(title, FACES)
    assert all(bool(flag.all()) for flag in present.values())
    for index, region in enumerate(REGIONS):
        key, cell = region_input(region), "source" if region in foreign else "target"
        for name, rep in FACES.items():
            after, _ = tokens(title, {**FACES, name: other_region(rep, region)})
            moved = {other for other in inputs if differ(inputs[other], after[other])}
            assert moved == ({key} if name == cell else set()), (region, name)
            seen = rep.region_present.clone()
            seen[:, index] = False
            _, flags = tokens(title, {**FACES, name: replace(rep, region_present=seen)})
            hidden = {other for other, flag in flags.items() if not flag.all()}
            assert hidden == ({key} if name == cell else set()), (region, name)


def test_numbers_reach_the_tokens() -> None:
    own = by_factor(tokens("stylize", FACES)[0])
    opened = tokens("expression in numbers", FACES)[0]["expression"][0, 0]
    assert opened[BLENDSHAPES.index("jawOpen")] == 0.5
    turned = by_factor(tokens("pose in degrees", FACES)[0])
    assert differ(turned[Factor.POSE], own[Factor.POSE])
    looking = tokens("gaze in degrees", FACES)[0]["gaze"][0, 0]
    asked = own[Factor.GAZE][0, 0] + torch.deg2rad(torch.tensor([0.0, 10.0, 0.0, 10.0]))
    torch.testing.assert_close(looking, asked)


@pytest.mark.parametrize("title", TABLE)
def test_place_and_size_of_the_head_are_the_targets(title: str) -> None:
    before = tokens(title, FACES)[0]["pose"]
    for name in ("source", "driver"):
        rep = FACES[name]
        moved = replace(rep, scale=rep.scale * 1.3, translation=rep.translation + 20)
        assert not differ(tokens(title, {**FACES, name: moved})[0]["pose"], before)
    rep = FACES["target"]
    moved = replace(rep, scale=rep.scale * 1.3, translation=rep.translation + 20)
    after = tokens(title, {**FACES, "target": moved})[0]["pose"]
    torch.testing.assert_close(after[..., 6] - before[..., 6], torch.tensor([[1.3]]).log())
    assert differ(after[..., 7:], before[..., 7:])


def test_coefficients_beyond_the_blendshapes_stay_with_the_picture() -> None:
    """At the large scale an expression has more than the mesh can move."""
    faces = {
        name: replace(rep, expression=torch.cat([rep.expression, torch.full((1, 3), i)], 1))
        for i, (name, rep) in enumerate(FACES.items())
    }
    for title, owner in (("expression", 2.0), ("pose", 0.0), ("expression in numbers", 0.0)):
        values = tokens(title, faces)[0]["expression"]
        assert values.shape == (1, 1, len(BLENDSHAPES) + 3)
        assert (values[..., len(BLENDSHAPES) :] == owner).all(), title


def test_a_factor_from_nobody_is_absent() -> None:
    recipe = Recipe.model_validate({"steps": [{"light": "none", "regions": {"hair": "none"}}]})
    plan = plan_recipe(recipe)[0]
    geometry = {name: geometry_of(rep) for name, rep in FACES.items()}
    result = result_geometry(plan.motion, geometry)
    assert result is geometry["target"]
    inputs, present = token_inputs(plan, FACES, result)
    assert {name for name, flag in present.items() if not flag.all()} == {"light", "region:hair"}
    assert inputs.keys() >= present.keys()
