# SPDX-License-Identifier: Apache-2.0
"""The kinds of values in a recipe, each with an error that says what was expected."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from facex.types import BLENDSHAPES, REGION_GROUPS, REGIONS

TARGET: Final = "target"
SOURCE: Final = "source"
DRIVER: Final = "driver"
NONE: Final = "none"
WELL_KNOWN: Final = (TARGET, SOURCE, DRIVER)
"""Pictures that a caller may hand over beside the recipe; other names stand in ``photos``."""
REGION_KEYS: Final = (*(str(region) for region in REGIONS), *REGION_GROUPS)
"""What may stand where a region is asked for: the 13 regions and the named groups."""

_NAME: Final = re.compile(r"[^\W\d][\w-]{0,63}")


class Reference(StrEnum):
    """How the reference image is made (DESIGN 4)."""

    WARPED = "warped"
    PAPER = "paper"
    NONE = "none"


class DriveMode(StrEnum):
    """How the motion of another picture acts on the target's."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


class PlaceKind(StrEnum):
    """Attribute pictures that are no face and can be placed by the mesh."""

    GLASSES = "glasses"
    MOUSTACHE = "moustache"
    BEARD = "beard"


def wrong(expected: str, *, found: Any = None, allowed: Iterable[str] = ()) -> PydanticCustomError:
    """A validation error that names what was expected and the nearest allowed value."""
    nearest = nearest_name(found, allowed)
    hint = "" if nearest is None else f"; did you mean {nearest!r}?"
    context = {"expected": expected + hint} | ({} if found is None else {"found": found})
    # pydantic formats the template with the context; braces in values would break it.
    return PydanticCustomError("expected", "expected {expected}", context)


def nearest_name(found: Any, allowed: Iterable[str]) -> str | None:
    """The allowed value that somebody who typed ``found`` probably meant, if any."""
    if not isinstance(found, str) or len(found) > 100:
        return None
    by_lower = {name.lower(): name for name in allowed}
    matches = difflib.get_close_matches(found.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def choices(names: Iterable[str]) -> str:
    """``one of a, b, c``."""
    return f"one of {', '.join(names)}"


def number(low: float, high: float, unit: str = "") -> BeforeValidator:
    """A finite number in [low, high]; no text, no ``true``."""
    expected = f"a number from {low:g} to {high:g}" + (f" ({unit})" if unit else "")

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(expected)
        if not low <= value <= high or math.isnan(value):
            raise wrong(expected)
        return float(value)

    return BeforeValidator(check)


def whole(low: int, high: int) -> BeforeValidator:
    """A whole number in [low, high]."""
    expected = str(low) if low == high else f"a whole number from {low} to {high}"

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(expected)
        return value

    return BeforeValidator(check)


def one_of(names: Collection[str]) -> Callable[[Any], str]:
    """A text out of a list."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise wrong(choices(names), found=value, allowed=names)
        return str(value)  # also for members of enumerations

    return check


def is_name(value: Any) -> bool:
    """Whether a value can be the name of a picture."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _origin(value: Any) -> str:
    if not is_name(value):
        raise wrong("the name of a picture, or none")
    return str(value)


def _photo_name(value: Any) -> str:
    if not is_name(value) or value == NONE:
        raise wrong("a name of letters, digits, - and _ that begins with a letter and is not none")
    return str(value)


def _path(value: Any) -> str:
    text = str(value) if isinstance(value, Path) else value
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise wrong("the path of a file")
    return text  # pydantic makes the path; from JSON it takes nothing but text


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 500:
        raise wrong("a text of 1 to 500 characters")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong("true or false")
    return value


def _edit(value: Any) -> Any:
    if isinstance(value, str):
        one_of((*REGION_KEYS, "auto", "mask"))(value)
        return value if value in ("auto", "mask") else [value]
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        raise wrong("auto, mask, a region or a list of regions")
    check = one_of(REGION_KEYS)
    return [check(item) for item in value]


def check_blendshapes(value: Any) -> Any:
    """A mapping with names of blendshapes as keys; the values are checked elsewhere."""
    if isinstance(value, dict):
        for name in value:
            if name not in BLENDSHAPES:
                expected = "the name of a blendshape (jawOpen, mouthSmileLeft, ...)"
                error = wrong(expected, found=name, allowed=BLENDSHAPES)
                raise at((name,), error)
    return value


def at(path: tuple[str | int, ...], error: PydanticCustomError) -> PydanticCustomError:
    """The same error, said to be at ``path`` below the value that is being checked."""
    context = {**(error.context or {}), "path": path}
    return PydanticCustomError("expected", "expected {expected}", context)


Origin = Annotated[str, BeforeValidator(_origin)]
"""Where something comes from: a picture's name or ``none``."""
PhotoName = Annotated[str, BeforeValidator(_photo_name)]
RegionKey = Annotated[str, BeforeValidator(one_of(REGION_KEYS))]
RegionList = tuple[RegionKey, ...]
FilePath = Annotated[Path, BeforeValidator(_path)]
Text = Annotated[str, BeforeValidator(_text)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Unit = Annotated[float, number(0, 1), Field(ge=0, le=1)]
HalfTurn = Annotated[float, number(-90, 90, "degrees"), Field(ge=-90, le=90)]
FullTurn = Annotated[float, number(-180, 180, "degrees"), Field(ge=-180, le=180)]
Edit = Annotated[RegionList | Literal["auto", "mask"], BeforeValidator(_edit)]


def choice_of(kind: type[StrEnum]) -> BeforeValidator:
    """A member of an enumeration, by its value."""
    check = one_of([str(member) for member in kind])
    return BeforeValidator(check)
