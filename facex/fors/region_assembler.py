# SPDX-License-Identifier: Apache-2.0
"""phi^Inp's picture: the reference image, its known mask and the edit mask (DESIGN 4).

Regions are painted back to front, each from the picture that the plan names, carried to the
result's mesh. What nothing covers (an occluded brow, what a smaller head uncovers) stays unknown
and is the generator's to draw. Everything here works at any resolution: the same call with the
photos' original pixels gives the native reference of the correction at native resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facex.fors.appearance import SPARE, Appearance
from facex.fors.carry import Carried, Shown, carry
from facex.fors.complexion import SKIN, into_hair
from facex.fors.edit_masks import edit_masks
from facex.fors.editable import editable
from facex.fors.eyes import Look
from facex.fors.face_end import face_ends
from facex.fors.face_picture import FacePicture
from facex.fors.features import FeaturePainter
from facex.fors.fill import lit, push_pull, smooth_gain
from facex.fors.guess import LEAST, TRUST, Lender, fill_face, fill_rest, lend_skin, open_mouth
from facex.fors.layers import GROUND, LAYERS, STAYS_PUT, with_hat
from facex.fors.mirror import fill_from_other_half
from facex.fors.morphology import grow, resized, without_rim
from facex.fors.neck import fill_neck, neck_column
from facex.fors.occluders import things_before
from facex.fors.portrait import bare_of, fill_from_components
from facex.fors.reference_image import Painted, ReferenceImage
from facex.fors.region_masks import head_of
from facex.fors.shaving import bare_neck
from facex.fors.tears import fill_dark_glasses, fill_pinholes, mend_tears
from facex.fors.trim import beard_of, higher_than, trim_face
from facex.geometry.albedo import bundled_albedo
from facex.geometry.texture_map import (
    draw_warped,
    render_position_map,
    scale_points,
)
from facex.geometry.topology import LOWER_LIP, NOSE_TIP, UPPER_LIP, region_polygon_mask
from facex.recipes.plan import Plan
from facex.recipes.values import NONE, TARGET
from facex.types import FACE_REGIONS, HEAD_REGIONS, PARSING_CLASSES, Factor, Region

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FRAME: Final = 0.02
"""Width of the rim around glasses where no skin is lent, as a share of the side."""
_MOUTH: Final = PARSING_CLASSES.index("mouth")


class RegionAssembler:
    """Builds the reference of one edit.

    Args:
        pictures: decomposed pictures by name, always with ``target``.
        plan: which region comes from whom.
        result_landmarks: ``(478, 3)`` mesh of the result in units of the target's crop.
        mask: the user's mask ``(S, S)`` in [0, 1] when the plan edits by mask.
        look: where the eyes shall look; without, their irises are placed by geometry alone.
        portraits: what is shown of pictures instead of themselves, ``(s, s, 3)`` in [0, 1] each:
            drawn from their representations, when the plan asks for no reference.
        expressions: by how much the blendshapes ``(52,)`` of each picture's face change.
    """

    def __init__(
        self,
        pictures: Mapping[str, FacePicture],
        plan: Plan,
        result_landmarks: NDArray[np.floating],
        mask: Floats | None = None,
        look: Look | None = None,
        portraits: Mapping[str, Floats] | None = None,
        expressions: Mapping[str, Floats] | None = None,
    ) -> None:
        self.pictures, self.mask = pictures, mask
        self.plan = plan = with_hat(plan, pictures)
        self.target = pictures[TARGET]
        self.result = np.asarray(result_landmarks, np.float64)
        # Another person's shape alone moves nothing of what stays the target's.
        motion = plan.motion
        moves = motion.turns_head or motion.changes_expression or motion.turns_eyes
        own = np.asarray(self.target.landmarks, np.float64)
        self.still = not moves or np.array_equal(self.result, own)
        self.masks, self.veiled, self.shaven = edit_masks(plan, pictures, lends=self._lends)
        self.looks = looks = Appearance(
            plan, pictures, self.masks, portraits, self.veiled, expressions
        )
        self.features = FeaturePainter(
            plan, pictures, looks.pixels, looks.colours, self.result, self.still, look,
            self.veiled.eyes,
        )  # fmt: skip
        replaced = plan.pixels[Region.SKIN] not in (TARGET, NONE) and not plan.by_mask
        self.in_place = self.still and replaced
        self.things = things_before(self.target) if self.in_place else None

    def assemble(self, size: int | None = None) -> ReferenceImage:
        """Paint the reference at ``size`` px (default: the crop's own size)."""
        size = self.target.crop_size if size is None else size
        target = resized(self.target.pixels, size)
        carried = {name: self._carry(name, size) for name in self._origins()}
        faces = self._compare_colours(carried, target)
        looks = self.looks
        looks.tone()
        own = resized(looks.pixels(TARGET), size)
        painted = self._paint(own, carried, faces)
        if self.plan.by_mask and self.mask is not None:
            edit = resized(self.mask, size)
        else:
            before = self.masks[TARGET], looks.bare
            edit = editable(self.plan, painted.regions, *before, size, moved=not self.still)
            if self.things is not None:
                edit = edit * (1 - resized(self.things, size))
        # Along borders the layers' soft masks cover a pixel only together: still known.
        known = np.clip((painted.cover - 0.25) / 0.35, 0, 1)
        # What may not change is the target, whatever was painted.
        image = painted.image * edit[..., None] + target * (1 - edit[..., None])
        known = np.where(edit < 1e-3, 1.0, known)
        guessing = self.plan.reference == "warped" and not self.plan.by_mask
        # What is drawn from codes is something to begin with, but nothing that is known.
        drawn = known if looks.portraits else known * (edit < 1e-3)
        if not guessing:
            known = known * (edit < 1e-3)
        image, known = np.asarray(image, np.float32), np.asarray(known, np.float32)
        if guessing:
            image, known = self._guess(painted, image, known, edit, own, target)
        else:
            if self.plan.by_mask and self.plan.reference == "warped":
                points = self._place(size)
                bare = bare_of(self.target.parsing)
                image, known = fill_from_components(image, known, points, bare, bundled_albedo())
                image, known = fill_from_other_half(image, known, points)
                drawn = known
            image = push_pull(image, np.asarray(drawn, np.float32))
        image = np.where(edit[..., None] < 1e-3, target, image)
        geometry = render_position_map(self._place(size), size)
        return ReferenceImage(image, known, edit, geometry, dict(looks.colours))

    def _guess(
        self,
        painted: Painted,
        image: Floats,
        known: Floats,
        edit: Floats,
        own: Floats,
        target: Floats,
    ) -> tuple[Floats, Floats]:
        """Fill what no picture shows; ``own`` is the target in the complexion that it takes on."""
        size = image.shape[0]
        image, known = fill_pinholes(image, known)
        skin = painted.regions.get(Region.SKIN, np.zeros_like(known))
        jaw = painted.regions.get(Region.BEARD, np.zeros_like(known))
        points = self._place(size)
        if self._lends and ((1 - known) * edit).mean() > LEAST:
            place = edit
            if self.plan.edits_hair:
                # Another head may be narrower than that of who lends.
                own_face = without_rim(painted.face.astype(np.uint8))
                place = edit * np.maximum(own_face, painted.front)
            elif self.shaven:
                # A beard is broader than the jaw below it.
                place = edit * np.maximum(painted.face, higher_than(points, NOSE_TIP, size))
            image, known = lend_skin(image, known, place, skin, jaw, self._lender(own))
        image, known = open_mouth(image, known, edit, skin, points)
        if self.plan.edits_hair:
            head = resized(head_of(self.masks[TARGET]), size)
            # Nor is what lies beyond the photo's border any ground.
            head = np.maximum(head, self.target.hidden(size))
            # Nobody wears a collar above the mouth: what is called so there is something else.
            own_points = scale_points(self.target.landmarks, size / self._crop)
            cloth = resized(self.masks[TARGET][Region.CLOTH], size)
            cloth = cloth * (1 - higher_than(own_points, UPPER_LIP, size))
            neck = partial(self._neck, image, known, painted.regions)
            face = sum((painted.regions.get(r, 0) for r in FACE_REGIONS), np.zeros_like(known))
            beside = np.minimum(1 - face, 1 - painted.face)
            beside = np.asarray(np.clip(beside, 0, 1), np.float32)
            image, known = fill_rest(image, known, painted.front, beside, target, head, neck, cloth)
        else:
            image = fill_face(image, known, skin + jaw, painted.face)
            if self.shaven:
                image = self._bare_neck(image, own, known, painted)
            if self.in_place and self.looks.bare is not None:
                between = self.looks.skin_between(TARGET)
                image = into_hair(image, own, skin + jaw, self.masks[TARGET], between)
        return image, known

    def _paint(
        self, target: Floats, carried: Mapping[str, Carried | None], faces: Mapping[str, Shown]
    ) -> Painted:
        """All layers, back to front; of some pictures the face was carried already."""
        size = target.shape[0]
        colour, cover = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
        behind = np.ones_like(cover)
        regions: dict[Region, Floats] = {}
        ends = {name: self._ends(carried, name, size) for name in carried if name != TARGET}
        free = None if self.things is None else 1 - resized(self.things, size)
        for layer in LAYERS:
            masks: dict[str, Floats] = {}
            for region in layer:
                name = self.plan.pixels[region]
                if name == NONE or name not in carried:
                    continue
                mask = self._region(name, region, carried[name], size)
                if name != TARGET and region in ends[name]:
                    mask = mask * ends[name][region]
                if free is not None and layer == FACE_REGIONS:
                    mask = mask * free
                regions[region] = mask
                masks[name] = masks.get(name, np.float32(0)) + mask
            ready = faces if layer == FACE_REGIONS else {}
            parts = {
                name: self._layer(name, layer, carried[name], target, ready.get(name))
                for name in masks
            }
            for name, mask in masks.items():
                area = np.minimum(mask, np.float32(1))
                image, shown = parts[name]
                if layer == FACE_REGIONS and name != TARGET and self._sets_in:
                    skin = regions[Region.SKIN] * self._region(
                        name, Region.SKIN, carried[name], size
                    )
                    image = _set_in(image, parts[TARGET][0], skin)
                alpha = area * shown
                colour = colour * (1 - area[..., None]) + image * alpha[..., None]
                # What is in front hides what is behind it even where it is not shown itself.
                cover = cover * (1 - area) + alpha
                if layer not in GROUND:
                    behind = behind * (1 - area)
        image = np.asarray(colour / np.maximum(cover, 1e-3)[..., None], np.float32)
        for part in filter(None, carried.values()):
            image, cover = mend_tears(image, cover, part.field)
        if Region.GLASSES in regions:
            eyes = self._place(size)
            image, cover = fill_dark_glasses(image, cover, regions[Region.GLASSES], eyes)
        image, cover = self.features.paint(image, cover, regions)
        face = region_polygon_mask(self._place(size), "face", size).astype(np.float32)
        for part in filter(None, carried.values()):
            # A head that is turned away ends with its cheek, not with the oval of its face.
            face = np.maximum(face, part.field.inside)
        return Painted(image, cover, 1 - behind, face, regions)

    def _neck(
        self, image: Floats, known: Floats, regions: Mapping[Region, Floats]
    ) -> tuple[Floats, Floats]:
        """Where the target's neck is behind its head, and its colours."""
        size = image.shape[0]
        points = scale_points(self.target.landmarks, size / self._crop)
        seen = resized(self.masks[TARGET][Region.NECK], size)
        column = neck_column(points, seen, self._place(size))
        neck, skin = (
            known * regions.get(r, np.zeros_like(known)) for r in (Region.NECK, Region.SKIN)
        )
        return column, fill_neck(image, neck, skin)

    def _bare_neck(self, image: Floats, own: Floats, known: Floats, painted: Painted) -> Floats:
        """Below a chin that lost its beard there is neck."""
        column, neck = self._neck(image, known, painted.regions)
        skin = known * painted.regions.get(Region.SKIN, np.zeros_like(known))
        below = np.clip(1 - known / TRUST, 0, 1) * column * (1 - painted.face)
        bare = bare_neck(image, own, neck, skin)
        return np.asarray(image + (bare - image) * below[..., None], np.float32)

    @property
    def _crop(self) -> int:
        return self.target.crop_size

    def _origins(self) -> list[str]:
        used = set(self.plan.pixels.values()) - {NONE}
        return [name for name in self.pictures if name in used]

    def _carry(self, name: str, size: int) -> Carried | None:
        """The warp of a picture into the result; None: it stays where it is."""
        if name == TARGET and self.still:
            return None
        worn = self.plan.pixels[Region.GLASSES] == name
        return carry(
            self.pictures[name],
            self._face_mask(name, self.masks[name]),
            lambda: self._face_mask(name, self._rimless(name)),
            self._place(size),
            size,
            anchored=name == TARGET,
            symmetric=name != SPARE,
            glasses=worn and bool(self.masks[name][Region.GLASSES].any()),
        )

    def _region(self, name: str, region: Region, carried: Carried | None, size: int) -> Floats:
        mask = self.masks[name][region]
        if carried is None or (name == TARGET and region in STAYS_PUT):
            return resized(mask, size)
        return carried.region(region, mask)

    def _ends(
        self, carried: Mapping[str, Carried | None], name: str, size: int
    ) -> dict[Region, Floats]:
        """Where a foreign face may be shown, by region."""
        part = carried[name]
        if part is None or TARGET not in carried:
            return {}
        head = None
        if self.plan.pixels[Region.HAIR] == TARGET:
            own = carried[TARGET]
            head = head_of({r: self._region(TARGET, r, own, size) for r in HEAD_REGIONS})
        beard = self.plan.pixels[Region.BEARD]
        # Only of a head that comes it is asked.
        alone = head is not None or beard not in self.masks
        bearded = alone or bool(beard_of(self.pictures[beard], self.masks[beard]))
        return face_ends(part.field, self._place(size), head, bearded=bearded)

    def _layer(
        self,
        name: str,
        layer: tuple[Region, ...],
        carried: Carried | None,
        target: Floats,
        ready: Shown | None = None,
    ) -> Shown:
        """Pixels of a picture in the result's place, and where they are really shown."""
        if carried is None or (name == TARGET and layer[0] in STAYS_PUT):
            return target, np.ones(target.shape[:2], np.float32)
        # A head that moves over its own photo brings its jaw before its neck; its hair stays before
        # the ground that it is mixed with.
        mixed = FACE_REGIONS if name == TARGET else (Region.HAIR,)
        outer = layer == mixed or layer[0] == Region.EARS
        pixels = self.looks.outlined(name) if outer else self.looks.pixels(name)
        image, shown = ready or carried.layer(layer, pixels)
        skin = None
        if layer[0] == Region.HAIR and self.looks.colours.get(name) is not None:
            skin = draw_warped(carried.field, self.looks.skin_between(name))
        return self.looks.recolour(name, layer, image, skin), shown

    def _place(self, size: int) -> Doubles:
        """The result's mesh in pixels."""
        return scale_points(self.result, size / self._crop)

    def _face_mask(self, name: str, masks: Mapping[Region, Floats]) -> Floats:
        wanted = [r for r in FACE_REGIONS if self.plan.pixels[r] == name]
        return np.minimum(sum((masks[r] for r in wanted), np.zeros_like(masks[Region.SKIN])), 1)

    def _rimless(self, name: str) -> Mapping[Region, Floats]:
        """A picture's masks without the rim of its face, which is no other half of anything."""
        masks = dict(self.masks[name])
        if name == TARGET:
            # The target keeps its rim where it is; all others have lost it.
            trim_face(masks, self.target)
        return masks

    def _compare_colours(
        self, carried: Mapping[str, Carried | None], target: Floats
    ) -> dict[str, Shown]:
        """How each picture is brought into the target's light, by the skin that both show.

        Returns:
            The faces that were carried to be compared.
        """
        faces: dict[str, Shown] = {}
        if self.plan.factors[Factor.LIGHT] != TARGET:
            return faces
        size = target.shape[0]
        own = np.asarray(
            sum(resized(self.masks[TARGET][region], size) for region in SKIN), np.float32
        )
        for name, part in carried.items():
            if name == TARGET or name in self.looks.colours or part is None:
                continue
            faces[name] = part.layer(FACE_REGIONS, self.looks.pixels(name))
            shown = sum(self._region(name, region, part, size) for region in SKIN)
            self.looks.compare(name, faces[name][0], np.asarray(shown, np.float32), target, own)
        return faces

    @property
    def _sets_in(self) -> bool:
        """Single features come into a face and a light that stay the target's."""
        plan = self.plan
        return plan.pixels[Region.SKIN] == TARGET and plan.factors[Factor.LIGHT] == TARGET

    @property
    def _lends(self) -> bool:
        """Somebody else's face is shown, and where it cannot be, the replaced skin is a guess."""
        plan = self.plan
        return (
            plan.pixels[Region.SKIN] not in (TARGET, NONE)
            and plan.reference == "warped"
            and not plan.by_mask
        )

    def _lender(self, target: Floats) -> Lender:
        """The person whose face is replaced, in the result's place."""
        size = target.shape[0]
        name = SPARE if SPARE in self.pictures else TARGET
        carried = self._carry(name, size)
        teeth = (self.pictures[name].parsing == _MOUTH).astype(np.float32)
        skin, jaw = (self._region(name, r, carried, size) for r in (Region.SKIN, Region.BEARD))
        # Below its outline a jaw goes on.
        lower = skin * (1 - higher_than(self._place(size), LOWER_LIP, size))
        skin, jaw = skin - lower, jaw + lower
        # Frames throw shadows and are outlined too narrowly: no skin is lent beside them.
        glasses = self._region(name, Region.GLASSES, carried, size)
        skin = skin * (1 - grow(glasses, max(1, round(FRAME * size))))
        brows = self._region(name, Region.BROWS, carried, size) * float(all(self.veiled.brows))
        # Bare skin is no guess at the rest of a beard.
        owner = self.plan.pixels[Region.BEARD]
        if owner in self.masks:
            bearded = beard_of(self.pictures[owner], self.masks[owner])
            jaw = jaw * np.float32(1 - bearded)
        if carried is None:
            return Lender(target, skin, jaw, brows, resized(teeth, size))
        shown = carried.field.visible
        image = draw_warped(carried.field, self.looks.pixels(name))
        teeth = draw_warped(carried.field, teeth) * shown
        return Lender(image, skin * shown, jaw * shown, brows * shown, teeth)


def _set_in(image: Floats, target: Floats, skin: Floats) -> Floats:
    """Features of another face in the light that the skin around them, that both show, has."""
    if skin.mean() < LEAST:
        return image
    return lit(image, smooth_gain(target, image, skin))
