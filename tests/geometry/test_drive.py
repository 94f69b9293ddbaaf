# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from facex.errors import OptionError
from facex.geometry.drive import MOST_HEAD_TURN, MOST_TURN, combine
from facex.geometry.face_geometry import measure
from facex.geometry.pose import facing_angle
from facex.geometry.shape_model import ShapeModel
from facex.geometry.sliders import Sliders
from facex.geometry.topology import CHIN, FOREHEAD, IRIS_CENTRES
from facex.types import BLENDSHAPES

from .conftest import MakeFace


def test_a_head_is_turned_only_as_far_as_its_photo_can_show(make_face: MakeFace) -> None:
    target, driver = make_face(4, yaw=30), make_face(5, yaw=-40, pitch=5, roll=20)
    turned = combine(target, pose=driver)
    angle = facing_angle(turned.rotation, target.rotation)
    assert float(angle) == pytest.approx(MOST_TURN, abs=1e-3)
    # On the way to the driver, and rolled as it is.
    rest = facing_angle(turned.rotation, driver.rotation)
    whole = facing_angle(target.rotation, driver.rotation)
    assert float(angle + rest) == pytest.approx(float(whole), abs=1e-3)
    near = make_face(6, yaw=0, roll=20)
    assert torch.equal(combine(target, pose=near).rotation, near.rotation)


def test_a_head_from_another_photo_is_turned_less_far(make_face: MakeFace) -> None:
    target, source = make_face(4, yaw=-20), make_face(5, yaw=40)
    swapped = combine(target, identity=source, head=source)
    angle = facing_angle(swapped.rotation, source.rotation)
    assert float(angle) == pytest.approx(MOST_HEAD_TURN, abs=1e-3)
    assert torch.equal(combine(target, identity=source).rotation, target.rotation)
    near = make_face(6, yaw=0)
    assert torch.equal(combine(target, identity=near, head=near).rotation, target.rotation)


def test_asking_for_nothing_returns_the_same_tensors(make_face: MakeFace) -> None:
    face = make_face(1)
    assert combine(face) is face
    assert combine(face, identity=face, pose=face, expression=face, gaze=face) is face
    assert combine(face, sliders=Sliders()).landmarks is face.landmarks


@pytest.mark.parametrize("start", [-20.0, 0.0, 12.0])
@pytest.mark.parametrize("angle", ["yaw", "pitch", "roll"])
def test_ten_degrees_are_ten_degrees(make_face: MakeFace, start: float, angle: str) -> None:
    face = make_face(2, yaw=start, pitch=4)
    result = combine(face, sliders=Sliders(**{angle: math.radians(10)}))
    found = measure(result.landmarks, result.expression, result.gaze)
    for name, before, after in zip(
        ("yaw", "pitch", "roll"), face.angles, found.angles, strict=True
    ):
        expected = 10 if name == angle else 0
        assert math.degrees((after - before).item()) == pytest.approx(expected, abs=0.05)


def test_a_turned_head_keeps_its_place(make_face: MakeFace) -> None:
    face = make_face(3)
    turned = combine(face, sliders=Sliders(yaw=math.radians(25)))
    # The nose goes to the right, the ears' side nearly stays, and the size is the same.
    assert turned.landmarks[0, 1, 0] - face.landmarks[0, 1, 0] > 20
    assert (turned.landmarks[0, 234, 0] - face.landmarks[0, 234, 0]).abs() < 15
    assert torch.equal(turned.scale, face.scale)


def test_swap_takes_shape_from_one_and_the_rest_from_the_other(make_face: MakeFace) -> None:
    source, target = make_face(4, yaw=15), make_face(5, yaw=-10, pitch=5)
    result = combine(target, identity=source)
    assert torch.equal(result.shape, source.shape)
    assert torch.equal(result.rotation, target.rotation)
    assert torch.equal(result.expression, target.expression)
    again = measure(result.landmarks, result.expression, result.gaze)
    assert (again.shape - source.shape)[:, :8].abs().mean() < 0.1
    assert (again.angles[0] - target.angles[0]).abs().item() < math.radians(1)


