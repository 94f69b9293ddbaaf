# SPDX-License-Identifier: Apache-2.0
"""The rules from recipe to plan, and the table of DESIGN 7 cell by cell."""

import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings

from facex.errors import RecipeError
from facex.ford.representation import TOKEN_INPUTS
from facex.recipes.plan import Plan, plan_recipe, plan_step
from facex.recipes.schema import Place, Recipe, Sliders, Step
from facex.recipes.tasks import TaskRow, task_table
from facex.recipes.values import Reference
from facex.types import FACE_REGIONS, HEAD_REGIONS, REGIONS, Factor, Region
from tests.recipes.recipe_strategies import recipes, steps

S, T, D = "source", "target", "driver"
F = Factor
FACE, HEAD, ALL = set(FACE_REGIONS), set(HEAD_REGIONS), set(REGIONS)
LIPS, HAIR = Region.LIPS, Region.HAIR
WORN = FACE | {Region.GLASSES}

# Written out from DESIGN 7, not read from tasks.yaml: factors and regions that are not the
# target's, what may change (None: the user's mask), and how to ask for the task.
TABLE: dict[str, tuple[dict[Factor, str], dict[Region, str], set[Region] | None, dict]] = {
    "inpaint": ({}, {}, None, {}),
    "inpaint guided": ({F.IDENTITY: S}, {}, None, {"given": (S,)}),
    "swap": ({F.IDENTITY: S, F.TEXTURE: S}, dict.fromkeys(WORN, S), WORN, {}),
    "head-swap": (
        {F.IDENTITY: S, F.TEXTURE: S, F.HAIR: S}, dict.fromkeys(HEAD, S), HEAD, {},
    ),
    "attribute lips": ({}, {LIPS: S}, {LIPS}, {"chosen": ("lips",)}),
    "attribute hair": ({F.HAIR: S}, {HAIR: S}, {HAIR}, {"chosen": ("hair",)}),
    "attribute skin": (
        {F.TEXTURE: S}, dict.fromkeys((Region.SKIN, Region.BEARD), S),
        {Region.SKIN, Region.BEARD}, {"chosen": ("skin",)},
    ),
    "pose": ({F.POSE: D}, {}, HEAD, {"given": (D,)}),
    "expression": ({F.EXPRESSION: D}, {}, FACE, {"given": (D,)}),
    "gaze": ({F.GAZE: D}, {}, {Region.EYES}, {"given": (D,)}),
    "reenact": ({F.POSE: D, F.EXPRESSION: D, F.GAZE: D}, {}, HEAD, {}),
    "stylize": ({}, {}, ALL, {"style": "pencil"}),
}  # fmt: skip


def plan_for(title: str, **overrides: object) -> Plan:
    asked = {**TABLE[title][3], **overrides}
    return plan_recipe(Recipe.for_task(title.split()[0], **asked))[0]


@pytest.mark.parametrize("title", TABLE)
def test_every_cell(title: str) -> None:
    factors, regions, edit, _ = TABLE[title]
    plan = plan_for(title)
    for factor in Factor:
        assert plan.factors[factor] == factors.get(factor, T), factor
        if factor.value in plan.tokens:
            assert plan.tokens[factor.value] == factors.get(factor, T), factor
    for region in REGIONS:
        assert plan.pixels[region] == regions.get(region, T), region
        assert plan.tokens[f"region:{region}"] == regions.get(region, T), region
    assert plan.by_mask is (edit is None)
    assert plan.edit == (ALL if edit is None else edit)
    assert plan.reference is Reference.WARPED
    assert not plan.is_identity
    # Geometry: shape with the identity's pixels, motion from the driver.
    moved = {F.POSE: plan.motion.pose, F.EXPRESSION: plan.motion.expression,
             F.GAZE: plan.motion.gaze}  # fmt: skip
    assert moved == {factor: factors.get(factor, T) for factor in moved}
    assert plan.motion.shape == (S if title in ("swap", "head-swap") else T)
    assert plan.kappa == (0 if title == "stylize" else 1)


def test_table_has_the_tasks_and_nothing_else() -> None:
    assert list(task_table()) == list(dict.fromkeys(title.split()[0] for title in TABLE))
    for row in task_table().values():
        assert isinstance(row, TaskRow)
        assert row.help.endswith(".")
        assert len(row.help) < 100


