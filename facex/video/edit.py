# SPDX-License-Identifier: Apache-2.0
"""Editing clips: every frame of one, or a photo that a clip drives.

Faces are followed first and their landmarks smoothed over time. Who somebody is, the colours of
the skin without its light, and the hair are read once, where the person is first seen; the noise
is the same in every frame. What the recipe takes from other pictures is decomposed once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from facex.api import EditOptions, FaceX
from facex.detect.choose import FaceChoice
from facex.errors import OptionError
from facex.ford.representation import FaceRepresentation
from facex.imaging.read import read_photo
from facex.imaging.warp import ffhq_alignment
from facex.locate import LocatedFace
from facex.recipes.plan import plan_recipe
from facex.recipes.schema import Recipe
from facex.safety.provenance import COMPOSITE_WITH_AI, TOOL, public_recipe, tool_version
from facex.types import REGIONS, Region
from facex.video.clip import Clip, Frame
from facex.video.parts import ClipResult, Report, edit_key, edit_number, render
from facex.video.track import Track, smooth_track, track_faces

Floats = NDArray[np.float64]
_STEADY: Final = ("identity_tokens", "identity", "texture")
"""Fields that do not change while one looks at the same person."""
_HAIR: Final = REGIONS.index(Region.HAIR)


def edit_clip(
    editor: FaceX,
    clip: Clip,
    recipe: Recipe,
    out: Path,
    *,
    photos: Mapping[str, Path] | None = None,
    face: str = "largest",
    mask: Path | None = None,
    options: EditOptions | None = None,
    report: Report | None = None,
) -> ClipResult:
    """Edit the chosen faces in every frame of a clip.

    Stopped and called again with the same arguments it goes on where it was.

    Args:
        editor: the model.
        clip: to edit.
        recipe: what to do.
        out: file to write; its suffix decides the kind.
        photos: other pictures by the names that the recipe uses.
        face: as for :meth:`FaceX.edit`; a number counts in the first frame that shows faces.
        mask: of the size of the frames, for recipes that edit by mask; the same for all of them.
        options: seed, steps and strengths, the same for every frame.
        report: progress.

    Raises:
        NoFaceFound: no frame shows the chosen face.
        FaceXError: anything else that is wrong, in one sentence.
    """
    given, say = dict(photos or {}), report or _silent
    files = [*given.values(), *([mask] if mask else [])]
    key = _key(editor, clip, recipe, files, face, options or EditOptions())
    options = dataclasses.replace(options or EditOptions(), edit_id=edit_number(key))
    choice = FaceChoice.parse(face)
    prepared = editor.prepare(recipe, given)
    tracks, times = track_faces(editor.locator, clip, choice, _looking(clip, say))
    followed = [(t, smooth_track(t, times, editor.locator.crop_size)) for t in tracks]

    def draw(frame: Frame, _: Any) -> tuple[NDArray[np.uint8], bool]:
        targets = [
            _located(editor, frame, points[frame.index], track)
            for track, points in followed
            if frame.index in points
        ]
        if not targets:
            return frame.pixels, False
        photo = read_photo(frame.pixels)
        result = editor.apply(prepared, photo, targets, mask=mask, options=options)
        return np.asarray(result.image), True

    return render(
        out, key, clip.frames(), times, draw,
        sound=clip, note=provenance(recipe, options), report=say,
    )  # fmt: skip


def drive_photo(
    editor: FaceX,
    photo: Path,
    driver: Clip,
    recipe: Recipe,
    out: Path,
    *,
    role: str = "driver",
    photos: Mapping[str, Path] | None = None,
    face: str = "largest",
    options: EditOptions | None = None,
    report: Report | None = None,
) -> ClipResult:
    """Let the face of a clip move a photo; the result has the clip's times and sound.

    Args:
        editor: the model.
        photo: that moves.
        driver: whose largest face is imitated.
        recipe: what to do.
        out: file to write.
        role: name of the driver in the recipe.
        photos: further pictures by name.
        face: which face of the photo moves.
        options: seed, steps and strengths.
        report: progress.
    """
    given, say = dict(photos or {}), report or _silent
    key = _key(editor, driver, recipe, [photo, *given.values()], face, options or EditOptions())
    options = dataclasses.replace(options or EditOptions(), edit_id=edit_number(key))
    tracks, times = track_faces(editor.locator, driver, FaceChoice(), _looking(driver, say))
    track = tracks[0]
    points = smooth_track(track, times, editor.locator.crop_size)
    still = read_photo(photo)
    targets = editor.locator.find(still, FaceChoice.parse(face))
    if role not in set().union(*(plan.faces for plan in plan_recipe(recipe))):
        raise OptionError(f"the recipe takes nothing from the moving picture {driver.path.name}")
    stand_in = next(f.pixels for f in driver.frames() if f.index in points)
    prepared = editor.prepare(recipe, {**given, role: stand_in})

    def draw(frame: Frame, before: Any) -> tuple[NDArray[np.uint8], bool]:
        if frame.index not in points:
            return (still.array if before is None else before), False
        actor = _located(editor, frame, points[frame.index], track)
        now = dataclasses.replace(prepared, others={**prepared.others, role: actor})
        return np.asarray(editor.apply(now, still, targets, options=options).image), True

    return render(
        out, key, driver.frames(), times, draw,
        sound=driver, note=provenance(recipe, options), report=say,
    )  # fmt: skip


def _looking(clip: Clip, say: Report) -> Callable[[int], None]:
    """Progress of the first pass, which only knows about how long the clip is."""
    about = clip.expected()
    return lambda done: say(done, about if done <= about else 0, "looking for faces")


@torch.inference_mode()
def _located(editor: FaceX, frame: Frame, points: Floats, track: Track) -> LocatedFace:
    """A followed face in a frame, read where the smoothed landmarks are."""
    locator = editor.locator
    where = ffhq_alignment(points[:, :2], locator.crop_size)
    inside = np.concatenate([where.inverse().apply(points[:, :2]), points[:, 2:] / where.scale], 1)
    landmarks = torch.from_numpy(inside).float()[None].to(locator.device)
    known = {name: getattr(track.first, name).to(locator.device) for name in _STEADY}
    known["landmarks"] = landmarks
    if "expression" in locator.ford.provider("landmarks").provides:
        known["expression"] = locator.net.blendshapes(landmarks)
    face = locator.read_aligned(frame.pixels, where, "the clip", known)
    return dataclasses.replace(face, representation=_same_hair(face.representation, track.first))


def _same_hair(now: FaceRepresentation, first: FaceRepresentation) -> FaceRepresentation:
    """The code of the hair as it was first seen, where both frames show hair."""
    if not (now.region_present[0, _HAIR] and first.region_present[0, _HAIR]):
        return now
    features = now.region_features.clone()
    features[:, _HAIR] = first.region_features[:, _HAIR].to(features)
    return dataclasses.replace(now, region_features=features)


def _key(
    editor: FaceX,
    clip: Clip,
    recipe: Recipe,
    files: list[Path],
    face: str,
    options: EditOptions,
) -> str:
    index = editor.model.index
    numbers = dataclasses.asdict(options)
    return edit_key(
        [clip.path, *files], clip.begin, clip.end, recipe.model_dump_json(), face,
        json.dumps(numbers, sort_keys=True, default=str), index.model_dump_json(), tool_version(),
    )  # fmt: skip


def provenance(recipe: Recipe, options: EditOptions) -> dict[str, Any]:
    """Provenance for the container's metadata; nothing with ``--no-mark``."""
    if not (options.mark and recipe.output.mark):
        return {}
    return {
        "digital_source_type": COMPOSITE_WITH_AI,
        "tool": f"{TOOL} {tool_version()}",
        "recipe": public_recipe(json.loads(recipe.model_dump_json(exclude_none=True))),
    }


def _silent(done: int, total: int, what: str) -> None:
    """Nobody wants to know."""
