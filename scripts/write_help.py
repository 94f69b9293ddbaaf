# SPDX-License-Identifier: Apache-2.0
"""Write docs/help.md: the --help of every command. With --check: fail if the file is stale.

python scripts/write_help.py [--check]
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

os.environ["COLUMNS"] = "100"  # before typer asks for the width of the terminal

import typer

from facex.cli.main import build_app, run

PAGE = Path(__file__).resolve().parents[1] / "docs" / "help.md"
HEAD = """# The command line

This page is written by `scripts/write_help.py` from the program itself. Exit codes: 0 all done,
1 some of many inputs failed (each is named on stderr), 2 nothing could be done. Defaults for
`--device`, `--dtype` and `--model` come from `FACEX_DEVICE`, `FACEX_DTYPE` and `FACEX_MODEL`;
`FACEX_OFFLINE=0` allows hub ids to be downloaded, `FACEX_DEBUG=1` shows tracebacks.
"""


def commands() -> list[list[str]]:
    """The words of every command, in the order in which the program lists them."""
    found: list[list[str]] = [[]]

    def walk(command: object, words: list[str]) -> None:
        for name, child in getattr(command, "commands", {}).items():
            found.append([*words, name])
            walk(child, [*words, name])

    walk(typer.main.get_command(build_app()), [])
    return found


def help_of(words: list[str]) -> str:
    """What ``facex WORDS --help`` prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        run([*words, "--help"])
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for words in commands():
        title = " ".join(["facex", *words])
        parts.append(f"## {title}\n\n```text\n{help_of(words)}\n```\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    text = page()
    if "--check" in arguments:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            print("docs/help.md is stale: run python scripts/write_help.py", file=sys.stderr)
            return 1
        return 0
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