@pytest.mark.parametrize("task", ["pose", "expression", "gaze"])
def test_numbers_instead_of_a_driver(task: str) -> None:
    sliders = Sliders(yaw=10, gaze_pitch=-5, blendshapes={"jawOpen": 0.4})
    plan = plan_recipe(Recipe.for_task(task, sliders=sliders))[0]
    assert set(plan.factors.values()) == {T}
    assert plan.motion.yaw == pytest.approx(math.radians(10))
    assert plan.motion.gaze_pitch == pytest.approx(math.radians(-5))
    assert plan.motion.blendshapes == {"jawOpen": 0.4}
    assert plan.driven == {"pose", "expression", "gaze"}
    with pytest.raises(RecipeError, match=f"{task} needs driver or sliders"):
        Recipe.for_task(task)


def test_asking_for_nothing_is_the_identity() -> None:
    assert plan_recipe(Recipe.for_task("pose", sliders=Sliders()))[0].is_identity
    assert plan_step(Step()).is_identity
    assert plan_step(Step(edit=("lips",), kappa=0.3, seed=3)).is_identity
    asked = (
        Step(mask=Path("m.png")), Step(edit="mask"), Step(style="x"), Step(light="a"),
        Step(regions={"glasses": "none"}), Step(sliders=Sliders(roll=1)),
        Step(sliders=Sliders(blendshapes={"jawOpen": 0})),
        Step(place=Place(picture="g", kind="beard")),
    )  # fmt: skip
    assert not any(plan_step(step).is_identity for step in asked)


def test_attribute_pictures_and_errors() -> None:
    place = Place(picture=S, kind="glasses")
    plan = plan_recipe(Recipe.for_task("attribute", place=place))[0]
    assert plan.edit == {Region.GLASSES}
    assert plan.faces == {T}
    with pytest.raises(RecipeError, match="attribute needs regions or place"):
        Recipe.for_task("attribute", given=(S,))
    with pytest.raises(RecipeError, match=r"regions\.lipz.*did you mean 'lips'"):
        Recipe.for_task("attribute", chosen=("lipz",))
    with pytest.raises(RecipeError, match="did you mean 'stylize'"):
        Recipe.for_task("stylise", style="x")
    with pytest.raises(RecipeError, match="stylize needs style"):
        Recipe.for_task("stylize")
    with pytest.raises(RecipeError, match="swap has no use for sliders"):
        Recipe.for_task("swap", sliders=Sliders())
    with pytest.raises(RecipeError, match="strength: found 7"):
        Recipe.for_task("swap", strength=7)


def test_regions_follow_factors_and_the_narrower_word_counts() -> None:
    step = Step(
        identity="a", texture="b", hair="c", background="d",
        regions={"lips": "x", "face": "y", "all": "z", "head": "none"},
    )  # fmt: skip
    assert plan_step(step).pixels[LIPS] == "x"
    assert plan_step(step).pixels[Region.SKIN] == "y"
    assert plan_step(step).pixels[HAIR] == plan_step(step).factors[F.HAIR] == "none"
    assert plan_step(step).pixels[Region.CLOTH] == "z"
    bare = plan_step(step.model_copy(update={"regions": {}})).pixels
    assert [bare[r] for r in (Region.EYES, Region.SKIN, HAIR, Region.NECK)] == list("abcd")
    assert bare[Region.EARS] == bare[Region.GLASSES] == bare[Region.HAT] == T


def test_gaze_is_carried_with_the_head() -> None:
    assert "gaze" in plan_step(Step(pose="a")).driven
    assert "gaze" not in plan_step(Step(pose="a", gaze="a")).driven
    relative = Step(pose="a", sliders=Sliders(mode="relative"))
    assert plan_step(relative).driven == {"pose", "gaze"}


@settings(max_examples=60, deadline=None)
@given(steps())
def test_plans_are_complete_and_consistent(step: Step) -> None:
    plan = plan_step(step)
    assert tuple(plan.tokens) == TOKEN_INPUTS
    assert tuple(plan.pixels) == REGIONS
    assert plan.driven <= set(TOKEN_INPUTS)
    mentioned = {*step.uses().values(), T}
    assert plan.faces <= mentioned
    assert {plan.motion.shape, plan.motion.pose} <= plan.faces
    foreign = {region for region, origin in plan.pixels.items() if origin != T}
    if step.edit == "auto":
        assert foreign <= plan.edit
        assert bool(plan.edit) is not plan.is_identity
    if plan.is_identity:
        assert set(plan.tokens.values()) == {T}
        assert plan.motion.is_still
        assert not plan.driven
    assert pickle.loads(pickle.dumps(plan)) == plan


@settings(max_examples=20, deadline=None)
@given(recipes())
def test_recipes_know_their_pictures(recipe: Recipe) -> None:
    faces = frozenset().union(*(plan.faces for plan in plan_recipe(recipe)))
    assert faces <= recipe.pictures()
