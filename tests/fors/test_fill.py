# SPDX-License-Identifier: Apache-2.0
"""Filling what is unknown: smooth, within the range of what is known, and exact elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facex.fors.fill import borrow, push_pull, textured
from facex.fors.guess import Lender, fill_face, fill_rest, lend_skin
from facex.fors.tears import fill_dark_glasses
from facex.geometry.topology import RIGHT_EYE, region_polygon_mask
from tests.fors import made_up

Floats = NDArray[np.float32]
SHAPES = ((64, 64), (61, 90), (3, 200), (256, 256))


def scene(shape: tuple[int, int], seed: int = 0) -> tuple[Floats, Floats]:
    """Random colours, and a random half of the blocks known."""
    random = np.random.default_rng(seed)
    image = random.random((*shape, 3), dtype=np.float32)
    known = (random.random((-(-shape[0] // 7), -(-shape[1] // 7))) > 0.5).astype(np.float32)
    known = np.kron(known, np.ones((7, 7), np.float32))[: shape[0], : shape[1]]
    known[0, 0], known[-1, -1] = 1, 0
    return image, np.ascontiguousarray(known)


@pytest.mark.parametrize("shape", SHAPES)
def test_known_pixels_stay_and_unknown_ones_do_not_matter(shape: tuple[int, int]) -> None:
    image, known = scene(shape)
    before = image.copy()
    filled = push_pull(image, known)
    assert filled.dtype == np.float32
    assert np.array_equal(filled[known == 1], image[known == 1])
    assert np.array_equal(image, before)
    other = np.where(known[..., None] > 0, image, np.float32(1e3))
    assert np.array_equal(push_pull(other, known), filled)


@pytest.mark.parametrize("rough", [0.0, 0.2])
def test_a_hole_among_leaves_is_as_rough_as_they_are_and_one_in_a_wall_is_not(rough: float) -> None:
    random = np.random.default_rng(3)
    image = (0.5 + rough * (random.random((128, 128, 3)) - 0.5)).astype(np.float32)
    # Somebody's ear beside it is no texture.
    image[60:64, 36:38] = 0
    known = np.ones((128, 128), np.float32)
    known[40:90, 40:90] = 0
    filled = textured(np.where(known[..., None] > 0, image, np.float32(1)), known)
    assert np.array_equal(filled[known == 1], image[known == 1])
    inside = filled[46:84, 46:84].std()
    assert abs(inside - image[:30].std()) <= 0.3 * image[:30].std() + 0.01


@pytest.mark.parametrize("shape", SHAPES)
def test_the_filling_lies_within_what_is_known(shape: tuple[int, int]) -> None:
    image, known = scene(shape, 1)
    filled = push_pull(image, known)
    seen = image[known == 1]
    assert filled.min() >= seen.min() - 1e-5
    assert filled.max() <= seen.max() + 1e-5


def test_an_even_colour_goes_on_and_a_ramp_nearly() -> None:
    even = np.full((96, 80, 3), 0.37, np.float32)
    _, known = scene((96, 80))
    np.testing.assert_allclose(push_pull(even, known), 0.37, atol=1e-5)
    ramp = np.broadcast_to(np.linspace(0, 1, 128, dtype=np.float32)[:, None], (128, 128, 3)).copy()
    known = np.ones((128, 128), np.float32)
    known[48:80, 48:80] = 0
    filled = push_pull(ramp * known[..., None], known)
    assert abs(filled - ramp).max() < 0.1
    # No edge at the rim: neighbours differ no more than a few steps of the ramp.
    assert abs(np.diff(filled[..., 0], axis=1)).max() < 0.06


def test_nothing_and_everything_known() -> None:
    image, _ = scene((32, 40))
    for value in (0.0, 1.0):
        filled = push_pull(image, np.full((32, 40), value, np.float32))
        assert np.array_equal(filled, image)
        assert filled is not image


def test_one_known_pixel_colours_everything() -> None:
    image, known = scene((50, 70))[0], np.zeros((50, 70), np.float32)
    known[20, 30] = 1
    filled = push_pull(image, known)
    np.testing.assert_allclose(filled, np.broadcast_to(image[20, 30], filled.shape), atol=1e-4)


def test_lent_skin_takes_the_light_of_the_face_and_not_the_colour_of_a_strand() -> None:
    size = 96
    lender = np.full((size, size, 3), 0.4, np.float32)
    image = np.full((size, size, 3), 0.6, np.float32)
    image[40:44] = 0.05  # a strand across what is known, beside the hole
    known = np.ones((size, size), np.float32)
    known[:38] = 0
    everywhere = np.ones_like(known)
    filled, trust = borrow(image, known, lender, everywhere, 0.5, match=everywhere)
    assert filled[:38] == pytest.approx(0.6, abs=0.02)
    assert np.array_equal(filled[38:], image[38:])
    assert trust[:38].max() == 0.5
    plain, _ = borrow(image, known, lender, everywhere, 0.5)
    assert plain[:38] == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize("size", [128, 256, 512])
def test_a_beard_is_not_lent_and_a_shadow_is(size: int) -> None:
    half = size // 2
    upper, none = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    upper[:half] = 1
    lower = 1 - upper
    grain = np.random.default_rng(0).normal(0, 1, (size, size, 1)).astype(np.float32)
    skin = 0.6 * (1 + 0.01 * grain) * np.ones(3, np.float32)
    beard, shadow = skin.copy(), skin * (1 - 0.4 * lower[..., None])
    beard[half:] = np.clip(0.2 * (1 + 0.5 * grain[half:]), 0, 1)
    known = upper.copy()
    known[:, : size // 4] = 1  # of the jaw, only the left is shown
    hidden = np.s_[half + size // 8 :, half:]
    for image, want in ((beard, 0.6), (shadow, 0.36)):
        own = skin if image is beard else shadow
        lender = Lender(np.asarray(image, np.float32), upper, lower, none, none)
        found, trust = lend_skin(
            np.asarray(own, np.float32), known, np.ones_like(none), upper, lower, lender
        )
        assert found[hidden].mean() == pytest.approx(want, abs=0.04)
        assert trust[hidden].max() == pytest.approx(0.5)


def test_a_lock_that_was_called_skin_is_not_lent() -> None:
    size = 128
    skin = np.full((size, size, 3), 0.6, np.float32)
    lock = skin.copy()
    lock[40:80, 90:120] = 0.08
    whole, none = np.ones((size, size), np.float32), np.zeros((size, size), np.float32)
    known = whole.copy()
    known[:, 80:] = 0
    found, trust = lend_skin(skin, known, whole, whole, none, Lender(lock, whole, none, none, none))
    assert trust[45:75, 95:115].max() < 0.01  # left to whoever fills the rest
    assert found[100:120, 90:120] == pytest.approx(0.6, abs=0.02)
    assert trust[100:120, 90:120].min() == pytest.approx(0.5, abs=0.01)


def test_a_face_is_filled_from_its_skin_and_not_from_the_ground_beside_it() -> None:
    points = made_up.landmarks()
    size = made_up.SIZE
    face = region_polygon_mask(points, "face", size).astype(np.float32)
    image = np.where(face[..., None] > 0, np.float32(0.5), np.float32(1.0)).astype(np.float32)
    image = np.repeat(image, 3, 2)
    row = int(points[1, 1])
    right = int(np.flatnonzero(face[row]).max())
    known = np.ones((size, size), np.float32)
    known[row - 8 : row + 8, right - 8 : right + 2] = 0  # a temple, up to the outline
    filled = fill_face(image, known, face, face)
    assert filled[row, right - 3] == pytest.approx(0.5, abs=0.03)
    assert push_pull(image, known)[row, right - 3].max() > 0.55
    assert np.array_equal(filled[known == 1], image[known == 1])


def test_torn_lids_behind_a_dark_lens_are_lens_and_a_thin_frame_is_left_alone() -> None:
    image = np.full((256, 256, 3), 0.7, np.float32)
    lens, frame = np.zeros((256, 256), np.float32), np.zeros((256, 256), np.float32)
    lens[100:140, 60:120] = 1
    frame[100:140, 150:153] = 1
    torn = np.zeros_like(lens)
    torn[119:122, 70:110] = 1
    image[lens > 0] = 0.02
    image[torn > 0] = 0.6
    cover, points = 1 - 0.6 * torn, np.full((478, 3), 200.0)
    points[list(RIGHT_EYE), 0] = np.linspace(75, 105, len(RIGHT_EYE))
    points[list(RIGHT_EYE), 1] = 120 + 6 * (-1.0) ** np.arange(len(RIGHT_EYE))
    glasses = np.maximum(lens * (1 - torn), frame)
    filled, known = fill_dark_glasses(image, cover, glasses, points)
    assert filled[torn > 0].max() < 0.05
    assert (known[torn > 0] == 1).all()
    np.testing.assert_array_equal(filled[:, 145:], image[:, 145:])
    same, _ = fill_dark_glasses(image, cover, frame, points)
    np.testing.assert_array_equal(same, image)
    # A clear lens shows the eye: it has no piece before one.
    beside, _ = fill_dark_glasses(image, cover, glasses, points + np.array([60.0, 0, 0]))
    np.testing.assert_array_equal(beside, image)


def test_what_was_lent_is_shown_as_it_is() -> None:
    size = 64
    image = np.random.default_rng(0).uniform(0.46, 0.54, (size, size, 3)).astype(np.float32)
    known = np.ones((size, size), np.float32)
    known[:24] = 0.5  # lent
    known[40:44, 30:34] = 0  # a hole
    face = region_polygon_mask(made_up.landmarks(size=size), "face", size).astype(np.float32)
    filled = fill_face(image, known, np.ones_like(known), face)
    assert np.abs(filled - image)[known > 0].max() < 1e-5
    assert np.abs(filled - image)[known == 0].max() > 0.02


@pytest.mark.parametrize("strand", [0.1, 0.95])
def test_a_strand_lends_no_colour_to_the_hole_that_cuts_it_off(strand: float) -> None:
    size = 96
    image = np.full((size, size, 3), 0.5, np.float32)
    image[:, 34:38] = strand
    known = np.ones((size, size), np.float32)
    known[40:60, 36:56] = 0
    whole = np.ones_like(known)
    filled = fill_face(image, known, whole, whole)
    assert np.abs(filled[40:60, 35:56] - 0.5).max() < 0.05
    assert np.abs(filled[:30] - image[:30]).max() < 1e-5


def test_a_coloured_lock_beside_a_hole_does_not_tint_what_is_lent() -> None:
    size = 96
    skin = np.full((size, size, 3), (0.8, 0.6, 0.5), np.float32)
    known = np.ones((size, size), np.float32)
    known[:32] = 0
    locked = skin.copy()
    locked[32:40] = (0.8, 0.8, 0.1)  # called skin
    whole = np.ones_like(known)
    found, _ = borrow(locked, known, skin * 0.8, whole, 0.5, match=whole)
    assert np.abs(found[:20] - (0.8, 0.6, 0.5)).max() < 0.03


def test_lent_skin_that_darkens_gets_no_deeper_colour_beside_a_bright_border() -> None:
    """A factor is continued, not a difference: the darker rim keeps the tint of the rest."""
    size = 64
    skin = np.array([0.9, 0.7, 0.58], np.float32)
    lender = np.broadcast_to(skin, (size, size, 3)).copy()
    lender[:, :16] *= 0.75
    image = np.broadcast_to(skin * 0.6, (size, size, 3)).astype(np.float32)
    known = np.zeros((size, size), np.float32)
    known[:, 16:] = 1
    ones = np.ones_like(known)
    filled, _ = borrow(image, known, lender, ones, 0.5, match=ones)
    tint = filled[:, 2:10].mean((0, 1))
    assert tint.mean() < 0.6 * skin.mean()
    np.testing.assert_allclose(tint / tint.mean(), skin / skin.mean(), atol=0.08)


def test_lent_skin_is_nowhere_brighter_than_what_it_is_lent_to() -> None:
    """The lender's bright forehead is multiplied by a factor that its darker cheeks told."""
    size = 64
    skin = np.array([0.7, 0.5, 0.4], np.float32)
    image = np.broadcast_to(skin, (size, size, 3)).copy()
    lender = image * 0.6
    lender[:20] = skin
    known = np.ones((size, size), np.float32)
    known[:24] = 0
    whole = np.ones_like(known)
    found, _ = borrow(image, known, np.asarray(lender, np.float32), whole, 0.5, match=whole)
    assert found[:14].mean() == pytest.approx(float(skin.mean()), abs=0.03)


