"""An AI engine in virtual time on the memory bus; the test plays the market, the portfolio and the stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest

from breakwater.ai_engine.service import AiEngine
from breakwater.ai_engine.source import SignalSource
from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import ClientOrderId, DeskId, Symbol, TradeId, VenueOrderId
from breakwater.domain.limits import effective_limits
from breakwater.domain.orders import OrderRole, Side
from breakwater.domain.policy import PolicySpec
from breakwater.domain.signals import DataKind, Signal
from breakwater.domain.snapshot import PositionView, Snapshot
from breakwater.domain.stop_state import StopState
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    CandleClosed,
    MarkPrice,
    OrderFilled,
    PortfolioUpdated,
    SignalGenerated,
    StopTripped,
)
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk

D = Decimal
START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
DESK = DeskId("desk-a")
BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")


class FixedPolicy:
    def __init__(self) -> None:
        self.spec: PolicySpec | None = PolicySpec(symbols=(BTC, ETH))

    def current(self) -> PolicyInForce | None:
        if self.spec is None:
            return None
        stop = EmergencyStopSpec(policy_ref=PolicyRef("main"))
        return PolicyInForce(1, self.spec, stop, effective_limits(self.spec, stop), START, False, cast(Any, None), "")


class Stage:
    """One engine and everybody around it."""

    def __init__(self, simulation: Simulation) -> None:
        self.clocks = simulation.clocks
        self.broker = MemoryBroker()
        self.disk = MemoryDisk()
        self.policy = FixedPolicy()
        self.buses: dict[str, MemoryBus] = {}

    async def start(self, *sources: SignalSource, **options: Any) -> AiEngine:
        bus = MemoryBus(self.broker, DESK, "ai_engine", self.clocks.infra)
        context = ComponentContext(DESK, self.clocks, bus, self.disk, self.policy, DataKind.REPLAY)
        engine = AiEngine(context, sources, **options)
        await bus.start()
        await engine.start()
        self.buses["ai_engine"] = bus
        self.engine = engine
        await self.settle()
        return engine

    async def stop(self) -> None:
        await self.buses.pop("ai_engine").stop()
        await self.engine.stop()

    async def say(self, producer: str, payload: Any) -> None:
        if producer not in self.buses:
            self.buses[producer] = MemoryBus(self.broker, DESK, producer, self.clocks.infra)
            await self.buses[producer].start()
        await self.buses[producer].publish(payload, time=self.now)
        await self.settle()

    @property
    def now(self) -> datetime:
        return self.clocks.market.now()

    async def settle(self) -> None:
        await self.clocks.infra.sleep(0.01)

    async def wait(self, seconds: float) -> None:
        await self.clocks.infra.sleep(seconds)

    async def snapshot(self, *held: Symbol) -> None:
        positions = tuple(PositionView(s, D(1), D(100), D(100), D(0), 10, self.now) for s in held)
        await self.say(
            "portfolio",
            PortfolioUpdated(
                Snapshot(1, self.now, D(1), D(0), D(1), D(1), self.now.date(), D(0), D(0), D(0), D(0), positions, True)
            ),
        )

    async def stopped_out(self, symbol: Symbol) -> None:
        fill = OrderFilled(
            TradeId("1"), ClientOrderId("c"), VenueOrderId("1"), symbol, OrderRole.STOP, Side.SELL, D(1), D(100), D(0),
            D(0), self.now,
        )  # fmt: skip
        await self.say("execution", fill)

    async def trip(self) -> None:
        tripped = StopTripped(1, StopState.ARMED, StopState.TRIPPED, self.now, "emergency_stop", "test")
        await self.say("emergency_stop", tripped)

    async def mark(self, price: str, symbol: Symbol = BTC) -> None:
        await self.say("market_data", MarkPrice(symbol, D(price), self.now))

    async def candles(self, closes: Sequence[float], *, backfilled: bool, symbol: Symbol = BTC) -> None:
        """5-minute candles ending now, ranging 0.2 % around their closes."""
        for index in range(len(closes)):
            [candle] = self.made(closes[index : index + 1], self.now, left=len(closes) - index - 1)
            await self.say("market_data", msgspec.structs.replace(candle, symbol=symbol, backfilled=backfilled))

    @staticmethod
    def made(closes: Sequence[float], until: datetime, *, left: int = 0) -> list[CandleClosed]:
        """BTC candles, the last of which closes ``left`` candles before ``until``; marked as history."""
        step = timedelta(minutes=5)
        found = []
        for index, close in enumerate(closes):
            price, opened = D(str(close)), until - step * (len(closes) - index + left)
            high, low = price * D("1.001"), price * D("0.999")
            found.append(CandleClosed(BTC, opened, step, price, high, low, price, D(10), True))
        return found

    @property
    def signals(self) -> list[Signal]:
        said = [event.payload for event in self.broker.stream(DESK, "ai_engine")]
        return [payload.signal for payload in said if isinstance(payload, SignalGenerated)]


Play = Callable[[Stage], Awaitable[None]]


@pytest.fixture
def on_stage() -> Callable[[Play], None]:
    """on_stage(play): run ``play(stage)`` in virtual time; a handler that raised fails the test."""

    def run(play: Play) -> None:
        async def main(simulation: Simulation) -> None:
            stage = Stage(simulation)
            await play(stage)
            assert [str(failure.error) for failure in stage.broker.failures] == []

        run_virtual(main, seed=1, start=START)

    return run
