# SPDX-License-Identifier: Apache-2.0
"""Metrics on made-up readings: identical pictures, known changes, shuffled pairs, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy import linalg
from skimage.metrics import structural_similarity

from facex.evaluate.bars import generator_rows
from facex.evaluate.metrics import detail, drift, identity, motion, parsing, pictures, regions
from facex.evaluate.metrics.distribution import compare, frechet_distance, kernel_distance
from facex.evaluate.perceptual import Network
from facex.evaluate.protocols import Case, protocol_table
from facex.evaluate.summary import ProtocolResult, SystemResult
from facex.evaluate.view import Gallery, View
from facex.geometry.topology import region_polygon_mask
from facex.imaging.colour import srgb_to_lab
from facex.recipes.plan import plan_recipe
from facex.recipes.schema import Recipe
from facex.types import BLENDSHAPES, PARSING_CLASSES
from tests.fors import made_up

SIZE = 256
POINTS = made_up.landmarks(size=SIZE)
NET = "id_faceres1024"


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def reading(**changes: Any) -> dict[str, np.ndarray]:
    """What a judge reads off the made-up face, with changes."""
    plain: dict[str, np.ndarray] = {
        "points": POINTS,
        "blendshapes": np.zeros(len(BLENDSHAPES)),
        "rotation": np.eye(3),
        "gaze": np.zeros(2),
        "light": np.full(27, 0.5),
        "skin": np.array([60.0, 15, 20]),
        "hair": np.array([30.0, 5, 10, 0.2]),
        "sharp": np.array(100.0),
        "parsing": made_up.parsing(POINTS / 2, 128),
    }
    return plain | {name: np.asarray(value) for name, value in changes.items()}


def view(task: str = "swap", **parts: Any) -> View:
    """A case whose result is the target; ``parts`` replace what it holds."""
    recipe = parts.pop("recipe", None) or Recipe.for_task(
        task, given=parts.pop("given", ["source"]), chosen=parts.pop("chosen", ())
    )
    plans = plan_recipe(recipe)
    owners = {f.value: o for plan in plans for f, o in plan.factors.items() if o != "target"}
    photo = (made_up.textured(0, SIZE) * 255).astype(np.uint8)
    known: dict[str, Any] = {
        "output": photo,
        "reading": reading(),
        "pictures": {"target": photo, "source": (made_up.textured(1, SIZE) * 255).astype(np.uint8)},
        "readings": {"target": reading(), "source": reading(), "driver": reading()},
        "people": {"target": "a", "source": "b"},
        "plans": plans,
        "owners": owners,
        "galleries": {},
    }
    return View(**(known | parts))


def plain_distance(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    return (one - two).abs().mean((1, 2, 3))


PLAIN = Network("plain", plain_distance)


# Regions and what is outside of them.


def test_change_outside_of_the_edit_is_found_to_the_pixel() -> None:
    edit = np.zeros((SIZE, SIZE), np.float32)
    edit[100:150, 100:150] = 0.2
    given = view(edit=edit)
    inside = given.output.copy()
    inside[120, 120] ^= 255
    assert regions.measure(replace(given, output=inside))["outside_max"] == 0
    outside = given.output.astype(int)
    outside[0, 0] += np.where(outside[0, 0] < 128, 7, -7)
    found = regions.measure(replace(given, output=outside.astype(np.uint8)))
    assert found["outside_max"] == 7
    assert found["outside_mean"] == pytest.approx(7 / (SIZE * SIZE - 50 * 50))


def test_a_region_is_nearer_to_whose_it_is() -> None:
    given = view("attribute", chosen=["lips"], lpips=PLAIN)
    lips = region_polygon_mask(POINTS, "lips", SIZE)[..., None] > 0
    taken = np.where(lips, given.pictures["source"], given.pictures["target"])
    done = regions.measure(replace(given, output=taken))
    nothing = regions.measure(given)
    assert (done["region_nearer"], nothing["region_nearer"]) == (1, 0)
    assert done["region_lpips"] < 0.3 * nothing["region_lpips"]
    assert done["region_lab:lips"] < 0.2 * nothing["region_lab"]


def test_colours_of_a_region_are_as_far_apart_as_they_are() -> None:
    grey, brown = ((np.ones((SIZE, SIZE, 3)) * c).astype(np.uint8) for c in (128, (150, 90, 60)))
    given = view("attribute", chosen=["lips"], lpips=PLAIN, output=grey,
                 pictures={"target": grey, "source": brown})  # fmt: skip
    lab = [np.asarray(srgb_to_lab(p[:1, :1].astype(np.float32) / 255))[0, 0] for p in (grey, brown)]
    wanted = np.linalg.norm(lab[0] - lab[1])
    assert regions.measure(given)["region_lab"] == pytest.approx(wanted, rel=1e-3)


def test_hair_of_another_colour_is_as_far_as_its_colour() -> None:
    given = view("attribute", chosen=["hair"])
    readings = {**given.readings, "source": reading(hair=[33.0, 9, 10, 0.2])}
    found = regions.measure(replace(given, readings=readings))
    assert (found["hair_lab"], found["region_nearer:hair"]) == (pytest.approx(5), 0)


# Parser agreement.


@pytest.mark.parametrize("task", ["swap", "head-swap", "attribute", "expression"])
def test_the_parser_agrees_with_itself(task: str) -> None:
    chosen = ["hair", "lips"] if task == "attribute" else []
    given = ["driver"] if task == "expression" else ["source"]
    found = parsing.measure(view(task, given=given, chosen=chosen))
    assert found.pop("kept_iou", 1) > 0.97
    assert ("hair_iou" in found) == (task in ("head-swap", "attribute"))
    assert all(value > 0.97 for value in found.values())


def test_hair_that_is_longer_has_the_overlap_of_arithmetic() -> None:
    hair = PARSING_CLASSES.index("hair")
    short, long = (np.zeros((128, 128), np.uint8) for _ in range(2))
    short[10:30, 20:100], long[10:50, 20:100] = hair, hair
    given = view("attribute", chosen=["hair"], reading=reading(parsing=short))
    readings = {**given.readings, "source": reading(parsing=long)}
    found = parsing.measure(replace(given, readings=readings))
    assert found["hair_iou"] == pytest.approx(0.5, abs=0.03)


def test_a_shape_is_laid_on_the_face_before_it_is_compared() -> None:
    """The source is the same face somewhere else in its picture."""
    moved = np.add(POINTS, [12.0, -8.0, 0.0])
    given = view("head-swap")
    there = reading(points=moved, parsing=made_up.parsing(moved / 2, 128))
    found = parsing.measure(replace(given, readings={**given.readings, "source": there}))
    assert found["taken_iou:lips"] > 0.9
    assert found["taken_iou:hair"] > 0.9


# Motion.


def test_a_slider_that_half_works_and_what_else_moved() -> None:
    recipe = Recipe.for_task("pose", sliders={"yaw": 20})
    shapes = np.zeros(len(BLENDSHAPES))
    shapes[:] = 0.1
    light = np.full(27, 0.5)
    out = reading(rotation=turned(10), blendshapes=shapes, light=light * 1.2, skin=[63.0, 19, 20])
    found = motion.measure(view(recipe=recipe, reading=out))
    assert found["asked:yaw"] == pytest.approx(20)
    assert abs(found["moved:yaw"]) == pytest.approx(10)
    assert found["slider_missed"] == pytest.approx(0.5 if found["moved:yaw"] > 0 else 1.5)
    assert found["cross_blendshapes"] == pytest.approx(0.1)
    assert found["cross_light"] == pytest.approx(0.2)
    assert found["cross_skin"] == pytest.approx(5)
    assert "pose_deg" not in found
    nothing = motion.measure(view(recipe=recipe))
    assert nothing["slider_missed"] == 1
    assert nothing["cross_light"] == nothing["cross_skin"] == 0


def test_motion_is_measured_against_whom_it_comes_from() -> None:
    driver = reading(rotation=turned(25), gaze=[0.0, np.deg2rad(8)], blendshapes=np.full(52, 0.2),
                     points=np.add(POINTS, [3.0, 4.0, 0.0]))  # fmt: skip
    readings = {"target": reading(), "driver": driver}
    still = view("reenact", given=["driver"], readings=readings)
    eyes = np.linalg.norm(POINTS[468, :2] - POINTS[473, :2])
    found = motion.measure(still)
    assert found["pose_deg"] == pytest.approx(25)
    assert found["gaze_deg"] == pytest.approx(8)
    assert found["blendshapes"] == pytest.approx(0.2)
    swap = view(reading=reading(points=np.add(POINTS, [3.0, 4.0, 0.0])), plans=(), owners={})
    assert motion.measure(swap)["landmarks"] == pytest.approx(100 * 5 / eyes)
    followed = motion.measure(replace(still, reading=driver))
    assert max(followed.values()) == pytest.approx(0, abs=1e-6)


def test_a_slope_has_an_interval_and_two_slopes_are_told_apart() -> None:
    random = np.random.default_rng(0)
    rows = [
        {"asked:yaw": a, "moved:yaw": 0.5 * a + e}
        for a, e in zip(random.choice([-20.0, 10, 30], 60), random.normal(0, 2, 60), strict=True)
    ]
    found = motion.summarise(rows)
    for name, value in (("slope:yaw", 0.5), ("slope:all", 0.5)):
        low, high = found[name].low, found[name].high
        assert low < value < high
        assert 0.01 < high - low < 0.2
    assert 0.9 < found["correlation:yaw"].low < found["correlation:yaw"].value < 1


# Detail, drift, holes.


def test_detail_is_the_ratio_of_the_variances() -> None:
    given = view()
    readings = {**given.readings, "source": reading(sharp=50.0)}  # whose skin it is
    found = detail.measure(replace(given, readings=readings))
    assert found == {"detail": pytest.approx(1), "detail_ratio": pytest.approx(2)}
    assert detail.measure(given)["detail_ratio"] == pytest.approx(1)


def test_drift_counts_from_the_last_step_that_took_a_face() -> None:
    steps: list[dict[str, Any]] = [{"identity": "source", "texture": "source",
                                    "regions": {"face": "source"}, "edit": ["face"]},
                                   {"sliders": {"gaze_yaw": 10}},
                                   {"sliders": {"gaze_yaw": -10}}]  # fmt: skip
    recipe = Recipe.model_validate({"format_version": 1, "steps": steps})
    unit = np.array([1.0, 0]), np.array([0.6, 0.8])
    chain = [
        (np.zeros((4, 4, 3), np.uint8), reading(**{f"{identity.PREFIX}net": u}, skin=s, sharp=v))
        for u, s, v in ((unit[0], [60.0, 15, 20], 100.0), (unit[0], [60.0, 15, 21], 100.0),
                        (unit[1], [63.0, 19, 20], 50.0))
    ]  # fmt: skip
    found = drift.measure(view(recipe=recipe, steps=chain))
    assert found["skin_drift:2"] == pytest.approx(1)
    assert found["skin_drift:3"] == pytest.approx(5)
    assert found["sharp_drift:3"] == pytest.approx(0.5)
    assert found["identity_drift@net:3"] == pytest.approx(0.6)
    assert "skin_drift:1" not in found


def test_a_hole_is_measured_inside_alone() -> None:
    hole = np.zeros((SIZE, SIZE), np.float32)
    hole[64:128, 64:128] = 1  # a sixteenth of the picture
    truth = np.full((SIZE, SIZE, 3), 100, np.uint8)
    output = np.where(hole[..., None] > 0, truth + np.uint8(16), truth + np.uint8(50))
    found = pictures.measure(view(truth=truth, hole=hole, output=output, lpips=PLAIN))
    assert found["hole_psnr"] == pytest.approx(20 * np.log10(255 / 16), abs=1e-3)
    assert found["hole_lpips"] == pytest.approx(16 / 255, rel=1e-4)


# Against the usual implementations.


@pytest.mark.parametrize("blur", [0, 1, 3])
def test_ssim_is_that_of_scikit_image(blur: int) -> None:
    one = (made_up.textured(2, 96) * 255).astype(np.uint8)
    two = cv2.GaussianBlur(one, (0, 0), blur) if blur else one[::-1].copy()
    usual = structural_similarity(one, two, channel_axis=-1, data_range=255, gaussian_weights=True,
                                  sigma=1.5, use_sample_covariance=False)  # fmt: skip
    assert pictures.ssim(one, two) == pytest.approx(usual, abs=1e-4)


@pytest.mark.parametrize(("count", "width"), [(300, 16), (24, 48)])
def test_the_frechet_distance_is_that_of_a_matrix_root(count: int, width: int) -> None:
    """As pytorch-fid has it: scipy's root of the product of the covariances; also for N < D."""
    random = np.random.default_rng(width)
    mix = random.normal(size=(width, width))
    a, b = random.normal(size=(count, width)), random.normal(size=(count + 9, width)) @ mix + 0.3
    cov = [np.cov(x, rowvar=False) for x in (a, b)]
    root = np.real(linalg.sqrtm(cov[0] @ cov[1] + 1e-10 * np.eye(width)))
    gap = a.mean(0) - b.mean(0)
    usual = gap @ gap + np.trace(cov[0]) + np.trace(cov[1]) - 2 * np.trace(root)
    assert frechet_distance(a, b) == pytest.approx(usual, rel=2e-3)


