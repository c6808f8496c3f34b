"""market_data against the paper venue's core through the unmodified ccxt client."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp

from breakwater.domain.ids import Symbol
from breakwater.paper_venue.driver import drive

Side = Any
OnFeed = Callable[[Callable[[Side], Awaitable[None]]], None]
BTC, ETH, SOL = Symbol("BTCUSDT"), Symbol("ETHUSDT"), Symbol("SOLUSDT")
D = Decimal
START = datetime(2025, 10, 1, tzinfo=UTC)


def test_start_loads_instruments_and_history(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        service = await side.start()
        btc = side.book.get(BTC)
        assert btc is not None
        assert btc.tick_size > 0
        candles = side.candles()
        assert len(candles) == 50
        assert all(candle.backfilled for candle in candles)
        assert candles[-1].open_time + timedelta(minutes=5) == START
        gaps = {later.open_time - earlier.open_time for earlier, later in itertools.pairwise(candles)}
        assert gaps == {timedelta(minutes=5)}
        assert service.readiness()["instruments"].ok

    on_feed(play)


def test_every_tick_of_the_market_becomes_a_mark_and_every_candle_one_event(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        await side.start()
        driving = asyncio.ensure_future(drive(side.venue, side.market, side.clocks))
        await side.wait(20 * 60)
        driving.cancel()
        await side.wait(1)
        got = [(mark.time, mark.price) for mark in side.marks()]
        first, last = got[0][0], got[-1][0]
        assert first < START + timedelta(seconds=30)
        assert last > START + timedelta(minutes=19)
        expected = []
        for tick in side.market.ticks(None):
            time = datetime.fromtimestamp(tick.time_ms / 1000, UTC)
            if time > last:
                break
            if tick.symbol == BTC and time >= first:
                expected.append((time, tick.price))
        assert got == expected
        live = [candle for candle in side.candles() if not candle.backfilled]
        assert len(live) == 4
        assert live[0].open_time == side.candles()[49].open_time + timedelta(minutes=5)

    on_feed(play)


def test_burst_of_messages_loses_none(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        await side.start()
        for second in range(200):
            side.tick(str(60_000 + second), later_s=second)
        await side.wait(0.5)
        assert [mark.price for mark in side.marks()] == [D(60_000 + second) for second in range(200)]

    on_feed(play)


def test_prices_that_make_no_sense_are_dropped_and_counted(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        service = await side.start()
        for price in ("0", "-5", "NaN", "Infinity", "", None, 60_000.5):
            message = {"e": "markPriceUpdate", "E": 1759276800000, "s": "BTCUSDT", "p": price}
            side.client.tap(message)
        await side.wait(0.1)
        assert (side.marks(), service.dropped) == ([], {"senseless": 7})

    on_feed(play)


def test_marks_that_go_back_in_time_are_dropped(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        service = await side.start()
        side.tick("60000", later_s=10)
        side.tick("59000", later_s=5)
        await side.wait(0.1)
        assert [mark.price for mark in side.marks()] == [D(60_000)]
        assert service.dropped == {"out_of_order": 1}

    on_feed(play)


def test_cut_connection_is_made_again_and_missed_candles_are_read(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        await side.start()
        driving = asyncio.ensure_future(drive(side.venue, side.market, side.clocks))
        await side.wait(280)
        assert side.session.drop_streams() > 0
        await side.wait(600)
        before = len(side.marks())
        await side.wait(60)
        driving.cancel()
        assert len(side.marks()) > before + 10
        times = [candle.open_time for candle in side.candles()]
        assert times == sorted(set(times))
        gaps = {later - earlier for earlier, later in itertools.pairwise(times)}
        assert gaps == {timedelta(minutes=5)}

    on_feed(play)


def test_open_but_silent_stream_is_not_ready_and_gets_new_connections(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        open_stream, generation = side.venue.open_stream, 0

        def muted_later(path: str, now: Any, on_message: Callable[[str], None], on_close: Any) -> Any:
            born = generation
            return open_stream(path, now, lambda text: on_message(text) if born == generation else None, on_close)

        side.venue.open_stream = muted_later
        service = await side.start()
        side.tick("60000")
        side.tick("3000", ETH)
        await side.wait(1)
        assert service.readiness()["marks"].ok
        generation = 1  # all connections of now stay open and say nothing any more
        for _ in range(14):
            side.tick("60001")
            await side.wait(1)
        assert [mark.price for mark in side.marks()] == [D(60_000)]
        await side.wait(1)
        assert not service.readiness()["marks"].ok
        assert "BTCUSDT" in service.readiness()["marks"].detail
        await side.wait(3)
        side.tick("60002")
        side.tick("3001", ETH)
        await side.wait(1)
        assert service.readiness()["marks"].ok
        assert [mark.price for mark in side.marks()] == [D(60_000), D(60_002)]

    on_feed(play)


def test_symbols_added_and_removed_in_the_policy_are_followed_without_restart(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        await side.start()
        side.policy.symbols = (BTC, SOL)
        await side.wait(3)
        side.tick("150", SOL)
        side.tick("3000", ETH)
        await side.wait(1)
        assert [mark.price for mark in side.marks(SOL)] == [D(150)]
        assert side.marks(ETH) == []

    on_feed(play)


def test_removed_symbol_is_followed_while_its_position_is_open(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        await side.start()
        await side.hold(ETH)
        side.policy.symbols = (BTC,)
        await side.wait(3)
        side.tick("3000", ETH)
        await side.wait(1)
        assert len(side.marks(ETH)) == 1
        await side.hold()
        await side.wait(3)
        side.tick("3001", ETH)
        await side.wait(1)
        assert len(side.marks(ETH)) == 1

    on_feed(play)


def test_symbol_the_venue_does_not_list_is_named_and_stops_nobody_else(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        side.policy.symbols = (BTC, Symbol("NOSUCHUSDT"))
        service = await side.start()
        side.tick("60000")
        await side.wait(1)
        assert "NOSUCHUSDT" in service.readiness()["symbols"].detail
        assert len(side.marks()) == 1

    on_feed(play)


def test_venue_that_does_not_answer_at_start_is_asked_until_it_does(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        real, failing = side.venue.handle, True

        def handle(*call: Any) -> Any:
            if failing:
                raise aiohttp.ServerDisconnectedError
            return real(*call)

        side.venue.handle = handle
        service = await side.start()
        await side.wait(5)
        assert not service.readiness()["instruments"].ok
        assert service.readiness()["instruments"].detail
        failing = False
        await side.wait(30)
        assert service.readiness()["instruments"].ok
        assert len(side.candles()) >= 50

    on_feed(play)


def test_bus_away_drops_prices_and_reads_lost_candles_again(on_feed: OnFeed) -> None:
    async def play(side: Side) -> None:
        service = await side.start()
        driving = asyncio.ensure_future(drive(side.venue, side.market, side.clocks))
        await side.wait(290)
        side.broker.up = False
        await side.wait(60)
        side.broker.up = True
        await side.wait(600)
        driving.cancel()
        assert service.dropped["bus"] > 5
        times = [candle.open_time for candle in side.candles()]
        assert {later - earlier for earlier, later in itertools.pairwise(times)} == {timedelta(minutes=5)}

    on_feed(play)
