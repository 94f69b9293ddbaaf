# SPDX-License-Identifier: Apache-2.0
"""An expression on another person's face reads as it was asked for."""

from __future__ import annotations

import torch
from PIL import Image

from facex.api import FaceX
from facex.fors.motion import expression_reader, geometry_of
from facex.geometry.aim import aim_expression
from facex.geometry.drive import combine
from facex.geometry.shape_model import bundled
from facex.types import BLENDSHAPES

READ = [not name.startswith(("_", "eyeLook")) for name in BLENDSHAPES]


def test_anothers_face_reads_nearer_to_the_expression_and_keeps_its_shape(
    mini: FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    read = expression_reader(mini.model.ford)
    assert read is not None
    smiling, stern = (geometry_of(mini.decompose(photo)[0]) for photo in (astronaut, hopper))
    for target, source in ((smiling, stern), (stern, smiling)):
        bare = combine(target, identity=source)
        aimed = aim_expression(bare, target.expression, read)
        before, after = (
            (read(g.landmarks) - target.expression)[0, READ].abs().mean() for g in (bare, aimed)
        )
        assert after < 0.75 * before
        size = bare.landmarks[0, :, :2].amax(0) - bare.landmarks[0, :, :2].amin(0)
        assert (aimed.landmarks - bare.landmarks).norm(dim=-1).max() < 0.06 * size.max()
        # The mesh still is shape, expression and residual.
        points = bundled().shape_points(aimed.shape, aimed.expression, aimed.residual)
        assert torch.allclose(
            bundled().pose_points(points, target.pose(bundled()))[..., :2],
            aimed.landmarks[..., :2],
            atol=0.05,
        )


def test_what_reads_right_is_left_alone(mini: FaceX, astronaut: Image.Image) -> None:
    read = expression_reader(mini.model.ford)
    assert read is not None
    face = geometry_of(mini.decompose(astronaut)[0])
    with torch.no_grad():
        aimed = aim_expression(face, read(face.landmarks), read)
    assert torch.allclose(aimed.landmarks, face.landmarks, atol=1e-3)
