# SPDX-License-Identifier: Apache-2.0
"""The documents say nothing that the program does not do: recipes, commands, links, names."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from ruamel.yaml import YAML

from facex.cli.main import build_app
from facex.errors import RecipeError
from facex.recipes.load import dump_recipe, parse_recipe
from facex.recipes.plan import plan_recipe
from facex.recipes.tasks import task_table

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RECIPES = ROOT / "docs" / "recipes.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[1].strip(), match[2])
        for match in FENCE.finditer(text)
    ]


def recipes_of(*pages: Path) -> list[Block]:
    """YAML blocks that are recipes; in docs/recipes.md every one has to be."""
    found = [block for page in pages for block in blocks(page) if block.kind == "yaml"]
    return [block for block in found if block.page == RECIPES or "format_version" in block.text]


def commands_of(block: Block) -> Iterator[str]:
    """The lines of a shell block that run facex; of a console block those after the prompt."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.kind == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    yield from (line for line in lines if line.startswith("facex "))


SHELL = [
    (block, line)
    for page in PAGES
    for block in blocks(page)
    if block.kind in ("sh", "console")
    for line in commands_of(block)
]
WRONG = [
    (block, blocks(RECIPES)[index + 1])
    for index, block in enumerate(blocks(RECIPES))
    if block.kind == "yaml error"
]


def parse(words: list[str]) -> None:
    """Let the command line parse, and do nothing; an error says what it would not take."""
    command: Any = typer.main.get_command(build_app())
    path = ["facex"]
    while words and words[0] in getattr(command, "commands", {}):
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    if getattr(command, "commands", None) and words and not words[0].startswith("-"):
        raise AssertionError(f"{' '.join(path)} has no command {words[0]!r}")
    if words not in (["--help"], ["--version"]):
        command.make_context(" ".join(path), list(words))


@pytest.mark.parametrize("block", recipes_of(README, RECIPES), ids=str)
def test_every_recipe_loads(block: Block) -> None:
    recipe = parse_recipe(block.text)
    assert len(plan_recipe(recipe)) == len(recipe.steps)
    assert any(not plan.is_identity for plan in plan_recipe(recipe))
    assert parse_recipe(dump_recipe(recipe)) == recipe


@pytest.mark.parametrize(("block", "answer"), WRONG, ids=lambda block: str(block))
def test_every_wrong_recipe_is_answered_as_printed(block: Block, answer: Block) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(block.text)
    assert str(caught.value) == answer.text.strip()


def test_there_are_examples_of_everything() -> None:
    assert len(recipes_of(RECIPES)) >= 10
    assert recipes_of(README)
    assert WRONG
    assert {shlex.split(line)[1] for _, line in SHELL} >= {*task_table(), "mix"}


@pytest.mark.parametrize(("block", "line"), SHELL, ids=lambda value: str(value))
def test_every_command_parses(block: Block, line: str) -> None:
    parse(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("line", ["swop a b -o c", "swap a -o c", "pose a --yaw 200 -o c", "mix"])
def test_wrong_commands_would_be_noticed(line: str) -> None:
    usage_error = typer.BadParameter.__bases__[0]
    with pytest.raises((AssertionError, usage_error)):
        parse(line.split())


@pytest.mark.parametrize("page", [README, *(ROOT / "docs").glob("*.md")], ids=lambda p: p.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    known = set(typer.main.get_command(build_app()).commands)  # type: ignore[attr-defined]
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    named = {match[1] for match in re.finditer(r"`facex ([a-z][a-z-]*)", prose)}
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_exist(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT), f"{target} leaves the project"
        assert linked.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(linked), f"{target}: no such heading"


def anchors(page: Path) -> set[str]:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_task_is_in_both_tables() -> None:
    for page in (README, RECIPES):
        rows = {match[1] for match in re.finditer(r"^\| `([a-z-]+)` \|", page.read_text(), re.M)}
        assert set(task_table()) <= rows


def test_python_examples_use_what_there_is() -> None:
    tree = ast.parse((ROOT / "facex" / "api.py").read_text(encoding="utf-8"))
    editor = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "FaceX")
    methods = {node.name for node in editor.body if isinstance(node, ast.FunctionDef)}
    examples = [b for page in (README, RECIPES) for b in blocks(page) if b.kind == "python"]
    used = set()
    for block in examples:
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used |= {node.attr} if node.value.id == "model" else set()
    assert used
    assert used <= methods


def test_citation_has_the_version_of_the_package() -> None:
    import facex

    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == facex.__version__
    assert f"## [{facex.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_pictures_are_small() -> None:
    files = [path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()]
    assert files
    assert sum(path.stat().st_size for path in files) <= 600_000
