# SPDX-License-Identifier: Apache-2.0
"""YAML -> ``Recipe`` and back. Every error names the line, the key, what was found and expected.

In a step, ``pose``, ``expression`` and ``gaze`` may hold a mapping of numbers in place of a
picture's name: a short form of ``sliders`` (``picture`` and ``mode`` may stand beside them)::

    pose: {yaw: 20}          expression: {jawOpen: 0.3, picture: anna}          gaze: {pitch: -5}
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from facex.errors import RecipeError
from facex.recipes.schema import (
    FORMAT_VERSION,
    Guidance,
    Model,
    OutputOptions,
    Place,
    Recipe,
    Sliders,
    Step,
)
from facex.recipes.values import TARGET, WELL_KNOWN, choices, nearest_name
from facex.recipes.yaml_source import MAX_BYTES, Document, KeyPath, read_yaml

MIGRATIONS: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""``MIGRATIONS[n]`` turns the data of format n into that of format n + 1."""

_SHORT_FORMS: Final[dict[str, dict[str, str] | None]] = {
    "pose": {"yaw": "yaw", "pitch": "pitch", "roll": "roll"},
    "gaze": {"yaw": "gaze_yaw", "pitch": "gaze_pitch"},
    "expression": None,  # the names of blendshapes
}

_MODELS: Final[dict[tuple[str, ...], type[Model]]] = {
    (): Recipe,
    ("output",): OutputOptions,
    ("steps",): Step,
    ("steps", "sliders"): Sliders,
    ("steps", "place"): Place,
    ("steps", "guidance"): Guidance,
}

_EXPECTED: Final = {
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of names to values",
    "tuple_type": "a list",
    "string_type": "a text",
    "too_short": "at least one entry",
    "too_long": "fewer entries",
}


@dataclass(frozen=True)
class _Written:
    """Where things stand in what the user wrote.

    Attributes:
        document: lines; none for recipes made in Python.
        aliases: key path in the recipe -> key path as written, for short forms.
    """

    document: Document | None = None
    aliases: dict[KeyPath, KeyPath] = field(default_factory=dict)

    def path(self, path: KeyPath) -> KeyPath:
        for length in range(len(path), 0, -1):
            if path[:length] in self.aliases:
                return (*self.aliases[path[:length]], *path[length:])
        return path

    def line(self, path: KeyPath) -> int | None:
        return None if self.document is None else self.document.line(path)

    def error(self, path: KeyPath, problem: str) -> RecipeError:
        """The error for a key path as written."""
        return RecipeError(f"{_dotted(path)}: {problem}", line=self.line(path))


def load_recipe(path: str | Path, *, given: Collection[str] = ()) -> Recipe:
    """Reads a recipe file. Relative paths in it count from its folder.

    Args:
        path: the YAML file.
        given: names of pictures that the caller hands over beside those in ``photos``.

    Raises:
        RecipeError: when the file is missing or unreadable, not valid, names a file that does
            not exist, or uses a picture that is neither in ``photos`` nor given.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise RecipeError(f"{path}: there is no such file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL byte in the path
        raise RecipeError(f"{str(path)!r} is not a path") from error
    try:
        return parse_recipe(data, folder=path.parent, given=given)
    except RecipeError as error:
        located = RecipeError(f"{path}: {error}")
        located.line = error.line
        raise located from error


def parse_recipe(
    source: str | bytes,
    *,
    folder: Path | None = None,
    given: Collection[str] = WELL_KNOWN,
) -> Recipe:
    """Reads a recipe from text.

    Args:
        source: YAML.
        folder: where relative paths count from, and then every file must exist; None: paths are
            left as they are and files are not looked at.
        given: names of pictures that the caller hands over beside those in ``photos``.

    Raises:
        RecipeError: as ``load_recipe``.
    """
    document = read_yaml(source)
    if "format_version" not in document.data:
        raise RecipeError(
            f"format_version is missing, expected format_version: {FORMAT_VERSION}", line=1
        )
    recipe, written = _validate(document.data, document)
    _check_given(recipe, written, given)
    return recipe if folder is None else _with_files(recipe, written, folder)


def recipe_from_data(data: Mapping[str, Any]) -> Recipe:
    """A recipe from plain data (JSON, a request), short forms included; errors have no line.

    Raises:
        RecipeError: when it is not valid.
    """
    return _validate(dict(data), None)[0]


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML without what is default; ``parse_recipe`` gives an equal one back."""
    data = {"format_version": recipe.format_version}
    data |= recipe.model_dump(mode="json", exclude_defaults=True)
    yaml = YAML()
    yaml.width = 100
    text = io.StringIO()
    yaml.dump(_quoted(data), text)
    return text.getvalue()


