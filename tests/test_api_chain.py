# SPDX-License-Identifier: Apache-2.0
"""Progressive editing: one edit after the other keeps what none of them covers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

import facex
from facex.api import EditOptions

QUICK = EditOptions(steps=1, mark=False)

Edit = Callable[[facex.FaceX, Image.Image, Image.Image], facex.Result]


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    return (np.asarray(before) != np.asarray(after)).any(-1)


CHAIN: tuple[tuple[str, Edit], ...] = (
    ("lips", lambda m, p, o: m.expression(p, {"jawOpen": 0.4}, options=QUICK)),
    ("eyes", lambda m, p, o: m.gaze(p, yaw=18, options=QUICK)),
    ("brows", lambda m, p, o: m.attribute(o, p, ["brows"], options=QUICK)),
    ("nose", lambda m, p, o: m.attribute(o, p, ["nose"], options=QUICK)),
    ("hair", lambda m, p, o: m.attribute(o, p, ["hair"], options=QUICK)),
)


def test_five_chained_edits_leave_everything_outside_their_masks(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    photo, union = astronaut, np.zeros((512, 512), bool)
    for region, ask in CHAIN:
        result = ask(mini, photo, hopper)
        here = changed(photo, result.image)
        assert here.any(), region
        assert not here[result.mask == 0].any(), region
        union |= result.mask > 0
        photo = result.image
    assert not changed(astronaut, photo)[~union].any()
    assert 0.5 < (~union).mean() < 0.97


def test_five_steps_of_one_recipe_leave_everything_outside_the_mask(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    steps: list[dict[str, Any]] = [{"regions": {name: "source"}} for name in ("lips", "nose")]
    steps += [{"sliders": {"gaze_yaw": 15}}, {"sliders": {"blendshapes": {"browInnerUp": 1}}}]
    steps += [{"light": "source"}]
    recipe = facex.Recipe.model_validate({"steps": steps})
    said: list[str] = []
    result = mini.edit(
        astronaut,
        recipe,
        photos={"source": hopper},
        options=EditOptions(steps=1),
        progress=lambda done, total, what: said.append(f"{done}/{total} {what}"),
    )
    assert result.marked
    assert not changed(astronaut, result.image)[result.mask == 0].any()
    assert said == [f"{n}/5 step {n}: drawing" for n in range(1, 6)]
