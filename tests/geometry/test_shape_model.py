# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from facex.errors import ModelNotFound, OptionError, WeightsCorrupt
from facex.geometry import topology
from facex.geometry.shape_model import CONFIG_NAME, WEIGHTS_NAME, ShapeModel
from facex.types import BLENDSHAPES

from .conftest import MakeFace

FLIP = torch.tensor([-1.0, 1.0, 1.0])


def test_fit_is_exact_with_the_residual(model: ShapeModel, make_face: MakeFace) -> None:
    face = make_face(3, yaw=20, pitch=-8, roll=4)
    fit = model.fit(face.landmarks, face.expression)
    back = model.shape_points(fit.shape, face.expression, fit.residual)
    assert (model.pose_points(back, fit.pose) - face.landmarks).abs().max() < 1e-3


def test_fit_finds_identity_and_pose(model: ShapeModel, make_face: MakeFace) -> None:
    frontal, turned = make_face(5), make_face(5, yaw=25, pitch=10, roll=-5)
    assert (frontal.shape - turned.shape).abs().mean() < 0.05
    yaw, pitch, roll = (torch.rad2deg(a - b).item() for a, b in
                        zip(turned.angles, frontal.angles, strict=True))  # fmt: skip
    assert (yaw, pitch, roll) == pytest.approx((25, 10, -5), abs=0.3)


def test_canonical_frame(model: ShapeModel) -> None:
    right, left = model.mean[topology.IRIS_CENTRES[0]], model.mean[topology.IRIS_CENTRES[1]]
    assert torch.allclose((right + left) / 2, torch.zeros(3), atol=1e-4)
    assert (left - right)[0].item() == pytest.approx(1, abs=1e-4)
    assert model.mean[topology.NOSE_TIP, 2] < -0.3
    assert model.mean[topology.CHIN, 1] > 1.2


def test_model_is_its_own_mirror_image(model: ShapeModel) -> None:
    assert torch.allclose(model.mean[model.mirror] * FLIP, model.mean, atol=1e-5)
    left = model.expression_basis[:, :, BLENDSHAPES.index("mouthSmileLeft")]
    right = model.expression_basis[:, :, BLENDSHAPES.index("mouthSmileRight")]
    assert torch.allclose(left[model.mirror] * FLIP, right, atol=1e-3)
    assert torch.equal(model.mirror[model.mirror], torch.arange(478))
    for here, there in zip(topology.RIGHT_EYE, topology.LEFT_EYE, strict=True):
        assert model.mirror[here] == there


@pytest.mark.parametrize(
    ("name", "point", "axis", "sign"),
    [
        ("jawOpen", topology.CHIN, 1, 1),
        ("mouthSmileLeft", 291, 1, -1),
        ("browInnerUp", 107, 1, -1),
        ("eyeBlinkRight", 159, 1, 1),
    ],
)
def test_blendshapes_do_what_they_say(
    model: ShapeModel, name: str, point: int, axis: int, sign: int
) -> None:
    assert model.expression_basis[point, axis, BLENDSHAPES.index(name)] * sign > 0.02


def test_blendshapes_stay_where_they_belong(model: ShapeModel) -> None:
    smile = model.expression_basis[:, :, BLENDSHAPES.index("mouthSmileLeft")]
    assert smile[topology.FOREHEAD].abs().max() == 0
    blink = model.expression_basis[:, :, BLENDSHAPES.index("eyeBlinkLeft")]
    assert blink[list(topology.LIPS_OUTER)].abs().max() == 0
    assert blink[list(topology.RIGHT_EYE)].abs().max() == 0


def test_mesh_is_closed_and_counted(model: ShapeModel) -> None:
    triangles = model.triangles.numpy()
    # Euler: one sheet with one rim.
    sides = {tuple(sorted((t[a], t[b]))) for t in triangles for a, b in ((0, 1), (1, 2), (2, 0))}
    assert 468 - len(sides) + len(triangles) == 1
    rim = {tuple(sorted(e)) for e in zip(topology.FACE_OVAL, topology.FACE_OVAL[1:], strict=False)}
    assert rim <= sides
    mouth = triangles[model.mouth_interior.numpy() > 0]
    assert set(mouth.ravel()) == set(topology.LIPS_INNER)
    eyes = triangles[model.eye_interior.numpy() > 0]
    assert set(eyes.ravel()) == set(topology.RIGHT_EYE + topology.LEFT_EYE)


def test_save_and_load(model: ShapeModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = ShapeModel.from_folder(tmp_path)
    for name, value in model.named_buffers():
        assert torch.equal(again.get_buffer(name), value), name


def test_broken_folders_are_refused(model: ShapeModel, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        ShapeModel.from_folder(tmp_path)
    model.save(tmp_path)
    weights = tmp_path / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsCorrupt):
        ShapeModel.from_folder(tmp_path)
    model.save(tmp_path)
    config = json.loads((tmp_path / CONFIG_NAME).read_text())
    config["format_version"] = 99
    (tmp_path / CONFIG_NAME).write_text(json.dumps(config))
    with pytest.raises(WeightsCorrupt, match="newer"):
        ShapeModel.from_folder(tmp_path)


def test_region_masks(make_face: MakeFace) -> None:
    points = make_face().landmarks[0].numpy()
    masks = {n: topology.region_polygon_mask(points, n, 256) for n in topology.REGION_POLYGONS}
    face = masks["face"] > 0
    for name, mask in masks.items():
        assert mask.any(), name
        assert (mask[face] > 0).sum() >= 0.97 * (mask > 0).sum(), name
    assert not (masks["beard"] & masks["lips"]).any()
    assert np.argwhere(masks["beard"])[:, 0].mean() > np.argwhere(masks["nose"])[:, 0].mean()
    with pytest.raises(OptionError, match="elbow"):
        topology.region_polygon_mask(points, "elbow", 64)
