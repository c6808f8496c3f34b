"""Answers for a process that cannot begin yet: alive, not ready, and why."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.http import HttpServer, component_app
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.metrics import ProcessMetrics
from breakwater.runtime.settings import Settings


class _Waiting(Service):
    def __init__(self, name: str, what: str, problem: Callable[[], str]) -> None:
        super().__init__()
        self.name, self._what, self._problem = name, what, problem

    def readiness(self) -> dict[str, Check]:
        return {**super().readiness(), self._what: Check(False, self._problem())}


@contextlib.asynccontextmanager
async def answering(
    name: str, settings: Settings, infra: InfraClock, *, what: str, problem: Callable[[], str]
) -> AsyncIterator[None]:
    """Serve the probes of ``name`` while the body waits for ``what``; every other route answers 503. Raises PortInUse."""
    router = APIRouter()

    @router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE"], include_in_schema=False)
    async def not_yet(path: str) -> Response:
        return JSONResponse({"code": "UNAVAILABLE", "text": f"{name} is starting: {problem()}"}, 503)

    metrics = ProcessMetrics(desk=settings.desk, component=name, version=version("breakwater"))
    app = component_app([_Waiting(name, what, problem)], metrics, infra, routers=[router])
    server = HttpServer(app, settings.http_host, settings.http_port)
    await server.start()
    try:
        yield
    finally:
        await server.stop()
