# SPDX-License-Identifier: Apache-2.0
"""The room around a crop, in which hair from another photo goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import facex
from facex.api import EditOptions
from facex.detect.choose import FaceChoice
from facex.fors.labels import without_specks
from facex.framing import CROP, ROOMY, framing_of
from facex.imaging.read import Photo
from facex.imaging.warp import Similarity
from facex.locate import LocatedFace
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from facex.types import PARSING_CLASSES

_HAIR = PARSING_CLASSES.index("hair")


@pytest.fixture(scope="module")
def face(mini: facex.FaceX, astronaut: Image.Image) -> LocatedFace:
    photo = Photo(astronaut, astronaut)
    return mini.locator.find(photo, FaceChoice())[0]


def test_only_hair_from_another_photo_needs_room() -> None:
    assert framing_of(plan_step(Step(regions={"head": "source"}))) is ROOMY
    assert framing_of(plan_step(Step(hair="source"))) is ROOMY
    for fields in ({"identity": "source"}, {"pose": "driver"}, {"hair": "source", "style": "oil"}):
        assert framing_of(plan_step(Step(**fields))) is CROP


def test_the_crop_is_the_middle_of_what_is_looked_at(face: LocatedFace) -> None:
    size = face.representation.crop_size
    for crop in (size, 2 * size):
        side, margin = ROOMY.side(crop), ROOMY.margin(crop)
        corners = np.array([[0.0, 0.0], [crop, 0.0], [crop, crop]])
        found = ROOMY.frame(face, side).apply(corners + margin)
        np.testing.assert_allclose(found, face.frame(crop).apply(corners), atol=1e-6)
    picture = ROOMY.picture(face, _no_parser, goes=False)
    margin = ROOMY.margin(size)
    part = slice(margin, margin + size)
    gap = picture.pixels[part, part] * 255 - face.pixels(size)
    assert np.abs(gap).max() <= 1
    assert (picture.parsing[part, part] == face.representation.parsing[0].numpy()).all()
    assert (CROP.pixels(face, size) == face.pixels(size)).all()


def test_what_the_photo_does_not_show_is_nothing(face: LocatedFace) -> None:
    size = face.representation.crop_size
    cut = Similarity.from_parts()
    alone = LocatedFace(face.pixels(size), cut, face.crop, face.representation, "cut out")
    picture = ROOMY.picture(alone, _no_parser, goes=False)
    shown = picture.parsing == _HAIR
    margin = ROOMY.margin(size)
    assert not shown[:margin].any()
    assert not shown[:, -margin:].any()
    share = margin / ROOMY.side(size)
    assert picture.extent == pytest.approx((share, share, 1 - share, 1 - share))


def _no_parser(crop: torch.Tensor, fields: object) -> dict[str, torch.Tensor]:
    """Calls everything hair."""
    return {"parsing": torch.full_like(crop[:, 0], _HAIR, dtype=torch.uint8)}


def test_a_change_fades_into_the_room() -> None:
    inner = torch.ones(2, 3, 64, 64)
    whole = ROOMY.put_around(inner)
    assert whole.shape[-1] == ROOMY.side(64)
    margin = ROOMY.margin(64)
    assert (whole[..., margin + 8 : margin + 56, margin + 8 : margin + 56] == 1).all()
    assert not whole[..., :margin, :].any()
    assert (whole.diff(dim=-1).abs() < 0.5).all()
    outer = torch.full_like(whole, 0.25)
    assert (ROOMY.put_around(inner, outer)[..., :margin, :] == 0.25).all()


def test_hair_goes_on_beyond_the_crop(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    (face,) = mini.decompose(hopper)
    top = Similarity(face.photo_from_crop[0].numpy()).apply(np.array([[0.5 * face.crop_size, 0]]))
    result = mini.head_swap(astronaut, hopper, options=EditOptions(steps=1))

    def blond(picture: Image.Image) -> NDArray[np.bool_]:
        """Where there is the hair's colour above the crop: a badge and a cord have it before."""
        red, green, blue = np.asarray(picture, np.int16)[: int(top[0, 1]) - 3].transpose(2, 0, 1)
        return np.asarray((red > green + 8) & (green > blue + 15) & (red > 100))

    assert (blond(result.image) & ~blond(hopper)).sum() > 200


def test_hair_goes_on_only_where_it_leaves_the_crop(face: LocatedFace) -> None:
    size = face.representation.crop_size
    picture = ROOMY.picture(face, _no_parser, goes=False)
    margin = ROOMY.margin(size)
    own = without_specks(face.representation.parsing[0].numpy()) == _HAIR
    assert own[2].any(), "this hair reaches the top of the crop"
    assert not own[-2].any()
    above, below = picture.parsing[:margin] == _HAIR, picture.parsing[margin + size :] == _HAIR
    assert above.any()
    assert not above[:, :margin].any()
    assert not below[:, margin:-margin].any()
    # All that may be hair goes with a head that is replaced.
    gone = ROOMY.picture(face, _no_parser, goes=True)
    assert (gone.parsing[margin + size :] == _HAIR).any()
