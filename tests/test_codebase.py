# SPDX-License-Identifier: Apache-2.0
"""Rules that the source keeps: tasks are rows of a table, files are short, imports are light."""

from __future__ import annotations

import ast
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import safe_open

from facex.errors import FaceXError
from facex.models.hub import BUNDLED
from facex.models.int8 import WEIGHTS_INT8
from facex.models.registry import weight_specs
from facex.recipes.tasks import task_table
from facex.types import Factor, Region

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "facex"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 450

TASKS = frozenset(task_table()) - {factor.value for factor in Factor}
"""Names that can only mean a task; pose, expression and gaze are factors too."""
MAY_NAME_TASKS = ("recipes/", "cli/", "api.py")
HEAVY = ("torch", "diffusers", "transformers", "cv2", "scipy", "numpy", "PIL", "pydantic", "dlib")


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text that a program can compare or look up, parts of f-strings too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def branches(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts that a comparison or a match decides by."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.match_case):
            yield from texts(node if isinstance(node, ast.Compare) else node.pattern)


def test_the_names_are_those_of_the_table() -> None:
    assert {"inpaint", "swap", "head-swap", "attribute", "reenact", "stylize"} == TASKS


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if not name_of(p).startswith(MAY_NAME_TASKS)], ids=name_of
)
def test_only_recipes_and_the_user_interfaces_name_a_task(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spellings = {spelling for task in TASKS for spelling in (task, task.replace("-", "_"))}
    found = [(line, text) for line, text in texts(tree) if text in spellings]
    assert not found, f"{path}: a task is a row of recipes/tasks.yaml"


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if not name_of(p).startswith("cli/")], ids=name_of
)
def test_nothing_branches_on_a_task(path: Path) -> None:
    """Not even where a task may be named: what it does stands in the table."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [(line, text) for line, text in branches(tree) if text in TASKS]


def test_a_branch_on_a_task_would_be_found() -> None:
    wrong = "def f(task, rows):\n    if task in ('swap', 'pose'):\n        return rows['head-swap']"
    assert [text for _, text in branches(ast.parse(wrong)) if text in TASKS] == ["swap"]
    assert {text for _, text in texts(ast.parse(wrong))} & TASKS == {"swap", "head-swap"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_one_idea(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert text.count("\n") < MAX_LINES
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "no word on what the file is for"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_checks_of_input_by_assert_and_no_paths_of_a_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    checks = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)]
    # `assert x is not None` tells the type checker what is known; everything else is an error.
    assert not [node.lineno for node in checks if not ast.unparse(node).endswith("is not None")]
    assert not re.search(r"['\"\s](/home/|/work/|/Users/|/mnt/|[A-Z]:\\\\)", text)


def imported(code: str) -> set[str]:
    """Top-level modules that are loaded after ``code`` in a fresh interpreter."""
    program = f"import sys\n{code}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not imported("import facex; dir(facex); facex.__version__") & set(HEAVY)
    light = "import facex.types, facex.errors; from facex import Factor, Region, FaceXError"
    assert not imported(light) & set(HEAVY)
    command = "import facex.cli.main"
    assert not imported(command) & {"torch", "diffusers", "transformers", "cv2", "scipy"}


def test_public_names_are_there_and_unknown_ones_are_not() -> None:
    import facex

    assert dir(facex) == sorted(facex.__all__)
    assert len(facex.__all__) <= 15
    for name in facex.__all__:
        assert getattr(facex, name) is not None
    assert facex.FaceXError is FaceXError
    assert facex.Region is Region
    with pytest.raises(AttributeError, match="Face"):
        facex.Face  # noqa: B018


def test_every_bundled_weight_is_listed() -> None:
    files = {path.relative_to(BUNDLED).as_posix() for path in BUNDLED.rglob("*.safetensors")}
    assert files
    listed = {spec.path for spec in weight_specs() if spec.scale == "mini"}
    assert files <= listed
    other = {path.suffix for path in BUNDLED.rglob("*") if path.is_file()} - {".safetensors"}
    # Weights are safetensors, never pickles.
    assert other == {".json"}


def test_the_bundled_model_is_small_and_stored_in_eight_bits() -> None:
    total = sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file())
    assert total <= 45e6
    for part in ("unet", "controller", "conditioner"):
        with safe_open(BUNDLED / part / WEIGHTS_INT8, "pt") as file:
            kinds: Counter[str] = Counter()
            for part_of in map(file.get_slice, file.keys()):
                kinds[part_of.get_dtype()] += math.prod(part_of.get_shape())
        assert kinds["I8"] > 0.9 * kinds.total(), part
