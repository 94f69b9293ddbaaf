# SPDX-License-Identifier: Apache-2.0
"""Errors of the service, and the HTTP status of every error a user can cause."""

from __future__ import annotations

from typing import Final

from facex.errors import (
    FaceXError,
    ImageRejected,
    Interrupted,
    MissingExtra,
    ModelNotFound,
    NoFaceFound,
    OptionError,
    OutputError,
    RecipeError,
    WeightsCorrupt,
)


class Refused(FaceXError):
    """The service does not do what was asked; one sentence says why.

    Args:
        status: of the HTTP reply.
        kind: short name for programs.
        message: for people.
        retry_after: seconds after which another try makes sense.
    """

    def __init__(
        self, status: int, kind: str, message: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.retry_after = status, kind, retry_after


def not_found(what: str) -> Refused:
    """There is no such thing (any more)."""
    return Refused(404, "NotFound", f"there is no such {what}, or it was deleted")


_STATUS: Final[tuple[tuple[type[FaceXError], int], ...]] = (
    (ImageRejected, 422),
    (NoFaceFound, 422),
    (RecipeError, 422),
    (OptionError, 422),
    (MissingExtra, 501),
    (ModelNotFound, 501),
    (WeightsCorrupt, 500),
    (OutputError, 500),
    (Interrupted, 409),
)


def status_of(error: FaceXError) -> int:
    """The HTTP status that says the same."""
    if isinstance(error, Refused):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def kind_of(error: BaseException) -> str:
    """Name of an error for programs."""
    if isinstance(error, Refused):
        return error.kind
    return type(error).__name__ if isinstance(error, FaceXError) else "InternalError"


def sentence_of(error: BaseException) -> str:
    """What people read; what was not expected tells nothing of the inside."""
    if isinstance(error, FaceXError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "not enough memory; use a smaller photo or a smaller size"
    return "something went wrong inside the service; its log says what"
