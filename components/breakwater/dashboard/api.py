"""The dashboard over HTTP: ``GET /`` (the page), ``/v1/status``, ``/v1/events`` and ``/v1/stream`` (Server-Sent Events).

Server-Sent Events rather than a WebSocket: one direction is all that is needed, browsers keep other sites out of it by
themselves, and it needs no further dependency.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from importlib.resources import files

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse

from breakwater.dashboard.service import DashboardService
from breakwater.dashboard.view import encode

COOKIE = "breakwater_read"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE = {
    "app.js": "text/javascript",
    "format.js": "text/javascript",
    "chart.js": "text/javascript",
    "style.css": "text/css",
    "favicon.svg": "image/svg+xml",
}


def routes_for_address(service: DashboardService, host: str, token: str) -> APIRouter:
    """`dashboard_routes` as they must be for an app that listens on ``host``: beyond loopback, reading needs ``token``."""
    if host in LOOPBACK_HOSTS or host == "::1":
        return dashboard_routes(service)
    if not token:
        raise ValueError(f"listening on {host} needs a token: without one everybody could read the desk")
    return dashboard_routes(service, read_token=token, hosts=None)


def dashboard_routes(
    service: DashboardService, *, read_token: str | None = None, hosts: Collection[str] | None = LOOPBACK_HOSTS
) -> APIRouter:
    """Routes to include in the desk's app.

    ``hosts``: the names this server answers to (a foreign page may point its own name at 127.0.0.1); None allows any,
    which is right only together with ``read_token``.
    """
    router = APIRouter()
    page = {name: (files("breakwater.dashboard") / "page" / name).read_bytes() for name in ("index.html", *_PAGE)}

    def refused(request: Request) -> Response | None:
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if hosts is not None and name not in hosts:
            return _problem(421, f"this desk does not answer to the name {name[:80]!r}: open it as http://127.0.0.1")
        if read_token is None:
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        offered = given if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")
        if hmac.compare_digest(offered.encode(), read_token.encode()):
            return None
        return _problem(
            401, "reading this desk needs its token: open /?token=TOKEN (the file 'token' in its state directory)"
        )

    @router.get("/", include_in_schema=False)
    async def index(request: Request, token: str = "") -> Response:
        if read_token is not None and token and hmac.compare_digest(token.encode(), read_token.encode()):
            moved = RedirectResponse("/", status_code=303, headers=SECURITY_HEADERS)
            moved.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return moved
        return refused(request) or _file(page["index.html"], "text/html")

    @router.get("/page/{name}", include_in_schema=False)
    async def asset(request: Request, name: str) -> Response:
        if name not in _PAGE:
            return _problem(404, f"there is no {name[:80]!r} here")
        return refused(request) or _file(page[name], _PAGE[name])

    @router.get("/v1/status", response_class=JSONResponse)
    async def status(request: Request) -> Response:
        """Everything the desk says about itself; keys in docs/reference/cli.md."""
        return refused(request) or _json(service.status_json())

    @router.get("/v1/events", response_class=JSONResponse)
    async def events(request: Request, since: int = 0) -> Response:
        """The last 200 lines of the event list, those numbered above ``since``."""
        return refused(request) or _json(encode(service.state.rows_since(since)))

    @router.get("/v1/stream")
    async def stream(request: Request) -> Response:
        """The status whenever it changes, at most each 250 ms, with new event lines and equity points."""
        no = refused(request)
        if no is not None:
            return no
        headers = {**SECURITY_HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_sse(service), media_type="text/event-stream", headers=headers)

    return router


async def _sse(service: DashboardService) -> AsyncIterator[bytes]:
    async with aclosing(service.feed.frames(lambda: service.stopping)) as frames:
        async for frame in frames:
            yield b"data: " + frame + b"\n\n"


def _file(content: bytes, kind: str) -> Response:
    return Response(content, media_type=kind, headers={**SECURITY_HEADERS, "Cache-Control": "no-cache"})


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json", headers={**SECURITY_HEADERS, "Cache-Control": "no-store"})


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status, headers=SECURITY_HEADERS)
