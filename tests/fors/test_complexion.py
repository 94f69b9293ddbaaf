# SPDX-License-Identifier: Apache-2.0
"""A face of another complexion: the skin beside it goes with it, everything else stays."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest

from facex.fors.complexion import SKIN, into_hair, skin_in_hair, through_glasses
from facex.fors.region_masks import region_masks
from facex.fors.relight import match_light
from facex.types import PARSING_CLASSES, Region
from tests.fors import made_up
from tests.fors.made_up import SIZE
from tests.fors.test_region_assembler import SWAP, assembled, inner, plan_of

BROWN, PALE = (0.28, 0.18, 0.13), (0.86, 0.7, 0.62)


@pytest.mark.parametrize(("mine", "theirs"), [(BROWN, PALE), (PALE, BROWN)])
def test_the_neck_goes_with_the_face(mine: Any, theirs: Any) -> None:
    points = made_up.landmarks(size=88) + np.array([20, 8, 0])
    source, target = made_up.picture(mine), made_up.picture(theirs, points)
    found = assembled(plan_of(**SWAP, edit=["face"]), source, target)
    face = found.image[inner(target, *SKIN, rim=3)].mean(0)
    throat = inner(target, Region.NECK, rim=3)
    neck = found.image[throat].mean(0)
    assert abs(face - neck).max() < 0.04
    between = (np.array(mine).mean(), np.array(theirs).mean())
    assert min(between) + 0.05 < face.mean() < max(between) - 0.05
    assert found.edit[throat].min() > 0.9
    hair = inner(target, Region.HAIR, rim=8)
    assert (found.edit[hair] == 0).all()
    np.testing.assert_array_equal(found.image[hair], target.pixels[hair])


def test_skin_that_shows_through_hair_goes_with_the_face_and_hair_stays() -> None:
    target = made_up.picture(BROWN)
    masks = region_masks(target)
    hair = target.parsing == PARSING_CLASSES.index("hair")
    pixels = np.where(hair[..., None], np.float32(0.05), target.pixels)
    # A short haircut: half of what is called hair, beside the forehead, is skin.
    skin = np.minimum(sum(masks[region] for region in SKIN), 1)
    rim = hair & (cv2.dilate((skin > 0.9).astype(np.uint8), np.ones((7, 7))) > 0)
    pixels[rim] = np.array(BROWN, np.float32) * 0.8 + 0.01
    shorn = dataclasses.replace(target, image=pixels)
    paler = pixels + (np.array(PALE, np.float32) - BROWN) * skin[..., None]
    shown = into_hair(paler, pixels, skin, masks, skin_in_hair(masks, shorn))
    gained = (shown - pixels).mean(-1)
    assert gained[rim].mean() > 0.1
    far = hair & (cv2.dilate((skin > 0.1).astype(np.uint8), np.ones((17, 17))) == 0)
    assert far.any()
    np.testing.assert_array_equal(shown[far], pixels[far])


def test_who_takes_the_texture_of_the_target_takes_its_complexion() -> None:
    source, target = made_up.picture(BROWN), made_up.picture(PALE)
    plan = plan_of(**{**SWAP, "texture": "target"}, edit=["face"])
    found = assembled(plan, source, target)
    face = found.image[inner(target, *SKIN, rim=3)].mean(0)
    np.testing.assert_allclose(face, PALE, atol=0.05)
    assert (found.edit[inner(target, Region.NECK, rim=6)] == 0).all()


def test_black_frames_stay_black_before_a_face_that_turns_pale() -> None:
    ones = np.ones((SIZE, SIZE), np.float32)
    grain = np.random.default_rng(0).normal(0, 0.01, (SIZE, SIZE, 1)).astype(np.float32)
    skin = np.array(BROWN, np.float32) + grain
    colours = match_light(skin, ones, np.array(PALE, np.float32) + grain, ones)
    assert colours is not None
    image = skin.copy()
    image[:10] = 0.03
    relit = colours.apply(image)
    shown = through_glasses(image, relit, colours)
    assert shown[:10].mean() < 0.06
    np.testing.assert_allclose(shown[10:], relit[10:], atol=1e-5)


def test_the_colour_of_a_lamp_does_not_come_along() -> None:
    """Skin in blue light, its whites and shadows with it, goes into white light."""
    ones = np.ones((SIZE, SIZE), np.float32)
    grain = np.random.default_rng(0).normal(0, 0.03, (SIZE, SIZE, 3)).astype(np.float32)
    pale, white = np.array(PALE, np.float32), np.full(3, 0.8, np.float32)
    lamp = np.array([0.5, 0.6, 1.0], np.float32)
    colours = match_light(pale * lamp + grain, ones, pale + grain, ones)
    assert colours is not None
    for colour in (pale, white, 0.4 * pale):
        shown = colours.apply(np.broadcast_to(colour * lamp, (SIZE, SIZE, 3)))[SIZE // 2, SIZE // 2]
        before, after = ((x[2] - x[0]) - (colour[2] - colour[0]) for x in (colour * lamp, shown))
        assert abs(after) < 0.5 * abs(before)


@pytest.mark.parametrize("tone", [(1.0, 1.0, 1.0), (1.0, 0.85, 0.6)], ids=["grey", "sepia"])
def test_a_black_and_white_face_takes_on_colour_and_a_colourful_one_the_tone(
    tone: tuple[float, float, float],
) -> None:
    """What a picture of one tone lacks is no complexion."""
    ones = np.ones((SIZE, SIZE), np.float32)
    grain = np.random.default_rng(0).normal(0, 0.03, (SIZE, SIZE, 3)).astype(np.float32)
    colourful = np.array(PALE, np.float32) + grain
    toned = (0.6 + grain[..., :1]) * np.array(tone, np.float32)

    def chroma(image: Any) -> Any:
        return cv2.cvtColor(np.asarray(image, np.float32), cv2.COLOR_RGB2LAB)[..., 1:]

    coloured = match_light(toned, ones, colourful, ones)
    assert coloured is not None
    gap = chroma(coloured.apply(toned)).mean((0, 1)) - chroma(colourful).mean((0, 1))
    assert np.abs(gap).max() < 2
    faded = match_light(colourful, ones, toned, ones)
    assert faded is not None
    for colours in (faded, faded.plain()):
        lips = np.broadcast_to(np.array([0.7, 0.2, 0.2], np.float32), (4, 4, 3)).copy()
        shown = chroma(colours.apply(lips))[0, 0]
        wanted = chroma(np.broadcast_to(0.45 * np.array(tone), (4, 4, 3)))[0, 0]
        assert np.abs(shown - wanted).max() < 6