def test_a_gap_between_cheek_and_hair_is_hair() -> None:
    size = 64
    skin, hair = np.float32([0.8, 0.6, 0.5]), np.float32([0.15, 0.1, 0.1])
    image = np.broadcast_to(hair, (size, size, 3)).copy()
    face, gap = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    face[16:48, 20:44], gap[16:48, 44:50] = 1, 1
    image[face > 0], image[gap > 0] = skin, (0, 1, 0)
    front = 1 - gap
    filled, _ = fill_rest(image, front, front, 1 - face, image, np.ones_like(face))
    assert filled[24:40, 45:49] == pytest.approx(np.broadcast_to(hair, (16, 4, 3)), abs=0.02)


def test_clothes_and_the_wall_go_on_behind_a_head_each_by_itself() -> None:
    size = 64
    wall, shirt = np.float32([0.9, 0.95, 1.0]), np.float32([0.1, 0.1, 0.3])
    cloth = np.zeros((size, size), np.float32)
    cloth[40:] = 1
    target = np.where(cloth[..., None] > 0, shirt, wall)
    head, front = np.zeros_like(cloth), np.zeros_like(cloth)
    head[8:56, 16:48] = 1
    front[8:30, 24:40] = 1
    known = np.asarray((1 - head) + front, np.float32)
    beside = np.zeros_like(known)
    behind, _ = fill_rest(target, known, front, beside, target, head, cloth=cloth)
    assert behind[22, 20] == pytest.approx(wall, abs=0.02)
    assert behind[52, 32] == pytest.approx(shirt, abs=0.02)
    mixed = np.abs(behind[8:56, 18] - wall).max(-1) > 0.1
    mixed &= np.abs(behind[8:56, 18] - shirt).max(-1) > 0.1
    assert mixed.sum() < 8


def test_lent_skin_takes_no_tint_that_the_face_has_nowhere() -> None:
    """Red light falls on the side of the lender that is compared, and none on what is lent."""
    size = 128
    skin = np.array([0.7, 0.5, 0.4], np.float32)
    image, lender = (np.broadcast_to(skin, (size, size, 3)).copy() for _ in range(2))
    lender[:, : size // 2, 0] *= 1.25
    known, ones = np.zeros((size, size), np.float32), np.ones((size, size), np.float32)
    known[:, : size // 2] = 1
    found, _ = borrow(image, known, lender, ones, 0.5, match=ones)
    tint = found[:, 80:].mean((0, 1))
    np.testing.assert_allclose(tint / tint.mean(), skin / skin.mean(), atol=0.02)
