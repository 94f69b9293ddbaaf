# SPDX-License-Identifier: Apache-2.0
"""Serving: uvicorn around the application, until somebody stops it."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from facex.errors import FaceXError, OptionError
from facex.server.app import create_app
from facex.server.reader import Reader
from facex.server.service import build_service
from facex.server.settings import ServiceSettings


class _Server(uvicorn.Server):
    """Tells when connections are taken, which uvicorn alone does not."""

    ready: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()


def serve(
    settings: ServiceSettings,
    *,
    ready: Callable[[str], None],
    show_token: bool = False,
    open_page: bool = False,
) -> None:
    """Serve until interrupted.

    Args:
        settings: what to serve, and where.
        ready: called with the page's address once requests are taken.
        show_token: put the token into that address, for the user of this machine.
        open_page: show the page in the user's browser.

    Raises:
        OptionError: the port is taken, or the address is not this machine's.
        FaceXError: the service cannot be put together.
    """
    listener = _listen(settings)
    service = build_service(settings)
    # Bound to port 0, the system chose one.
    port = listener.getsockname()[1]
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    address = f"http://{shown}:{port}/"
    with_token = f"{address}#token={settings.token}" if settings.token else address
    config = uvicorn.Config(
        create_app(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        limit_concurrency=200,
    )
    server = _Server(config)

    warming = threading.Thread(target=_warm, args=(service.reader,), name="facex-warming")

    def begun() -> None:
        ready(with_token if show_token else address)
        # Loading takes seconds; done now, the first photo does not wait for it.
        warming.start()
        if open_page:
            # Other users of the machine can read a browser's command line: it gets a code that
            # works once, and not the token.
            page = f"{address}#token={service.new_code()}" if settings.token else address
            threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()

    server.ready = begun
    # uvicorn has ended in good order by the time it passes Ctrl-C or SIGTERM on.
    with listener, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _warm(reader: Reader) -> None:
    try:
        _ = reader.locator
    except FaceXError as error:
        logging.getLogger("facex.server").error("the model does not load: %s", error)


def _listen(settings: ServiceSettings) -> socket.socket:
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, settings.port))
    except OSError as error:
        listener.close()
        raise OptionError(
            f"{settings.host}:{settings.port} cannot be used ({error.strerror}); choose another "
            "--port, or stop what uses it"
        ) from error
    return listener