def test_drivers_absolute_and_relative(make_face: MakeFace) -> None:
    target, driver = make_face(6, yaw=5), make_face(7, yaw=20)
    absolute = combine(target, pose=driver)
    assert math.degrees(absolute.angles[0].item()) == pytest.approx(
        math.degrees(driver.angles[0].item()), abs=0.01
    )
    still = combine(
        target, pose=driver, expression=driver, gaze=driver, relative=True, reference=driver
    )
    assert (still.landmarks - target.landmarks).abs().max() < 0.05
    moved = combine(target, pose=driver, relative=True)
    assert math.degrees(moved.angles[0].item()) == pytest.approx(25, abs=0.5)


def test_expression_slider_moves_only_its_part(make_face: MakeFace) -> None:
    face = make_face(8)
    opened = combine(face, sliders=Sliders(expression={"jawOpen": 0.6}))
    column = BLENDSHAPES.index("jawOpen")
    assert opened.expression[0, column].item() == pytest.approx(0.6)
    assert opened.landmarks[0, CHIN, 1] - face.landmarks[0, CHIN, 1] > 8
    assert torch.equal(opened.landmarks[0, FOREHEAD], face.landmarks[0, FOREHEAD])
    added = combine(face, sliders=Sliders(expression={"jawOpen": 0.6}, add_expression=True))
    assert added.expression[0, column] > opened.expression[0, column]


def test_gaze_moves_irises_and_lids(make_face: MakeFace, model: ShapeModel) -> None:
    face = make_face(9)
    centres = list(IRIS_CENTRES)
    right = combine(face, sliders=Sliders(gaze_yaw=0.3))
    step = right.landmarks[0, centres] - face.landmarks[0, centres]
    assert (step[:, 0] > 2).all()
    assert step[:, 1].abs().max() < 0.5
    assert right.gaze[0, :, 1].tolist() == pytest.approx([0.3, 0.3])
    down = combine(face, sliders=Sliders(gaze_pitch=-0.3))
    assert (down.landmarks[0, centres, 1] - face.landmarks[0, centres, 1] > 2).all()
    # The upper lid goes down with the iris, by a good part of its way.
    lid = down.landmarks[0, 159, 1] - face.landmarks[0, 159, 1]
    iris = down.landmarks[0, centres[0], 1] - face.landmarks[0, centres[0], 1]
    assert 0.5 * iris < lid < iris
    assert torch.equal(down.landmarks[0, CHIN], face.landmarks[0, CHIN])


def test_gaze_in_the_head_follows_a_turn(make_face: MakeFace) -> None:
    face = make_face(10)
    turned = combine(face, sliders=Sliders(yaw=0.3))
    assert turned.gaze[0, :, 1].tolist() == pytest.approx([0.3, 0.3], abs=0.02)
    # Looking at the camera again is a gaze driver from the old photo.
    back = combine(turned, gaze=face)
    assert back.gaze.abs().max() < 0.02


def test_batches_are_single_faces(make_face: MakeFace) -> None:
    faces = [make_face(11), make_face(12, yaw=10)]
    both = measure(*(torch.cat([getattr(f, n) for f in faces]) for n in
                     ("landmarks", "expression", "gaze")))  # fmt: skip
    sliders = Sliders(yaw=0.2, expression={"mouthPucker": 0.5}, gaze_pitch=0.1)
    together = combine(both, sliders=sliders)
    for row, face in enumerate(faces):
        alone = combine(face, sliders=sliders)
        assert torch.allclose(together.landmarks[row], alone.landmarks[0], atol=1e-3)


@pytest.mark.parametrize(
    "sliders",
    [
        Sliders(expression={"smirk": 0.5}),
        Sliders(expression={"jawOpen": 1.5}),
        Sliders(expression={"jawOpen": -0.1}),
        Sliders(expression={"jawOpen": math.nan}),
        Sliders(yaw=9.0),
        Sliders(pitch=math.nan),
    ],
)
def test_bad_sliders_are_refused(make_face: MakeFace, sliders: Sliders) -> None:
    with pytest.raises(OptionError):
        combine(make_face(), sliders=sliders)
