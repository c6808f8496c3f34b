"""market_data on the memory network: the unmodified ccxt client, the paper venue's core at the other end, virtual time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.limits import effective_limits
from breakwater.domain.policy import PolicySpec
from breakwater.domain.signals import DataKind
from breakwater.domain.snapshot import PositionView, Snapshot
from breakwater.exchange.client import make_client
from breakwater.market_data.service import MarketData
from breakwater.paper_venue.config import AccountConfig, VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.paper_venue.model import Now, Tick
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import CandleClosed, MarkPrice, PortfolioUpdated
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk
from breakwater.simulation.transport import MEMORY_ENDPOINT, MemorySession

DESK = DeskId("desk-a")
START = datetime(2025, 10, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
D = Decimal


class FixedPolicy:
    def __init__(self) -> None:
        self.symbols: tuple[Symbol, ...] = (BTC, ETH)

    def current(self) -> PolicyInForce:
        spec, stop = PolicySpec(self.symbols), EmergencyStopSpec(policy_ref=PolicyRef("main"))
        return PolicyInForce(1, spec, stop, effective_limits(spec, stop), START, False, cast(Any, None), "")


class Feedside:
    """The service, its venue, and what it published."""

    def __init__(self, simulation: Simulation) -> None:
        self.clocks = simulation.clocks
        self.venue = PaperVenue(VenueConfig(accounts=(AccountConfig("desk", "key", "secret"),)))
        self.market = SyntheticMarket(7, (BTC, ETH), START)
        backfill(self.venue, self.market, START_MS)
        self.session = MemorySession(self.venue, self.clocks)
        self.broker = MemoryBroker()
        self.policy = FixedPolicy()
        self.book = InstrumentBook()
        self.bus = MemoryBus(self.broker, DESK, "market_data", self.clocks.infra)
        self.portfolio = MemoryBus(self.broker, DESK, "portfolio", self.clocks.infra)

    async def start(self) -> MarketData:
        await self.portfolio.start()
        self.client = make_client(MEMORY_ENDPOINT, None, self.clocks.infra, session=self.session)
        context = ComponentContext(
            DESK, self.clocks, self.bus, MemoryDisk(), self.policy, DataKind.SYNTHETIC, random.Random(1)
        )
        self.service = MarketData(context, self.client, self.book, history_candles=50)
        await self.bus.start()
        await self.service.start()
        await self.wait(2)
        return self.service

    async def finish(self) -> None:
        await self.service.stop()
        await self.bus.stop()
        await self.client.close()

    async def wait(self, seconds: float) -> None:
        await self.clocks.infra.sleep(seconds)

    def tick(self, price: str, symbol: Symbol = BTC, *, later_s: float = 0) -> None:
        """A tick now, or stamped ``later_s`` seconds of market time later."""
        now_ms = round((self.clocks.market.now() - START).total_seconds() * 1000) + START_MS
        time_ms = now_ms + round(later_s * 1000)
        self.venue.on_tick(Tick(symbol, time_ms, D(price)), Now(time_ms, time_ms))

    async def hold(self, *held: Symbol) -> None:
        now = self.clocks.market.now()
        positions = tuple(PositionView(s, D(1), D(1), D(1), D(0), 1, now) for s in held)
        snapshot = Snapshot(1, now, D(1), D(0), D(1), D(1), now.date(), D(0), D(0), D(0), D(0), positions, True)
        await self.portfolio.publish(PortfolioUpdated(snapshot), time=now)

    def marks(self, symbol: Symbol = BTC) -> list[MarkPrice]:
        said = [event.payload for event in self.broker.stream(DESK, "market_data")]
        return [p for p in said if isinstance(p, MarkPrice) and p.symbol == symbol]

    def candles(self, symbol: Symbol = BTC) -> list[CandleClosed]:
        said = [event.payload for event in self.broker.stream(DESK, "market_data")]
        return [p for p in said if isinstance(p, CandleClosed) and p.symbol == symbol]


Play = Callable[[Feedside], Awaitable[None]]


@pytest.fixture
def on_feed() -> Callable[[Play], None]:
    def run(play: Play) -> None:
        async def main(simulation: Simulation) -> None:
            side = Feedside(simulation)
            await play(side)
            await side.finish()
            assert side.broker.failures == []

        run_virtual(main, seed=1, start=START)

    return run
