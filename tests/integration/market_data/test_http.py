"""market_data on real sockets: the unmodified ccxt client against the paper venue's HTTP and WebSocket server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.limits import effective_limits
from breakwater.domain.policy import PolicySpec
from breakwater.domain.signals import DataKind
from breakwater.exchange.client import Endpoint, make_client
from breakwater.market_data.service import MarketData
from breakwater.paper_venue.config import AccountConfig, VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.paper_venue.model import Now, Tick
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import CandleClosed, MarkPrice
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.stores import MemoryDisk

DESK = DeskId("desk-a")
START = datetime(2025, 10, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
BTC = Symbol("BTCUSDT")
BURST = 300


class OneSymbol:
    def current(self) -> PolicyInForce:
        spec, stop = PolicySpec((BTC,)), EmergencyStopSpec(policy_ref=PolicyRef("main"))
        return PolicyInForce(1, spec, stop, effective_limits(spec, stop), START, False, cast(Any, None), "")


async def test_burst_over_a_real_socket_reaches_the_bus_whole_and_in_order() -> None:
    clocks = wall_clocks(market_anchor=START)
    venue = PaperVenue(VenueConfig(accounts=(AccountConfig("desk", "key", "secret"),)))
    backfill(venue, SyntheticMarket(7, (BTC,), START), START_MS)
    broker, book = MemoryBroker(), InstrumentBook()
    bus = MemoryBus(broker, DESK, "market_data", clocks.infra)
    async with VenueServer(venue, "127.0.0.1", 0, clocks) as server:
        client = make_client(Endpoint(server.url, server.url.replace("http", "ws")), None, clocks.infra)
        context = ComponentContext(DESK, clocks, bus, MemoryDisk(), OneSymbol(), DataKind.SYNTHETIC)
        service = MarketData(context, client, book, history_candles=20)
        await bus.start()
        await service.start()
        try:
            price, seen = 60_000, 0
            async with asyncio.timeout(10):
                while not seen:  # until the stream is subscribed
                    price += 1
                    venue.on_tick(*tick(price))
                    await asyncio.sleep(0.05)
                    seen = len(marks(broker))
            for _ in range(BURST):
                price += 1
                venue.on_tick(*tick(price))
            async with asyncio.timeout(10):
                while marks(broker)[-1].price != price:  # noqa: ASYNC110  the server is real, there is no event to wait for
                    await asyncio.sleep(0.05)
        finally:
            await service.stop()
            await bus.stop()
            await client.close()
    got = [mark.price for mark in marks(broker)]
    assert got == [Decimal(number) for number in range(int(got[0]), price + 1)]
    assert len(got) > BURST
    candles = [e.payload for e in broker.stream(DESK, "market_data") if isinstance(e.payload, CandleClosed)]
    assert len([candle for candle in candles if candle.backfilled]) == 20
    assert book.get(BTC) is not None


def tick(price: int) -> tuple[Tick, Now]:
    """Each price its own second of market time, so that the venue's one-second pace sends every one."""
    time_ms = START_MS + (price - 60_000) * 1000
    return Tick(BTC, time_ms, Decimal(price)), Now(time_ms, time_ms)


def marks(broker: MemoryBroker) -> list[MarkPrice]:
    return [e.payload for e in broker.stream(DESK, "market_data") if isinstance(e.payload, MarkPrice)]