def _quoted(value: Any) -> Any:
    """Odd characters in texts are only safe in double quotes (a line of their own may begin)."""
    if isinstance(value, dict):
        return {key: _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    odd = isinstance(value, str) and not value.isprintable()
    return DoubleQuotedScalarString(value) if odd else value


def explain(error: ValidationError, written: _Written | None = None) -> RecipeError:
    """The first of pydantic's errors, in the order of the file, in the user's words."""
    written = written or _Written()
    every = [_problem(details, written) for details in error.errors(include_url=False)]
    # A list whose entries are wrong also counts as too short: only the innermost problem is told.
    problems = [
        (path, problem)
        for path, problem in every
        if not any(len(other) > len(path) and other[: len(path)] == path for other, _ in every)
    ]
    path, problem = min(problems, key=lambda item: written.line(item[0]) or 0)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return written.error(path, problem + more)


def _validate(data: dict[str, Any], document: Document | None) -> tuple[Recipe, _Written]:
    written = _Written(document)
    data = _migrate(data, written)
    steps = data.get("steps")
    if isinstance(steps, list | tuple):
        expanded = [_expand_step(step, ("steps", i), written) for i, step in enumerate(steps)]
        data = {**data, "steps": expanded}
    try:
        return Recipe.model_validate(data), written
    except ValidationError as error:
        raise explain(error, written) from None


def _migrate(data: dict[str, Any], written: _Written) -> dict[str, Any]:
    version = data.get("format_version", FORMAT_VERSION)
    if isinstance(version, bool) or not isinstance(version, int):
        return data  # validation says what is wrong
    if version > FORMAT_VERSION:
        raise written.error(
            ("format_version",),
            f"found {version}, expected at most {FORMAT_VERSION}; written for a newer FaceX, "
            "update with: pip install --upgrade facex",
        )
    while version in MIGRATIONS:
        data = MIGRATIONS[version](data)
        version += 1
        data = {**data, "format_version": version}
    return data


def _expand_step(step: Any, path: KeyPath, written: _Written) -> Any:
    """Turns short forms into origins and ``sliders``, noting where each number was written."""
    if not isinstance(step, dict) or not isinstance(step.get("sliders", {}), dict):
        return step
    expanded = dict(step)
    sliders = dict(step.get("sliders", {}))
    for factor, names in _SHORT_FORMS.items():
        short = step.get(factor)
        if not isinstance(short, dict):
            continue
        expanded.pop(factor)
        for key, value in short.items():
            here = (*path, factor, key)
            if key == "picture":
                expanded[factor] = value
                written.aliases[(*path, factor)] = here
                continue
            _put_slider(sliders, (key, value), names, (path, here), written)
    if sliders:
        expanded["sliders"] = sliders
    return expanded


def _put_slider(
    sliders: dict[str, Any],
    entry: tuple[str, Any],
    names: dict[str, str] | None,
    paths: tuple[KeyPath, KeyPath],
    written: _Written,
) -> None:
    """One number of a short form; ``paths`` are those of the step and of the number."""
    (key, value), (step, here) = entry, paths
    shapes = sliders.get("blendshapes", {})
    if key == "mode":
        known, name, where = sliders, "mode", (*step, "sliders", "mode")
        if sliders.get("mode", value) == value:
            known = {}  # said twice, but the same
    elif names is None and isinstance(shapes, dict):
        known, name, where = shapes, key, (*step, "sliders", "blendshapes", key)
    elif names is not None and key in names:
        known, name, where = sliders, names[key], (*step, "sliders", names[key])
    else:
        allowed = (*(names or ()), "picture", "mode")
        raise written.error(here, f"unknown key, expected {choices(allowed)}{_hint(key, allowed)}")
    if name in known:
        raise written.error(here, f"found {_shown(value)}, but {_dotted(where)} is given as well")
    if where[-2] == "blendshapes":
        sliders["blendshapes"] = {**shapes, name: value}
    else:
        sliders[name] = value
    written.aliases[where] = here


def _problem(details: ErrorDetails, written: _Written) -> tuple[KeyPath, str]:
    """Key path as written, and what is wrong there."""
    context = details.get("ctx", {})
    loc = tuple(part for part in details["loc"] if part != "[key]")
    path = (*loc, *context.get("path", ()))
    found = context.get("found", details["input"])
    kind = details["type"]
    if kind == "extra_forbidden":
        model = _MODELS.get(tuple(str(p) for p in loc[:-1] if not isinstance(p, int)))
        allowed = tuple(model.model_fields) if model else ()
        problem = f"unknown key, expected {choices(allowed)}{_hint(str(loc[-1]), allowed)}"
    elif kind == "missing":
        problem = f"is missing, expected {'a list of steps' if loc == ('steps',) else 'a value'}"
    else:
        expected = context.get("expected") if kind == "expected" else _EXPECTED.get(kind)
        problem = f"found {_shown(found)}, expected {expected or details['msg']}"
    return written.path(path), problem


def _check_given(recipe: Recipe, written: _Written, given: Collection[str]) -> None:
    known = dict.fromkeys((*recipe.photos, *given))
    if TARGET not in known:
        raise written.error(("photos",), "target is missing, expected target: the photo to edit")
    for index, step in enumerate(recipe.steps):
        for key, name in step.uses().items():
            if name not in known:
                raise written.error(
                    written.path(("steps", index, *key)),
                    f"found {name!r}, expected a picture of photos ({', '.join(known)}) or none",
                )


def _with_files(recipe: Recipe, written: _Written, folder: Path) -> Recipe:
    base = Path(os.path.abspath(folder))

    def found(path: Path, where: KeyPath) -> Path:
        file = base / path
        try:
            exists = file.is_file()
        except (OSError, ValueError):  # a name that no file can have
            exists = False
        if not exists:
            shown = _shown(str(path))
            raise written.error(where, f"found {shown}, expected a file; there is no {file}")
        return file

    photos = {name: found(path, ("photos", name)) for name, path in recipe.photos.items()}
    steps = tuple(
        step
        if step.mask is None
        else step.model_copy(update={"mask": found(step.mask, ("steps", index, "mask"))})
        for index, step in enumerate(recipe.steps)
    )
    return recipe.model_copy(update={"photos": photos, "steps": steps})


def _hint(found: str, allowed: Collection[str]) -> str:
    nearest = nearest_name(found, allowed)
    return "" if nearest is None else f"; did you mean {nearest!r}?"


def _shown(value: Any) -> str:
    """A value, short enough for one sentence."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping | Model):
        return "a mapping"
    if isinstance(value, list | tuple | set | frozenset):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(str(value)) if isinstance(value, str | Path) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dotted(path: KeyPath) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if len(part) <= 40 else f"{part[:37]}..."
            text += f".{shown}" if text else shown
    return text or "the recipe"
