"""``GET /v1/health``: the desk's health as JSON."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from breakwater.health_monitor.service import OPTIONAL, HealthMonitor
from breakwater.health_monitor.verdicts import Level, overall


def health_router(monitor: HealthMonitor) -> APIRouter:
    """200 while the desk is ok or degraded, 503 when something it cannot do without is down."""
    router = APIRouter()

    @router.get("/v1/health")
    async def health() -> JSONResponse:
        verdicts = monitor.verdicts()
        status = overall(verdicts.items(), optional=OPTIONAL)
        body = {"status": str(status), "components": msgspec.to_builtins(verdicts)}
        return JSONResponse(body, 503 if status is Level.DOWN else 200)

    return router
