# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from facex.detect.detector import Detection, DlibDetector, make_detector, suppress, turned
from facex.errors import OptionError
from facex.imaging.warp import Similarity, crop_image


@pytest.fixture(scope="module")
def detector() -> DlibDetector:
    return DlibDetector()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A public-domain portrait that ships inside scikit-image; its face is near (224, 115)."""
    data = pytest.importorskip("skimage.data")
    return np.asarray(data.astronaut())


def test_finds_the_face(detector: DlibDetector, portrait: np.ndarray) -> None:
    (face,) = detector(portrait)
    assert math.dist(face.centre, (224, 115)) < 15
    assert 70 < face.width < 140
    assert (face.roll, face.score > 0) == (0, True)


@pytest.mark.parametrize("degrees", [45, -90, 180])
def test_finds_turned_faces(detector: DlibDetector, portrait: np.ndarray, degrees: int) -> None:
    turn = Similarity.from_parts(rotation=math.radians(degrees))
    middle = np.array([224.0, 115.0])
    shift = (180, 180) - turn.apply(middle)
    canvas_from_photo = Similarity.from_parts(
        rotation=math.radians(degrees), shift=(float(shift[0]), float(shift[1]))
    )
    turned = crop_image(portrait, canvas_from_photo.inverse(), 360)
    # only the turned face: the mirrored border could show it again
    y, x = np.mgrid[:360, :360]
    turned[np.hypot(x - 180, y - 180) > 110] = 128
    best = detector(turned)[0]
    assert math.dist(best.centre, (180, 180)) < 25
    assert math.remainder(best.roll - math.radians(degrees), 2 * math.pi) == pytest.approx(
        0, abs=math.radians(26)
    )


def test_small_faces_are_found_enlarged(detector: DlibDetector, portrait: np.ndarray) -> None:
    small = cv2.resize(portrait, (200, 200), interpolation=cv2.INTER_AREA)
    face = detector(small)[0]
    assert math.dist(face.centre, (224 * 200 / 512, 115 * 200 / 512)) < 8


def test_several_faces_and_large_photos(detector: DlibDetector, portrait: np.ndarray) -> None:
    pair = np.hstack([portrait[:256, 96:352], portrait[:256, 96:352]])
    large = cv2.resize(pair, (2048, 1024), interpolation=cv2.INTER_CUBIC)
    assert sorted(face.centre[0] // 1024 for face in detector(large)) == [0, 1]


def test_nothing_in_nothing() -> None:
    assert DlibDetector()(np.full((64, 80, 3), 90, np.uint8)) == []


@pytest.mark.parametrize("roll", [0.0, 0.4, -1.0, math.pi])
def test_turned_pictures_know_their_way_back(roll: float) -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    cv2.circle(photo, (220, 60), 6, (255, 255, 255), -1)
    upright, photo_from_upright = turned(photo, 0.5, roll)
    y, x = np.nonzero(upright[..., 0] > 100)
    back = photo_from_upright.apply(np.array([x.mean() + 0.5, y.mean() + 0.5]))
    assert np.abs(back - (220.5, 60.5)).max() < 0.6
    assert photo_from_upright.rotation == pytest.approx(roll)


def test_suppress_keeps_the_surest() -> None:
    one, shifted = Detection((0, 0, 100, 100), 0.4), Detection((10, 0, 110, 100), 0.9)
    inside, apart = Detection((40, 40, 70, 70), 0.1), Detection((95, 95, 195, 195), 0.2)
    assert suppress([one, shifted, inside, apart]) == [shifted, apart]


def test_detectors_by_name() -> None:
    assert isinstance(make_detector(), DlibDetector)
    with pytest.raises(OptionError, match="choose one of dlib"):
        make_detector("none")
