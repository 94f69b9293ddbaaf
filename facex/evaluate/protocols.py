# SPDX-License-Identifier: Apache-2.0
"""Protocols: what is edited, with what, how often, and what is measured (``protocols.yaml``).

A list of cases depends on the names of the faces and on the seed alone: names are put in the order
of their SHA-256 under the seed, which no version of any library changes. A list has a hash, so that
two reports can be known to have measured the same thing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from facex.errors import OptionError
from facex.evaluate.faces import FaceSet
from facex.evaluate.masks import Hole
from facex.recipes.load import recipe_from_data
from facex.recipes.schema import Recipe
from facex.recipes.values import TARGET, nearest_name
from facex.recipes.yaml_source import read_yaml

Who = Literal["other", "self", "same"]


class Protocol(BaseModel):
    """One protocol, as ``protocols.yaml`` explains its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: int
    about: str
    task: str | None = None
    pictures: dict[str, Who] = Field(default_factory=dict)
    count: int = Field(gt=0)
    seed: int
    variants: tuple[dict[str, Any], ...] = ({},)
    hole: Hole | None = None
    damage: str | None = None
    truth: str = ""
    keep_steps: bool = False
    metrics: tuple[str, ...]
    baselines: tuple[str, ...]
    key: tuple[str, ...] = ("cosine",)

    @property
    def digest(self) -> str:
        """Hash of all that pictures and numbers depend on, 16 hexadecimal digits."""
        text = self.model_dump_json(exclude={"about", "key", "count"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def group(self) -> str:
        """The first word of the name, unless it is the name of a task: what ``--tasks`` names."""
        return self.task if self.task is not None and self.task in self.name else self.name

    def recipe(self, case: Case) -> Recipe:
        """The recipe of a case."""
        variant = dict(self.variants[case.variant])
        if "steps" in variant:
            return recipe_from_data({"format_version": 1, "steps": variant["steps"]})
        if self.task is None:
            raise OptionError(f"protocol {self.name} has no recipe")
        chosen = variant.pop("chosen", ())
        return Recipe.for_task(self.task, given=list(case.pictures), chosen=chosen, **variant)


@dataclass(frozen=True)
class Case:
    """One edit of a protocol.

    Attributes:
        number: place in the list.
        target: name of the face that is edited.
        pictures: name of the face of every other role.
        variant: number of the protocol's variant.
        seed: of the hole or of the damage.
    """

    number: int
    target: str
    pictures: Mapping[str, str]
    variant: int
    seed: int

    @property
    def key(self) -> str:
        """Name of the case's files."""
        return f"{self.number:04d}"

    def as_row(self) -> dict[str, str | int]:
        """Face of every role, variant and seed, as lists of pairs and reports hold them."""
        return {**self.faces, "variant": self.variant, "seed": self.seed}

    @property
    def faces(self) -> dict[str, str]:
        """Face of every role, the target's too."""
        return {TARGET: self.target, **self.pictures}


@cache
def protocol_table() -> Mapping[str, Protocol]:
    """All protocols by name."""
    text = resources.files("facex.evaluate").joinpath("protocols.yaml").read_text("utf-8")
    data = read_yaml(text).data
    version = int(data["version"])
    rows: dict[str, dict[str, Any]] = {}
    for name, row in data["protocols"].items():
        model = rows.get(row.pop("like", ""), {})
        rows[name] = {"version": version, **model, **row, "name": name}
    return MappingProxyType({name: Protocol.model_validate(row) for name, row in rows.items()})


def choose_protocols(words: Iterable[str]) -> list[Protocol]:
    """The protocols that words name: protocols, tasks, or ``all``; in the order of the table.

    Raises:
        OptionError: a word names nothing.
    """
    table = protocol_table()
    chosen: set[str] = set()
    for word in words:
        found = {
            name
            for name, protocol in table.items()
            if word in ("all", name, protocol.group) or name.startswith(f"{word}-")
        }
        if not found:
            nearest = nearest_name(word, [*table, "all"])
            hint = f"; did you mean {nearest!r}?" if nearest else ""
            raise OptionError(
                f"there is no protocol {word!r}{hint}; there are all, {', '.join(table)}"
            )
        chosen |= found
    return [protocol for name, protocol in table.items() if name in chosen]


def cases_of(protocol: Protocol, faces: FaceSet) -> list[Case]:
    """The whole fixed list of a protocol on a set of faces.

    Everybody is edited once at most, and gives at most once in each role. Where a role is another
    photo of the same person, only people with several photos are edited.
    """
    faces_of: dict[str, list[str]] = {}
    for name in faces.names:
        faces_of.setdefault(faces.person(name), []).append(name)
    if "same" in protocol.pictures.values():
        faces_of = {person: names for person, names in faces_of.items() if len(names) > 1}
    count = min(protocol.count, len(faces_of))
    targets = _ordered(faces_of, f"{protocol.seed}:{TARGET}")
    roles = {
        role: _apart(_ordered(faces_of, f"{protocol.seed}:{role}"), targets, count, faces)
        for role, who in protocol.pictures.items()
        if who == "other"
    }

    def own(target: str, role: str, who: Who) -> str:
        if who == "self":
            return target
        rest = [name for name in faces_of[faces.person(target)] if name != target]
        return min(rest, key=lambda name: _order(f"{protocol.seed}:{role}", name))

    cases = []
    for number in range(count):
        pictures = {
            role: roles[role][number] if who == "other" else own(targets[number], role, who)
            for role, who in protocol.pictures.items()
        }
        seed = int(_order(f"{protocol.seed}:case", str(number))[:8], 16)
        cases.append(Case(number, targets[number], pictures, number % len(protocol.variants), seed))
    return cases


def list_hash(protocol: Protocol, cases: Iterable[Case]) -> str:
    """Hash of a list of cases, 16 hexadecimal digits."""
    lines = [f"{protocol.name},{protocol.version},{protocol.seed}"]
    for case in cases:
        others = ",".join(f"{role}={name}" for role, name in sorted(case.pictures.items()))
        lines.append(f"{case.number},{case.target},{others},{case.variant},{case.seed}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _order(salt: str, name: str) -> str:
    return hashlib.sha256(f"facex:{salt}:{name}".encode()).hexdigest()


def _ordered(faces_of: Mapping[str, list[str]], salt: str) -> list[str]:
    """One face of each person, in the salt's order."""
    people = sorted(faces_of, key=lambda person: _order(salt, person))
    return [min(faces_of[person], key=lambda name: _order(salt, name)) for person in people]


def _apart(names: list[str], targets: list[str], count: int, faces: FaceSet) -> list[str]:
    """Move those who would be edited with themselves one place on."""
    names = list(names)
    for place in range(count):
        if faces.person(names[place]) == faces.person(targets[place]):
            other = (place + 1) % len(names)
            names[place], names[other] = names[other], names[place]
    return names
