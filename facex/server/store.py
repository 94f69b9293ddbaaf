# SPDX-License-Identifier: Apache-2.0
"""Photos, masks and results on disk, named by ids that the service made itself."""

from __future__ import annotations

import contextlib
import io
import re
import time
import uuid
from pathlib import Path
from typing import Final

from PIL import Image

from facex.errors import OutputError, RepresentationError
from facex.ford.representation import FaceRepresentation
from facex.imaging.read import Photo, read_mask, read_photo
from facex.imaging.write import write_bytes_atomic
from facex.server.database import Database
from facex.server.refusals import Refused, not_found
from facex.server.schemas import ID_PATTERN, FaceInfo, PhotoInfo
from facex.server.settings import ServiceSettings

SHOWN_SIDE: Final = 1600
"""Longest side of the picture that a page shows; edits use the whole one."""
THUMB_SIDE: Final = 240
RESULT_SUFFIXES: Final = ("png", "jpg", "webp")


class Store:
    """The files of a service.

    Args:
        folder: made when missing.
        database: the list of photos.
        max_pixels: larger photos are refused before they are decoded.
        max_photos: kept at the same time.
    """

    def __init__(
        self, folder: Path, database: Database, *, max_pixels: int, max_photos: int
    ) -> None:
        self._database, self._max_pixels, self._max_photos = database, max_pixels, max_photos
        self._folders = {kind: folder / kind for kind in ("photos", "masks", "results")}
        try:
            for path in self._folders.values():
                path.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise OutputError(f"{folder} cannot be used: {error.strerror}") from error

    @classmethod
    def of(cls, settings: ServiceSettings, database: Database) -> Store:
        """The store of a service."""
        return cls(
            settings.data,
            database,
            max_pixels=settings.max_pixels,
            max_photos=settings.max_photos,
        )

    def decode(self, data: bytes) -> Photo:
        """Read an upload; everything but its pixels is left behind.

        Raises:
            ImageRejected: no usable picture.
        """
        photo = read_photo(data, max_pixels=self._max_pixels)
        image = photo.image
        if photo.alpha is not None:
            image = image.convert("RGBA")
            image.putalpha(photo.alpha)
        return read_photo(image)

    def check_room(self) -> None:
        """Refuse another photo when there are too many.

        Raises:
            Refused: 429.
        """
        row = self._database.one("SELECT count(*) FROM photos")
        if row is not None and int(row[0]) >= self._max_photos:
            raise Refused(
                429, "TooManyPhotos", f"{row[0]} photos are kept already; delete some first",
                retry_after=60,
            )  # fmt: skip

    def add_photo(
        self,
        photo: Photo,
        label: str,
        faces: list[FaceInfo],
        *,
        representation: bytes | None = None,
        made_by: str | None = None,
    ) -> PhotoInfo:
        """Keep a decoded photo, re-encoded.

        Args:
            photo: its pixels.
            label: its name for people.
            faces: what was found in it.
            representation: of its one face; makes it a kept face.
            made_by: job whose result it is.
        """
        self.check_room()
        name = uuid.uuid4().hex
        image = photo.original if photo.alpha is not None else photo.image
        write_bytes_atomic(self._path("photos", name, "png"), _png(image))
        if representation is not None:
            write_bytes_atomic(self._path("photos", name, "safetensors"), representation)
        info = PhotoInfo(
            id=name,
            label=tidy_label(label),
            width=photo.size[0],
            height=photo.size[1],
            created=time.time(),
            faces=faces,
            kept=representation is not None,
            made_by=made_by,
        )
        self._database.run(
            "INSERT INTO photos VALUES (?, ?, ?)", name, info.created, info.model_dump_json()
        )
        return info

    def photo_info(self, photo: str) -> PhotoInfo:
        """What is known of a photo.

        Raises:
            Refused: 404.
        """
        row = self._database.one("SELECT info FROM photos WHERE id=?", photo)
        if row is None:
            raise not_found("photo")
        return PhotoInfo.model_validate_json(row["info"])

    def photos(self) -> list[PhotoInfo]:
        """All photos, the oldest first."""
        rows = self._database.run("SELECT info FROM photos ORDER BY created")
        return [PhotoInfo.model_validate_json(row["info"]) for row in rows]

    def photo(self, photo: str) -> Photo:
        """The pixels of a photo.

        Raises:
            Refused: 404.
        """
        return read_photo(self.picture(photo), max_pixels=self._max_pixels)

    def picture(self, photo: str) -> bytes:
        """The PNG of a photo.

        Raises:
            Refused: 404.
        """
        return self._read("photos", photo, "png", "photo")

    def representation(self, photo: str) -> FaceRepresentation | None:
        """What was kept of a face; None when nothing was, or it is of another format."""
        try:
            data = self._path("photos", photo, "safetensors").read_bytes()
            return FaceRepresentation.from_bytes(data)
        except (FileNotFoundError, RepresentationError):
            return None

    def shown(self, photo: str, *, thumb: bool = False) -> bytes:
        """A smaller JPEG of a photo for the page; made once.

        Raises:
            Refused: 404.
        """
        path = self._path("photos", photo, "thumb.jpg" if thumb else "jpg")
        if not path.exists():
            image = _on_grey(self.photo(photo))
            write_bytes_atomic(path, _jpeg(image, THUMB_SIDE if thumb else SHOWN_SIDE))
        return path.read_bytes()

    def delete_photo(self, photo: str) -> None:
        """Remove a photo and everything made of it.

        Raises:
            Refused: 404.
        """
        self.photo_info(photo)
        self._database.run("DELETE FROM photos WHERE id=?", photo)
        for suffix in ("png", "jpg", "thumb.jpg", "safetensors"):
            self._path("photos", photo, suffix).unlink(missing_ok=True)

    def add_mask(self, data: bytes) -> tuple[str, int, int]:
        """Keep a mask as grey PNG; returns id, width and height.

        Raises:
            ImageRejected: no usable picture.
            Refused: 429, too many are kept.
        """
        if len(list(self._folders["masks"].glob("*.png"))) >= self._max_photos:
            raise Refused(
                429, "TooManyMasks", f"{self._max_photos} masks are kept; delete some edits first",
                retry_after=60,
            )  # fmt: skip
        size = read_photo(data, max_pixels=self._max_pixels).size
        grey = Image.fromarray((read_mask(data, size) * 255 + 0.5).astype("uint8"))
        name = uuid.uuid4().hex
        write_bytes_atomic(self._path("masks", name, "png"), _png(grey))
        return name, *size

    def mask(self, mask: str) -> bytes:
        """The PNG of a mask.

        Raises:
            Refused: 404.
        """
        return self._read("masks", mask, "png", "mask")

    def delete_mask(self, mask: str) -> None:
        """Remove a mask.

        Raises:
            Refused: 404.
        """
        path = self._path("masks", mask, "png")
        if not path.exists():
            raise not_found("mask")
        path.unlink(missing_ok=True)

    def masks_before(self, moment: float) -> list[str]:
        """Ids of masks from before a moment."""
        found = []
        for path in self._folders["masks"].glob("*.png"):
            # Another thread may delete it between the two looks.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < moment:
                    found.append(path.stem)
        return found

    def result_path(self, job: str, suffix: str) -> Path:
        """Where the result of a job belongs."""
        if suffix not in RESULT_SUFFIXES:
            raise not_found("result")
        return self._path("results", job, suffix)

    def result(self, job: str, suffix: str) -> bytes:
        """The result of a job.

        Raises:
            Refused: 404.
        """
        self.result_path(job, suffix)
        return self._read("results", job, suffix, "result")

    def result_shown(self, job: str, suffix: str, *, thumb: bool = False) -> bytes:
        """A smaller JPEG of a result for the page, with the note on its making."""
        path = self._path("results", job, "thumb.jpg" if thumb else "shown.jpg")
        if not path.exists():
            data = self.result(job, suffix)
            small = _jpeg(read_photo(data).image, THUMB_SIDE if thumb else SHOWN_SIDE, _note(data))
            write_bytes_atomic(path, small)
        return path.read_bytes()

    def delete_result(self, job: str) -> None:
        """Remove the files of a job."""
        for suffix in (*RESULT_SUFFIXES, "thumb.jpg", "shown.jpg"):
            self._path("results", job, suffix).unlink(missing_ok=True)

    def older_than(self, moment: float) -> list[str]:
        """Ids of photos from before a moment."""
        rows = self._database.run("SELECT id FROM photos WHERE created < ?", moment)
        return [str(row["id"]) for row in rows]

    def _path(self, kind: str, name: str, suffix: str) -> Path:
        # Ids are checked again here, so that no route can ever open another file.
        if not re.fullmatch(ID_PATTERN, name):
            raise not_found(kind.removesuffix("s"))
        return self._folders[kind] / f"{name}.{suffix}"

    def _read(self, kind: str, name: str, suffix: str, what: str) -> bytes:
        try:
            return self._path(kind, name, suffix).read_bytes()
        except FileNotFoundError:
            raise not_found(what) from None


def tidy_label(name: str) -> str:
    """A file's name without folders and odd characters, at most 80 characters."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in last if c.isprintable()).strip()[:80] or "photo"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.info = {}
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _jpeg(image: Image.Image, side: int, xmp: bytes = b"") -> bytes:
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90, subsampling=0, xmp=xmp)
    return buffer.getvalue()


def _note(data: bytes) -> bytes:
    """The XMP packet of a result that FaceX wrote itself; empty where nothing was edited."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return packet.encode() if isinstance(packet, str) else packet


def _on_grey(photo: Photo) -> Image.Image:
    if photo.alpha is None:
        return photo.image
    ground = Image.new("RGB", photo.size, "#9a9aa0")
    ground.paste(photo.image, mask=photo.alpha)
    return ground
