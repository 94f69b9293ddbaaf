# SPDX-License-Identifier: Apache-2.0
"""Edits: order, look ahead, follow, fetch, cancel, delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from facex.server.edits import check_request, label_of
from facex.server.preview import make_preview
from facex.server.recipe_files import recipe_bundle, recipe_text
from facex.server.refusals import Refused
from facex.server.schemas import (
    FINAL,
    ID_PATTERN,
    RESPONSES,
    EditRequest,
    JobInfo,
    JobStatus,
    PhotoInfo,
    PreviewReply,
    PreviewRequest,
    ResultInfo,
)
from facex.server.service import Service, service_of

router = APIRouter(prefix="/api/v1", responses=RESPONSES)

TheService = Annotated[Service, Depends(service_of)]
JobId = Annotated[str, Path(pattern=ID_PATTERN)]
Shown = Literal["original", "shown", "thumb"]
_MEDIA: Final = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_POLL: Final = 0.1
"""Seconds between two looks at the list while a client listens."""


@router.post("/edits", status_code=202)
def order_edit(request: EditRequest, service: TheService) -> JobInfo:
    """Queue an edit. 409 asks for consent; 429 says when to try again."""
    recipe = check_request(request, service.store, service.settings)
    return service.queue.submit(
        request,
        target=str(recipe.photos["target"]),
        label=label_of(request),
        recipe=recipe_text(request, service.store),
    )


@router.post("/previews")
def preview(request: PreviewRequest, service: TheService) -> PreviewReply:
    """The bare warp of an edit, without the generator; nothing is queued or kept.

    409 asks for consent, as for the edit itself.
    """
    with service.reader.turn():
        return make_preview(request, service.store, service.reader)


@router.get("/jobs")
def list_jobs(service: TheService) -> list[JobInfo]:
    """The newest hundred jobs, the newest first."""
    return service.queue.newest()


@router.get("/jobs/{job}")
def get_job(job: JobId, service: TheService) -> JobInfo:
    """Where a job is."""
    return service.queue.info(job)


@router.get("/jobs/{job}/request")
def get_request(job: JobId, service: TheService) -> EditRequest:
    """What was ordered; sent again, with another seed for example, it is another edit."""
    return service.queue.request(job)


@router.get("/events", response_class=EventSourceResponse)
async def follow_all(request: Request, service: TheService) -> EventSourceResponse:
    """Server-sent events of all jobs: ``job`` at every change, ``idle`` when none is left.

    One connection for all, since browsers open only six to a service. A job that was deleted
    is said to be cancelled.
    """
    return EventSourceResponse(_all_news(request, service), ping=15)


async def _all_news(request: Request, service: Service) -> AsyncIterator[ServerSentEvent]:
    version, known = -1, dict[str, JobInfo]()
    while not await request.is_disconnected():
        if service.queue.version != version:
            version = service.queue.version
            for info in await run_in_threadpool(_changed, service, known):
                yield ServerSentEvent(event="job", data=info.model_dump_json())
            if not known:
                yield ServerSentEvent(event="idle", data="{}")
                return
        await asyncio.sleep(_POLL)


def _changed(service: Service, known: dict[str, JobInfo]) -> list[JobInfo]:
    """Jobs that are not as they were; ``known``, the unfinished ones, is brought up to date."""
    now = {info.id: info for info in service.queue.unfinished()}
    changed = [info for info in now.values() if known.get(info.id) != info]
    for job in known.keys() - now.keys():
        try:
            changed.append(service.queue.info(job))
        except Refused:
            changed.append(known[job].model_copy(update={"status": JobStatus.CANCELLED}))
    known.clear()
    known.update(now)
    return changed


@router.get("/jobs/{job}/events", response_class=EventSourceResponse)
async def follow_job(job: JobId, request: Request, service: TheService) -> EventSourceResponse:
    """Server-sent events: a ``job`` event with the job at every change, until it has ended."""
    await run_in_threadpool(service.queue.info, job)
    return EventSourceResponse(_news(job, request, service), ping=15)


async def _news(job: str, request: Request, service: Service) -> AsyncIterator[ServerSentEvent]:
    version, last = -1, None
    while not await request.is_disconnected():
        if service.queue.version != version:
            version = service.queue.version
            try:
                info = await run_in_threadpool(service.queue.info, job)
            except Refused:
                yield ServerSentEvent(event="gone", data="{}")
                return
            if info != last:
                last = info
                yield ServerSentEvent(event="job", data=info.model_dump_json())
            if info.status in FINAL:
                return
        await asyncio.sleep(_POLL)


@router.get("/jobs/{job}/result", response_class=Response)
def get_result(
    job: JobId, service: TheService, size: Shown = "original", download: bool = False
) -> Response:
    """The edited photo, with its mark and metadata; or a smaller JPEG of it for the screen."""
    result = _result(job, service)
    headers = {"cache-control": "private, max-age=3600"}
    if size != "original":
        small = service.store.result_shown(job, result.format, thumb=size == "thumb")
        return Response(small, media_type="image/jpeg", headers=headers)
    if download:
        name = file_name(result)
        headers["content-disposition"] = f'attachment; filename="{name}"'
    data = service.store.result(job, result.format)
    return Response(data, media_type=_MEDIA[result.format], headers=headers)


# The text is a response of its own: as the class of the route it would also name errors text/plain.
@router.get(
    "/jobs/{job}/recipe",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_recipe(job: JobId, service: TheService) -> Response:
    """The edit as a recipe file for ``facex mix``; photos are called by their file names."""
    headers = {"content-disposition": 'attachment; filename="recipe.yaml"'}
    return PlainTextResponse(service.queue.recipe(job), headers=headers)


@router.get("/jobs/{job}/bundle", response_class=Response)
def get_bundle(job: JobId, service: TheService) -> Response:
    """A zip of the recipe with its photos and its mask: ``facex mix recipe.yaml`` does the same.

    404 when one of the photos was deleted.
    """
    made = recipe_bundle(service.queue.request(job), service.store)
    headers = {"content-disposition": f'attachment; filename="facex-{job[:8]}.zip"'}
    pieces = iter(lambda: made.read(1 << 16), b"")
    return StreamingResponse(
        pieces, media_type="application/zip", headers=headers, background=BackgroundTask(made.close)
    )


@router.post("/jobs/{job}/photo", status_code=201)
def keep_result(job: JobId, service: TheService) -> PhotoInfo:
    """Make a photo of a result, to go on from there."""
    result = _result(job, service)
    with service.reader.turn():
        photo = service.store.decode(service.store.result(job, result.format))
    return service.add_photo(photo, file_name(result), made_by=job)


@router.post("/jobs/{job}/cancel")
def cancel_job(job: JobId, service: TheService) -> JobInfo:
    """Stop a job: at once while it waits, at its next sampling step while it runs."""
    return service.queue.cancel(job)


@router.delete("/jobs/{job}", status_code=204)
def delete_job(job: JobId, service: TheService) -> None:
    """Forget a job and delete its result."""
    service.delete_job(job)


def file_name(result: ResultInfo) -> str:
    """What a result is called when it is saved, and when an edit goes on from it."""
    return f"facex-{result.edit_id}.{result.format}"


def _result(job: str, service: Service) -> ResultInfo:
    info = service.queue.info(job)
    if info.result is None:
        raise Refused(409, "NotDone", f"there is no result, the job is {info.status.value}")
    return info.result
