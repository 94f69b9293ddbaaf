# SPDX-License-Identifier: Apache-2.0
"""The command ``facex``: builds the commands, runs one, and turns every error into one sentence.

Exit codes: 0 all done, 1 some of many inputs failed (each is named), 2 nothing could be done.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Annotated, Final

import typer

import facex
from facex.cli import benchmark, clips, edit, evaluate, inspect, models, prepare, serve
from facex.cli.console import complain, exit_code_of
from facex.cli.options import make_command, mix_parameters, task_parameters
from facex.errors import EXIT_NOTHING_DONE
from facex.recipes.tasks import task_table


def _version(wanted: bool) -> None:
    if wanted:
        print(f"facex {facex.__version__}")
        raise typer.Exit


def _about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Edit faces in photos: one model for every common edit, and any mixture of them.

    Angles are degrees; + yaw looks to the picture's right, + pitch up, + roll clockwise.
    Left and right are the person's own. Exit codes: 0 all done, 1 some inputs failed, 2 nothing
    was done.
    """


def build_app() -> typer.Typer:
    """The command line, with one command for each row of the task table."""
    app = typer.Typer(
        name="facex",
        callback=_about,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for name, row in task_table().items():
        work = functools.partial(edit.run_task, name)
        app.command(name, short_help=row.help)(make_command(task_parameters(row), work, row.help))
    app.command("mix", short_help=_MIX)(make_command(mix_parameters(), edit.run_mix, _MIX))
    studio = (serve.studio, serve.serve)
    for function in (
        clips.animate,
        inspect.decompose,
        inspect.verify,
        benchmark.benchmark,
        prepare.prepare,
        models.train,
        *studio,
    ):
        # typer would cut the first line of the docstring short in the list of commands
        app.command(short_help=(function.__doc__ or "").splitlines()[0])(function)
    app.add_typer(evaluate.app, name="evaluate", short_help=evaluate.HELP)
    app.add_typer(models.app, name="models", short_help=models.HELP)
    return app


_MIX = "Follow a recipe: any factor and region from any picture, several steps in order."


_TYPER_INTERRUPTED: Final = 130
"""What newer versions of typer return in place of raising KeyboardInterrupt or Abort."""


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code; nothing is raised, and after an error one sentence is on stderr.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    debug = "--debug" in arguments or os.environ.get("FACEX_DEBUG", "0") not in ("", "0")
    with _quiet_libraries(debug=debug), _stoppable():
        try:
            command = typer.main.get_command(build_app())
            code = command.main(arguments, prog_name="facex", standalone_mode=False)
            sys.stdout.flush()
            if code == _TYPER_INTERRUPTED:
                raise KeyboardInterrupt
            return int(code or 0)
        except BrokenPipeError:
            # The reader of stdout has gone, as `head` does; say nothing into the void.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_NOTHING_DONE
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else EXIT_NOTHING_DONE
        except (Exception, KeyboardInterrupt) as error:
            complain(error, debug=debug)
            return exit_code_of(error)


@contextlib.contextmanager
def _quiet_libraries(*, debug: bool) -> Iterator[None]:
    """Keep the warnings and log lines of libraries away from the user, except for debugging."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
            logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set a handler; whoever runs us in another one has theirs
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
