"""A desk's stop and portfolio on a memory bus in virtual time; execution and market data are spoken for by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import ClientOrderId, DeskId, RequestId, Symbol, TradeId, VenueOrderId
from breakwater.domain.limits import EffectiveLimits, effective_limits
from breakwater.domain.orders import OrderRole, Side
from breakwater.domain.policy import PolicySpec
from breakwater.domain.signals import DataKind
from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopRequestKind, StopState, StopView
from breakwater.emergency_stop.service import EmergencyStopService
from breakwater.portfolio.service import PortfolioService
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    AccountReported,
    Event,
    FlatConfirmed,
    MarkPrice,
    OrderFilled,
    Payload,
    StopLease,
    VenuePosition,
)
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk

DESK = DeskId("desk-a")
START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
BTC = Symbol("BTCUSDT")


class Policy(msgspec.Struct):
    """What the services read of a policy in force."""

    policy: PolicySpec
    stop: EmergencyStopSpec
    version: int = 1
    stale: bool = False
    hold: str = ""

    @property
    def limits(self) -> EffectiveLimits:
        return effective_limits(self.policy, self.stop)


@dataclass
class Policies:
    value: Policy | None

    def current(self) -> Any:
        return self.value


class World:
    """Broker and volumes outlive the components."""

    def __init__(self, simulation: Simulation) -> None:
        self.clocks = simulation.clocks
        self.broker = MemoryBroker()
        self.disks: dict[str, MemoryDisk] = {"emergency_stop": MemoryDisk(), "portfolio": MemoryDisk()}
        self.policies = Policies(Policy(PolicySpec((BTC,)), EmergencyStopSpec(PolicyRef("main"))))
        self.execution = MemoryBus(self.broker, DESK, "execution", self.clocks.infra)
        self.market = MemoryBus(self.broker, DESK, "market_data", self.clocks.infra)
        self.leases: list[StopView] = []
        self.heads: list[StopHead | None] = []
        self.heard_at: list[datetime] = []
        self.execution.watch_state(self._lease, types=(StopLease,))
        self.trades = 0
        self.stop: Any = None
        self.portfolio: Any = None
        self._buses: dict[str, MemoryBus] = {}

    async def _lease(self, event: Event) -> None:
        assert isinstance(event.payload, StopLease)
        self.leases.append(event.payload.view)
        self.heads.append(event.payload.head)
        self.heard_at.append(self.clocks.market.now())

    async def open(self) -> None:
        await self.execution.start()
        await self.market.start()
        self.portfolio = await self.begin(PortfolioService)
        self.stop = await self.begin(EmergencyStopService)
        await asyncio.sleep(1)
        await self.report("14000")
        await self.mark("100000")
        await asyncio.sleep(1)

    async def begin(self, kind: Callable[[ComponentContext], Any]) -> Any:
        name = kind.name  # type: ignore[attr-defined]
        bus = MemoryBus(self.broker, DESK, name, self.clocks.infra)
        context = ComponentContext(DESK, self.clocks, bus, self.disks[name], self.policies, DataKind.SYNTHETIC)
        service = kind(context)
        await service.start()
        await bus.start()
        self._buses[name] = bus
        return service

    async def kill(self, service: Any) -> None:
        """As kill -9: nothing is written on the way out."""
        await self._buses[service.name].stop()
        service._stopping = True
        for task in list(service._tasks):
            task.cancel()
        await asyncio.sleep(0)

    async def close(self) -> None:
        for service in (self.stop, self.portfolio):
            await self._buses[service.name].stop()
            await service.stop()
        for bus in (self.execution, self.market):
            await bus.stop()

    async def mark(self, price: str, symbol: Symbol = BTC) -> None:
        now = self.clocks.market.now()
        await self.market.publish(MarkPrice(symbol, Decimal(price), now), time=now)
        await asyncio.sleep(0.01)

    async def fill(
        self, side: Side, quantity: str, price: str, fee: str = "0", *, trade: str | None = None
    ) -> OrderFilled:
        self.trades += 1
        now = self.clocks.market.now()
        filled = OrderFilled(
            TradeId(trade or str(self.trades)), ClientOrderId("c"), VenueOrderId("v"), BTC, OrderRole.ENTRY, side,
            Decimal(quantity), Decimal(price), Decimal(fee), Decimal(0), now, 10,
        )  # fmt: skip
        await self.say(filled)
        return filled

    async def report(self, wallet: str, held: str = "0", entry: str = "100000", through: str = "") -> None:
        positions = (VenuePosition(BTC, Decimal(held), Decimal(entry), 10),) if Decimal(held) else ()
        now = self.clocks.market.now()
        known: dict[str, str] = {str(BTC): through} if through else {}
        await self.say(AccountReported(now, Decimal(wallet), Decimal(0), positions, 0, 0, known))

    async def flat(self) -> None:
        view = self.leases[-1]
        assert view.trip is not None
        await self.say(FlatConfirmed(view.trip.trip_id, view.epoch, self.clocks.market.now(), 0, 0, 0))

    async def say(self, payload: Payload) -> None:
        await self.execution.publish(payload, time=self.clocks.market.now())
        await asyncio.sleep(0.01)

    def published(self, producer: str, kind: type[Payload]) -> list[Any]:
        return [event.payload for event in self.broker.stream(DESK, producer) if isinstance(event.payload, kind)]

    async def ask(self, kind: str, request_id: str, *, new_baseline: bool = False, reason: str = "x") -> RequestOutcome:
        trip = self.leases[-1].trip
        request = StopRequest(
            StopRequestKind(kind), RequestId(request_id), reason, "ada", trip.trip_id if trip else None, new_baseline
        )
        outcome: RequestOutcome = await self.stop.submit(request)
        await asyncio.sleep(0.01)
        return outcome

    @property
    def state(self) -> StopState:
        return self.leases[-1].state


@pytest.fixture
def in_world() -> Callable[[Callable[[World], Awaitable[None]]], World]:
    """Runs a story in virtual time; fails if a handler or task failed unseen."""

    def run(story: Callable[[World], Awaitable[None]]) -> World:
        async def main(simulation: Simulation) -> World:
            world = World(simulation)
            await world.open()
            await story(world)
            await world.close()
            return world

        return run_virtual(main, seed=1, start=START)

    return run
