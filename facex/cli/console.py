# SPDX-License-Identifier: Apache-2.0
"""What the commands say: results on stdout, everything else on stderr, every error one sentence."""

from __future__ import annotations

import errno
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import typer

from facex.errors import EXIT_NOTHING_DONE, FaceXError, Interrupted

StepCallback: TypeAlias = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, name of the stage)."""

# typer keeps its parser's base class private in some versions; it is always the base of the base.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def one_sentence(text: str) -> str:
    """The text on one line, without the full stop at its end."""
    return " ".join(text.split()).removesuffix(".")


def explain(error: BaseException) -> str:
    """One sentence for a person: what went wrong and what to do about it."""
    if isinstance(error, KeyboardInterrupt | Interrupted | typer.Abort):
        return "interrupted"
    if isinstance(error, FaceXError):
        return one_sentence(str(error))
    if isinstance(error, UsageError):
        return one_sentence(_usage(error))
    if isinstance(error, MemoryError):
        return "not enough memory; try a smaller --size or fewer faces"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
        return one_sentence(f"{error.filename or 'the output'}: {error.strerror}")
    kind = type(error).__name__
    return one_sentence(f"internal error ({kind}: {error}); run again with --debug and report it")


def _usage(error: Exception) -> str:
    message = one_sentence(str(getattr(error, "format_message", error.__str__)()))
    message = message.replace(": Input should be", ": it should be")
    context = getattr(error, "ctx", None)
    where = getattr(context, "command_path", "facex")
    return f"{message[:1].lower()}{message[1:]}; see {where} --help"


def exit_code_of(error: BaseException) -> int:
    """The exit code of a program that ends with this error."""
    return error.exit_code if isinstance(error, FaceXError) else EXIT_NOTHING_DONE


def complain(error: BaseException, *, subject: str | None = None, debug: bool = False) -> str:
    """Print one sentence on stderr, after the traceback where that is wanted.

    Args:
        error: what went wrong.
        subject: the input that failed; named unless the sentence names it already.
        debug: print the traceback too.

    Returns:
        The sentence.
    """
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    sentence = explain(error)
    if subject is not None and subject not in sentence and Path(subject).name not in sentence:
        sentence = f"{subject}: {sentence}"
    print(f"facex: {sentence}", file=sys.stderr)
    return sentence


@dataclass(frozen=True)
class Reporter:
    """Where a command's words go.

    Attributes:
        json_lines: one JSON object per input on stdout in place of words.
        quiet: nothing on stdout and no notes on stderr; errors are always printed.
        debug: tracebacks with every error.
    """

    json_lines: bool = False
    quiet: bool = False
    debug: bool = False

    def say(self, text: str, record: Mapping[str, Any] | None = None) -> None:
        """Report one outcome on stdout: words, or with ``--json`` the record (None: nothing)."""
        if self.quiet:
            return
        if not self.json_lines:
            print(text, flush=True)
        elif record is not None:
            print(json.dumps(record, ensure_ascii=False, default=str), flush=True)

    def note(self, text: str) -> None:
        """Say something on stderr that nobody has to read."""
        if not self.quiet:
            print(f"facex: {one_sentence(text)}", file=sys.stderr)

    def failed(self, error: BaseException, record: Mapping[str, Any], subject: str | None) -> None:
        """Report an input that could not be done, on stderr and with ``--json`` on stdout too."""
        sentence = complain(error, subject=subject, debug=self.debug)
        if self.json_lines:
            self.say("", {**record, "error": sentence})

    @contextmanager
    def bars(self, inputs: int) -> Iterator[Bars]:
        """Progress bars on stderr if it is a terminal, else nothing.

        Args:
            inputs: number of inputs; a bar for them is shown if there are several.
        """
        if self.quiet or not sys.stderr.isatty():
            yield Bars()
            return
        # rich takes a tenth of a second to import; --help does not pay for it.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True) as progress:
            overall = progress.add_task("inputs", total=inputs) if inputs > 1 else None
            yield _RichBars(progress, overall, progress.add_task("starting", total=None))


class Bars:
    """Progress bars that show nothing: stderr is no terminal."""

    def begin(self, name: str) -> None:
        """A new input begins."""

    def step(self, done: int, total: int, stage: str) -> None:
        """``done`` of ``total`` steps of the input are over; ``stage`` is running."""

    def end(self) -> None:
        """The input is over, done or failed."""


class _RichBars(Bars):
    """The same on a terminal; the tasks are rich's task ids."""

    def __init__(self, progress: Any, overall: Any, current: Any) -> None:
        self._progress, self._overall, self._current = progress, overall, current

    def begin(self, name: str) -> None:
        self._progress.reset(self._current, total=None, description=name)

    def step(self, done: int, total: int, stage: str) -> None:
        self._progress.update(self._current, completed=done, total=total or None, description=stage)

    def end(self) -> None:
        if self._overall is not None:
            self._progress.advance(self._overall)


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns of text, aligned, without colours or boxes: readable by people and by ``cut``."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join(lines)
