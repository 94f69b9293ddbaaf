# SPDX-License-Identifier: Apache-2.0
"""A hat that is taller than the crop goes as a whole with the head that wears it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import facex


def above(face: facex.FaceRepresentation, picture: Image.Image) -> NDArray[np.uint8]:
    """What a picture shows above the face's crop."""
    matrix = face.photo_from_crop[0].numpy()
    top = round(float((matrix @ np.array([face.crop_size / 2, 0, 1]))[1]))
    assert top > 10, "the photo shows something above the crop"
    return np.asarray(picture)[: top - 4]


def test_what_the_crop_cuts_off_of_a_hat_goes_with_the_head(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    (face,) = mini.decompose(hopper)
    before = above(face, hopper)
    hat = before.max(-1) < 70  # the black of a cap, before a blue wall
    hat[:, :235] = False  # and a flag
    assert hat.sum() > 200
    whole = mini.head_swap(astronaut, hopper)
    after = above(face, whole.image)
    assert after[hat].max(-1).mean() > before[hat].max(-1).mean() + 80
    mask = above(face, Image.fromarray(np.asarray(whole.mask)))
    assert (mask[hat] > 0).mean() > 0.95
    # A face alone touches nothing there.
    np.testing.assert_array_equal(above(face, mini.swap(astronaut, hopper).image), before)


def test_nothing_is_left_of_a_hat_that_a_parser_of_crops_does_not_know(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    pixels = np.asarray(hopper)
    cap = Image.fromarray(pixels[20:150]).resize((hopper.width, 208))
    tall = Image.fromarray(np.vstack([pixels[:20], np.asarray(cap), pixels[150:]]))
    (face,) = mini.decompose(tall)
    before = above(face, tall)
    white = before.min(-1) > 200
    white[:50], white[:, :160], white[:, 350:] = False, False, False  # a star of the flag
    assert white.sum() > 1000, "the crown of her cap"
    after = above(face, mini.head_swap(astronaut, tall).image)
    assert (after[white].min(-1) > 200).mean() < 0.02


def test_a_hat_stays_where_only_hair_comes(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    result = mini.attribute(astronaut, hopper, ["hair"])
    assert (np.asarray(result.mask)[:150] > 0).any(), "hair comes beside it"
    emblem = np.s_[50:100, 230:300]
    before, after = (np.asarray(x, int)[emblem] for x in (hopper, result.image))
    assert abs(after - before).max() <= 4, "but for the mark"
