# SPDX-License-Identifier: Apache-2.0
"""Random valid recipes."""

from pathlib import Path

from hypothesis import strategies as st

from facex.recipes.schema import Guidance, OutputOptions, Place, Recipe, Sliders, Step
from facex.recipes.values import REGION_KEYS, DriveMode, PlaceKind, Reference
from facex.types import BLENDSHAPES, Factor

PHOTOS = ("anna", "bob", "true", "Ärger", "x-1_2")
names = st.sampled_from(("target", "source", "driver", *PHOTOS))
origins = st.one_of(st.just("target"), names, st.just("none"))
unit = st.floats(0, 1)
paths = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/\\"), min_size=1, max_size=30
).filter(lambda text: bool(text.strip()) and text not in (".", ".."))

sliders = st.builds(
    Sliders,
    yaw=st.floats(-90, 90),
    pitch=st.floats(-90, 90) | st.just(0),
    roll=st.floats(-180, 180) | st.integers(-180, 180),
    gaze_yaw=st.floats(-90, 90),
    blendshapes=st.dictionaries(st.sampled_from(BLENDSHAPES), unit, max_size=4),
    mode=st.sampled_from(list(DriveMode)),
)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    fields = {factor.value: draw(origins) for factor in Factor}
    fields["regions"] = draw(st.dictionaries(st.sampled_from(REGION_KEYS), origins, max_size=5))
    fields["sliders"] = draw(st.just(Sliders()) | sliders)
    region_lists = st.lists(st.sampled_from(REGION_KEYS), min_size=1, max_size=4).map(tuple)
    fields["edit"] = draw(st.sampled_from(("auto", "mask")) | region_lists)
    if fields["edit"] in ("auto", "mask"):
        fields["mask"] = draw(st.none() | paths.map(Path))
    fields["reference"] = draw(st.sampled_from(list(Reference)))
    fields["style"] = draw(st.none() | st.just("pencil: #1 'soft'"))
    kinds = st.sampled_from(list(PlaceKind))
    fields["place"] = draw(st.none() | st.builds(Place, picture=names, kind=kinds))
    fields["strength"] = draw(st.none() | unit)
    fields["kappa"] = draw(unit)
    fields["guidance"] = Guidance(identity=draw(st.none() | st.floats(0, 20)))
    fields["seed"] = draw(st.none() | st.integers(0, 2**63 - 1))
    fields["steps"] = draw(st.none() | st.integers(1, 50))
    return Step(**fields)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    return Recipe(
        name=draw(st.none() | paths),
        photos={name: Path(draw(paths)) for name in PHOTOS},
        steps=tuple(draw(st.lists(steps(), min_size=1, max_size=3))),
        output=OutputOptions(quality=draw(st.integers(1, 100)), mark=draw(st.booleans())),
    )
