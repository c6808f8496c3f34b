"""How market_data learns how liquid symbols are: robust figures, seldom requests, told as a state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.ids import Symbol
from breakwater.domain.liquidity import LiquidityReading
from breakwater.exchange.reader import Reader, VenueReplyError
from breakwater.market_data.liquidity import KEPT_QUOTES, Figures
from breakwater.market_data.parse import DayVolume, Quote, parse_day_volume, parse_quote
from breakwater.runtime.events import MarketLiquidity

OnFeed = Callable[[Callable[[Any], Awaitable[None]]], None]
BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
D = Decimal
NOON = datetime(2025, 10, 10, 12, tzinfo=UTC)


def quotes(figures: Figures, *spreads: str, every_s: float = 15) -> None:
    for number, spread in enumerate(spreads):
        figures.take_quote(Quote(BTC, D(spread), NOON + timedelta(seconds=number * every_s)))


def reading(figures: Figures) -> LiquidityReading:
    return figures.readings([BTC])[0]


def test_few_samples_are_no_spread_and_one_odd_quote_changes_nothing() -> None:
    figures = Figures()
    quotes(figures, "0.01", "0.01")
    assert reading(figures).spread_pct is None
    quotes(figures, "0.01", "5", "0.01", "0.01", "0.01")
    assert reading(figures).spread_pct == D("0.01")


def test_samples_from_before_an_outage_are_forgotten() -> None:
    figures = Figures()
    quotes(figures, "0.01", "0.01", "0.01")
    figures.take_quote(Quote(BTC, D("0.5"), NOON + timedelta(hours=1)))
    assert reading(figures).spread_pct is None


@given(st.lists(st.decimals(D("0.0001"), D(10), places=4), min_size=3, max_size=KEPT_QUOTES))
def test_spread_is_one_of_the_samples_and_at_most_half_of_them_are_wider(spreads: list[Decimal]) -> None:
    figures = Figures()
    quotes(figures, *map(str, spreads))
    spread = reading(figures).spread_pct
    assert spread in spreads
    assert isinstance(spread, Decimal)
    assert 2 * sum(each > spread for each in spreads) <= len(spreads)


def test_symbol_no_longer_followed_is_forgotten() -> None:
    figures = Figures()
    quotes(figures, "0.01", "0.01", "0.01")
    figures.take_volume(DayVolume(BTC, D(5), NOON))
    assert [each.symbol for each in figures.readings([ETH])] == [ETH]
    assert reading(figures) == LiquidityReading(BTC)


@pytest.mark.parametrize(("bid", "ask"), [("0", "1"), ("2", "1"), ("1", "1"), ("-1", "1"), ("NaN", "1"), (1.5, "2")])
def test_book_that_is_empty_crossed_or_no_number_is_rejected(bid: Any, ask: Any) -> None:
    row = {"symbol": "BTCUSDT", "bidPrice": bid, "askPrice": ask, "time": 1760000000000}
    with pytest.raises(VenueReplyError):
        parse_quote(Reader(row, "ticker"))


def test_negative_volume_is_rejected() -> None:
    with pytest.raises(VenueReplyError):
        parse_day_volume(Reader({"symbol": "BTCUSDT", "quoteVolume": "-1", "closeTime": 1760000000000}, "ticker"))


def test_paper_market_is_read_through_the_real_client_and_told_as_a_state(on_feed: OnFeed) -> None:
    async def play(side: Any) -> None:
        told: list[MarketLiquidity] = []

        async def take(event: Any) -> None:
            told.append(event.payload)

        side.portfolio.watch_state(take, types=(MarketLiquidity,))
        await side.start()
        for second in range(12):
            side.tick(str(60_000 + second))
            await side.wait(5)
        btc, eth = told[-1].readings
        assert (btc.symbol, eth.symbol) == (BTC, ETH)
        assert btc.volume_24h_usd is not None
        assert btc.spread_pct is not None
        assert btc.spread_at is not None
        assert btc.volume_24h_usd > D(1_000_000_000)
        assert D("0.0001") < btc.spread_pct < D("0.001")  # two ticks of 0.1 at 60,000
        now = side.clocks.market.now()
        assert now - btc.spread_at <= timedelta(seconds=20)
        assert btc.at(now).leverage_cap() is None
        # No tick of ETH since the start: its book is as old as its last price.
        assert eth.at(now + timedelta(minutes=5)).stale

    on_feed(play)


@pytest.mark.parametrize("speed", [1, 60])
def test_looking_weighs_little_at_any_speed(on_feed: OnFeed, speed: int) -> None:
    async def play(side: Any) -> None:
        side.clocks.market.speed = speed
        await side.start()
        side.tick("60000")
        side.tick("4000", ETH)
        asked: list[str] = []
        real = side.client.fetch

        async def fetch(url: str, *rest: Any, **more: Any) -> Any:
            asked.append(url)
            return await real(url, *rest, **more)

        side.client.fetch = fetch
        await side.wait(600)
        weight = sum(1 if "24hr" in url else 2 for url in asked if "ticker" in url)
        assert 0 < weight / 10 < 2400 / 8, "an eighth of what the venue allows in a minute is plenty"

    on_feed(play)


def test_venue_that_does_not_answer_leaves_figures_to_grow_old(on_feed: OnFeed) -> None:
    async def play(side: Any) -> None:
        told: list[MarketLiquidity] = []

        async def take(event: Any) -> None:
            told.append(event.payload)

        side.portfolio.watch_state(take, types=(MarketLiquidity,))
        await side.start()
        side.tick("60000")
        await side.wait(30)

        async def dead(*_: Any, **__: Any) -> Any:
            raise OSError("no route")

        side.client.fetch = dead
        before = told[-1].readings[0]
        await side.wait(1200)
        assert told[-1].readings[0].spread_at == before.spread_at
        cap = told[-1].readings[0].at(side.clocks.market.now()).leverage_cap()
        assert cap is not None
        assert (cap.leverage, cap.name) == (10, "liquidityUnknown")

    on_feed(play)
