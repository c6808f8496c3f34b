"""A venue that lives by another exchange's public data; here that one is a paper venue too, over real HTTP and sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from breakwater.desk.live_market import LiveMarket, open_live
from breakwater.desk.market import choose_market
from breakwater.desk.sources import DeskInputError
from breakwater.domain.signals import DataKind
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.config import VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.paper_venue.model import Tick
from breakwater.paper_venue.service import PaperVenueService
from breakwater.runtime.clocks import Clocks, wall_clocks

BTC, ETH = "BTCUSDT", "ETHUSDT"


@asynccontextmanager
async def exchange(clocks: Clocks, port: int = 0) -> AsyncIterator[tuple[PaperVenue, VenueServer]]:
    """The upstream: two symbols, with history."""
    begin = datetime.now(UTC) - timedelta(minutes=1)
    market = SyntheticMarket(3, [BTC, ETH], begin)
    venue = PaperVenue(VenueConfig(symbols=(spec_for(BTC), spec_for(ETH))))
    backfill(venue, market, venue_now(clocks).market_ms)
    async with VenueServer(venue, "127.0.0.1", port, clocks) as server:
        yield venue, server


def tick(venue: PaperVenue, clocks: Clocks, price: str, symbol: str = BTC) -> None:
    now = venue_now(clocks)
    venue.on_tick(Tick(symbol, now.market_ms, Decimal(price), Decimal(1)), now)


async def price_becomes(venue: PaperVenue, price: str) -> None:
    async with asyncio.timeout(15):
        while venue.to_state().prices[BTC].price != Decimal(price):  # noqa: ASYNC110 - a price tells nobody
            await asyncio.sleep(0.02)


async def listened(venue: PaperVenue) -> None:
    async with asyncio.timeout(15):
        while not venue.streams.wants("btcusdt@aggTrade"):  # noqa: ASYNC110 - another program's subscription
            await asyncio.sleep(0.02)


async def test_venue_follows_the_exchange_with_its_rules_and_history_and_goes_on_after_an_outage() -> None:
    clocks = wall_clocks()
    async with exchange(clocks) as (upstream, server):
        chosen = await open_live(f"live:{server.url}", [BTC], known=None, clock=clocks.infra, speed=1.0)
        assert chosen.data is DataKind.SYNTHETIC  # as that exchange's prices are
        assert isinstance(chosen.market, LiveMarket)
        assert chosen.market.symbols == (BTC, ETH)
        config = chosen.venue_config()
        assert config.symbols[0].tick_size == spec_for(BTC).tick_size
        ours = PaperVenueService(config, chosen.market, clocks)
        await ours.start()
        running = asyncio.ensure_future(ours.run())
        try:
            assert ours.venue.to_state().prices[BTC].price == upstream.to_state().prices[BTC].price
            now = venue_now(clocks)
            theirs, own = (
                venue.handle("GET", "/fapi/v1/klines", "symbol=BTCUSDT&interval=5m&limit=99", {}, b"", now).json()
                for venue in (upstream, ours.venue)
            )
            assert [row[:5] for row in own[-50:-1]] == [row[:5] for row in theirs[-50:-1]]
            await listened(upstream)
            tick(upstream, clocks, "61234.5")
            await price_becomes(ours.venue, "61234.5")
            port = int(server.url.rpartition(":")[2])
            await server.stop()
            await asyncio.sleep(0.3)
            assert not running.done()
            assert ours.venue.to_state().prices[BTC].price == Decimal("61234.5")  # stands still
            async with exchange(clocks, port) as (again, _):
                await listened(again)
                tick(again, clocks, "60777.7")
                await price_becomes(ours.venue, "60777.7")
            assert chosen.market.connections >= 2
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await ours.stop()


@pytest.mark.parametrize(
    ("source", "speed", "sentence"),
    [
        ("live:http://127.0.0.1:9", 1.0, "gives no public data"),
        ("live:http://127.0.0.1:9", 60.0, "leave the speed at 1"),
        ("live:ftp://x", 1.0, "write live, or live:https://HOST"),
        ("live:http://127.0.0.1:9/fapi", 1.0, "no path"),
    ],
)
async def test_exchange_that_cannot_be_had_is_refused_in_a_sentence(source: str, speed: float, sentence: str) -> None:
    with pytest.raises(DeskInputError, match=sentence):
        await open_live(source, [BTC], known=None, clock=wall_clocks().infra, speed=speed)


async def test_symbol_the_exchange_does_not_trade_is_named() -> None:
    clocks = wall_clocks()
    async with exchange(clocks) as (_, server):
        with pytest.raises(DeskInputError, match="does not list NOSUCHUSDT"):
            await open_live(f"live:{server.url}", [BTC, "NOSUCHUSDT"], known=None, clock=clocks.infra, speed=1.0)


async def test_state_of_another_market_is_not_taken_over() -> None:
    clocks = wall_clocks()
    known = choose_market("synthetic", [BTC], known=None, state=None, wall=clocks.infra.utc_now()).record
    with pytest.raises(DeskInputError, match="a desk on the market synthetic"):
        await open_live("live", [BTC], known=known, clock=clocks.infra, speed=1.0)
