# SPDX-License-Identifier: Apache-2.0
"""Who may ask, and how much they may send: pure ASGI in front of the application.

* The Host header must be a name of this service: a foreign page whose name was bound anew to
  127.0.0.1 gets nothing (DNS rebinding).
* A request that changes something and says that it comes from another origin is refused (CSRF);
  no CORS header is ever sent.
* With a token, everything but the page itself wants it: ``Authorization: Bearer``, or the cookie
  that ``POST /api/v1/session`` sets, since pictures and event streams cannot send headers.
* Bodies are counted while they come in.
"""

from __future__ import annotations

import hmac
import json
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facex.server.settings import ServiceSettings

COOKIE: Final = "facex_token"
API: Final = "/api/"
OPEN_PATHS: Final = frozenset({"/api/v1/session", "/api/v1/health"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON_BYTES: Final = 1_000_000
_FORM_BYTES: Final = 100_000
"""What a multipart form may add to the file in it."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class _TooMuch(Exception):
    """The body is larger than it may be."""


class Guard:
    """Refuses requests before the application sees them.

    Args:
        app: the application.
        settings: hosts, token and limits.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        started = False
        body = _Counter(receive)

        async def dressed(message: Message) -> None:
            nonlocal started
            if body.too_long and not started:
                return  # the application's own guess of what went wrong
            if message["type"] == "http.response.start":
                started = True
                out = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    out.setdefault(name, value)
                out.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(dressed, *refusal)
            return
        upload = headers.get("content-type", "").startswith("multipart/")
        limit = self.settings.max_bytes + _FORM_BYTES if upload else _JSON_BYTES
        body.limit = limit
        try:
            if int(headers.get("content-length") or 0) > limit:
                raise _TooMuch
            await self.app(scope, body, dressed)
        except _TooMuch:
            if started:
                raise
            body.too_long = True
        if body.too_long and not started:
            body.too_long = False
            text = f"the upload is too large, at most {limit / 1e6:.0f} MB are taken"
            await _answer(dressed, 413, "TooLarge", text)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if _name(host) not in self.settings.hosts:
            return (
                403,
                "WrongHost",
                (
                    f"this service is not known as {_name(host)[:80]!r}; use 127.0.0.1, or "
                    "start it with --allow-host NAME"
                ),
            )
        if scope["method"] not in _SAFE:
            origin = headers.get("origin")
            foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
            if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                return 403, "WrongOrigin", "another page may not change anything here"
        path = scope["path"]
        token = self.settings.token
        if token is None or not path.startswith(API) or path in OPEN_PATHS:
            return None
        if any(same_token(given, token) for given in _tokens(headers)):
            return None
        return 401, "TokenNeeded", "this service wants its token, the one in FACEX_TOKEN"


def same_token(given: str, token: str) -> bool:
    """Compare without telling how much was right."""
    return hmac.compare_digest(given.encode(), token.encode())


def _tokens(headers: Headers) -> list[str]:
    found = []
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        found.append(value.strip())
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    if cookie is not None:
        found.append(cookie.value)
    return found


def _name(host: str) -> str:
    """The Host header without its port, in lower case."""
    host = host.lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


class _Counter:
    """A body that ends with an error when it is longer than it may be."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._seen = receive, 0
        self.limit, self.too_long = 0, False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self.limit:
            self.too_long = True
            raise _TooMuch
        return message


async def _answer(send: Send, status: int, kind: str, text: str) -> None:
    body = json.dumps({"error": kind, "message": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
