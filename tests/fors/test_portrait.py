# SPDX-License-Identifier: Apache-2.0
"""Faces drawn from codes: holes are continued by what is seen, nothing else is touched."""

from __future__ import annotations

import cv2
import numpy as np

from facex.fors.fill import push_pull
from facex.fors.portrait import bare_of, fill_from_components
from facex.geometry.albedo import bundled_albedo
from facex.geometry.draw_face import draw_face
from tests.fors import made_up
from tests.geometry.test_albedo import LIGHT, a_face


def a_photo() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points = made_up.landmarks(size=256)
    albedo = bundled_albedo().colours(a_face(3))[0].numpy()
    face, shown = draw_face(albedo, LIGHT[0].numpy(), points, 256)
    image = np.where(shown[..., None] > 0, face, np.float32(0.4))
    return image.astype(np.float32), points, bare_of(made_up.parsing(points, 256))


def test_a_hole_over_an_eye_becomes_an_eye() -> None:
    image, points, bare = a_photo()
    known = np.ones((256, 256), np.float32)
    x, y = points[468, :2].astype(int)
    known[y - 25 : y + 25, x - 30 : x + 30] = 0
    damaged = image * known[..., None]
    filled, now = fill_from_components(damaged, known, points, bare, bundled_albedo())
    hole = known == 0
    error = np.abs(filled - image)[hole].mean()
    smooth = np.abs(push_pull(damaged, known) - image)[hole].mean()
    assert error < 0.6 * smooth
    np.testing.assert_array_equal(filled[~hole], image[~hole])
    assert 0 < now[hole].min() < now[hole].max() < 0.5
    assert (now[~hole] == 1).all()


def test_the_same_at_another_resolution() -> None:
    image, points, bare = a_photo()
    known = np.ones((256, 256), np.float32)
    known[150:200, 90:160] = 0
    small, _ = fill_from_components(image, known, points, bare, bundled_albedo())
    wide, seen = (
        cv2.resize(x, (512, 512), interpolation=cv2.INTER_NEAREST) for x in (image, known)
    )
    large, _ = fill_from_components(wide, seen, points * 2, bare, bundled_albedo())
    back = cv2.resize(large, (256, 256), interpolation=cv2.INTER_AREA)
    assert np.abs(back - small)[known == 0].mean() < 0.02


def test_nothing_is_made_up_where_hardly_anything_of_a_face_is_seen() -> None:
    image, points, bare = a_photo()
    known = np.ones((256, 256), np.float32)
    known[20:] = 0
    filled, now = fill_from_components(image, known, points, bare, bundled_albedo())
    assert filled is image
    assert now is known
