# SPDX-License-Identifier: Apache-2.0
"""Glasses and beards from a picture: cut out, put where the face has them, turned with it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facex.errors import ImageRejected
from facex.fors.place import cut_out, place_picture
from facex.fors.reference_image import ReferenceImage
from facex.geometry.face_geometry import FaceGeometry
from facex.imaging.read import Photo, read_photo
from facex.recipes.values import PlaceKind
from tests.fors import made_up

CROP = 256
GREEN = (0.0, 1.0, 0.0)


def glasses(*, transparent: bool = True, paper: tuple[int, int, int] = (250, 250, 250)) -> Photo:
    """Two green bars side by side, so that left and right and the middle can be told."""
    picture = Image.new("RGBA", (240, 90), (*paper, 0 if transparent else 255))
    draw = ImageDraw.Draw(picture)
    for box in ((20, 20, 219, 39), (20, 20, 89, 69), (150, 20, 219, 69)):
        draw.rectangle(box, (0, 255, 0, 255))
    return read_photo(picture if transparent else picture.convert("RGB"))


def blank(size: int = CROP, *, known: float = 1.0) -> ReferenceImage:
    return ReferenceImage(
        image=np.full((size, size, 3), 0.5, np.float32),
        known=np.full((size, size), known, np.float32),
        edit=np.zeros((size, size), np.float32),
        geometry=np.zeros((3, size, size), np.float32),
        colours={},
    )


def shown(found: ReferenceImage) -> NDArray[np.bool_]:
    return abs(found.image - np.float32(GREEN)).max(-1) < 0.04


def put(
    kind: PlaceKind, face: FaceGeometry, size: int = CROP, **reference: float
) -> ReferenceImage:
    return place_picture(blank(size, **reference), glasses(), kind, face, CROP)


def centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def test_transparency_is_kept_and_the_picture_is_cropped_to_the_thing() -> None:
    colours, opacity = cut_out(glasses())
    assert colours.shape == (50, 200, 3)
    assert opacity.shape == (50, 200)
    assert opacity[0].min() == 1
    assert opacity[-1, 100] == 0
    assert (opacity == 1).sum() == 200 * 20 + 2 * 70 * 30
    assert (colours[opacity == 1] == np.float32(GREEN)).all()


@pytest.mark.parametrize("paper", [(250, 250, 250), (10, 10, 10), (200, 40, 160)])
def test_a_plain_background_is_cut_away(paper: tuple[int, int, int]) -> None:
    colours, opacity = cut_out(glasses(transparent=False, paper=paper))
    assert colours.shape[:2] == opacity.shape
    assert abs(np.subtract(opacity.shape, (50, 200))).max() <= 4
    assert opacity[10, 100] > 0.99
    assert opacity[-8, 100] < 0.01


def test_a_picture_without_a_thing_is_refused() -> None:
    even = Image.new("RGB", (80, 60), (9, 9, 9))
    for picture in (even, Image.new("RGBA", (80, 60), (0, 255, 0, 0))):
        with pytest.raises(ImageRejected, match="transparent"):
            cut_out(read_photo(picture))


def test_glasses_sit_on_the_eyes() -> None:
    face = made_up.geometry(size=CROP)
    found = put(PlaceKind.GLASSES, face)
    points = face.landmarks[0].numpy()
    eyes, nose = (points[468, :2] + points[473, :2]) / 2, points[1, :2]
    where = centre(shown(found))
    assert abs(where[0] - eyes[0]) < 2
    assert abs(where[1] - eyes[1]) < 0.5 * abs(nose[1] - eyes[1])
    columns = np.flatnonzero(shown(found).any(0))
    width = columns[-1] - columns[0] + 1
    assert 0.8 < width / (points[356, 0] - points[127, 0]) < 1.15


@pytest.mark.parametrize("kind", [PlaceKind.MOUSTACHE, PlaceKind.BEARD])
def test_a_beard_sits_below_the_nose(kind: PlaceKind) -> None:
    face = made_up.geometry(size=CROP)
    where = centre(shown(put(kind, face)))
    points = face.landmarks[0].numpy()
    nose, upper_lip, chin = points[2, 1], points[0, 1], points[152, 1]
    assert abs(where[0] - points[0, 0]) < 2
    if kind is PlaceKind.MOUSTACHE:
        assert nose - 4 < where[1] < upper_lip + 4
    else:
        assert upper_lip < where[1] < chin


def test_it_is_known_and_may_change_and_nothing_else_is_touched() -> None:
    found = put(PlaceKind.GLASSES, made_up.geometry(size=CROP), known=0.0)
    thing = shown(found)
    assert (found.known[thing] > 0.9).all()
    assert (found.edit[thing] == 1).all()
    # The edit is a little wider than the thing, so that its shadow can be drawn.
    assert (found.edit > 0).sum() > 1.1 * thing.sum()
    away = found.edit == 0
    assert away.mean() > 0.8
    assert (found.image[away] == 0.5).all()
    assert not found.known[away].any()


def test_what_was_known_and_editable_before_stays_so() -> None:
    reference = blank()
    reference.edit[200:, :] = 1
    found = place_picture(
        reference, glasses(), PlaceKind.GLASSES, made_up.geometry(size=CROP), CROP
    )
    assert (found.edit[200:] == 1).all()
    assert (found.known == 1).all()
    # The reference that was handed over is as before.
    assert (reference.image == 0.5).all()
    assert not reference.edit[:200].any()


def test_it_is_the_same_at_every_resolution() -> None:
    face = made_up.geometry(yaw=10, roll=5, size=CROP)
    low, high = (put(PlaceKind.GLASSES, face, size) for size in (CROP, 3 * CROP))
    assert np.linalg.norm(centre(shown(high)) / 3 - centre(shown(low))) < 0.7
    assert shown(high).sum() / 9 == pytest.approx(shown(low).sum(), rel=0.15)


@pytest.mark.parametrize("roll", [-25.0, 15.0])
def test_it_tilts_with_the_head(roll: float) -> None:
    mask = shown(put(PlaceKind.GLASSES, made_up.geometry(roll=roll, size=CROP)))
    rows, columns = np.nonzero(mask)
    spread = np.cov(np.stack([columns, rows]))
    long = np.linalg.eigh(spread)[1][:, 1]
    angle = np.degrees(np.arctan2(long[1], long[0]))
    assert (angle - roll + 90) % 180 - 90 == pytest.approx(0, abs=3)


def test_it_turns_with_the_head() -> None:
    def halves(yaw: float) -> tuple[int, NDArray[np.int64]]:
        columns = shown(put(PlaceKind.GLASSES, made_up.geometry(yaw=yaw, size=CROP))).any(0)
        return int(columns.sum()), np.flatnonzero(columns)

    front, columns = halves(0)
    turned, moved = halves(35)
    assert turned < 0.92 * front
    assert turned > 0.6 * front
    # The head turns about its centre behind the face: to the picture's right for positive yaw.
    back, other = halves(-35)
    assert moved.mean() > columns.mean() > other.mean()
    assert abs(back - turned) <= 3


def test_a_photo_is_no_thing_to_put_on(astronaut: Image.Image) -> None:
    ramp = Image.linear_gradient("L")
    for picture in (astronaut, Image.merge("RGB", [ramp] * 3)):
        with pytest.raises(ImageRejected):
            cut_out(read_photo(picture))
