# SPDX-License-Identifier: Apache-2.0
"""Every error a user can cause, as one tree.

FaceXError                      what went wrong, where, and what to do about it
├── ImageRejected               the file is no usable picture (missing, corrupt, too large, ...)
├── NoFaceFound                 the picture holds no face, or not the one that was asked for
├── RecipeError                 a recipe is wrong; carries the line
├── RepresentationError         a saved representation is corrupt, foreign or too new
├── ModelNotFound               a model folder, weight or hub id cannot be had
├── WeightsCorrupt              a weight file is damaged or of another layout
├── MissingExtra                an optional dependency is needed; names the extra to install
├── OptionError                 a command-line or API argument is out of range
├── OutputError                 the result cannot be written (exists, full disk, no rights, ...)
└── Interrupted                 the user stopped the work; nothing half written is left
"""

from __future__ import annotations

EXIT_DONE = 0
"""Everything asked for was done."""
EXIT_SOME_FAILED = 1
"""Some of many inputs failed; each is named."""
EXIT_NOTHING_DONE = 2
"""Nothing could be done."""


class FaceXError(Exception):
    """Base of all errors that users see: one sentence that says what to do."""

    exit_code: int = EXIT_NOTHING_DONE


class ImageRejected(FaceXError):
    """The file is no usable picture: missing, empty, corrupt, unknown or too large."""


class NoFaceFound(FaceXError):
    """No face was found, or none that fits the choice (``--face``)."""


class RecipeError(FaceXError):
    """A recipe is not valid.

    Attributes:
        line: 1-based line of the recipe file, or None for recipes made in Python.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


class RepresentationError(FaceXError):
    """A saved face representation is corrupt, foreign or written by a newer version."""


class ModelNotFound(FaceXError):
    """A model folder, a weight file or a hub id cannot be had."""


class WeightsCorrupt(FaceXError):
    """A weight file is damaged or does not have the expected layout."""


class MissingExtra(FaceXError):
    """An optional dependency is needed.

    Args:
        feature: what the user wanted to do, as a noun phrase.
        extra: name of the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part: pip install 'facex[{extra}]'")
        self.extra = extra


class OptionError(FaceXError):
    """An argument is out of range or contradicts another one."""


class OutputError(FaceXError):
    """The result cannot be written."""


class Interrupted(FaceXError):
    """The user stopped the work."""

    exit_code = EXIT_NOTHING_DONE
