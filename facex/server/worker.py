# SPDX-License-Identifier: Apache-2.0
"""One thread per device that hands out its jobs, and the tidying up."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from facex.errors import FaceXError, Interrupted
from facex.server.editors import Editor
from facex.server.jobs import Claim, JobQueue
from facex.server.reader import Reader
from facex.server.refusals import Refused
from facex.server.store import Store

_LOG = logging.getLogger("facex.server")
_UNUSED_MASK: Final = 3600.0
"""Seconds after which a mask that belongs to no job is deleted."""
_LOOK: Final = 0.5
"""Seconds after which a waiting worker looks whether it shall end."""


class Worker:
    """Gives the jobs of a queue to one device, one after the other.

    Args:
        editor: does them.
        queue: where jobs come from.
        store: has their results.
    """

    def __init__(self, editor: Editor, queue: JobQueue, store: Store) -> None:
        self.editor, self.queue, self.store = editor, queue, store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"facex-{editor.name}", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """End at the next sampling step; the job in hand is queued again for the next start."""
        self._stop.set()
        self.queue.wake()
        self._thread.join(timeout)
        self.editor.close()

    def _run(self) -> None:
        # A model that does not load is what the first edit says.
        with contextlib.suppress(FaceXError):
            self.editor.start()
        while not self._stop.is_set():
            claim = self.queue.claim(_LOOK)
            if claim is not None:
                self._do(claim)

    def _do(self, claim: Claim) -> None:
        def report(done: int, total: int, stage: str) -> None:
            if self._stop.is_set():
                raise Interrupted("the service stops")
            self.queue.progress(claim.id, done, total, stage)

        try:
            result = self.editor.edit(claim, report)
        except Exception as error:
            if isinstance(error, Interrupted) and self._stop.is_set():
                self.queue.release(claim.id)
                return
            if not isinstance(error, FaceXError):
                _LOG.exception("job %s failed", claim.id)
            self.store.delete_result(claim.id)
            self.queue.fail(claim.id, error)
        else:
            if not self.queue.finish(claim.id, result):
                self.store.delete_result(claim.id)


class Janitor:
    """Deletes photos and results that are older than the service keeps them.

    Args:
        tidy: does it; called at once and then every ten minutes.
    """

    def __init__(self, tidy: Callable[[], None]) -> None:
        self._tidy, self._stop = tidy, threading.Event()
        self._thread = threading.Thread(target=self._run, name="facex-janitor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                self._tidy()
            except Exception:
                _LOG.exception("tidying up failed")
            if self._stop.wait(600):
                return


def tidy(
    store: Store, queue: JobQueue, reader: Reader, keep_hours: float | None, max_jobs: int
) -> None:
    """Delete what is older than ``keep_hours``; unfinished jobs keep their photos and masks.

    Args:
        store: has the files.
        queue: has the jobs.
        reader: remembers faces.
        keep_hours: None keeps all photos, and of the jobs the newest ``max_jobs``.
        max_jobs: finished jobs that are kept at most.
    """
    old = set(queue.beyond(max_jobs))
    if keep_hours is not None:
        moment = time.time() - keep_hours * 3600
        old.update(queue.older_than(moment))
        for photo in store.older_than(moment):
            # What clients delete at the same moment is gone already.
            with contextlib.suppress(Refused):
                if not queue.uses(photo):
                    store.delete_photo(photo)
                    reader.forget(photo)
    for job in old:
        with contextlib.suppress(Refused):
            queue.delete(job)
        store.delete_result(job)
    # A mask stays as long as a job was ordered with it; others were painted and never used.
    for mask in store.masks_before(time.time() - _UNUSED_MASK):
        with contextlib.suppress(Refused):
            if not queue.mentions(mask):
                store.delete_mask(mask)
