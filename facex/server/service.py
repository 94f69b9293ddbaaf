# SPDX-License-Identifier: Apache-2.0
"""Everything that belongs to one running service, started and stopped together."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import Request

from facex.errors import OutputError
from facex.imaging.read import Photo, read_photo
from facex.locate import LocatedFace
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
from facex.server.edits import face_info, read_face
from facex.server.guard import same_token
from facex.server.jobs import JobQueue
from facex.server.reader import Reader
from facex.server.recipe_files import cut_face
from facex.server.refusals import Refused, not_found
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
    _codes: set[str] = field(default_factory=set)
    _workers: list[Worker] = field(default_factory=list)
    _janitor: Janitor | None = None

    def start(self) -> None:
        """Begin to work: queue again what was interrupted, start a worker per device."""
        self.queue.recover()
        for editor in self.editors:
            worker = Worker(editor, self.queue, self.store)
            worker.start()
            self._workers.append(worker)
        keep, most = self.settings.keep_hours, self.settings.max_jobs
        self._janitor = Janitor(lambda: tidy(self.store, self.queue, self.reader, keep, most))
        self._janitor.start()

    def stop(self) -> None:
        """End; unfinished jobs wait for the next start."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()
        if self._janitor is not None:
            self._janitor.stop()
        self.database.close()

    def new_code(self) -> str:
        """A word that opens one session in place of the token, once.

        It may stand where other users of the machine can read it, such as in the command line of
        a browser that is started.
        """
        code = secrets.token_urlsafe(24)
        self._codes.add(code)
        return code

    def lets_in(self, given: str) -> bool:
        """Whether this is the token, or a code that nobody has used yet."""
        if given in self._codes:
            self._codes.discard(given)
            return True
        token = self.settings.token
        return token is None or same_token(given, token)

    def add_photo(self, photo: Photo, label: str, made_by: str | None = None) -> PhotoInfo:
        """Ask the filters, find the faces, and keep the photo.

        Args:
            photo: decoded.
            label: its name for people.
            made_by: job whose result it is.

        Raises:
            Refused: a filter said no, too many photos are kept, or too many are being read.
        """
        self.store.check_room()
        with self.reader.turn():
            check_content(photo, self.filters)
            found = self.reader.read(photo)
            check_faces((located for _, located in found), self.face_filters)
        info = self.store.add_photo(photo, label, [face for face, _ in found], made_by=made_by)
        for face, located in found:
            self.reader.keep(info.id, face.number, located)
        return info

    def face(self, photo: str, number: int) -> LocatedFace:
        """A decomposed face of a photo.

        Raises:
            Refused: 404 for a photo or a face that is not there, 429 when too many are being read.
        """
        info = self.store.photo_info(photo)
        if number > len(info.faces):
            raise not_found("face")
        with self.reader.turn():
            return self.reader.face(
                photo,
                number,
                lambda: read_face(self.reader.locator, self.store, photo, str(number)),
            )

    def keep_face(self, photo: str, number: int) -> PhotoInfo:
        """Keep a face of a photo: its representation, and a cut of the photo around it.

        The filters were asked when the photo came.

        Raises:
            Refused: as :meth:`face`, or too many photos are kept.
        """
        self.store.check_room()
        info, face = self.store.photo_info(photo), self.face(photo, number)
        found = face_info(info, number, "the photo")
        image, (left, top) = cut_face(self.store, photo, found)
        a, b, c, d, e, f = found.frame
        x0, y0, x1, y1 = found.box
        moved = found.model_copy(
            update={
                "number": 1,
                "main": True,
                "box": (x0 - left, y0 - top, x1 - left, y1 - top),
                "outline": [(round(x - left, 1), round(y - top, 1)) for x, y in found.outline],
                "frame": (a, b, c, d, e - left, f - top),
            }
        )
        label = info.label if len(info.faces) == 1 else f"{info.label}, face {number}"
        data = face.representation.to_bytes()
        return self.store.add_photo(read_photo(image), label, [moved], representation=data)

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
        """Stop and forget a job, with its result, and with its mask when no other job needs it.

        Raises:
            Refused: 404.
        """
        mask = self.queue.request(job).mask
        self.queue.delete(job)
        self.store.delete_result(job)
        if mask is not None and not self.queue.mentions(mask):
            with contextlib.suppress(Refused):
                self.store.delete_mask(mask)

    def delete_mask(self, mask: str) -> None:
        """Remove a mask that no job was ordered with.

        Raises:
            Refused: 404, or 409 while a job is kept that needs it.
        """
        if self.queue.mentions(mask):
            raise Refused(409, "InUse", "an edit was ordered with this mask; delete the edit first")
        self.store.delete_mask(mask)


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
        settings.load_locator if load is None else lambda: load(settings.devices[0]).locator,
        max_faces=settings.max_faces,
    )
    chosen = installed_filters() if filters is None else tuple(filters)
    return Service(settings, database, store, queue, reader, editors, chosen)


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service
