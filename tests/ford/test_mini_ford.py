# SPDX-License-Identifier: Apache-2.0
"""The bundled extractors on real portraits: plausible, symmetric, and telling people apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import facex
from facex.api import read_photo
from facex.detect.choose import FaceChoice
from facex.ford.gaze import GazeExtractor
from facex.ford.regions import soft_region_masks
from facex.geometry.pose import euler_from_rotation, place
from facex.geometry.shape_model import bundled
from facex.geometry.topology import FACE_OVAL
from facex.locate import LocatedFace
from facex.models.hub import BUNDLED
from facex.models.mini_ford import MINI_FORD, load_mini_ford
from facex.types import PARSING_CLASSES, PARSING_MIRROR, REGIONS, Region

NAMES = ("astronaut", "hopper")


@dataclass(frozen=True)
class Seen:
    """A portrait and its mirror image, both located from scratch."""

    photo: Image.Image
    face: LocatedFace
    mirrored: LocatedFace


@pytest.fixture(scope="module")
def seen(mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image) -> dict[str, Seen]:
    def find(photo: Image.Image) -> LocatedFace:
        return mini.locator.find(read_photo(photo), FaceChoice())[0]

    photos = {"astronaut": astronaut, "hopper": hopper}
    return {n: Seen(p, find(p), find(ImageOps.mirror(p))) for n, p in photos.items()}


def in_photo(face: LocatedFace) -> np.ndarray:
    points = face.representation.landmarks[0, :, :2].double().numpy()
    return np.asarray(face.photo_from_crop.apply(points))


def flipped(points: np.ndarray, width: float) -> np.ndarray:
    """Landmarks of the mirror image, back in the picture that was mirrored."""
    back = points[bundled().mirror.numpy()].copy()
    back[:, 0] = width - back[:, 0]
    return back


def share(parsing: torch.Tensor, *names: str) -> float:
    ids = torch.tensor([PARSING_CLASSES.index(name) for name in names])
    return float(torch.isin(parsing, ids.to(parsing.dtype)).float().mean())


@pytest.mark.parametrize("name", NAMES)
def test_landmarks_are_a_face_inside_the_crop(name: str, seen: dict[str, Seen]) -> None:
    rep = seen[name].face.representation
    assert rep.extractors == MINI_FORD
    points = rep.landmarks[0].numpy()
    assert points[:, :2].min() > 0
    assert points[:, :2].max() < rep.crop_size
    eyes, nose, mouth = points[[468, 473]], points[1], (points[61] + points[291]) / 2
    # The person's right eye is on the picture's left; eyes above nose above mouth above chin.
    assert eyes[0, 0] < nose[0] < eyes[1, 0]
    assert eyes[:, 1].max() < nose[1] < mouth[1] < points[152, 1]
    assert nose[2] < points[[127, 356], 2].mean()
    assert rep.expression.min() >= 0
    assert rep.expression.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_shape_and_pose_rebuild_the_landmarks(name: str, seen: dict[str, Seen]) -> None:
    from facex.fors.motion import geometry_of

    geometry = geometry_of(seen[name].face.representation)
    points = bundled().shape_points(geometry.shape, geometry.expression, geometry.residual)
    torch.testing.assert_close(
        place(points, geometry.pose()), geometry.landmarks, atol=0.02, rtol=0
    )


@pytest.mark.parametrize("name", NAMES)
def test_parsing_sees_what_is_there(name: str, seen: dict[str, Seen]) -> None:
    rep = seen[name].face.representation
    parsing = rep.parsing[0]
    assert 0.1 < share(parsing, "skin") < 0.5
    assert share(parsing, "hair", "hat") > 0.03
    for part in ("nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "neck"):
        assert share(parsing, part) > 3e-4, part
    # Parsing and landmarks agree on where the face is.
    points = rep.landmarks[0].numpy()
    column, row = points[list(FACE_OVAL), :2].mean(0).astype(int)
    assert PARSING_CLASSES[int(parsing[row, column])] in ("skin", "nose", "u_lip")
    for side, index in (("r_eye", 468), ("l_eye", 473)):
        x, y = points[index, :2].astype(int)
        around = parsing[y - 3 : y + 4, x - 3 : x + 4]
        assert PARSING_CLASSES.index(side) in around, side


def test_hair_and_hat_are_told_apart(seen: dict[str, Seen]) -> None:
    astronaut, hopper = (seen[n].face.representation.parsing[0] for n in NAMES)
    assert share(astronaut, "hair") > 0.1 > share(astronaut, "hat")
    assert share(hopper, "hat") > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_regions_that_are_seen_have_features(name: str, seen: dict[str, Seen]) -> None:
    rep = seen[name].face.representation
    masks = soft_region_masks(rep.parsing, rep.landmarks)
    assert masks.sum(1).max() == 1
    for index, region in enumerate(REGIONS):
        here = bool(rep.region_present[0, index])
        assert bool(rep.region_features[0, index].any()) is here, region
        assert here or masks[0, index].mean() < 1e-3
    for region in (Region.SKIN, Region.EYES, Region.NOSE, Region.LIPS, Region.BEARD, Region.NECK):
        assert rep.region_present[0, REGIONS.index(region)], region


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_photo_has_mirrored_landmarks(name: str, seen: dict[str, Seen]) -> None:
    here = seen[name]
    own = in_photo(here.face)
    back = flipped(in_photo(here.mirrored), here.photo.width)
    between_eyes = np.linalg.norm(own[468] - own[473])
    error = np.linalg.norm(own - back, axis=1) / between_eyes
    assert error.mean() < 0.04
    assert error.max() < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_photo_has_mirrored_pose_and_parsing(name: str, seen: dict[str, Seen]) -> None:
    one, two = (face.representation for face in (seen[name].face, seen[name].mirrored))
    yaw, pitch, roll = (float(v) for v in euler_from_rotation(one.rotation))
    other = [float(v) for v in euler_from_rotation(two.rotation)]
    assert other == pytest.approx([-yaw, pitch, -roll], abs=np.radians(5))
    turned = torch.tensor(PARSING_MIRROR, dtype=torch.uint8)[two.parsing.long().flip(-1)]
    assert (turned == one.parsing).float().mean() > 0.85


def test_the_gaze_network_is_mirror_symmetric_by_construction(
    mini: facex.FaceX, seen: dict[str, Seen]
) -> None:
    """Given mirrored landmarks, not those of a second reading, only the signs of yaw change."""
    gaze = next(e for e in mini.model.ford.extractors if isinstance(e, GazeExtractor))
    for name in NAMES:
        face = seen[name].face
        points = face.representation.landmarks
        back = points[:, bundled().mirror] * torch.tensor([-1.0, 1.0, 1.0])
        back[..., 0] += face.representation.crop_size
        own = gaze(face.crop, {"landmarks": points})["gaze"]
        other = gaze(face.crop.flip(-1), {"landmarks": back})["gaze"]
        # Right and left eye change places.
        expected = own.flip(1) * torch.tensor([1.0, -1.0])
        torch.testing.assert_close(other, expected, atol=0.01, rtol=0)


def test_a_look_aside_is_to_the_other_side_in_the_mirror(seen: dict[str, Seen]) -> None:
    own, other = (face.representation.gaze[0] for face in
                  (seen["hopper"].face, seen["hopper"].mirrored))  # fmt: skip
    assert own[:, 1].abs().min() > 0.02
    assert (own[:, 1].sign() == -other[:, 1].sign()).all()
    torch.testing.assert_close(own[:, 0], other.flip(0)[:, 0], atol=np.radians(5), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_recoloured_photo_is_the_same_person(
    name: str, mini: facex.FaceX, seen: dict[str, Seen]
) -> None:
    own = seen[name].face
    (stranger,) = (seen[other].face.representation.identity for other in NAMES if other != name)
    values = np.asarray(seen[name].photo, np.float32)
    copies = {
        "warm": values * np.float32([1.0, 0.85, 0.7]),
        "dark": values * 0.55,
        "pale": values * 0.6 + 90,
        "grey": np.broadcast_to(values.mean(-1, keepdims=True), values.shape),
    }
    for kind, copy in copies.items():
        pixels = np.ascontiguousarray(copy.clip(0, 255).astype(np.uint8))
        again = mini.locator.read_aligned(pixels, own.photo_from_crop, kind).representation
        near = float((again.identity * own.representation.identity).sum())
        far = float((again.identity * stranger).sum())
        assert near > 0.7, kind
        assert near > far + 0.2, kind


@pytest.mark.parametrize("name", NAMES)
def test_identity_survives_the_mirror(name: str, seen: dict[str, Seen]) -> None:
    one, two = (face.representation.identity for face in (seen[name].face, seen[name].mirrored))
    (stranger,) = (seen[other].face.representation.identity for other in NAMES if other != name)
    assert float((one * two).sum()) > float((one * stranger).sum()) + 0.2
    torch.testing.assert_close(one.norm(dim=1), torch.ones(1))


def test_faces_of_a_batch_do_not_mix(mini: facex.FaceX, seen: dict[str, Seen]) -> None:
    crops = [seen[name].face.crop for name in NAMES]
    with torch.inference_mode():
        both = mini.model.ford(torch.cat(crops))
    for index, name in enumerate(NAMES):
        alone = seen[name].face.representation
        torch.testing.assert_close(both[index].landmarks, alone.landmarks, atol=1e-2, rtol=0)
        torch.testing.assert_close(both[index].identity, alone.identity, atol=1e-3, rtol=0)
        torch.testing.assert_close(both[index].gaze, alone.gaze, atol=1e-3, rtol=0)
        assert (both[index].parsing == alone.parsing).float().mean() > 0.999


def test_all_networks_move_to_a_device() -> None:
    ford = load_mini_ford(BUNDLED / "ford").to("meta")
    networks = [e.net for e in ford.extractors if hasattr(e, "net")]
    assert networks
    assert {p.device.type for net in networks for p in net.parameters()} == {"meta"}
