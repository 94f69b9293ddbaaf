# SPDX-License-Identifier: Apache-2.0
"""Outside its mask an edit changes nothing: every task, at three sizes, with the mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import facex
from facex.api import EditOptions
from facex.detect.choose import FaceChoice
from facex.imaging.read import Photo
from facex.recipes.tasks import task_table

OPTIONS = EditOptions(steps=1)
SIZES = (300, 512, 1100)

Edit = Callable[[facex.FaceX, Image.Image, Image.Image], facex.Result]


def hole(photo: Image.Image) -> Image.Image:
    """A mask over nose and mouth."""
    mask = Image.new("L", photo.size)
    box = tuple(side * photo.width for side in (0.38, 0.22, 0.52, 0.34))
    ImageDraw.Draw(mask).ellipse(box, 255)
    return mask


EDITS: dict[str, Edit] = {
    "inpaint": lambda m, p, o: m.inpaint(p, hole(p), options=OPTIONS),
    "swap": lambda m, p, o: m.swap(o, p, options=OPTIONS),
    "head-swap": lambda m, p, o: m.head_swap(o, p, options=OPTIONS),
    "attribute": lambda m, p, o: m.attribute(o, p, ["lips", "brows"], options=OPTIONS),
    "pose": lambda m, p, o: m.pose(p, yaw=12, pitch=5, options=OPTIONS),
    "expression": lambda m, p, o: m.expression(p, {"jawOpen": 0.5}, options=OPTIONS),
    "gaze": lambda m, p, o: m.gaze(p, yaw=15, options=OPTIONS),
    "reenact": lambda m, p, o: m.reenact(p, o, options=OPTIONS),
}


@pytest.fixture(scope="module", params=SIZES)
def photo(request: pytest.FixtureRequest, astronaut: Image.Image) -> Image.Image:
    side = int(request.param)
    return astronaut.resize((side, side), Image.Resampling.LANCZOS)


@pytest.fixture(scope="module")
def other(hopper: Image.Image) -> Image.Image:
    return hopper.resize((256, 300), Image.Resampling.LANCZOS)


@pytest.fixture(scope="module")
def model(mini: facex.FaceX) -> Iterator[facex.FaceX]:
    """The bundled model, which finds the faces of a picture once and not for every task."""
    find, found = mini.locator.find, {}

    def remember(photo: Photo, choice: FaceChoice, _timings: object = None) -> Any:
        key = photo.array.tobytes()
        if key not in found:
            found[key] = find(photo, choice)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mini.locator, "find", remember)
        yield mini


def test_every_task_with_a_mask_is_covered() -> None:
    # A style may change the whole picture.
    assert set(EDITS) | {"stylize"} == set(task_table())


@pytest.mark.parametrize("task", EDITS)
def test_no_pixel_outside_the_mask_changes(
    task: str, model: facex.FaceX, photo: Image.Image, other: Image.Image
) -> None:
    result = EDITS[task](model, photo, other)
    assert result.marked
    assert result.image.size == photo.size
    assert result.mask.shape == (photo.height, photo.width)
    differs = (np.asarray(photo) != np.asarray(result.image)).any(-1)
    outside = result.mask == 0
    assert np.count_nonzero(differs & outside) == 0
    # Neither is trivial: most of the photo is outside, and inside something happened.
    assert 0.5 < outside.mean() < 1
    assert differs[result.mask > 0.9].mean() > 0.2


@pytest.mark.parametrize("side", [300, 512])
def test_inpaint_keeps_what_the_mask_leaves_black(
    mini: facex.FaceX, astronaut: Image.Image, side: int
) -> None:
    picture = astronaut.resize((side, side), Image.Resampling.LANCZOS)
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).ellipse(tuple(v * side for v in (0.38, 0.22, 0.52, 0.34)), 255)
    result = mini.inpaint(picture, mask, options=EditOptions(steps=1, mark=False))
    changed = (np.asarray(picture) != np.asarray(result.image)).any(-1)
    assert changed.any()
    assert not changed[np.asarray(mask) == 0].any()
