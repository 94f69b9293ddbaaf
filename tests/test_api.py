# SPDX-License-Identifier: Apache-2.0
"""The library with the bundled model: nothing asked, seeds, saving, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import facex
from facex.api import EditOptions
from facex.errors import (
    ImageRejected,
    Interrupted,
    ModelNotFound,
    NoFaceFound,
    OptionError,
    RecipeError,
)
from facex.recipes.schema import Step

QUICK = EditOptions(steps=1, mark=False)


def pixels(result: facex.Result) -> np.ndarray:
    return np.asarray(result.image)


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    return (np.asarray(before) != np.asarray(after)).any(-1)


Ask = Callable[[facex.FaceX, Image.Image], facex.Result]

NOTHING: dict[str, Ask] = {
    "every factor from the target": lambda m, p: m.edit(p, facex.Recipe(steps=(Step(),))),
    "two steps of nothing": lambda m, p: m.edit(p, facex.Recipe(steps=(Step(), Step(kappa=0.5)))),
    "pose": lambda m, p: m.pose(p, yaw=0, pitch=0, roll=0),
    "gaze": lambda m, p: m.gaze(p, yaw=0, pitch=0),
    "expression": lambda m, p: m.expression(p, {}),
}


@pytest.mark.parametrize("asked", NOTHING)
def test_an_edit_that_asks_for_nothing_returns_the_photo(
    asked: str, mini: facex.FaceX, astronaut: Image.Image, tmp_path: Path
) -> None:
    result = NOTHING[asked](mini, astronaut)
    assert not changed(astronaut, result.image).any()
    assert not result.mask.any()
    # Nothing was generated, so nothing is marked as generated.
    assert not result.marked
    assert result.faces == 1
    with Image.open(result.save(tmp_path / "same.png")) as written:
        assert not changed(astronaut, written).any()
        assert "XML:com.adobe.xmp" not in written.info


def test_an_untouched_photo_is_stored_as_the_file_had_it(
    mini: facex.FaceX, astronaut: Image.Image, tmp_path: Path
) -> None:
    """Sixteen bits a pixel and transparency survive; nothing is taken through 8 bit sRGB."""
    grey = np.asarray(astronaut.convert("L"), np.uint16) * 257
    deep = Image.fromarray(grey + np.arange(512, dtype=np.uint16) % 200)
    alpha = astronaut.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(astronaut.size))
    for name, picture in {"deep.png": deep, "alpha.png": alpha}.items():
        picture.save(tmp_path / name)
        written = mini.pose(tmp_path / name, yaw=0).save(tmp_path / f"same-{name}")
        with Image.open(written) as same:
            assert same.mode == picture.mode
            assert np.array_equal(np.asarray(same), np.asarray(picture))


def test_a_seed_decides_every_byte(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    def run(seed: int) -> np.ndarray:
        options = EditOptions(steps=1, seed=seed, mark=False)
        return pixels(mini.swap(hopper, astronaut, options=options))

    first, again, other = run(3), run(3), run(4)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_saved_model_gives_the_same_edit(
    mini: facex.FaceX, astronaut: Image.Image, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    mini.save_pretrained(folder)
    again = facex.FaceX.from_pretrained(folder, device="cpu")
    assert again.model.index == mini.model.index
    assert again.model.folder == folder
    one, two = (m.gaze(astronaut, yaw=15, options=QUICK) for m in (mini, again))
    assert changed(astronaut, one.image).any()
    assert np.array_equal(pixels(one), pixels(two))
    (tmp_path / "mine.txt").write_text("a folder of somebody's own")
    with pytest.raises(facex.FaceXError, match="no FaceX model"):
        mini.save_pretrained(tmp_path)
    assert (tmp_path / "mine.txt").exists()


Wrong = Callable[[facex.FaceX, Image.Image], Any]
GREY = Image.new("RGB", (300, 300), (120, 120, 120))

ERRORS: dict[str, tuple[type[facex.FaceXError], str, Wrong]] = {
    "no face": (NoFaceFound, "no face", lambda m, p: m.pose(GREY, yaw=5)),
    "no face in the source": (NoFaceFound, "no face", lambda m, p: m.swap(GREY, p)),
    "no second face": (NoFaceFound, "face", lambda m, p: m.pose(p, yaw=5, face="2")),
    "no such choice": (OptionError, "face choice", lambda m, p: m.decompose(p, face="biggest")),
    "no mask": (OptionError, "mask", lambda m, p: m.edit(p, "inpaint")),
    "mask beside the face": (
        OptionError, "covers nothing", lambda m, p: m.inpaint(p, np.zeros((512, 512))),
    ),
    "mask of another shape": (
        ImageRejected, "mask", lambda m, p: m.inpaint(p, np.ones((100, 512))),
    ),
    "no source": (RecipeError, "'source'", lambda m, p: m.edit(p, "swap")),
    "no task": (RecipeError, "did you mean 'swap'", lambda m, p: m.edit(p, "swop")),
    "no region": (RecipeError, "lips", lambda m, p: m.attribute(p, p, ["lipz"])),
    "no blendshape": (RecipeError, "jawOpen", lambda m, p: m.expression(p, {"jawOpne": 1})),
    "no style": (ModelNotFound, "did you mean 'pencil'", lambda m, p: m.stylize(p, "pencl")),
    "no picture": (ImageRejected, "the picture", lambda m, p: m.decompose(b"this is no picture")),
    "no file": (ImageRejected, "gone.png", lambda m, p: m.decompose("gone.png")),
    "no steps": (OptionError, "steps", lambda m, p: EditOptions(steps=0)),
    "too strong": (OptionError, "strength", lambda m, p: EditOptions(strength=1.5)),
    "no number": (OptionError, "kappa", lambda m, p: EditOptions(kappa=float("nan"))),
    "no size": (OptionError, "size", lambda m, p: EditOptions(size=10)),
    "no model": (ModelNotFound, "gone", lambda m, p: facex.FaceX.from_pretrained("./gone")),
    "no device": (OptionError, "tpu", lambda m, p: facex.FaceX.from_pretrained(device="tpu")),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_what_a_user_gets_wrong_is_one_sentence(
    case: str, mini: facex.FaceX, astronaut: Image.Image
) -> None:
    kind, said, do = ERRORS[case]
    with pytest.raises(facex.FaceXError, match=said) as caught:
        do(mini, astronaut)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_an_edit_can_be_stopped_and_the_model_is_as_before(
    mini: facex.FaceX, astronaut: Image.Image
) -> None:
    before = pixels(mini.gaze(astronaut, yaw=15, options=QUICK))

    def stop(done: int, total: int, what: str) -> None:
        mini.pipeline._interrupt = True

    with pytest.raises(Interrupted):
        mini.gaze(astronaut, yaw=15, options=EditOptions(steps=3), progress=stop)
    assert np.array_equal(pixels(mini.gaze(astronaut, yaw=15, options=QUICK)), before)


def test_a_badge_is_no_face(mini: facex.FaceX, astronaut: Image.Image) -> None:
    pale = ImageEnhance.Color(astronaut).enhance(0.6)
    top = mini.decompose(pale)[0].photo_from_crop[0, 1, 2]
    assert top < 200  # the face spans y 83 to 171, the badge 330 to 435
