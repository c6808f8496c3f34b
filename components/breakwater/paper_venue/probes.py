"""What the paper venue serves beside the exchange's own interface: probes, metrics and its clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web

from breakwater.runtime.lifecycle import Check
from breakwater.runtime.metrics import ProcessMetrics
from breakwater.runtime.probes import probe_answer

OwnRoute = Callable[[web.Request], web.Response]
"""Answers a GET on a path that the exchange does not have."""


def probe_routes(
    liveness: Callable[[], Mapping[str, Check]], readiness: Callable[[], Mapping[str, Check]]
) -> dict[str, OwnRoute]:
    """``/livez``, ``/readyz`` and ``/healthz``, worded as every component's."""

    def route(name: str, checks: Callable[[], Mapping[str, Check]]) -> OwnRoute:
        def answer(request: web.Request) -> web.Response:
            status, text = probe_answer(
                name, checks(), exclude=request.query.getall("exclude", []), verbose="verbose" in request.query
            )
            return web.Response(text=text, status=status)

        return answer

    return {"/livez": route("livez", liveness), **dict.fromkeys(("/readyz", "/healthz"), route("readyz", readiness))}


def metrics_route(metrics: ProcessMetrics) -> dict[str, OwnRoute]:
    """``/metrics`` in Prometheus' text format."""
    return {"/metrics": lambda _: web.Response(body=metrics.render(), headers={"Content-Type": metrics.content_type})}


def clock_route(answer: Mapping[str, object]) -> dict[str, OwnRoute]:
    """``/v1/clock``: the anchors that every process of the desk lives by, the same for as long as the venue exists."""
    body = msgspec.json.encode(answer)
    return {"/v1/clock": lambda _: web.Response(body=body, content_type="application/json")}
