# SPDX-License-Identifier: Apache-2.0
"""The reference image: whose pixels where, what is known, what may change, at any resolution."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture
from facex.fors.region_assembler import (
    ReferenceImage,
    RegionAssembler,
)
from facex.fors.region_masks import region_masks
from facex.fors.relight import match_light
from facex.fors.resolution import follow, higher_resolution
from facex.fors.trim import beard_of, trim_face
from facex.recipes.plan import Plan, plan_step
from facex.recipes.schema import Step
from facex.types import FACE_REGIONS, PARSING_CLASSES, REGIONS, Region
from tests.fors import made_up
from tests.fors.made_up import SIZE

RED, BLUE = (0.85, 0.3, 0.25), (0.2, 0.35, 0.8)
SWAP: dict[str, Any] = {"identity": "source", "texture": "source", "regions": {"face": "source"}}


def plan_of(**fields: Any) -> Plan:
    return plan_step(Step(**fields))


def assembled(
    plan: Plan,
    source: FacePicture | None = None,
    target: FacePicture | None = None,
    result: NDArray[np.floating] | None = None,
    mask: NDArray[np.float32] | None = None,
    size: int | None = None,
) -> ReferenceImage:
    target = made_up.picture(BLUE) if target is None else target
    pictures = {"target": target} | ({} if source is None else {"source": source})
    points = target.landmarks if result is None else result
    return RegionAssembler(pictures, plan, points, mask).assemble(size)


def inner(picture: FacePicture, *regions: Region, rim: int = 2) -> NDArray[np.bool_]:
    """Well inside regions of a picture."""
    masks = region_masks(picture)
    mask = (sum(masks[region] for region in regions) > 0.5).astype(np.uint8)
    return cv2.erode(mask, np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)) > 0


def test_regions_share_out_the_picture() -> None:
    masks = region_masks(made_up.picture())
    assert set(masks) == set(REGIONS)
    total = sum(masks.values())
    # The brows of this parser are one class, glasses and hat are not there; nothing counts twice.
    assert total.max() <= 1 + 1e-5
    assert (total > 1 - 1e-5).mean() > 0.97
    for region in (*FACE_REGIONS, Region.HAIR, Region.NECK, Region.CLOTH, Region.BACKGROUND):
        assert masks[region].sum() > 10, region
    assert not masks[Region.GLASSES].any()


def test_another_face_in_the_picture_is_not_this_face() -> None:
    picture = made_up.picture()
    picture.parsing[5:20, 100:125] = 1  # skin, far from the mesh
    assert not region_masks(picture)[Region.SKIN][5:20, 100:125].any()


def test_hair_that_hangs_on_nothing_is_no_hair() -> None:
    face = made_up.picture()
    own = region_masks(face)[Region.HAIR].sum()
    face.parsing[108:124, 4:34] = 13  # a dark collar
    face.parsing[106:108, 10:12] = 1  # with a speck of skin
    masks = region_masks(face)
    assert masks[Region.HAIR][110:122, 6:32].max() < 0.05
    assert masks[Region.HAIR].sum() == pytest.approx(own, rel=0.05)


@pytest.mark.parametrize(
    ("colour", "is_hair"),
    [((0.2, 0.3, 0.8), False), ((0.55, 0.5, 0.45), False), ((0.4, 0.28, 0.2), True)],
)
def test_a_shoulder_of_another_colour_is_no_hair(colour: Any, is_hair: bool) -> None:
    face = made_up.picture((0.3, 0.2, 0.14))
    hair = PARSING_CLASSES.index("hair")
    # Beside the left cheek, apart from the hair above.
    skin = (face.parsing == PARSING_CLASSES.index("skin")).astype(np.uint8)
    chin, middle = (int(value) for value in face.landmarks[152, 1::-1])
    beside = (cv2.dilate(skin, np.ones((9, 9))) > 0) & (
        face.parsing != PARSING_CLASSES.index("skin")
    )
    beside[:, middle - 10 :] = False
    face.parsing[: chin - 20][beside[: chin - 20]] = 0
    shoulder = beside & (np.arange(SIZE)[:, None] > chin - 18)
    face.parsing[shoulder] = hair
    face.image[shoulder] = colour
    found = region_masks(face)[Region.HAIR][shoulder].mean()
    assert (found > 0.8) == is_hair
    assert (found < 0.05) != is_hair


@pytest.mark.parametrize(
    ("shade", "rows", "is_beard"),
    [(0.3, 5, True), (1.0, 5, False), (0.3, 14, False)],
    ids=["a dark beard", "a neck", "a dark collar"],
)
def test_a_dark_beard_below_the_chin_is_no_clothing(
    shade: float, rows: int, is_beard: bool
) -> None:
    face = made_up.picture()
    chin = int(face.landmarks[152, 1])
    middle = int(face.landmarks[152, 0])
    wide = 14 if rows < 10 else 24
    place = slice(chin - 3, chin + rows), slice(middle - wide, middle + wide)
    face.parsing[place] = PARSING_CLASSES.index("cloth")
    face.image[place] *= shade
    masks = region_masks(face)
    below = slice(chin, chin + 3), slice(middle - 9, middle + 9)
    assert (masks[Region.CLOTH][below].max() < 0.1) == is_beard
    assert ((masks[Region.BEARD] + masks[Region.SKIN])[below].min() > 0.9) == is_beard


def test_another_s_eyes_come_with_their_lids_in_the_light_around_them() -> None:
    skin, own = np.array([0.3, 0.22, 0.2], np.float32), (0.7, 0.55, 0.5)
    dark = made_up.picture(tuple(skin))
    row, column = (round(v) for v in dark.landmarks[27, 1::-1])
    image = dark.pixels.copy()
    image[row, column - 4 : column + 5] *= 0.3
    source = FacePicture(image, dark.landmarks, dark.parsing, SIZE)
    built = assembled(plan_of(regions={"eyes": "source"}), source, made_up.picture(own))
    crease, lid = built.image[row, column], built.image[row - 2, column]
    assert built.edit[row, column] > 0.5
    assert crease.mean() < 0.85 * lid.mean(), "the source's crease"
    assert np.abs(lid - own).max() < 0.08, "in the target's light"


def test_a_rim_that_looks_like_what_lies_beyond_stays_behind() -> None:
    face, dark = made_up.picture(), np.float32((0.1, 0.1, 0.2))
    beyond = np.isin(face.parsing, (0, 17))  # ground and hair
    image = np.where(beyond[..., None], dark, np.float32((0.8, 0.6, 0.5)))
    columns = np.flatnonzero(np.isin(face.parsing[70], (1, 10)))
    left, right = int(columns.min()), int(columns.max())
    image[60:80, left : left + 5] = dark  # called skin, and is not
    image[60:80, right - 16 : right - 9] = dark  # a birthmark
    picture = FacePicture(image, face.landmarks, face.parsing, made_up.SIZE)
    masks = region_masks(picture)
    before = masks[Region.SKIN] + masks[Region.BEARD]
    trim_face(masks, picture)
    after = masks[Region.SKIN] + masks[Region.BEARD]
    assert before[68:73, left + 3].min() > 0.5
    assert after[68:73, left + 3].max() < 0.1
    assert after[68:73, right - 13].min() > 0.9


def test_a_beard_that_looks_like_what_lies_beyond_comes_along() -> None:
    face, dark = made_up.picture(), np.float32((0.1, 0.1, 0.1))
    beyond = np.isin(face.parsing, (0, 13, 16, 17))  # ground, clothes, neck and hair
    image = np.where(beyond[..., None], dark, np.float32((0.8, 0.6, 0.5)))
    jaw = region_masks(face)[Region.BEARD] > 0.5
    grain = np.random.default_rng(0).normal(0, 0.06, image.shape[:2])[..., None]
    for bearded in (True, False):
        shown = np.where(jaw[..., None] & bearded, np.clip(dark + grain, 0, 1), image)
        picture = FacePicture(shown.astype(np.float32), face.landmarks, face.parsing, made_up.SIZE)
        masks = region_masks(picture)
        whole = masks[Region.BEARD].sum()
        trim_face(masks, picture)
        assert (beard_of(picture, masks) > 0.9) == bearded
        assert masks[Region.BEARD].sum() > 0.75 * whole


FIELDS: dict[str, dict[str, Any]] = {
    "swap": SWAP,
    "hair": {"hair": "source"},
    "lips": {"regions": {"lips": "source"}},
    "turn": {"sliders": {"yaw": 10}},
    "cut out": {"regions": {"nose": "none"}},
    "paper": {**SWAP, "reference": "paper"},
    "none": {**SWAP, "reference": "none"},
    "narrow": {**SWAP, "edit": ["nose"]},
}


@pytest.mark.parametrize("case", FIELDS)
def test_outside_the_edit_the_reference_is_the_target(case: str) -> None:
    target = made_up.picture(made_up.textured(0))
    source = made_up.picture(made_up.textured(1), made_up.landmarks(yaw=-8, roll=4))
    result = made_up.landmarks(yaw=10) if case == "turn" else None
    found = assembled(plan_of(**FIELDS[case]), source, target, result)
    outside = found.edit == 0
    assert 0.2 < outside.mean() < 1
    assert np.array_equal(found.image[outside], target.pixels[outside])
    assert (found.known[outside] == 1).all()
    for values in (found.known, found.edit):
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= 1
    assert found.geometry.shape == (3, SIZE, SIZE)


def test_a_region_shows_its_own_picture() -> None:
    # Under the source's light nothing is recoloured.
    plan = plan_of(regions={"lips": "source"}, light="source", edit=["lips"])
    source, target = made_up.picture(RED), made_up.picture(BLUE)
    found = assembled(plan, source, target)
    lips = inner(target, Region.LIPS, rim=3)
    assert lips.sum() > 20
    np.testing.assert_allclose(found.image[lips], np.broadcast_to(RED, (lips.sum(), 3)), atol=0.02)
    assert found.known[lips].min() > 0.9
    skin = inner(target, Region.SKIN, rim=6)
    np.testing.assert_allclose(found.image[skin], np.broadcast_to(BLUE, (skin.sum(), 3)), atol=1e-5)


def test_a_swap_shows_the_source_on_the_face_and_the_target_around_it() -> None:
    source, target = made_up.picture(RED), made_up.picture(BLUE)
    found = assembled(plan_of(**SWAP, light="source", edit=["face"]), source, target)
    face = inner(target, *FACE_REGIONS, rim=5)
    assert abs(found.image[face] - np.float32(RED)).max() < 0.05
    hair = inner(target, Region.HAIR)
    assert abs(found.image[hair] - np.float32(BLUE)).max() < 1e-5
    assert (found.edit[face] > 0.9).all()


def test_pixels_follow_the_mesh() -> None:
    """A spot on the source's nose arrives on the result's nose, wherever that is."""
    points = made_up.landmarks(yaw=8, roll=-6)
    image = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    spot = tuple(int(v) for v in points[1, :2])
    cv2.circle(image, spot, 3, (1, 1, 1), -1, cv2.LINE_AA)
    plan = plan_of(**SWAP, light="source", edit=["face"])
    target = made_up.picture((0.5, 0.5, 0.5))
    for result in (made_up.landmarks(), made_up.landmarks(roll=10)):
        found = assembled(plan, made_up.picture(image, points), target, result)
        bright = np.clip(found.image[..., 0] - 0.6, 0, None)
        rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
        where = np.array([(columns * bright).sum(), (rows * bright).sum()]) / bright.sum()
        assert np.linalg.norm(where - result[1, :2]) < 2.0


def test_a_turned_head_leaves_the_background_in_place() -> None:
    target = made_up.picture(made_up.textured())
    turned = made_up.landmarks(yaw=15)
    # Everything may change, so that what stays does so by the assembler's own choice.
    found = assembled(plan_of(sliders={"yaw": 15}, edit=["all"]), None, target, turned)
    own = inner(target, Region.BACKGROUND, rim=10)
    own &= inner(made_up.picture(points=turned), Region.BACKGROUND, rim=10)
    assert own.sum() > 1000
    assert found.edit[own].min() > 0.9
    np.testing.assert_allclose(found.image[own], target.pixels[own], atol=0.02)
    # The head did move.
    skin = inner(target, Region.SKIN, rim=4)
    assert abs(found.image[skin] - target.pixels[skin]).mean() > 0.01


def test_what_is_in_front_stays_in_front() -> None:
    target = made_up.picture(BLUE, fringe=True)
    found = assembled(plan_of(**SWAP, edit=["face"]), made_up.picture(RED), target)
    fringe = inner(target, Region.HAIR, rim=3)
    assert not found.edit[fringe].any()
    assert found.known[inner(target, Region.NOSE)].min() > 0.9


def test_skin_under_the_sources_fringe_is_lent_by_the_target() -> None:
    source = made_up.picture(made_up.textured(1), fringe=True)
    target = made_up.picture(made_up.textured(1) * np.float32(0.9))
    source.image[source.parsing == PARSING_CLASSES.index("hair")] = 0
    found = assembled(plan_of(**SWAP, edit=["face"]), source, target)
    forehead = inner(source, Region.HAIR, rim=3) & inner(target, Region.SKIN, rim=3)
    assert forehead.sum() > 50
    # A guess, and marked as one; nothing of the dark hair is in it.
    assert 0.3 < found.known[forehead].mean() < 0.7
    assert abs(found.image - target.pixels)[forehead].mean() < 0.08


def test_a_region_from_nobody_is_unknown_and_filled() -> None:
    target = made_up.picture(BLUE)
    target.image[target.parsing == PARSING_CLASSES.index("nose")] = (1, 1, 0)
    found = assembled(plan_of(regions={"nose": "none"}), None, target)
    nose = inner(target, Region.NOSE)
    assert found.known[nose].max() == 0
    # What was cut out does not shine through; its surroundings do.
    assert abs(found.image[nose] - np.float32(BLUE)).max() < 0.2


@pytest.mark.parametrize("kind", ["paper", "none"])
def test_other_references_know_nothing_of_the_edit(kind: str) -> None:
    found = assembled(plan_of(**SWAP, reference=kind), made_up.picture(RED))
    assert not found.known[found.edit > 0.01].any()


def test_a_mask_is_the_edit_and_hides_what_it_covers() -> None:
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[40:70, 30:80] = 1
    target = made_up.picture(BLUE)
    target.image[45:65, 35:75] = (1, 1, 0)
    found = assembled(plan_of(edit="mask"), None, target, mask=mask)
    assert np.array_equal(found.edit, mask)
    # The other half of the face is a guess, and marked as one.
    assert np.array_equal(found.known[mask < 1], np.ones_like(mask)[mask < 1])
    assert found.known[mask == 1].max() < 0.7
    covered = found.image[41:69, 31:79]
    assert np.median(abs(covered - np.float32(BLUE))) < 0.05
    assert abs(covered - np.float32((1, 1, 0))).max(-1).min() > 0.3


def test_the_same_reference_at_every_resolution() -> None:
    """Native references only add detail: made small again they are the small one."""
    target = made_up.picture(made_up.textured(0))
    source = made_up.picture(made_up.textured(1), made_up.landmarks(yaw=-6))
    pictures = {"target": target, "source": source}
    plan = plan_of(**SWAP, edit=["face"])
    small = RegionAssembler(pictures, plan, target.landmarks)
    low = small.assemble()
    assert low.colours.keys() == {"source"}
    images = {"target": made_up.textured(0, 4 * SIZE), "source": made_up.textured(1, 3 * SIZE)}
    large = RegionAssembler(higher_resolution(pictures, images), plan, target.landmarks)
    follow(large, small)
    high = large.assemble(4 * SIZE)
    assert high.image.shape == (4 * SIZE, 4 * SIZE, 3)
    assert high.colours["source"] is low.colours["source"]
    for name in ("image", "known", "edit"):
        shrunk = cv2.resize(getattr(high, name), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        assert abs(shrunk - getattr(low, name)).mean() < 0.02, name
    shrunk = np.stack([cv2.resize(c, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
                       for c in high.geometry])  # fmt: skip
    assert abs(shrunk - low.geometry).mean() < 0.05


def test_a_dark_source_takes_the_light_of_the_target() -> None:
    shades = 0.6 + 0.8 * made_up.textured(2).mean(-1, keepdims=True)
    bright = np.clip(np.float32([0.8, 0.6, 0.5]) * shades, 0, 1)
    source, target = made_up.picture(bright * 0.7), made_up.picture(bright)
    found = assembled(plan_of(**SWAP, edit=["face"]), source, target)
    own = assembled(plan_of(**SWAP, edit=["face"], light="source"), source, target)
    skin = inner(target, Region.SKIN, Region.NOSE, Region.BEARD, rim=3)
    wanted = target.pixels[skin].mean()
    left, taken = (abs(x.image[skin].mean() - wanted) for x in (own, found))
    assert left > 0.1
    # The rest may be complexion.
    assert taken < 0.4 * left


def test_equal_light_changes_nothing_and_too_little_skin_says_nothing() -> None:
    picture = made_up.textured(3)
    skin = np.ones((SIZE, SIZE), np.float32)
    colours = match_light(picture, skin, picture, skin)
    assert colours is not None
    np.testing.assert_allclose(colours.scale, 1, atol=1e-3)
    np.testing.assert_allclose(colours.apply(picture), picture, atol=0.01)
    nothing = np.zeros_like(skin)
    assert match_light(picture, nothing, picture, skin) is None
    assert match_light(picture, skin, picture, nothing) is None


def test_highlights_of_a_dark_warm_skin_stay_neutral_on_a_pale_one() -> None:
    rng = np.random.default_rng(0)
    skin = np.ones((SIZE, SIZE), np.float32)
    grain = rng.normal(0, 0.02, (SIZE, SIZE, 3)).astype(np.float32)
    dark, pale = (
        np.clip(np.array(colour, np.float32) + grain, 0, 1)
        for colour in ((0.45, 0.24, 0.14), (0.85, 0.72, 0.68))
    )
    colours = match_light(dark, skin, pale, skin, shading=0)
    assert colours is not None
    greys = np.linspace(0.2, 0.98, 8, dtype=np.float32)[None, :, None].repeat(3, 2)
    mapped = colours.apply(greys)[0]
    assert (np.diff(mapped.mean(1)) > 0).all()  # nothing is burnt out
    assert (mapped.max(1) - mapped.min(1)).max() < 0.1
    assert colours.apply(dark).mean() > dark.mean() + 0.1


@pytest.mark.parametrize("yaw", [10, 25])
def test_an_even_picture_stays_even(yaw: float) -> None:
    """Where a layer fades, what is behind it shows, and nothing is added twice."""
    target = made_up.picture((0.6, 0.6, 0.6))
    plan = plan_step(Step(sliders={"yaw": yaw}))
    assembler = RegionAssembler({"target": target}, plan, made_up.landmarks(yaw=yaw))
    assert abs(assembler.assemble().image - 0.6).max() < 0.01


def test_a_head_that_turned_away_leaves_the_ground_behind_it() -> None:
    target = made_up.picture((0.9, 0.9, 0.9))
    head = np.isin(target.parsing, [PARSING_CLASSES.index(n) for n in ("hair", "skin", "nose")])
    target.image[head] = (0.2, 0.1, 0.1)
    turned = made_up.landmarks(yaw=25)
    found = assembled(plan_of(sliders={"yaw": 25}), None, target, turned)
    unknown = (found.known < 0.55) & (found.edit > 0.9)
    shape = cv2.morphologyEx(
        (found.known > 0.55).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7))
    )
    uncovered = unknown & (shape == 0) & (target.parsing == PARSING_CLASSES.index("hair"))
    assert uncovered.sum() > 20
    assert np.median(abs(found.image[uncovered] - 0.9)) < 0.1


def test_lent_skin_has_nothing_of_the_ground_in_it() -> None:
    """Bright ground behind a head: none of it shines through the forehead that was lent."""
    source = made_up.picture((0.5, 0.4, 0.3), fringe=True)
    target = made_up.picture((0.5, 0.4, 0.3))
    for name in ("background", "cloth"):
        target.image[target.parsing == PARSING_CLASSES.index(name)] = (0, 1, 1)
    for edit in (["face"], ["head"]):
        found = assembled(plan_of(**SWAP, edit=edit), source, target)
        forehead = inner(source, Region.HAIR, rim=3) & inner(target, Region.SKIN, rim=3)
        assert abs(found.image[forehead] - np.float32((0.5, 0.4, 0.3))).max() < 0.1


def test_glasses_that_go_leave_nothing_beside_the_face() -> None:
    target = made_up.picture((0.2, 0.6, 0.3))
    image, parsing = target.pixels.copy(), target.parsing.copy()
    y, x = int(target.landmarks[33, 1]), int(target.landmarks[234, 0])
    frame = np.s_[y - 4 : y + 1, x - 12 : x + 20]  # from the face out over the hair
    parsing[frame] = PARSING_CLASSES.index("eye_g")
    image[y - 5 : y + 2, x - 13 : x + 21] = 0.02  # and a little wider than the parser says
    target = FacePicture(image, target.landmarks, parsing, SIZE)
    plan = plan_of(**SWAP | {"regions": {"face": "source", "glasses": "source"}})
    built = assembled(plan, made_up.picture(RED), target)
    beside = np.s_[y - 3 : y + 1, x - 11 : x - 6]
    assert np.abs(built.image[beside] - (0.2, 0.6, 0.3)).max() < 0.1
    assert built.edit[y - 5 : y + 2, x - 12 : x - 6].min() > 0.7


@pytest.mark.parametrize(("shade", "stays"), [(0.6, False), (1.0, True)])
def test_the_shadow_of_a_hat_stays_with_the_hat(shade: float, stays: bool) -> None:
    picture = made_up.picture((0.7, 0.5, 0.42))
    brow = int(picture.landmarks[9, 1])
    skin = picture.parsing == PARSING_CLASSES.index("skin")
    rows = np.arange(SIZE)[:, None]
    picture.parsing[(rows < brow - 12) & (picture.parsing > 0)] = PARSING_CLASSES.index("hat")
    forehead = skin & (rows >= brow - 12) & (rows < brow - 4)
    picture.image[forehead] = picture.image[forehead] * shade
    masks = region_masks(picture)
    trim_face(masks, picture)
    middle = forehead & (np.abs(np.arange(SIZE) - SIZE / 2) < 8)[None]
    assert (masks[Region.SKIN][middle].mean() > 0.5) == stays
    cheek = masks[Region.SKIN][brow + 16 : brow + 24, SIZE // 2 - 26 : SIZE // 2 - 18]
    assert cheek.mean() > 0.8
