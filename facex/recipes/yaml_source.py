# SPDX-License-Identifier: Apache-2.0
"""YAML text -> plain data that still knows its lines.

Only text, numbers, truth values, lists and mappings are built, from the parser's node tree, so a
file can neither make objects nor grow when it is read (aliases, depth and size are limited).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from facex.errors import RecipeError

MAX_BYTES: Final = 2**20
MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 16
MAX_ALIASES: Final = 50

KeyPath = tuple[str | int, ...]
_TAG: Final = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Document:
    """A parsed file.

    Attributes:
        data: the top mapping, keys are texts.
        lines: 1-based line by key path: ``("steps", 0, "pose")``.
    """

    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """Line of the key or, if it is not in the file, of the nearest one above it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def read_yaml(source: str | bytes) -> Document:
    """Parses one YAML document whose top is a mapping.

    Raises:
        RecipeError: when it is too large, no text, no YAML, empty, no mapping, or uses a key
            twice, merge keys, tags of objects or too many aliases.
    """
    if len(source) > MAX_BYTES:
        raise RecipeError(f"larger than {MAX_BYTES // 2**20} MB, too large for a recipe")
    try:
        text = source.decode("utf-8-sig") if isinstance(source, bytes) else source
    except UnicodeDecodeError as error:
        line = source[: error.start].count(b"\n") + 1 if isinstance(source, bytes) else None
        raise RecipeError("no UTF-8 text, expected a YAML file", line=line) from error
    root = _compose(text)
    if root is None:
        raise RecipeError("the recipe is empty, expected photos and steps", line=1)
    if not isinstance(root, MappingNode):
        raise RecipeError(
            "expected a mapping at the top (format_version, photos, steps)", line=_line(root)
        )
    builder = _Builder()
    data = builder.build(root, ())
    return Document(data, builder.lines)


def _compose(text: str) -> Node | None:
    try:
        _check_size(text)
        # A fresh parser: it cannot be used again after the first pass.
        return YAML(typ="safe", pure=True).compose(io.StringIO(text))
    except MarkedYAMLError as error:
        raise _syntax_error(error, text) from error
    except YAMLError as error:
        raise RecipeError("holds characters that no text has, expected a YAML file") from error
    except RecursionError as error:
        raise RecipeError("nested too deeply, expected a recipe") from error


def _check_size(text: str) -> None:
    """Counts while parsing, before a tree is built."""
    depth = aliases = 0
    for count, event in enumerate(YAML(typ="safe", pure=True).parse(io.StringIO(text))):
        aliases += isinstance(event, AliasEvent)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise RecipeError(f"nested more than {MAX_DEPTH} deep", line=line)
        if aliases > MAX_ALIASES:
            raise RecipeError(f"more than {MAX_ALIASES} aliases (*name)", line=line)
        if count > MAX_NODES:
            raise RecipeError(f"more than {MAX_NODES} values", line=line)


def _syntax_error(error: MarkedYAMLError, text: str) -> RecipeError:
    mark = error.problem_mark or error.context_mark
    number = None if mark is None else mark.line + 1
    rows = text.splitlines()
    row = rows[number - 1] if number is not None and number <= len(rows) else ""
    before = row[: mark.column + 1] if mark is not None else ""
    if "\t" in before:
        return RecipeError("a tab; YAML wants spaces", line=number)
    problem = error.problem or error.context or "no valid YAML"
    where = f" {error.context}" if error.context and error.problem else ""
    return RecipeError(f"{problem}{where}, expected valid YAML", line=number)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


class _Builder:
    """Turns nodes into data, noting lines; counts nodes because aliases repeat them."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.count = 0

    def build(self, node: Node, path: KeyPath) -> Any:
        self.count += 1
        # An alias inside its own anchor would never end; it is deeper than any real recipe.
        if self.count > MAX_NODES or len(path) > MAX_DEPTH:
            raise RecipeError("aliases (*name) that grow without end", line=_line(node))
        self.lines.setdefault(path, _line(node))
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if not str(node.tag).startswith(_TAG) or str(node.tag)[len(_TAG) :] not in ("map", "seq"):
            raise RecipeError(f"tag {node.tag}, expected plain values", line=_line(node))
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._mapping(node, path)

    def _mapping(self, node: Node, path: KeyPath) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if key_node.tag == f"{_TAG}merge":
                raise RecipeError("merge keys (<<) are not supported; write it out", line=line)
            key = _scalar(key_node) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                found = getattr(key_node, "value", "") if key is not None else "no plain text"
                raise RecipeError(f"key {found!r}, expected a text as key", line=line)
            if key in built:
                first = self.lines[(*path, key)]
                raise RecipeError(f"key {key[:60]!r} again, first on line {first}", line=line)
            self.lines[(*path, key)] = line
            built[key] = self.build(value_node, (*path, key))
        return built


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _integer(text: str) -> int:
    # Python refuses leading zeros where YAML does not.
    return int(text.replace("_", ""), 0 if text.lstrip("+-")[:2] in ("0x", "0o") else 10)


def _real(text: str) -> float:
    # .inf and .nan are numbers in YAML; whoever asked for a range rejects them.
    return float(text.replace(".", "", 1) if text.lstrip("+-")[1:2].isalpha() else text)


_SCALARS: Final[dict[str, Callable[[str], Any]]] = {
    "str": str,
    "timestamp": str,
    "int": _integer,
    "float": _real,
    "bool": _boolean,
    "null": lambda text: None,
}


def _scalar(node: ScalarNode) -> Any:
    kind = str(node.tag).removeprefix(_TAG)
    if kind not in _SCALARS:
        raise RecipeError(f"tag {node.tag}, expected plain values", line=_line(node))
    try:
        return _SCALARS[kind](node.value)
    except (ValueError, KeyError) as error:
        raise RecipeError(f"{node.value[:40]!r} is no {kind}", line=_line(node)) from error
