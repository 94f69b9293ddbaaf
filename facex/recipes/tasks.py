# SPDX-License-Identifier: Apache-2.0
"""The task table, and the recipe that a row of it stands for (DESIGN 7).

The table is data (``tasks.yaml``). Nothing outside this folder mentions a task by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from facex.errors import RecipeError
from facex.recipes.load import explain
from facex.recipes.schema import Model, Recipe
from facex.recipes.values import (
    DRIVER,
    REGION_KEYS,
    SOURCE,
    TARGET,
    WELL_KNOWN,
    Reference,
    RegionList,
    Text,
    Unit,
    choices,
    nearest_name,
    one_of,
    wrong,
)
from facex.recipes.yaml_source import read_yaml
from facex.types import Factor

CHOSEN: Final = "chosen"
"""Stands in the table for the regions that the user picks."""

Need = Literal["required", "either", "optional", "never"]


class Needs(Model):
    """What a task asks of the user beside the photo (``tasks.yaml`` says what the words mean)."""

    source: Need = "never"
    driver: Need = "never"
    mask: Need = "never"
    sliders: Need = "never"
    regions: Need = "never"
    place: Need = "never"
    style: Need = "never"

    def marked(self, need: Need) -> tuple[str, ...]:
        """Names of the things with this mark, in the order of the fields."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) == need)


Cell = Annotated[str, BeforeValidator(one_of(WELL_KNOWN))]
CellRegion = Annotated[str, BeforeValidator(one_of((*REGION_KEYS, CHOSEN)))]


class TaskRow(Model):
    """One row of the table.

    Attributes:
        help: one line for the command line.
        factors: the picture of each factor; all eight.
        regions: the picture of regions and groups, or of ``chosen``.
        edit: what may change: regions and groups, ``mask`` or ``chosen``.
        reference: how the reference image is made.
        kappa: 0 to 1, factor on the confidence in the reference.
        needs: what the user must or may give.
    """

    help: Text
    factors: dict[Factor, Cell]
    regions: dict[CellRegion, Cell] = Field(default_factory=dict)
    edit: RegionList | Literal["mask", "chosen"]
    reference: Reference
    kappa: Unit = 1.0
    needs: Needs = Needs()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if missing := [factor.value for factor in Factor if factor not in self.factors]:
            raise wrong(f"all eight factors ({', '.join(missing)} missing)")
        for name in set(self.factors.values()) | set(self.regions.values()):
            if name != TARGET and getattr(self.needs, name) == "never":
                raise wrong(f"needs to mention {name}, because a cell does")
        return self


@cache
def task_table() -> Mapping[str, TaskRow]:
    """The rows of ``tasks.yaml`` by task name, in the order of the file."""
    text = resources.files("facex.recipes").joinpath("tasks.yaml").read_text(encoding="utf-8")
    data = read_yaml(text).data
    return MappingProxyType({name: TaskRow.model_validate(row) for name, row in data.items()})


def recipe_for_task(
    task: str,
    given: Collection[str],
    chosen: Collection[str],
    photos: Mapping[str, Path],
    overrides: Mapping[str, Any],
) -> Recipe:
    """The one-step recipe of a row; ``Recipe.for_task`` documents the arguments."""
    row = _row(task)
    present = {*given, *photos}
    # A slider at 0 is an answer too; None is how callers say "not given".
    fields = {key: value for key, value in overrides.items() if value is not None}
    present |= fields.keys() & {"sliders", "place", "style", "mask"}
    if chosen:
        present.add("regions")
    _check_needs(task, row.needs, present)
    absent = {
        name
        for name in (SOURCE, DRIVER)
        if name not in present and getattr(row.needs, name) != "required"
    }
    step: dict[str, Any] = {
        factor.value: TARGET if cell in absent else cell for factor, cell in row.factors.items()
    }
    if "skin" in chosen and CHOSEN in row.regions:
        # Skin comes with its complexion, and does not end at the jaw.
        step[Factor.TEXTURE.value] = row.regions[CHOSEN]
        chosen = (*chosen, *{"beard"}.difference(chosen))
    step["regions"] = _regions(row, absent, chosen)
    edit = tuple(chosen) or "auto" if row.edit == CHOSEN else row.edit
    step |= {"edit": edit, "reference": row.reference, "kappa": row.kappa, **fields}
    try:
        return Recipe.model_validate({"photos": dict(photos), "steps": [step]})
    except ValidationError as error:
        raise explain(error) from None


def _row(task: str) -> TaskRow:
    table = task_table()
    if task in table:
        return table[task]
    nearest = nearest_name(task, table)
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    raise RecipeError(f"there is no task {task!r}, expected {choices(table)}{hint}")


def _check_needs(task: str, needs: Needs, present: Collection[str]) -> None:
    """Pictures and masks that are required come later, from the caller; alternatives are known."""
    either = needs.marked("either")
    if either and not set(either) & set(present):
        raise RecipeError(f"{task} needs {' or '.join(either)}")
    for name in ("regions", "place", "style", "sliders"):
        if name in present and getattr(needs, name) == "never":
            raise RecipeError(f"{task} has no use for {name}")
    if needs.style == "required" and "style" not in present:
        raise RecipeError(f"{task} needs style")


def _regions(row: TaskRow, absent: Collection[str], chosen: Collection[str]) -> dict[str, str]:
    cells = {key: TARGET if cell in absent else cell for key, cell in row.regions.items()}
    if CHOSEN in cells:
        cell = cells.pop(CHOSEN)
        cells |= dict.fromkeys(chosen, cell)
    return cells