def test_the_kernel_distance_is_the_sum_over_pairs() -> None:
    random = np.random.default_rng(5)
    a, b = random.normal(size=(7, 3)), random.normal(size=(9, 3)) + 1

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 3 + 1) ** 3)

    def pairs(one: np.ndarray, two: np.ndarray, *, apart: bool) -> float:
        found = [kernel(x, y) for i, x in enumerate(one) for j, y in enumerate(two)
                 if not apart or i != j]  # fmt: skip
        return float(np.mean(found))

    wanted = pairs(a, a, apart=True) + pairs(b, b, apart=True) - 2 * pairs(a, b, apart=False)
    assert kernel_distance(a, b) == pytest.approx(wanted)


def test_distances_of_distributions_have_intervals_that_shrink() -> None:
    random = np.random.default_rng(6)
    real = random.normal(size=(500, 8))
    few, many = (compare(random.normal(size=(n, 8)) + 1, real, "net") for n in (40, 400))
    for name in ("fid-net", "kid-net"):
        assert few[name].low < few[name].value < few[name].high
        assert few[name].high - few[name].low > 1.5 * (many[name].high - many[name].low)
    assert many["fid-net"].low < 8 < many["fid-net"].high


# Shuffled pairs and verdicts.


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 64))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def swapped(results: np.ndarray, rotations: Sequence[np.ndarray]) -> list[dict[str, float]]:
    """Numbers of swaps by the embeddings and poses of their results; sources face elsewhere."""
    count = len(results)
    sources, targets = unit_rows(count, 1), unit_rows(count, 2)
    galleries = {
        role: Gallery(tuple(f"{role}{i}" for i in range(count)), {NET: rows})
        for role, rows in (("source", sources), ("target", targets))
    }
    found = []
    for i in range(count):
        key = f"{identity.PREFIX}{NET}"
        case = view(
            reading=reading(rotation=rotations[i], **{key: results[i]}),
            readings={"target": reading(**{key: targets[i]}),
                      "source": reading(rotation=turned(30), **{key: sources[i]})},
            people={role: f"{role}{i}" for role in ("source", "target")},
            galleries=galleries,
        )  # fmt: skip
        found.append(identity.measure(case) | motion.measure(case))
    return found


