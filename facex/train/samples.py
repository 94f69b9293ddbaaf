# SPDX-License-Identifier: Apache-2.0
"""Training samples of the generator: a true photo and the reference an edit would start from.

The reference is built by the very assembler that edits use, from a *view* of the true photo: the
same face carried to a foreign mesh, lit otherwise, mirrored or partly hidden. Carrying it back
leaves what real edits leave: hidden sides, seams, resampled skin, wrong light, unknown rims. The
answer is always the true photo, so the generator learns to repair (DESIGN 4, 11).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.errors import OptionError
from facex.fors.appearance import SPARE
from facex.fors.face_picture import FacePicture
from facex.fors.fill import push_pull
from facex.fors.mirror import fill_from_other_half
from facex.fors.portrait import bare_of, fill_from_components, portrait
from facex.fors.reference_image import ReferenceImage
from facex.fors.region_assembler import RegionAssembler
from facex.geometry.albedo import bundled_albedo
from facex.geometry.drive import combine
from facex.geometry.shape_model import bundled
from facex.geometry.texture_map import apply_warp, mesh_warp, render_position_map
from facex.geometry.topology import region_polygon_mask
from facex.recipes.plan import Plan, plan_step
from facex.recipes.schema import Step
from facex.train import augment
from facex.train.codes import SIZE, Codes, FaceCodes
from facex.train.facecache import FaceCache
from facex.train.holes import brushed_hole, random_hole
from facex.train.relit import relit
from facex.train.strangers import BROUGHT, TAKEN, Strangers
from facex.types import PARSING_MIRROR

Floats = NDArray[np.float32]
Sample = dict[str, Any]

Change = Literal["any", "pose", "gaze"]

_BACKGROUND, _SKIN = 0, 1
_REPLACED: Final = (0, 13, 16, 17, 18)
"""Classes that a foreign face shape may cover: background, hair, necklace, neck, clothes."""

_BOTH_HALVES: Final = 0.7
"""Share of holes that are filled from the other half of the face, as an edit does."""
_CONTINUED: Final = 0.8
"""Share of holes into which faces are continued by what is seen of them, as an edit does."""
_PAIRED: Final = 0.25
"""Share of samples whose person has another photo, of which there are few."""
_OTHER_PHOTO: Final = 0.6
"""How often that photo is the view."""
_RETURNED: Final = 0.85
"""Share of faces and heads that come back into a photo with a stranger in it, where there are."""
_FACE: Final = ("skin", "brows", "eyes", "nose", "lips", "beard")


def _step(**fields: Any) -> Plan:
    return plan_step(Step(**fields))


# A view of the same person: what differs is light, none of it complexion.
PLANS: Final[tuple[tuple[str, float, Plan], ...]] = (
    ("face", 0.28, _step(**BROUGHT["face"], texture="target")),
    ("head", 0.13, _step(**BROUGHT["head"], texture="target")),
    ("turn", 0.16, _step(pose="driver", expression="driver", gaze="driver", edit=("head",))),
    ("hole", 0.2, _step(edit="mask")),
    # Where little may change, colours must fit exactly.
    ("look", 0.03, _step(gaze="driver", edit=("eyes",))),
    ("part", 0.03, _step(regions={"eyes": "source", "lips": "source"}, edit=("eyes", "lips"))),
    # From the codes alone.
    ("drawn", 0.17, _step(regions={"head": "source"}, edit=("head",), reference="none")),
)
"""Kinds of damage with their share; each stands for several tasks."""


KINDS: Final = tuple(name for name, _, _ in PLANS)
PLACED: Final = tuple(name for name in KINDS if name not in ("hole", "drawn"))
"""Kinds whose every part was placed or filled from photos (`facex.frc.native.settle`)."""


def other_photos(people: Iterable[str]) -> dict[int, list[int]]:
    """The other rows that show a row's person, for the rows that have any; "" is nobody known."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, person in enumerate(people):
        rows[person].append(row)
    return {
        row: [other for other in own if other != row]
        for person, own in rows.items()
        if person and len(own) > 1
        for row in own
    }


