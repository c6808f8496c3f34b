"""The health monitor's verdicts on heartbeats, bus, policy and the stop's lease."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.limits import effective_limits
from breakwater.domain.policy import PolicySpec
from breakwater.domain.signals import DataKind
from breakwater.domain.stop_state import StopState, StopView
from breakwater.health_monitor.api import health_router
from breakwater.health_monitor.service import HealthMonitor
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import HealthUpdated, Heartbeat, StopLease
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk

DESK = DeskId("desk-a")
START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
WATCHED = ("market_data", "ai_engine", "risk_manager")


class Policy:
    missing = stale = False

    def current(self) -> PolicyInForce | None:
        if self.missing:
            return None
        spec, stop = PolicySpec((Symbol("BTCUSDT"),)), EmergencyStopSpec(policy_ref=PolicyRef("main"))
        return PolicyInForce(1, spec, stop, effective_limits(spec, stop), START, self.stale, cast(Any, None), "")


class Ward:
    """A monitor and components that beat until told not to."""

    def __init__(self, simulation: Simulation) -> None:
        self.clocks, self.broker, self.policy = simulation.clocks, MemoryBroker(), Policy()
        self.alive = set(WATCHED)
        self.leasing = True
        self.progress = 0
        self.checks: dict[str, dict[str, bool]] = {}
        self.buses: dict[str, MemoryBus] = {}
        bus = MemoryBus(self.broker, DESK, "health_monitor", self.clocks.infra)
        self.bus = bus
        context = ComponentContext(DESK, self.clocks, bus, MemoryDisk(), self.policy, DataKind.REPLAY)
        self.monitor = HealthMonitor(context, components=WATCHED)

    async def live(self, seconds: int, *, progressing: bool = True) -> None:
        for _ in range(seconds):
            self.progress += progressing
            if self.broker.up:
                for name in sorted(self.alive):
                    checks = self.checks.get(name, {"tasks": True})
                    detail = {check: "planted" for check, ok in checks.items() if not ok}
                    beat = Heartbeat(name, self.clocks.market.now(), self.progress, checks, detail)
                    await self.send(name, beat)
                if self.leasing:
                    view = StopView(StopState.ARMED, 1, 1, self.clocks.infra.utc_now(), Decimal(2), False)
                    await self.send("emergency_stop", StopLease(view))
            await self.clocks.infra.sleep(1)

    async def send(self, producer: str, payload: Any) -> None:
        if producer not in self.buses:
            self.buses[producer] = MemoryBus(self.broker, DESK, producer, self.clocks.infra)
            await self.buses[producer].start()
        await self.buses[producer].set_state(payload, time=self.clocks.market.now())

    @property
    def last(self) -> HealthUpdated:
        payload = self.broker.stream(DESK, "health_monitor")[-1].payload
        assert isinstance(payload, HealthUpdated)
        return payload

    @property
    def said(self) -> int:
        return len(self.broker.stream(DESK, "health_monitor"))


OnWard = Callable[[Callable[[Ward], Awaitable[None]]], None]


@pytest.fixture
def on_ward() -> OnWard:
    def run(play: Callable[[Ward], Awaitable[None]]) -> None:
        async def main(simulation: Simulation) -> None:
            ward = Ward(simulation)
            await ward.bus.start()
            await ward.monitor.start()
            await play(ward)
            assert ward.broker.failures == []

        run_virtual(main, seed=1, start=START)

    return run


def test_all_beating_is_ok_and_said_only_on_change(on_ward: OnWard) -> None:
    async def play(ward: Ward) -> None:
        await ward.live(5)
        assert ward.last.status == "ok"
        assert set(ward.last.components) == {*WATCHED, "bus", "policy", "stop_lease"}
        said = ward.said
        await ward.live(60)
        assert ward.said == said

    on_ward(play)


def test_component_that_falls_silent_is_down_and_comes_back(on_ward: OnWard) -> None:
    async def play(ward: Ward) -> None:
        await ward.live(5)
        ward.alive.discard("risk_manager")
        await ward.live(8)
        assert (ward.last.status, ward.last.components["risk_manager"]) == ("down", "down: silent")
        ward.alive.add("risk_manager")
        await ward.live(3)
        assert ward.last.status == "ok"

    on_ward(play)


def test_optional_component_down_only_degrades(on_ward: OnWard) -> None:
    async def play(ward: Ward) -> None:
        await ward.live(5)
        ward.alive.discard("ai_engine")
        await ward.live(8)
        assert ward.last.status == "degraded"

    on_ward(play)


def test_component_never_heard_is_starting_then_down(on_ward: OnWard) -> None:
    async def play(ward: Ward) -> None:
        ward.alive.discard("risk_manager")
        await ward.live(5)
        assert ward.last.components["risk_manager"] == "degraded: starting"
        await ward.live(15)
        assert ward.last.components["risk_manager"] == "down: silent"

    on_ward(play)


def test_failed_check_degrades_and_says_which(on_ward: OnWard) -> None:
    async def play(ward: Ward) -> None:
        ward.checks["market_data"] = {"tasks": True, "marks": False}
        await ward.live(5)
        assert ward.last.components["market_data"] == "degraded: marks"
        assert ward.monitor.verdicts()["market_data"].reasons == ("marks: planted",)

    on_ward(play)


def test_beating_without_progress_is_noticed_where_the_market_must_move_it(on_ward: OnWard) -> None:
    async def play(ward: Ward) -> None:
        await ward.live(5)
        await ward.live(35, progressing=False)
        assert ward.last.components["market_data"] == "degraded: progress"
        assert ward.last.components["risk_manager"] == "ok"

    on_ward(play)


def test_policy_and_lease_are_watched(on_ward: OnWard) -> None:
    async def play(ward: Ward) -> None:
        await ward.live(5)
        ward.policy.stale, ward.leasing = True, False
        await ward.live(5)
        assert ward.last.components["policy"] == "degraded: stale"
        assert ward.last.components["stop_lease"] == "degraded: expired"
        ward.policy.missing = True
        await ward.live(2)
        assert ward.last.status == "down"

    on_ward(play)


def test_http_route_tells_the_truth_while_the_bus_is_away(on_ward: OnWard) -> None:
    async def play(ward: Ward) -> None:
        app = FastAPI()
        app.include_router(health_router(ward.monitor))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://desk")
        await ward.live(5)
        reply = await http.get("/v1/health")
        assert (reply.status_code, reply.json()["status"]) == (200, "ok")
        ward.broker.up = False
        await ward.live(8)
        reply = await http.get("/v1/health")
        body = reply.json()
        assert (reply.status_code, body["status"], body["components"]["bus"]["status"]) == (503, "down", "down")
        assert "Redis" in body["components"]["bus"]["reasons"][0]
        ward.broker.up = True
        await ward.live(5)
        assert ward.last.status == "ok"

    on_ward(play)
