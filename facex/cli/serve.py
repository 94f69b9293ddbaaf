# SPDX-License-Identifier: Apache-2.0
"""The commands that serve: ``studio`` opens the page, ``serve`` is for other programs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from facex.cli.console import Reporter
from facex.cli.options import Debug, Device, Dtype, Model
from facex.config import Settings, check_device_name, check_dtype_name
from facex.errors import EXIT_DONE, MissingExtra, OptionError

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Keep photos and results here; without it they are deleted at the end.",
    ),
]
Port = Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 chooses a free one.")]
Keep = Annotated[
    float, typer.Option(min=0, metavar="H", help="Delete photos and results after H hours; 0: no.")
]

_PASSING: Final = "facex-"
"""How folders begin that hold photos until the end; the number of the process follows."""


def studio(
    port: Port = 8765,
    data: Data = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    keep_hours: Keep = 0,
    device: Device = None,
    dtype: Dtype = None,
    model: Model = None,
    debug: Debug = False,
) -> int:
    """Open the page in which photos are edited with the mouse; nothing leaves this machine."""
    needs_the_extra()
    from facex.server.settings import new_token

    values = {"port": port, "token": new_token(), "keep_hours": keep_hours or None}
    return _serve(values, data, device, dtype, model, show=True, open_page=browser)


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Port = 8765,
    data: Data = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which clients may call; may be repeated."),
    ] = None,
    max_queue: Annotated[int, typer.Option(min=1, metavar="N", help="Edits that may wait.")] = 32,
    max_mb: Annotated[int, typer.Option(min=1, metavar="N", help="Of one upload.")] = 40,
    max_megapixels: Annotated[int, typer.Option(min=1, metavar="N", help="Of one photo.")] = 40,
    max_seconds: Annotated[float, typer.Option(min=1, metavar="S", help="Of one edit.")] = 900,
    keep_hours: Keep = 24,
    device: Device = None,
    dtype: Dtype = None,
    model: Model = None,
    debug: Debug = False,
) -> int:
    """Serve edits over HTTP: REST with OpenAPI, a queue, progress as server-sent events.

    Clients must show the token in FACEX_TOKEN; only on 127.0.0.1 it may be left out. Several
    devices, as in --device cuda:0,cuda:1, work side by side.
    """
    needs_the_extra()
    values = {
        "host": host,
        "port": port,
        "token": os.environ.get("FACEX_TOKEN") or None,
        "allowed_hosts": tuple(allow_host or ()),
        "max_queue": max_queue,
        "max_bytes": max_mb * 1_000_000,
        "max_pixels": max_megapixels * 1_000_000,
        "max_seconds": max_seconds,
        "keep_hours": keep_hours or None,
    }
    return _serve(values, data, device, dtype, model, show=False, open_page=False)


def needs_the_extra() -> None:
    """Say which extra is missing.

    Raises:
        MissingExtra: the libraries of the service are not installed.
    """
    from importlib.util import find_spec

    needed = ("fastapi", "uvicorn", "sse_starlette", "python_multipart")
    if any(find_spec(name) is None for name in needed):
        raise MissingExtra("the studio", "studio")


def _serve(
    values: dict[str, Any],
    data: Path | None,
    device: str | None,
    dtype: str | None,
    model: str | None,
    *,
    show: bool,
    open_page: bool,
) -> int:
    defaults = Settings.from_environment()
    devices = tuple((device or defaults.device).split(","))
    for name in devices:
        check_device_name(name)
    check_dtype_name(dtype or defaults.dtype)
    if data is not None and data.exists() and not data.is_dir():
        raise OptionError(f"{data} is a file, but --data wants a folder")
    from facex.server.nudity import can_look
    from facex.server.run import serve as run_service
    from facex.server.settings import ServiceSettings

    def ready(address: str) -> None:
        Reporter().say(f"FaceX is at {address}  (Ctrl-C ends it)")
        if not can_look():
            Reporter().say("Nude bodies are not looked for: pip install 'facex[nudity]' adds that.")

    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"{_PASSING}{os.getpid()}-") as passing:
        settings = ServiceSettings(
            data=data or Path(passing),
            devices=devices,
            dtype=dtype or defaults.dtype,
            model=model or defaults.model,
            local_files_only=defaults.offline,
            **values,
        )
        run_service(settings, ready=ready, show_token=show, open_page=open_page)
    return EXIT_DONE


def _sweep(folder: Path) -> None:
    """Delete what services of this user left behind that were killed.

    Args:
        folder: of passing files.
    """
    if sys.platform == "win32":  # asking for a process there by os.kill would end it
        return
    for left in folder.glob(f"{_PASSING}*-*"):
        number = left.name.removeprefix(_PASSING).partition("-")[0]
        # Also a link of that name, which somebody else may have laid there, is none of ours.
        if number.isdigit() and not left.is_symlink() and left.stat().st_uid == os.getuid():
            try:
                os.kill(int(number), 0)
            except ProcessLookupError:
                shutil.rmtree(left, ignore_errors=True)
            except OSError:
                continue
