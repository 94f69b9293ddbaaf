# SPDX-License-Identifier: Apache-2.0
"""Everything that belongs to one running service, started and stopped together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import Request

from facex.errors import OutputError
from facex.imaging.read import Photo
from facex.server.content_filter import (
    ContentFilter,
    FaceFilter,
    LooksAdult,
    check_content,
    check_faces,
    installed_filters,
)
from facex.server.database import Database
from facex.server.editors import Editor, LoadModel, LocalEditor, ProcessEditor
from facex.server.jobs import JobQueue
from facex.server.reader import Reader
from facex.server.refusals import Refused
from facex.server.schemas import PhotoInfo
from facex.server.settings import ServiceSettings
from facex.server.store import Store
from facex.server.worker import Janitor, Worker, tidy


@dataclass
class Service:
    """The parts of a service.

    Attributes:
        settings: what it may do.
        database: photos and jobs.
        store: files.
        queue: jobs.
        reader: reads uploads and draws previews.
        editors: one a device.
        filters: asked about every upload.
        face_filters: asked about every face in it.
    """

    settings: ServiceSettings
    database: Database
    store: Store
    queue: JobQueue
    reader: Reader
    editors: Sequence[Editor]
    filters: Sequence[ContentFilter]
    face_filters: Sequence[FaceFilter] = (LooksAdult(),)
    _workers: list[Worker] = field(default_factory=list)
    _janitor: Janitor | None = None

    def start(self) -> None:
        """Begin to work: queue again what was interrupted, start a worker per device."""
        self.queue.recover()
        for editor in self.editors:
            worker = Worker(editor, self.queue, self.store)
            worker.start()
            self._workers.append(worker)
        keep = self.settings.keep_hours
        self._janitor = Janitor(lambda: tidy(self.store, self.queue, self.reader, keep))
        self._janitor.start()

    def stop(self) -> None:
        """End; unfinished jobs wait for the next start."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()
        if self._janitor is not None:
            self._janitor.stop()
        self.database.close()

    def add_photo(self, photo: Photo, label: str) -> PhotoInfo:
        """Ask the filters, find the faces, and keep the photo.

        Raises:
            Refused: a filter said no, or too many photos are kept.
        """
        self.store.check_room()
        check_content(photo, self.filters)
        found = self.reader.read(photo)
        check_faces((located for _, located in found), self.face_filters)
        info = self.store.add_photo(photo, label, [face for face, _ in found])
        for face, located in found:
            self.reader.keep(info.id, face.number, located)
        return info

    def delete_photo(self, photo: str) -> None:
        """Remove a photo that no unfinished job needs.

        Raises:
            Refused: 404, or 409 while an edit needs it.
        """
        if self.queue.uses(photo):
            raise Refused(409, "InUse", "an edit still needs this photo; cancel the edit first")
        self.store.delete_photo(photo)
        self.reader.forget(photo)

    def delete_job(self, job: str) -> None:
        """Stop and forget a job, with its result."""
        self.queue.delete(job)
        self.store.delete_result(job)


def build_service(
    settings: ServiceSettings,
    *,
    load: LoadModel | None = None,
    filters: Sequence[ContentFilter] | None = None,
) -> Service:
    """Put a service together, without starting it.

    Args:
        settings: what it may do.
        load: makes the model of a device in this process; by default every device has a process
            of its own that loads the model that the settings name.
        filters: content filters; by default those that are installed.

    Raises:
        OutputError: the data folder cannot be used.
        OptionError: an installed content filter does not load.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{settings.data} cannot be made: {error.strerror}") from error
    database = Database(settings.data / "service.sqlite")
    store = Store.of(settings, database)
    queue = JobQueue(database, limit=settings.max_queue, workers=len(settings.devices))
    editors: list[Editor] = []
    for device in settings.devices:
        if load is None:
            editors.append(ProcessEditor(device, settings))
        else:
            editors.append(LocalEditor(load, device, store, settings))
    reader = Reader(
        settings.load_locator if load is None else lambda: load(settings.devices[0]).locator
    )
    chosen = installed_filters() if filters is None else tuple(filters)
    return Service(settings, database, store, queue, reader, editors, chosen)


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service
