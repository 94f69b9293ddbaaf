# SPDX-License-Identifier: Apache-2.0
"""``python -m facex.train CONFIG [--set KEY=VALUE]``, for ``accelerate launch -m facex.train``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from facex.errors import EXIT_DONE, FaceXError, OptionError
from facex.train.main import train_command


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m facex.train", description="Train a model.")
    parser.add_argument("config", type=Path, help="a YAML file")
    parser.add_argument("--set", dest="set_", metavar="KEY=VALUE", action="append", default=[])
    given = parser.parse_args(arguments)
    try:
        print(train_command(given.config, dict(_override(text) for text in given.set_)))
    except FaceXError as error:
        print(f"facex: {error}", file=sys.stderr)
        return error.exit_code
    return EXIT_DONE


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise OptionError(f"--set {text!r} is not understood, give KEY=VALUE")
    try:
        return key.strip(), YAML(typ="safe", pure=True).load(value)
    except YAMLError as error:
        raise OptionError(f"--set {text!r}: {value!r} is no YAML") from error


if __name__ == "__main__":
    sys.exit(main())