def test_shuffled_pairs_find_nobody() -> None:
    count = 120
    rows = swapped(unit_rows(count, 3), [np.eye(3)] * count)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    assert means[f"top1@{NET}"] < 5 / count
    assert means[f"top5@{NET}"] < 0.12
    assert means[f"target_top1@{NET}"] < 5 / count
    assert abs(means[f"nearer@{NET}"] - 0.5) < 0.15
    assert abs(means[f"cosine@{NET}"]) < 0.05


@pytest.mark.parametrize("system", ["nothing", "paste", "perfect"])
def test_bars_give_every_system_what_it_deserves(system: str) -> None:
    """Doing nothing keeps the pose and misses the person, pasting the other way round."""
    count = 40
    embeddings = unit_rows(count, 2 if system == "nothing" else 1)
    rows = swapped(embeddings, [turned(30) if system == "paste" else np.eye(3)] * count)
    cases = [Case(i, f"t{i}", {"source": f"s{i}"}, 0, 0) for i in range(count)]
    records = {case.key: row for case, row in zip(cases, rows, strict=True)}
    result = ProtocolResult(
        protocol_table()["swap"], cases, count, "hash", {}, {"ours": SystemResult(records, {})},
        {case.key: {"sex": "female"} for case in cases},
    )  # fmt: skip
    assert result.key == f"cosine@{NET}"
    bars = {row.bar.measures[0]: row for row in generator_rows({"swap": result.as_json()})}
    verdicts = {name: bars[name].verdict for name in (f"top1@{NET}", "pose_deg")}
    wanted = {
        "nothing": ("missed", "goal"),
        "paste": ("goal", "missed"),
        "perfect": ("goal", "goal"),
    }[system]
    assert tuple(verdicts.values()) == wanted
    assert all(bars[name].sure for name in verdicts)
