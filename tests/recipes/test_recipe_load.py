# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facex.errors import RecipeError
from facex.recipes import load
from facex.recipes.load import dump_recipe, load_recipe, parse_recipe, recipe_from_data
from facex.recipes.schema import Place, Recipe, Sliders
from facex.recipes.values import DriveMode, PlaceKind
from tests.recipes.recipe_strategies import recipes

EXAMPLE = """\
format_version: 1
photos: {target: me.jpg, anna: anna.jpg, bob: bob.jpg, glasses: g.png}
steps:
  - identity: anna            # any factor: a picture's name
    texture: anna
    regions: {lips: anna, hair: bob}
  - pose: {yaw: 20}           # numbers where a picture could stand
    expression: {mouthSmileLeft: 0.8, jawOpen: 0.2}
    gaze: {yaw: 10, pitch: 0}
  - place: {picture: glasses, kind: glasses}
"""


def test_example_means_what_it_says() -> None:
    recipe = parse_recipe(EXAMPLE, given=())
    first, second, third = recipe.steps
    assert (first.identity, first.texture, first.pose) == ("anna", "anna", "target")
    assert first.regions == {"lips": "anna", "hair": "bob"}
    blendshapes = {"mouthSmileLeft": 0.8, "jawOpen": 0.2}
    assert second.sliders == Sliders(yaw=20, gaze_yaw=10, blendshapes=blendshapes)
    assert second.pose == "target"
    assert third.place == Place(picture="glasses", kind=PlaceKind.GLASSES)
    assert recipe.pictures() == {"target", "anna", "bob", "glasses"}


def test_short_form_with_picture_equals_long_form() -> None:
    short = {"pose": {"picture": "driver", "mode": "relative", "roll": -5}}
    long = {"pose": "driver", "sliders": {"roll": -5, "mode": "relative"}}
    assert recipe_from_data({"steps": [short]}) == recipe_from_data({"steps": [long]})
    step = recipe_from_data({"steps": [short]}).steps[0]
    assert step.sliders.mode is DriveMode.RELATIVE


