# SPDX-License-Identifier: Apache-2.0
"""What the command lines of training have in common: whose faces, and where shards go."""

from __future__ import annotations

import argparse
from pathlib import Path


def faces_parser(description: str | None, *, codes: bool = False) -> argparse.ArgumentParser:
    """A parser that asks for the faces.

    Args:
        description: of the program.
        codes: also ask for the file of ``facex.train.encode_faces``.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--index", required=True)
    if codes:
        parser.add_argument("--codes", required=True)
    return parser


def add_shards(parser: argparse.ArgumentParser) -> None:
    """Ask where rows go and which are made (`facex.train.shards.write_shards`)."""
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=4096)
