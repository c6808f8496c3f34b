"""Probes, metrics and own endpoints of a component over HTTP, served inside the running event loop.

``/livez``: the event loop turns and no task of a service has died; never a dependency. ``/readyz``: every named check of the services
holds. Both answer 200 or 503; ``?verbose`` lists the checks, ``?exclude=name`` leaves one out. ``/healthz`` is ``/readyz`` by its old name.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import socket
from collections.abc import AsyncIterator, Generator, Sequence
from typing import Annotated, Protocol

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.metrics import CONTENT_TYPE
from breakwater.runtime.probes import probe_answer

BEAT_SECONDS = 0.5
STUCK_SECONDS = 15.0
"""Age of the loop's last beat beyond which the process is not alive."""


class Level(Protocol):
    """A figure that is set, such as a Prometheus gauge."""

    def set(self, value: float) -> None: ...


class ServedMetrics(Protocol):
    """What the app needs of a process's metrics, whichever they are."""

    @property
    def loop_lag(self) -> Level:
        """How late the event loop last woke up, seconds."""
        ...

    def render(self) -> bytes:
        """Prometheus' text format."""
        ...


class PortInUse(Exception):
    """Somebody else listens there already; the message names the port and the remedy."""


_bearer = HTTPBearer(auto_error=False, description="The token in BREAKWATER_TOKEN_FILE")


def require_token(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """A dependency: only with the app's bearer token. Without a token configured nobody gets in."""
    token: str | None = request.app.state.token
    if not token:
        raise HTTPException(403, "this endpoint needs a token, and none is configured: set BREAKWATER_TOKEN_FILE")
    if credentials is None or not hmac.compare_digest(credentials.credentials.encode(), token.encode()):
        raise HTTPException(
            401, "send the desk's token as 'Authorization: Bearer <token>'", headers={"WWW-Authenticate": "Bearer"}
        )


def component_app(
    services: Sequence[Service],
    metrics: ServedMetrics,
    infra: InfraClock,
    *,
    routers: Sequence[APIRouter] = (),
    token: str | None = None,
    title: str = "Breakwater",
) -> FastAPI:
    """The app of a process that runs ``services``. Use ``Depends(require_token)`` in routers that change anything."""
    last_beat = infra.monotonic()

    async def beat() -> None:
        nonlocal last_beat
        while True:
            before = infra.monotonic()
            await infra.sleep(BEAT_SECONDS)
            last_beat = infra.monotonic()
            metrics.loop_lag.set(max(0.0, last_beat - before - BEAT_SECONDS))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(beat(), name="http.beat")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def liveness() -> dict[str, Check]:
        age = infra.monotonic() - last_beat
        checks = {"loop": Check(age < STUCK_SECONDS, f"last beat {age:.1f} s ago")}
        for service in services:
            checks[f"{service.name}.tasks"] = Check(not service.failed.done(), "running")
        return checks

    def readiness() -> dict[str, Check]:
        named = [(service.name, service.readiness()) for service in services]
        return {f"{name}.{check}": value for name, checks in named for check, value in checks.items()}

    app = FastAPI(title=title, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.token = token

    @app.get("/livez", response_class=PlainTextResponse)
    async def livez(request: Request, exclude: Annotated[list[str] | None, Query()] = None) -> Response:
        return _answer("livez", liveness(), request, exclude)

    @app.get("/readyz", response_class=PlainTextResponse)
    @app.get("/healthz", response_class=PlainTextResponse)
    async def readyz(request: Request, exclude: Annotated[list[str] | None, Query()] = None) -> Response:
        return _answer("readyz", readiness(), request, exclude)

    @app.get("/metrics")
    async def read_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    for router in routers:
        app.include_router(router)
    return app


def _answer(name: str, checks: dict[str, Check], request: Request, exclude: list[str] | None) -> Response:
    verbose = "verbose" in request.query_params
    status, text = probe_answer(name, checks, exclude=exclude or (), verbose=verbose)
    return PlainTextResponse(text, status_code=status)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: stopping is the business of whoever started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer(Service):
    """Serves ``app``. ``start`` raises PortInUse; ``port`` is the real one afterwards (0 asks for any free one)."""

    name = "http"

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        super().__init__()
        self.host = host
        self.port = port
        self._app = app
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        listener = listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=3,
            ws_max_size=1 << 20,
        )
        self._server = _Server(config)
        self._serving = self.spawn(self._server.serve(sockets=[listener]), "serve")
        while not self._server.started:
            if self._serving.done():
                raise RuntimeError("the HTTP server ended while it started") from self._serving.exception()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Let requests under way end (3 s at most), then close."""
        if self._server is not None and self._serving is not None and not self._serving.done():
            self._stopping = True
            self._server.should_exit = True
            await asyncio.wait([self._serving], timeout=5)
        await super().stop()


async def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve ``app`` until cancelled, then stop cleanly. Raises PortInUse before anything is served."""
    server = HttpServer(app, host, port)
    await server.start()
    try:
        raise await server.failed
    finally:
        await server.stop()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ``::`` takes every address, IPv4 too. Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # "::" is every address, old ones too
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} on {host} is in use: stop what listens there, or choose another with BREAKWATER_HTTP_PORT"
            ) from error
        raise PortInUse(f"cannot listen on {host}:{port}: {error.strerror}; choose another address or port") from error
    listener.setblocking(False)
    return listener