@settings(max_examples=40, deadline=None)
@given(recipes())
def test_round_trip(recipe: Recipe) -> None:
    assert parse_recipe(dump_recipe(recipe), given=("target", "source", "driver")) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_file_round_trip_and_relative_paths(tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    for name in ("me.jpg", "anna.jpg", "bob.jpg", "g.png"):
        (folder / name).touch()
    (folder / "mix.yaml").write_text(EXAMPLE)
    recipe = load_recipe(folder / "mix.yaml")
    assert recipe.photos["anna"] == folder / "anna.jpg"
    (tmp_path / "copy.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "copy.yaml") == recipe
    (folder / "bob.jpg").unlink()
    with pytest.raises(RecipeError, match=r"mix\.yaml: line 2: photos\.bob.*expected a file"):
        load_recipe(folder / "mix.yaml")


# what is replaced in the example, by what; then the line and words of the error
BROKEN = [
    ("lips: anna", "lipz: anna", 6, r"steps\[0\].regions.lipz: .*lips.*did you mean 'lips'"),
    ("lips: anna", "lips: 3", 6, r"regions.lips: found 3, expected the name of a picture"),
    ("identity: anna", "identity: ana", 4, r"identity: found 'ana'.*target.*did you mean 'anna'"),
    ("identity: anna", "identity:", 4, "found nothing, expected the name"),
    ("identity: anna", "identity: {yaw: 3}", 4, "found a mapping, expected the name"),
    ("identity: anna", "identity: source", 4, "found 'source', expected a picture of photos"),
    ("texture: anna", "textur: anna", 5, "textur: unknown key.*did you mean 'texture'"),
    ("yaw: 20", "yaw: 200", 7, r"steps\[1\].pose.yaw: found 200, expected .* -90 to 90"),
    ("yaw: 20", "yow: 20", 7, "pose.yow: unknown key.*did you mean 'yaw'"),
    ("yaw: 20", "yaw: '20'", 7, "found '20', expected a number"),
    ("yaw: 20", "yaw: true", 7, "found true, expected a number"),
    ("yaw: 20", "yaw: .nan", 7, "found nan, expected a number"),
    ("yaw: 20", "yaw: -.inf", 7, "found -inf, expected a number"),
    ("yaw: 20", "picture: nobody", 7, "pose.picture: found 'nobody'"),
    ("yaw: 20", "mode: fast", 7, "pose.mode: found 'fast', expected one of absolute, relative"),
    ("jawOpen", "jawopen", 8, "expression.jawopen: .*did you mean 'jawOpen'"),
    ("0.2", "1.2", 8, "expression.jawOpen: found 1.2, expected a number from 0 to 1"),
    ("kind: glasses", "kind: hat", 10, "place.kind: found 'hat', expected one of glasses, mous"),
    ("place: {picture: glasses,", "place: {", 10, "place.picture: is missing"),
    ("place: {picture: glasses, kind: glasses}", "place: g", 10, "found 'g', expected a mapping"),
    ("texture: anna", "edit: [lip]", 5, "edit: found 'lip'.*did you mean 'lips'"),
    ("texture: anna", "edit: []", 5, "edit: found a list, expected auto, mask, a region"),
    ("texture: anna", "edit: lips\n    mask: m.png", 5, "edit: .*expected mask"),
    ("texture: anna", "seed: -1", 5, "seed: found -1, expected a whole number"),
    ("texture: anna", "steps: 1.5", 5, "steps: found 1.5, expected a whole number"),
    ("texture: anna", "kappa: 2", 5, "kappa: found 2, expected a number from 0 to 1"),
    ("texture: anna", "guidance: {motion: 99}", 5, "guidance.motion: found 99"),
    ("texture: anna", "sliders: [1]", 5, "sliders: found a list, expected a mapping"),
    ("texture: anna", "sliders: {yaw: 1}\n    pose: {yaw: 2}", 6, "sliders.yaw is given as well"),
    ("texture: anna", "identity: bob", 5, "key 'identity' again, first on line 4"),
    ("texture: anna", "<<: {texture: anna}", 5, "merge keys"),
    ("texture: anna", "2: anna", 5, "key '2', expected a text"),
    ("texture: anna", "texture: !!python/object:os.system x", 5, "tag .*expected plain values"),
    ("texture: anna", "texture: *nowhere", 5, "undefined alias"),
    ("    texture: anna", "\ttexture: anna", 5, "a tab; YAML wants spaces"),
    ("bob: bob.jpg", "none: b.jpg", 2, r"photos.none: .*expected a name"),
    ("bob: bob.jpg", "bob: [b]", 2, r"photos.bob: found a list, expected the path"),
    ("target: me.jpg", "tarjet: me.jpg", 2, "photos: target is missing"),
    ("photos:", "photo:", 2, "photo: unknown key.*did you mean 'photos'"),
    ("format_version: 1\n", "", 1, "format_version is missing"),
    ("format_version: 1", "format_version: 2", 1, "newer FaceX.*update"),
    ("format_version: 1", "format_version: one", 1, "found 'one', expected 1"),
    ("steps:", "steps: []\nnot_steps:", 3, r"steps: found a list, expected at least one"),
    ("}\nsteps:", "\nsteps:", 3, "expected"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "words"), BROKEN, ids=[b[1] for b in BROKEN])
def test_error_names_line_key_found_and_expected(old: str, new: str, line: int, words: str) -> None:
    assert EXAMPLE.count(old) >= 1
    with pytest.raises(RecipeError, match=words) as caught:
        parse_recipe(EXAMPLE.replace(old, new, 1), given=())
    assert caught.value.line == line
    assert str(caught.value).startswith(f"line {line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("- a\n- b\n", "a mapping at the top"),
        ("just text", "a mapping at the top"),
        ("a: 1\n---\nb: 2\n", "another document"),
        ("a: 'x\n", "end of stream"),
        ("\x00", "characters that no text has"),
        (b"\xff\xd8\xff\xe0 a jpeg", "no UTF-8"),
        ("a" * (2**20 + 1), "too large"),
        ("a: " + "[" * 500 + "]" * 500, "deep"),
        ("a: [" + "x, " * 30_000 + "]", "more than 20000 values"),
        ("a: &a {b: *a}", "aliases"),
        ("a: &a [" + "x, " * 999 + "]\nb: [" + "*a, " * 40 + "]", "aliases"),
        ("a: &a x\nb: [" + "*a, " * 60 + "]", "more than 50 aliases"),
        ("a: " + "9" * 5000, "is no int"),
    ],
)
def test_hostile_texts(source: str | bytes, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe(source)


def test_laughs_do_not_grow() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 6)]
    with pytest.raises(RecipeError, match="aliases"):
        parse_recipe("\n".join(rows))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80) | st.binary(max_size=80))
def test_any_text_is_a_recipe_or_a_recipe_error(source: str | bytes) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(source)


@pytest.mark.parametrize("cut", range(0, len(EXAMPLE), 7))
def test_cut_short(cut: int) -> None:
    outcome = "a recipe"
    try:
        parse_recipe(EXAMPLE[:cut])
    except RecipeError as error:
        outcome = str(error)
    assert re.match(r"line \d+: |a recipe", outcome)


def test_unusable_paths(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml", "a\0b", "x" * 5000):
        with pytest.raises(RecipeError):
            load_recipe(path)


def test_old_formats_are_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(load.MIGRATIONS, 0, lambda data: {"steps": data["edits"]})
    recipe = parse_recipe("format_version: 0\nedits: [{identity: source}]\n")
    assert recipe.steps[0].identity == "source"
    assert recipe.format_version == 1
