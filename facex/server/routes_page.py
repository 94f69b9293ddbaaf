# SPDX-License-Identifier: Apache-2.0
"""The page, what it needs to know, and the session that carries a token."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

import facex
from facex.recipes.schema import Model, expand
from facex.recipes.tasks import CHOSEN, task_table
from facex.recipes.values import DRIVER
from facex.server.edits import CONSENT
from facex.server.guard import COOKIE
from facex.server.refusals import Refused, not_found
from facex.server.schemas import RESPONSES, About, TaskInfo
from facex.server.service import Service, service_of
from facex.types import REGION_GROUPS, Factor, Region

router = APIRouter(responses=RESPONSES)

TheService = Annotated[Service, Depends(service_of)]
OPEN: Final[dict[str, Any]] = {"security": []}
"""For the OpenAPI document: no token is needed."""
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Session(Model):
    """The token of the service, to be kept in a cookie.

    Attributes:
        token: as the service printed it.
    """

    token: Annotated[str, Field(min_length=1, max_length=512)]


@cache
def page_files() -> dict[str, tuple[bytes, str]]:
    """The files of the page by name, with their types; nothing else is ever served."""
    folder = resources.files("facex.server").joinpath("static")
    found = {}
    for entry in folder.iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None and entry.is_file():
            found[entry.name] = (entry.read_bytes(), kind)
    return found


@router.get("/", include_in_schema=False)
def index() -> Response:
    """The page."""
    return page_file("index.html")


@router.get("/static/{name}", include_in_schema=False)
def page_file(name: str) -> Response:
    """A file of the page."""
    if name not in page_files():
        raise not_found("page")
    data, kind = page_files()[name]
    return Response(data, media_type=kind, headers={"cache-control": "no-cache"})


@router.post("/api/v1/session", status_code=204, openapi_extra=OPEN)
def open_session(
    session: Session, service: TheService, request: Request, response: Response
) -> None:
    """Keep the token in a cookie, for a browser's pictures and event streams."""
    if not service.lets_in(session.token):
        raise Refused(401, "TokenNeeded", "this is not the token of this service")
    token = service.settings.token
    if token is not None:
        secure = request.url.scheme == "https"  # a proxy with TLS says so
        response.set_cookie(
            COOKIE, token, httponly=True, samesite="strict", secure=secure, path="/api/"
        )


@router.delete("/api/v1/session", status_code=204)
def close_session(response: Response) -> None:
    """Forget the token in this browser."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/api/")


@router.get("/api/v1/health", openapi_extra=OPEN)
def health(service: TheService) -> dict[str, bool]:
    """Whether the service answers, and whether its model is loaded."""
    return {"ok": True, "loaded": service.reader.loaded}


@router.get("/api/v1/about")
def about(service: TheService) -> About:
    """Versions, limits and vocabulary."""
    settings = service.settings
    return About(
        version=facex.__version__,
        scale=settings.scale,
        devices=[each.name for each in service.editors],
        limits={
            "bytes": settings.max_bytes,
            "pixels": settings.max_pixels,
            "photos": settings.max_photos,
            "faces": settings.max_faces,
            "queue": settings.max_queue,
            "seconds": settings.max_seconds,
            "steps": settings.max_steps,
            "keep_hours": settings.keep_hours or 0,
        },
        content_filters=[
            *(each.name for each in service.face_filters),
            *(each.name for each in service.filters),
        ],
        styles=list(settings.styles),
        factors=[factor.value for factor in Factor],
        regions=[region.value for region in Region],
        groups=list(REGION_GROUPS),
        consent=CONSENT,
        token=settings.token is not None,
    )


@router.get("/api/v1/tasks")
def tasks(service: TheService) -> list[TaskInfo]:
    """The task table: what each task does and what it needs."""
    return [
        TaskInfo(
            name=name,
            help=row.help,
            needs=row.needs,
            driven=[factor.value for factor, cell in row.factors.items() if cell == DRIVER],
            factors={factor.value: cell for factor, cell in row.factors.items()},
            regions={
                region.value: cell
                for key, cell in row.regions.items()
                if key != CHOSEN
                for region in expand(key)
            },
            available=row.needs.style != "required" or bool(service.settings.styles),
        )
        for name, row in task_table().items()
    ]
