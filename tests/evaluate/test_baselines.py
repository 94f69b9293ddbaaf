# SPDX-License-Identifier: Apache-2.0
"""Baselines: nothing to do changes nothing, and what moves, moves."""

from __future__ import annotations

import numpy as np
import pytest

from facex.evaluate.baselines import BASELINES, LABELS, Materials, baseline
from facex.evaluate.protocols import protocol_table
from tests.fors import made_up

SIZE = 256


def face(seed: int) -> np.ndarray:
    return (made_up.textured(seed, SIZE) * 255).astype(np.uint8)


def materials(other_yaw: float = 0.0, *, same: bool = False, hole: bool = False) -> Materials:
    target = face(0)
    readings = {"points": made_up.landmarks(size=SIZE)}
    other = {"points": made_up.landmarks(yaw=other_yaw, size=SIZE)}
    picture = target if same else face(1)
    mask = None
    if hole:
        mask = np.zeros((SIZE, SIZE), np.float32)
        mask[100:140, 90:150] = 1
    return Materials(
        {"target": target, "source": picture, "driver": picture},
        {"target": readings, "source": other, "driver": other},
        mask,
    )


@pytest.mark.parametrize("name", BASELINES)
def test_with_oneself_nothing_changes(name: str) -> None:
    given = materials(same=True)
    change = np.abs(baseline(name, given).astype(float) - given.pictures["target"])
    assert change.mean() < 1.5


@pytest.mark.parametrize("name", ["paste", "classical"])
def test_a_swap_shows_the_source_inside_and_the_target_outside(name: str) -> None:
    given = materials()
    found = baseline(name, given).astype(float)
    middle, corner = np.s_[110:150, 110:150], np.s_[:20, :20]
    assert np.array_equal(found[corner], given.pictures["target"][corner])

    def fine(image: np.ndarray) -> np.ndarray:
        part = image[middle].astype(float).mean(2)
        return (part - part.mean()).ravel()

    like = [
        np.corrcoef(fine(found), fine(given.pictures[who]))[0, 1] for who in ("source", "target")
    ]
    assert like[0] > like[1] + 0.2


def test_a_landmark_warp_turns_the_nose_aside() -> None:
    given = materials(other_yaw=20)
    target = given.pictures["target"].copy()
    nose = given.readings["target"]["points"][1, :2]
    x, y = (int(v) for v in nose)
    target[y - 3 : y + 4, x - 3 : x + 4] = (255, 0, 0)
    found = baseline("warp", Materials({**given.pictures, "target": target}, given.readings))
    red = (found[..., 0] > 200) & (found[..., 1:].max(2) < 60)
    moved = np.flatnonzero(red.any(0)).mean() - x
    assert moved > 8  # + yaw looks to the picture's right
    assert abs(np.flatnonzero(red.any(1)).mean() - y) < 6


@pytest.mark.parametrize("name", ["telea", "navier_stokes"])
def test_inpainting_changes_the_hole_alone(name: str) -> None:
    given = materials(hole=True)
    found, target = baseline(name, given), given.pictures["target"]
    outside = given.hole == 0
    assert np.array_equal(found[outside], target[outside])
    assert not np.array_equal(found, target)


def test_every_baseline_has_a_label_and_is_known() -> None:
    named = {name for protocol in protocol_table().values() for name in protocol.baselines}
    assert named <= set(BASELINES) | {"reference", "roundtrip"}
    assert named <= set(LABELS)
