# SPDX-License-Identifier: Apache-2.0
"""One sentence before a user's first edit that puts somebody's face into another picture."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from facex.cli.console import Reporter
    from facex.recipes.schema import Recipe

SENTENCE: Final = (
    "put somebody's face into another picture only if the people in both agree; FaceX is not for "
    "deceiving, harassing or undressing anybody (POLICY.md; said once)"
)
_NOTE: Final = "consent-line-shown"


def say_once(recipe: Recipe, reporter: Reporter) -> None:
    """Say the sentence on a terminal, unless this user has seen it.

    It asks nothing and stops nothing: scripts, ``--quiet`` and output into a file go on silently.

    Args:
        recipe: what is going to be done.
        reporter: of the command.
    """
    from facex.recipes.plan import plan_recipe

    if reporter.quiet or not sys.stderr.isatty():
        return
    if not any(plan.borrows_a_face for plan in plan_recipe(recipe)):
        return
    note = state_folder() / _NOTE
    if note.exists():
        return
    reporter.note(SENTENCE)
    # Where nothing can be kept, the sentence comes again, which harms nobody.
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def state_folder(
    environment: Mapping[str, str] | None = None, platform: str = sys.platform
) -> Path:
    """Where programs of this user keep what they remember.

    Args:
        environment: variables by name; None reads the process environment.
        platform: as ``sys.platform`` names it.
    """
    variables = os.environ if environment is None else environment
    home = Path(variables.get("HOME") or Path.home())
    if platform == "win32":
        return Path(variables.get("LOCALAPPDATA") or home / "AppData" / "Local") / "facex"
    if platform == "darwin":
        return home / "Library" / "Application Support" / "facex"
    named = Path(variables.get("XDG_STATE_HOME") or "")
    # The specification says that relative paths in the variable are to be ignored.
    return (named if named.is_absolute() else home / ".local" / "state") / "facex"
