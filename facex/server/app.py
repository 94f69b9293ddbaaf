# SPDX-License-Identifier: Apache-2.0
"""The ASGI application: routes, errors in one form, the guard in front."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

import facex
from facex.errors import FaceXError
from facex.server import routes_jobs, routes_page, routes_photos
from facex.server.guard import COOKIE, Guard
from facex.server.refusals import Refused, kind_of, sentence_of, status_of
from facex.server.service import Service

_LOG = logging.getLogger("facex.server")
_ROUTERS = (routes_photos.router, routes_jobs.router, routes_page.router)


def create_app(service: Service) -> FastAPI:
    """The application of a service, which it starts and stops.

    Args:
        service: from ``build_service``.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="FaceX",
        version=facex.__version__,
        summary="Edit faces in photos: upload, order an edit, follow it, fetch the result.",
        lifespan=life,
        openapi_url="/api/v1/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    describe = app.openapi
    app.openapi = lambda: _with_token(describe(), service)  # type: ignore[method-assign]
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(FaceXError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unknown)
    app.add_middleware(Guard, settings=service.settings)
    return app


def _with_token(document: dict[str, Any], service: Service) -> dict[str, Any]:
    """The OpenAPI document with the two ways to show the token, where one is wanted."""
    document.setdefault("components", {})["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "The token of the service."},
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "Set by POST /api/v1/session.",
        },
    }
    if service.settings.token is not None:
        document["security"] = [{"bearer": []}, {"cookie": []}]
    return document


def _reply(status: int, kind: str, message: str, retry_after: int | None = None) -> JSONResponse:
    headers = None if retry_after is None else {"retry-after": str(retry_after)}
    return JSONResponse({"error": kind, "message": message}, status, headers=headers)


async def _known(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, FaceXError):
        return await _unknown(request, error)
    wait = error.retry_after if isinstance(error, Refused) else None
    return _reply(status_of(error), kind_of(error), sentence_of(error), wait)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """The first problem in words: where, and what was expected."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    if not problems:
        return _reply(422, "RequestError", "the request is not understood")
    first = max(problems, key=lambda problem: len(problem["loc"]))
    context = first.get("ctx") or {}
    parts = (*first["loc"], *context.get("path", ()))
    where = ".".join(str(part) for part in parts if part not in ("body", "query", "path"))
    text = _in_words(str(first["type"]), str(first["msg"]), context)
    return _reply(422, "RequestError", f"{where}: {text}" if where else text)


_SENTENCES: Final = {
    "missing": "it is missing",
    "extra_forbidden": "it is not known here; is it misspelt?",
    "greater_than_equal": "expected {ge} or more",
    "less_than_equal": "expected {le} or less",
    "less_than": "expected less than {lt}",
    "greater_than": "expected more than {gt}",
    "literal_error": "expected {expected}",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "string_too_short": "it is too short",
    "string_too_long": "it is too long",
}
"""What pydantic says, said to people."""


def _in_words(kind: str, message: str, context: Mapping[str, Any]) -> str:
    known = _SENTENCES.get(kind)
    if known is not None:
        return known.format_map(context)
    if kind == "string_pattern_mismatch":
        return "it does not have the form that the documentation names"
    return message.removeprefix("Value error, ").replace("Input should be", "expected")


async def _http(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else "error"
    headers = error.headers if isinstance(error, HTTPException) else None
    if status == 405:
        headers = {"allow": ", ".join(_methods(request))}
    body = {"error": "NotFound" if status == 404 else "HttpError", "message": detail.lower()}
    return JSONResponse(body, status, headers=headers)


def _methods(request: Request) -> list[str]:
    """All methods of a path; the router itself names those of the first route that fits."""
    found: set[str] = set()
    for route in (route for router in _ROUTERS for route in router.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _reply(500, "InternalError", sentence_of(error))
