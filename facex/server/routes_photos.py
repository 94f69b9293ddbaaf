# SPDX-License-Identifier: Apache-2.0
"""Photos and masks: upload, look at, take apart, delete."""

from __future__ import annotations

import io
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Response, UploadFile

from facex.ford.show import show_factors
from facex.server.refusals import Refused
from facex.server.schemas import ID_PATTERN, RESPONSES, MaskInfo, PhotoInfo
from facex.server.service import Service, service_of

router = APIRouter(prefix="/api/v1", responses=RESPONSES)

TheService = Annotated[Service, Depends(service_of)]
PhotoId = Annotated[str, Path(pattern=ID_PATTERN)]
MaskId = Annotated[str, Path(pattern=ID_PATTERN)]
Number = Annotated[int, Path(ge=1, le=999)]
Shown = Literal["original", "shown", "thumb"]

PRIVATE = {"cache-control": "private, max-age=3600"}
"""What an id names never changes."""


@router.post("/photos", status_code=201)
def upload_photo(file: UploadFile, service: TheService) -> PhotoInfo:
    """Upload a photo; its faces are found and numbered from left to right."""
    data = _bytes(file, service)
    with service.reader.turn():
        photo = service.store.decode(data)
    return service.add_photo(photo, file.filename or "photo")


@router.get("/photos")
def list_photos(service: TheService) -> list[PhotoInfo]:
    """All photos and kept faces, the oldest first."""
    return service.store.photos()


@router.get("/photos/{photo}")
def get_photo(photo: PhotoId, service: TheService) -> PhotoInfo:
    """What is known of a photo."""
    return service.store.photo_info(photo)


@router.get("/photos/{photo}/image", response_class=Response)
def get_image(photo: PhotoId, service: TheService, size: Shown = "shown") -> Response:
    """The photo: as JPEG of a size for the screen, or all of its pixels as PNG."""
    if size == "original":
        buffer = io.BytesIO()
        service.store.photo(photo).original.save(buffer, "PNG", compress_level=1)
        return Response(buffer.getvalue(), media_type="image/png", headers=PRIVATE)
    data = service.store.shown(photo, thumb=size == "thumb")
    return Response(data, media_type="image/jpeg", headers=PRIVATE)


@router.delete("/photos/{photo}", status_code=204)
def delete_photo(photo: PhotoId, service: TheService) -> None:
    """Delete a photo or a kept face; results of edits and faces kept from it stay."""
    service.delete_photo(photo)


@router.get("/photos/{photo}/faces/{number}/factors/{factor}", response_class=Response)
def get_factor(
    photo: PhotoId,
    number: Number,
    factor: Literal["mesh", "regions", "pose_gaze", "expression", "light"],
    service: TheService,
) -> Response:
    """A picture of something that was found in a face."""
    face = service.face(photo, number)
    buffer = io.BytesIO()
    show_factors(face.crop, face.representation)[factor].save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png", headers=PRIVATE)


@router.get("/photos/{photo}/faces/{number}/representation", response_class=Response)
def get_representation(photo: PhotoId, number: Number, service: TheService) -> Response:
    """The decomposed face as safetensors, as ``FaceRepresentation.from_bytes`` reads it."""
    data = service.face(photo, number).representation.to_bytes()
    name = f"face-{photo[:8]}-{number}.safetensors"
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/octet-stream", headers=disposition)


@router.post("/photos/{photo}/faces/{number}/keep", status_code=201)
def keep_face(photo: PhotoId, number: Number, service: TheService) -> PhotoInfo:
    """Keep a face, to take from it when its photo is gone; its id stands wherever a photo's may."""
    return service.keep_face(photo, number)


@router.post("/masks", status_code=201)
def upload_mask(file: UploadFile, service: TheService) -> MaskInfo:
    """Upload a mask of a photo's size, white where it may change."""
    data = _bytes(file, service)
    with service.reader.turn():
        name, width, height = service.store.add_mask(data)
    return MaskInfo(id=name, width=width, height=height)


@router.delete("/masks/{mask}", status_code=204)
def delete_mask(mask: MaskId, service: TheService) -> None:
    """Delete a mask; those of edits go with the edit."""
    service.delete_mask(mask)


def _bytes(file: UploadFile, service: Service) -> bytes:
    limit = service.settings.max_bytes
    data = file.file.read(limit + 1)
    if len(data) > limit:
        raise Refused(413, "TooLarge", f"the file is too large, at most {limit / 1e6:.0f} MB")
    return data
