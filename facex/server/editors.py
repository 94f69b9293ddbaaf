# SPDX-License-Identifier: Apache-2.0
"""Who does the edits of a device: a process of its own, or for tests this one.

A process of its own keeps uploads and previews quick while an edit computes, and when it dies, by
lack of memory or otherwise, the service and all other jobs live on.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final, Protocol

from facex.api import FaceX
from facex.errors import FaceXError, Interrupted
from facex.server.database import Database
from facex.server.edits import Report, run_edit
from facex.server.jobs import Claim
from facex.server.refusals import Refused, kind_of, sentence_of, status_of
from facex.server.schemas import EditRequest, ResultInfo
from facex.server.settings import ServiceSettings
from facex.server.store import Store

_LOG = logging.getLogger("facex.server")
_PATIENCE: Final = 20.0
"""Seconds that a process gets to end by itself."""
_LOADING: Final = 120.0
"""Seconds beyond those of an edit that a process may say nothing: it may still load its model."""

LoadModel = Callable[[str], FaceX]


class Editor(Protocol):
    """Does edits on one device, one at a time."""

    name: str

    def start(self) -> None:
        """Get ready; an edit does so too."""
        ...

    def edit(self, claim: Claim, report: Report) -> ResultInfo:
        """Do one edit; ``report`` may raise to stop it, and that error comes out.

        Raises:
            FaceXError: one sentence that says what is wrong.
        """
        ...

    def close(self) -> None:
        """End."""
        ...


class LocalEditor:
    """Edits in this process, with a model that is loaded by the first one.

    Args:
        load: makes the model of a device.
        device: its name.
        store: has the photos and gets the results.
        settings: limits.
    """

    def __init__(
        self, load: LoadModel, device: str, store: Store, settings: ServiceSettings
    ) -> None:
        self.name = device
        self._load, self._store, self._settings = load, store, settings
        self._model: FaceX | None = None

    def start(self) -> None:
        """See :class:`Editor`; here it waits until the model is loaded."""
        if self._model is None:
            self._model = self._load(self.name)

    def edit(self, claim: Claim, report: Report) -> ResultInfo:
        """See :class:`Editor`."""
        self.start()
        assert self._model is not None
        return run_edit(self._model, claim.id, claim.request, self._store, self._settings, report)

    def close(self) -> None:
        """See :class:`Editor`."""
        self._model = None


class ProcessEditor:
    """Edits in a process of its own, which is started again when it has died.

    Args:
        device: where its model is.
        settings: data folder, model and limits.
        serve: what the process runs.
        grace: seconds beyond ``max_seconds`` after which a process that says nothing is ended.
    """

    def __init__(
        self,
        device: str,
        settings: ServiceSettings,
        *,
        serve: Callable[[Connection, str, ServiceSettings], None] | None = None,
        grace: float = _LOADING,
    ) -> None:
        self.name, self._settings, self._grace = device, settings, grace
        self._serve = serve or _serve_edits
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process, while it lives."""
        process = self._process
        return process.pid if process is not None and process.is_alive() else None

    def start(self) -> None:
        """See :class:`Editor`; the process loads its model at once."""
        self._living()

    def edit(self, claim: Claim, report: Report) -> ResultInfo:
        """See :class:`Editor`."""
        pipe = self._living()
        stopped: BaseException | None = None
        try:
            pipe.send((claim.id, claim.request.model_dump_json()))
            while True:
                kind, *said = self._heard(pipe)
                if kind == "progress" and stopped is None:
                    try:
                        report(*said)
                    except BaseException as error:
                        # It ends at its next report; only then is it free for another edit.
                        stopped = error
                        pipe.send(None)
                elif kind == "done":
                    result = ResultInfo.model_validate_json(said[0])
                    break
                elif kind == "failed":
                    raise stopped or Refused(*said)
        except (EOFError, OSError) as error:
            code = self._bury()
            raise stopped or Refused(
                500,
                "WorkerDied",
                f"the process that did this edit ended (exit code {code}), perhaps for want of "
                "memory; try again, with a smaller size if it ends again",
            ) from error
        if stopped is not None:
            raise stopped
        return result

    def close(self) -> None:
        """See :class:`Editor`; what it is doing is given up."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join(_PATIENCE)
        self._bury()

    def _heard(self, pipe: Connection) -> tuple[Any, ...]:
        """What the process says next; one that hangs is ended, so that the next job gets its turn.

        Raises:
            Refused: 504.
            EOFError, OSError: the process has ended.
        """
        limit = self._settings.max_seconds + self._grace
        end = time.monotonic() + limit
        # In short looks, since closing must not wait for the whole of it.
        while not pipe.poll(1.0):
            if time.monotonic() > end:
                self._bury(at_once=True)
                raise Refused(
                    504, "TookTooLong", f"the edit said nothing for {limit:g} s and was ended; "
                    "try again, with a smaller size if it hangs again",
                )  # fmt: skip
        heard: tuple[Any, ...] = pipe.recv()
        return heard

    def _living(self) -> Connection:
        with self._lock:
            if self._pipe is None or self.pid is None:
                context = multiprocessing.get_context("spawn")
                self._pipe, theirs = context.Pipe()
                self._process = context.Process(
                    target=self._serve,
                    args=(theirs, self.name, self._settings),
                    name=f"facex-{self.name}",
                    daemon=True,
                )
                self._process.start()
                # Only the process holds its end now: when it dies, reading here ends.
                theirs.close()
            return self._pipe

    def _bury(self, *, at_once: bool = False) -> int | None:
        with self._lock:
            process, self._process, self._pipe = self._process, None, None
        if process is None:
            return None
        process.join(0 if at_once else 1)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode


def _serve_edits(pipe: Connection, device: str, settings: ServiceSettings) -> None:
    """The other process: edits until the pipe is closed."""
    # Ctrl-C reaches the whole group; the service decides what to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    database = Database(settings.data / "service.sqlite")
    store = Store.of(settings, database)
    editor = LocalEditor(settings.load_model, device, store, settings)
    try:
        editor.start()
    except FaceXError as error:
        # Said again, to a client, by the first edit.
        _LOG.error("the model does not load: %s", error)

    def report(done: int, total: int, stage: str) -> None:
        if pipe.poll():
            pipe.recv()
            raise Interrupted("the edit was stopped")
        pipe.send(("progress", done, total, stage))

    try:
        while True:
            job, request = _next(pipe)
            claim = Claim(job, EditRequest.model_validate_json(request))
            pipe.send(_outcome(editor, claim, report))
    except (EOFError, OSError):
        pass  # The service has ended.
    finally:
        database.close()


def _next(pipe: Connection) -> tuple[str, str]:
    while True:
        order: Any = pipe.recv()
        # A stop that came when its edit was done already.
        if order is not None:
            return str(order[0]), str(order[1])


def _outcome(editor: LocalEditor, claim: Claim, report: Report) -> tuple[Any, ...]:
    try:
        return "done", editor.edit(claim, report).model_dump_json()
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        if not isinstance(error, FaceXError):
            _LOG.exception("job %s failed", claim.id)
        status = status_of(error) if isinstance(error, FaceXError) else 500
        return "failed", status, kind_of(error), sentence_of(error)
