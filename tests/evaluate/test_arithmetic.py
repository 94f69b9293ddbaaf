# SPDX-License-Identifier: Apache-2.0
"""Metrics and statistics give what arithmetic says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facex.errors import OptionError
from facex.evaluate.bootstrap import mean_interval
from facex.evaluate.faces import FaceSet
from facex.evaluate.groups import gaps, groups_of, ita
from facex.evaluate.masks import Hole, covered_share, hole_mask
from facex.evaluate.metrics.distribution import frechet_distance, kernel_distance
from facex.evaluate.metrics.identity import measures
from facex.evaluate.metrics.motion import gaze_angle, rotation_angle, slopes
from facex.evaluate.metrics.pictures import PSNR_LIMIT, psnr, ssim
from facex.evaluate.metrics.same_person import laid_on
from facex.evaluate.metrics.style import filtered
from facex.evaluate.metrics.style import measure as style_measure
from facex.evaluate.perceptual import Network
from facex.evaluate.protocols import cases_of, choose_protocols, protocol_table
from facex.evaluate.view import Gallery, View
from facex.imaging.warp import Similarity
from facex.recipes.plan import plan_recipe
from facex.recipes.schema import Recipe
from tests.fors import made_up


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_equal_pictures_are_perfect() -> None:
    assert psnr(picture(0), picture(0)) == PSNR_LIMIT
    assert ssim(picture(0), picture(0)) == pytest.approx(1)


def test_a_known_error_has_its_psnr() -> None:
    grey = np.full((32, 32, 3), 100, np.uint8)
    assert psnr(grey, grey + np.uint8(16)) == pytest.approx(20 * np.log10(255 / 16), abs=1e-3)


@pytest.mark.parametrize("degrees", [0.0, 0.01, 10.0, 90.0, 179.0])
def test_a_rotation_by_an_angle_is_that_far(degrees: float) -> None:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turned = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    assert rotation_angle(np.eye(3), turned) == pytest.approx(degrees, abs=1e-6)


def test_gaze_angles_add_up() -> None:
    straight, aside = np.zeros(2), np.array([0.0, np.deg2rad(12)])
    assert gaze_angle(straight, aside) == pytest.approx(12, abs=1e-5)


@given(st.floats(-3, 3))
def test_a_slider_that_moves_by_a_factor_has_that_slope(factor: float) -> None:
    asked = np.array([-20.0, -10, 10, 30])
    table = np.stack([asked, factor * asked], -1)[None, :, None]
    assert slopes(table)[0] == pytest.approx(factor, abs=1e-9)


def test_distances_of_distributions() -> None:
    random = np.random.default_rng(0)
    one, same = random.normal(size=(2, 400, 8))
    moved = same + 3
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-3)
    # Two clouds with one covariance are as far apart as their means, squared.
    assert frechet_distance(same, moved) == pytest.approx(9 * 8, rel=1e-3)
    assert abs(kernel_distance(one, same)) < 0.1 * kernel_distance(one, moved)


def test_a_face_that_is_in_the_gallery_is_found_first_and_another_is_not() -> None:
    rows = np.eye(4, dtype=np.float32)
    gallery = Gallery(("a", "b", "b", "c"), {"net": rows})
    assert gallery.rank("net", rows[0], "a") == 0
    assert gallery.rank("net", rows[2], "b") == 0
    assert gallery.rank("net", rows[3], "a") == 1
    assert gallery.rank("net", rows[0], "nobody") >= 3


def test_intervals_hold_the_mean_and_shrink_with_more_cases() -> None:
    random = np.random.default_rng(1)
    few, many = random.normal(5, 1, 20), random.normal(5, 1, 2000)
    for values in (few, many):
        found = mean_interval(values)
        assert found.low < found.value < found.high
        assert found.value == pytest.approx(values.mean())
    wide, narrow = mean_interval(few), mean_interval(many)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_groups_and_their_gap() -> None:
    assert ita([80, 0, 10]) > 60
    assert groups_of({"male": "0.9", "age": "40"}, {}) == {"sex": "male", "age": "35 to 54"}
    found = gaps([1.0, 1.0, 2.0, 2.0], [{"sex": s} for s in ("male", "male", "female", "female")])
    assert [(g.division, g.ratio) for g in found] == [("sex", 2.0)]


def test_nobody_having_any_is_no_gap() -> None:
    (gap,) = gaps([0.0, 0.0], [{"sex": "female"}, {"sex": "male"}])
    assert gap.ratio == 1


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_holes_are_as_large_as_asked_and_the_same_for_everybody(share: float) -> None:
    hole = Hole(kind="strokes", share=share)
    masks = [hole_mask(hole, 256, seed) for seed in (3, 3, 4)]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    assert covered_share(masks[0]) == pytest.approx(share, abs=0.05)


def test_protocols_are_found_by_name_and_by_task() -> None:
    assert [p.name for p in choose_protocols(["swap"])] == ["swap"]
    assert len(choose_protocols(["inpaint"])) > 4
    assert len(choose_protocols(["all"])) == len(protocol_table())
    with pytest.raises(OptionError, match="swap"):
        choose_protocols(["swop"])


def test_every_number_says_which_way_is_better() -> None:
    meaning = measures("top1@net")
    assert meaning is not None
    assert (meaning.better, "net" in meaning.label) == ("up", True)


def test_a_style_is_reached_by_its_filter_and_not_by_the_photo() -> None:
    photo, pixels = picture(3), filtered("comic", picture(3))

    def distance(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return (one - two).abs().mean((1, 2, 3))

    def reached(output: np.ndarray, style: str = "comic") -> dict[str, float]:
        plans = plan_recipe(Recipe.for_task("stylize", style=style))
        reading: dict[str, np.ndarray] = {}
        return style_measure(View(
            output=output, reading=reading, pictures={"target": photo}, readings={}, people={},
            plans=plans, owners={}, galleries={}, lpips=Network("plain", distance),
        ))  # fmt: skip

    assert reached(photo)["style_reached"] == pytest.approx(0)
    assert reached(pixels) == pytest.approx({"style_lpips": 0, "style_reached": 1})
    assert reached(pixels, "another") == {}


def test_a_photo_that_was_moved_is_laid_back() -> None:
    size = 256
    points = made_up.landmarks(size=size)
    photo = (made_up.textured(0, size) * 255).astype(np.uint8)
    move = Similarity.from_parts(scale=1.1, rotation=0.1, shift=(-20.0, -25.0))
    matrix = np.array(move.matrix)
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    moved = cv2.warpAffine(photo, matrix, (size, size), flags=cv2.INTER_CUBIC)
    there = points.copy()
    there[:, :2] = move.apply(points[:, :2])
    back, face = laid_on(moved, {"points": there}, {"points": points})
    assert psnr(back[face], photo[face]) > 22
    assert psnr(moved[face], photo[face]) < psnr(back[face], photo[face]) - 5


def test_another_photo_of_a_person_is_of_that_person(tmp_path: Path) -> None:
    names = [f"p{person}-{photo}" for person in range(5) for photo in range(1 + person % 3)]
    rows = {name: {"person": name.split("-")[0]} for name in names}
    faces = FaceSet(tmp_path, tuple(sorted(names)), rows)
    for name in ("same-face", "same-motion"):
        protocol = protocol_table()[name]
        cases = cases_of(protocol, faces)
        assert len(cases) == 3  # three people have more than one photo
        for case in cases:
            (other,) = case.pictures.values()
            assert other != case.target
            assert faces.person(other) == faces.person(case.target)
        assert protocol.truth in case.faces
