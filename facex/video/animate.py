# SPDX-License-Identifier: Apache-2.0
"""Short clips of one photo from sliders that move in time (``presets.yaml``)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facex.api import EditOptions, FaceX
from facex.detect.choose import FaceChoice
from facex.errors import OptionError
from facex.imaging.read import read_photo
from facex.recipes.schema import Model, Recipe
from facex.recipes.yaml_source import read_yaml
from facex.safety.provenance import tool_version
from facex.types import BLENDSHAPES
from facex.video.clip import Frame
from facex.video.edit import provenance
from facex.video.parts import ClipResult, Report, edit_key, edit_number, render

ANGLES: Final = ("yaw", "pitch", "roll", "gaze_yaw", "gaze_pitch")


class Key(Model):
    """Where the sliders stand at a moment.

    Attributes:
        at: share of the clip.
        yaw: degrees, as the other angles.
        set: blendshapes from 0 to 1; those that are not named are the photo's own.
    """

    at: float = Field(ge=0, le=1)
    yaw: float = Field(0.0, ge=-45, le=45)
    pitch: float = Field(0.0, ge=-45, le=45)
    roll: float = Field(0.0, ge=-45, le=45)
    gaze_yaw: float = Field(0.0, ge=-45, le=45)
    gaze_pitch: float = Field(0.0, ge=-45, le=45)
    set: dict[str, float] = Field(default_factory=dict)


class Preset(Model):
    """A named movement."""

    help: str
    seconds: float = Field(gt=0, le=60)
    keys: list[Key] = Field(min_length=2)

    def sliders(self, share: float, own: Mapping[str, float]) -> dict[str, Any]:
        """The sliders of a recipe at a moment.

        Args:
            share: 0 to 1 of the clip.
            own: the photo's own blendshapes, to which those of the preset return.
        """
        after = next((k for k in self.keys if k.at >= share), self.keys[-1])
        before = next((k for k in reversed(self.keys) if k.at <= share), self.keys[0])
        part = (share - before.at) / (after.at - before.at) if after.at > before.at else 0.0
        weight = part * part * (3 - 2 * part)
        angles = {
            name: (1 - weight) * getattr(before, name) + weight * getattr(after, name)
            for name in ANGLES
        }
        moved = {name for key in (before, after) for name in key.set}
        shapes = {
            name: (1 - weight) * before.set.get(name, own[name])
            + weight * after.set.get(name, own[name])
            for name in sorted(moved)
        }
        return {**angles, "blendshapes": shapes}


@cache
def presets() -> Mapping[str, Preset]:
    """The rows of ``presets.yaml`` by name."""
    text = resources.files("facex.video").joinpath("presets.yaml").read_text("utf-8")
    data = read_yaml(text).data
    return MappingProxyType({name: Preset.model_validate(row) for name, row in data.items()})


def preset_of(name: str) -> Preset:
    """The preset of a name.

    Raises:
        OptionError: there is none.
    """
    if name not in presets():
        raise OptionError(f"there is no preset {name!r}, choose one of {', '.join(presets())}")
    return presets()[name]


def animate_photo(
    editor: FaceX,
    photo: Path,
    preset: Preset,
    out: Path,
    *,
    seconds: float | None = None,
    rate: float = 15.0,
    face: str = "largest",
    options: EditOptions | None = None,
    report: Report | None = None,
) -> ClipResult:
    """Make a clip of a photo.

    Args:
        editor: the model.
        photo: to move.
        preset: how.
        out: file to write; its suffix decides the kind.
        seconds: length; None: the preset's own.
        rate: frames per second.
        face: which face of the photo moves.
        options: seed, steps and strengths.
        report: progress.

    Raises:
        FaceXError: one sentence that says what is wrong.
    """
    length = preset.seconds if seconds is None else seconds
    numbers = json.dumps(dataclasses.asdict(options or EditOptions()), sort_keys=True, default=str)
    key = edit_key(
        [photo], preset.model_dump_json(), length, rate, face, numbers,
        editor.model.index.model_dump_json(), tool_version(),
    )  # fmt: skip
    options = dataclasses.replace(options or EditOptions(), edit_id=edit_number(key))
    still = read_photo(photo)
    targets = editor.locator.find(still, FaceChoice.parse(face))
    count = max(2, round(length * rate))
    step = Fraction(1, 1000) * round(1000 / rate)
    found = targets[0].representation.expression[0, : len(BLENDSHAPES)].tolist()
    own = dict(zip(BLENDSHAPES, (min(max(v, 0.0), 1.0) for v in found), strict=True))

    def draw(frame: Frame, _: Any) -> tuple[NDArray[np.uint8], bool]:
        recipe = moment(preset, frame.index / (count - 1), own)
        result = editor.apply(editor.prepare(recipe, {}), still, targets, options=options)
        return np.asarray(result.image), True

    frames = (Frame(index, index * step, still.array) for index in range(count))
    return render(
        out, key, frames, [float(index * step) for index in range(count)], draw,
        sound=None, note=provenance(moment(preset, 0.5, own), options),
        report=report or (lambda done, total, what: None),
    )  # fmt: skip


def moment(preset: Preset, share: float, own: Mapping[str, float]) -> Recipe:
    """The recipe of one moment of a preset."""
    sliders = preset.sliders(share, own)
    return Recipe.model_validate({"steps": [{"sliders": sliders, "edit": ["head"]}]})
