from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends

from breakwater.domain.ids import DeskId
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.events import Heartbeat, Payload
from breakwater.runtime.heartbeat import send_heartbeats
from breakwater.runtime.http import HttpServer, PortInUse, component_app, require_token, serve
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.metrics import Metrics


class Worker(Service):
    name = "worker"

    def __init__(self) -> None:
        super().__init__()
        self.checks = {"bus": Check(True, "connected"), "policy": Check(True)}

    def readiness(self) -> dict[str, Check]:
        return {**super().readiness(), **self.checks}


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(desk="main", component="worker", version="0")


@pytest.fixture
async def served(worker: Worker, metrics: Metrics) -> Any:
    router = APIRouter()

    @router.post("/trip", dependencies=[Depends(require_token)])
    async def trip() -> str:
        return "tripped"

    app = component_app([worker], metrics, wall_clocks().infra, routers=[router], token="s3cret")
    server = HttpServer(app, "127.0.0.1", 0)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    await server.stop()


async def test_dependency_down_makes_not_ready_but_stays_alive(served: httpx.AsyncClient, worker: Worker) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/metrics"):
        assert (await served.get(path)).status_code == 200
    worker.checks["bus"] = Check(False, "Redis is away")
    ready = await served.get("/readyz")
    assert ready.status_code == 503
    assert "[-]worker.bus failed: Redis is away" in ready.text
    assert (await served.get("/healthz")).status_code == 503
    assert (await served.get("/livez")).status_code == 200
    assert (await served.get("/readyz", params={"exclude": "worker.bus"})).status_code == 200
    verbose = (await served.get("/readyz?verbose")).text
    assert "[+]worker.policy ok" in verbose


async def test_dead_task_fails_liveness(served: httpx.AsyncClient, worker: Worker) -> None:
    async def die() -> None:
        raise RuntimeError("bug")

    worker.spawn(die(), "die")
    await worker.failed
    assert (await served.get("/livez")).status_code == 503


@pytest.mark.parametrize(
    ("header", "status"), [(None, 401), ("Bearer wrong", 401), ("Basic s3cret", 401), ("Bearer s3cret", 200)]
)
async def test_token_is_required(served: httpx.AsyncClient, header: str | None, status: int) -> None:
    headers = {"Authorization": header} if header else {}
    assert (await served.post("/trip", headers=headers)).status_code == status


async def test_no_token_configured_lets_nobody_in(metrics: Metrics) -> None:
    router = APIRouter(dependencies=[Depends(require_token)])

    @router.get("/x")
    async def x() -> str:
        return "x"

    app = component_app([], metrics, wall_clocks().infra, routers=[router])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        reply = await client.get("/x", headers={"Authorization": "Bearer "})
    assert reply.status_code == 403
    assert "BREAKWATER_TOKEN_FILE" in reply.text


async def test_port_in_use_names_port_and_remedy(served: httpx.AsyncClient, worker: Worker, metrics: Metrics) -> None:
    port = served.base_url.port
    assert port is not None
    app = component_app([worker], metrics, wall_clocks().infra)
    with pytest.raises(PortInUse, match=f"port {port} .* in use.*BREAKWATER_HTTP_PORT"):
        await serve(app, "127.0.0.1", port)


async def test_cancelled_serve_stops_and_frees_the_port(worker: Worker, metrics: Metrics) -> None:
    probe = HttpServer(component_app([worker], metrics, wall_clocks().infra), "127.0.0.1", 0)
    await probe.start()
    port = probe.port
    await probe.stop()
    app = component_app([worker], metrics, wall_clocks().infra)
    task = asyncio.ensure_future(serve(app, "127.0.0.1", port))
    async with httpx.AsyncClient() as client:
        for _ in range(200):
            await asyncio.sleep(0.01)
            try:
                assert (await client.get(f"http://127.0.0.1:{port}/livez")).status_code == 200
                break
            except httpx.ConnectError:
                continue
        else:
            pytest.fail("not served")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    again = HttpServer(app, "127.0.0.1", port)
    await again.start()
    await again.stop()


class FlakyBus:
    desk = DeskId("main")
    producer = "worker"
    connected = True

    def __init__(self) -> None:
        self.calls = 0
        self.heard: list[Heartbeat] = []
        self.enough = asyncio.Event()

    async def set_state(self, payload: Payload, *, time: datetime) -> None:
        self.calls += 1
        if self.calls == 4:
            self.enough.set()
        if self.calls == 2:
            raise BusUnavailable("away")
        assert isinstance(payload, Heartbeat)
        self.heard.append(payload)


async def test_heartbeats_carry_progress_and_checks_and_survive_an_absent_bus(worker: Worker, metrics: Metrics) -> None:
    bus: Any = FlakyBus()
    worker.checks["bus"] = Check(False, "down")
    task = worker.spawn(
        send_heartbeats(worker, bus, wall_clocks(), lambda: bus.calls, metrics=metrics, interval=0.01), "heartbeat"
    )
    await bus.enough.wait()
    assert not task.done()
    await worker.stop()
    assert [beat.progress for beat in bus.heard[:3]] == [0, 2, 3]
    assert bus.heard[0].component == "worker"
    assert bus.heard[0].checks == {"tasks": True, "bus": False, "policy": True}
    assert bus.heard[0].detail == {"bus": "down"}
    assert abs((datetime.now(UTC) - bus.heard[0].time).total_seconds()) < 5
