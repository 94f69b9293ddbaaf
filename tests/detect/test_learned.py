# SPDX-License-Identifier: Apache-2.0
"""The bundled detector on portraits of every size and turn, against dlib as a second opinion."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from PIL import Image

import facex
from facex.detect.detector import Detector
from facex.detect.learned import NetDetector
from facex.locate import rough_frame
from tests.detect.dlib_detector import dlib_faces


@pytest.fixture(scope="module")
def detector(mini: facex.FaceX) -> Detector:
    assert isinstance(mini.locator.detector, NetDetector)
    return mini.locator.detector


def test_it_agrees_with_another_detector(detector: Detector, astronaut: Image.Image) -> None:
    pixels = np.asarray(astronaut)
    (mine,), (other,) = detector(pixels), dlib_faces(pixels)
    middle = np.full((1, 2), 128.0)
    one, two = (rough_frame(d, 256) for d in (mine, other))
    assert np.linalg.norm(one.apply(middle) - two.apply(middle)) < 0.15 * two.scale * 256
    assert one.scale == pytest.approx(two.scale, rel=0.25)


@pytest.mark.parametrize("degrees", [0, 25, -45, 45, 90, 180])
def test_turned_heads_are_found_with_their_turn(
    detector: Detector, hopper: Image.Image, degrees: int
) -> None:
    turned = hopper.rotate(-degrees, expand=True, fillcolor=(90, 90, 90))
    face = detector(np.asarray(turned))[0]
    gap = math.remainder(face.roll - math.radians(degrees), 2 * math.pi)
    assert abs(math.degrees(gap)) < 20
    assert face.keypoints is not None
    right, left = np.array(face.keypoints[0]), np.array(face.keypoints[1])
    assert (left - right) @ [math.cos(face.roll), math.sin(face.roll)] > 0


@pytest.mark.parametrize("side", [26, 60, 300])
def test_faces_of_every_size_are_found(
    detector: Detector, astronaut: Image.Image, side: int
) -> None:
    """The face of the portrait is about 100 pixels wide."""
    scale = side / 100
    small = astronaut.resize((round(512 * scale), round(512 * scale)), Image.Resampling.LANCZOS)
    shift = (320 - round(224 * scale), 320 - round(122 * scale))
    canvas = Image.new("RGB", (640, 640), (120, 110, 100))
    canvas.paste(small, shift)
    face = detector(np.asarray(canvas))[0]
    assert math.dist(face.centre, (320, 320)) < 0.3 * side
    assert 0.6 * side < face.width < 1.6 * side


def test_a_group_is_found_whole_and_nothing_is_found_where_nobody_is(
    detector: Detector, astronaut: Image.Image, hopper: Image.Image
) -> None:
    group = Image.new("RGB", (900, 420), (60, 70, 80))
    group.paste(astronaut.crop((90, 0, 390, 300)), (0, 60))
    group.paste(hopper.crop((80, 20, 480, 420)).resize((300, 300)), (300, 60))
    group.paste(
        astronaut.crop((90, 0, 390, 300)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (600, 60)
    )
    found = detector(np.asarray(group))
    assert sorted(int(face.centre[0] // 300) for face in found if face.width > 60) == [0, 1, 2]
    gradient = np.linspace(0, 255, 320)[None, :, None].repeat(240, 0).repeat(3, 2)
    noise = np.random.default_rng(0).normal(128, 40, (240, 320, 3)).clip(0, 255)
    for empty in (gradient, cv2.GaussianBlur(noise, (0, 0), 3)):
        assert detector(empty.astype(np.uint8)) == []