class SampleMaker:
    """Makes samples from cached faces and codes.

    Args:
        cache: the faces.
        codes: their codes; only faces with codes are used.
        seed: of all randomness.
        lamps: views also get other lamps (`facex.train.relit`) and, where there is one, another
            photo of the same person; without, the damage is that of the evaluation's protocols.
        strangers: photos of these faces with another person in them.
    """

    lamps = True
    strangers: Strangers | None = None

    def __init__(
        self,
        cache: FaceCache,
        codes: Codes,
        seed: int,
        *,
        lamps: bool = True,
        strangers: Strangers | None = None,
    ) -> None:
        self.cache, self.arrays = cache, codes.arrays
        self._set_up(codes, seed, SIZE)
        self.strangers = strangers
        self.lamps = lamps
        if not lamps:
            return
        rows = (cache.rows[int(index)] for index in self.arrays["index"])
        self.same.update(other_photos(row.get("person", "") for row in rows))
        self.paired = np.array(sorted(self.same), np.int64)

    def _set_up(self, codes: FaceCodes, seed: int, size: int) -> None:
        self.codes, self.size = codes, size
        self.rng = np.random.default_rng(seed)
        self.same: dict[int, list[int]] = {}
        self.paired = np.zeros(0, np.int64)
        self.mirror = bundled().mirror.numpy()
        self.shares = np.array([share for _, share, _ in PLANS])
        if codes.drawable(0) is None:
            self.shares[[name == "drawn" for name, _, _ in PLANS]] = 0
        self.shares /= self.shares.sum()

    def face(self, row: int) -> FacePicture:
        """A training face as the assembler sees it."""
        index = int(self.arrays["index"][row])
        image, parsing = np.asarray(self.cache.faces[index]), self.arrays["parsing"][row]
        return FacePicture(image, self.codes.points(row), parsing, self.size)

    def sample(self, row: int | None = None, kind: int | None = None) -> Sample:
        """One sample: tensors of a single face, images in [-1, 1].

        Keys: ``target`` (3, S, S), ``reference`` (3, S, S), ``known`` and ``edit`` (1, S, S),
        ``geometry`` (3, S, S), ``inputs`` and ``present`` by token input, ``kind``, ``row`` of
        the codes.
        """
        rng = self.rng
        kind = int(rng.choice(len(PLANS), p=self.shares)) if kind is None else kind
        name, _, plan = PLANS[kind]
        returned = False
        if row is None:
            paired = len(self.paired) and rng.random() < _PAIRED
            row = int(rng.choice(self.paired) if paired else rng.integers(len(self.codes)))
            stored = self.strangers.rows.get(name, ()) if self.strangers is not None else ()
            if len(stored) and rng.random() < _RETURNED:
                row, returned = int(rng.choice(stored)), True
        true = self.face(row)
        if returned:
            return self._sample(true, row, kind, self._returned(true, row, name))
        if name == "hole":
            reference = self._hole(true, random_hole(rng, self.size))
        elif name == "drawn":
            codes = self.codes.drawable(row)
            if codes is None:
                raise OptionError("these codes cannot be drawn; make them again (encode_faces)")
            drawn = {"source": portrait(codes, bundled_albedo())}
            pictures = {"target": true, "source": true}
            reference = RegionAssembler(pictures, plan, true.landmarks, portraits=drawn).assemble()
        elif name in ("turn", "look"):
            reference = self._turned(true, row, plan, "gaze" if name == "look" else "any")
        else:
            reference = self._swapped(true, row, plan, "pose" if name == "part" else "any")
        return self._sample(true, row, kind, self._disturb(reference, true))

    def hole(self) -> Sample:
        """A sample of any face with a hole that somebody brushed; nothing else is wrong with it."""
        row = int(self.rng.integers(len(self.codes)))
        true = self.face(row)
        reference = self._hole(true, brushed_hole(self.rng, self.size))
        return self._sample(true, row, KINDS.index("hole"), reference)

    def _sample(self, true: FacePicture, row: int, kind: int, reference: ReferenceImage) -> Sample:
        return {
            "target": _chw(true.pixels),
            "reference": _chw(reference.image),
            "known": torch.from_numpy(reference.known)[None],
            "edit": torch.from_numpy(reference.edit)[None],
            "geometry": torch.from_numpy(reference.geometry),
            "inputs": self.codes.inputs(row, self.rng),
            "present": self.codes.present(row),
            "kind": kind,
            "row": row,
        }

    def _view(self, true: FacePicture, row: int, change: Change, *, stay: bool) -> FacePicture:
        """Another photo of the same face: foreign mesh, other light, sometimes mirrored.

        ``change`` is what of another face the mesh takes on: pose, gaze, or any of several. Where
        there is a real one, it is taken most of the time.
        """
        rng, other = self.rng, int(self.rng.integers(len(self.codes)))
        if not stay and row in self.same and rng.random() < _OTHER_PHOTO:
            return self.face(int(rng.choice(self.same[row])))
        mine, theirs = self.codes.geometry(row), self.codes.geometry(other)
        if change == "any" and rng.random() < 0.5:
            points = self.codes.points(other)
        else:
            if change == "gaze":
                moved = combine(mine, gaze=theirs)
            else:
                expression = theirs if change == "any" and rng.random() < 0.6 else None
                moved = combine(mine, pose=theirs, expression=expression)
            points = moved.landmarks[0].numpy().astype(np.float64)
        field = mesh_warp(true.landmarks, points, self.size, anchor_far=stay)
        image = np.asarray(apply_warp(field, true.image), np.uint8)
        label = _warp_labels(true.parsing, field.map_xy)
        label[field.visible < 0.5] = _BACKGROUND
        if not stay:
            if self.lamps:
                light = self.codes.light(row), self.codes.light(other)
                image = relit(image, points, *light, rng)
            image = augment.photometric(image, rng, 0.5)
        if not stay and rng.random() < 0.2:
            image, label = image[:, ::-1], np.array(PARSING_MIRROR, np.uint8)[label[:, ::-1]]
            points = points[self.mirror] * [-1.0, 1.0, 1.0] + [self.size, 0.0, 0.0]
        noisy = points + rng.normal(0, 0.6 * self.size / SIZE, points.shape)
        return FacePicture(
            np.ascontiguousarray(image), noisy, np.ascontiguousarray(label), self.size
        )

    def _swapped(self, true: FacePicture, row: int, plan: Plan, change: Change) -> ReferenceImage:
        view = self._view(true, row, change, stay=False)
        other = int(self.rng.integers(len(self.codes)))
        parsing = true.parsing
        if self.rng.random() < 0.7:
            # The person who is replaced had another jaw: what it covered is unknown.
            shaped = combine(self.codes.geometry(row), identity=self.codes.geometry(other))
            area = region_polygon_mask(shaped.landmarks[0].numpy(), "face", self.size)
            covered = (area > 0) & np.isin(parsing, _REPLACED)
            parsing = np.where(covered, _SKIN, parsing).astype(np.uint8)
        target = FacePicture(true.image, true.landmarks, parsing, self.size)
        pictures = {"target": target, "source": view}
        # In an edit the skin under the source's fringe is lent by the person who is replaced.
        pictures[SPARE] = self.face(other)
        return RegionAssembler(pictures, plan, true.landmarks).assemble()

    def _returned(self, true: FacePicture, row: int, taken: str) -> ReferenceImage:
        """A face or head put back where a stranger's is: an edit of strangers with an answer."""
        if self.strangers is None:
            raise OptionError("there are no photos with strangers in them")
        target = self.strangers.picture(taken, row, self.rng)
        pictures = {"target": target, "source": self._view(true, row, "any", stay=False)}
        built = RegionAssembler(pictures, TAKEN[taken], true.landmarks).assemble()
        return _around(built, true)

    def _turned(self, true: FacePicture, row: int, plan: Plan, change: Change) -> ReferenceImage:
        view = self._view(true, row, change, stay=True)
        built = RegionAssembler({"target": view}, plan, true.landmarks).assemble()
        return _around(built, true)

    def _hole(self, true: FacePicture, hole: Floats) -> ReferenceImage:
        known = (1 - hole).astype(np.float32)
        image = true.pixels
        if self.rng.random() < _CONTINUED:
            points, bare = np.asarray(true.landmarks), bare_of(true.parsing)
            image, known = fill_from_components(image, known, points, bare, bundled_albedo())
        if self.rng.random() < _BOTH_HALVES:
            image, known = fill_from_other_half(image, known, np.asarray(true.landmarks))
        image = push_pull(image, known)
        geometry = render_position_map(np.asarray(true.landmarks), self.size)
        return ReferenceImage(image, known, hole, geometry, {})

    def _disturb(self, reference: ReferenceImage, true: FacePicture) -> ReferenceImage:
        """Errors that the assembler makes in real edits: leftover light, softness, holes."""
        rng, image, known = self.rng, reference.image, reference.known
        edit = reference.edit[..., None]
        if rng.random() < 0.6:
            grid = rng.normal(0, 0.1, (3, 3, 1)) + rng.normal(0, 0.025, (3, 3, 3))
            gain = cv2.resize(
                np.exp(grid).astype(np.float32),
                (self.size, self.size),
                interpolation=cv2.INTER_CUBIC,
            )
            image = image * (1 + (gain - 1) * edit)
        if rng.random() < 0.2:
            soft = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.6, 1.8)))
            image = image * (1 - edit) + soft * edit
        if rng.random() < 0.3:
            hole = random_hole(rng, self.size, share=0.3) * (reference.edit > 0.5)
            known = known * (1 - hole)
        image = np.clip(image, 0, 1).astype(np.float32)
        return ReferenceImage(
            image, known.astype(np.float32), reference.edit, reference.geometry, {}
        )


def _around(built: ReferenceImage, true: FacePicture) -> ReferenceImage:
    """The true photo around what may change."""
    outside = (built.edit < 1e-3)[..., None]
    image = np.where(outside, true.pixels, built.image).astype(np.float32)
    return ReferenceImage(image, built.known, built.edit, built.geometry, {})


def _warp_labels(labels: NDArray[np.uint8], map_xy: Floats) -> NDArray[np.uint8]:
    moved = cv2.remap(
        labels, map_xy - np.float32(0.5), None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def _chw(image: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) * 2 - 1
