"""History by plain HTTP from the real paper venue: the same candles as the venue was given, or a clear error."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from breakwater.domain.ids import Symbol
from breakwater.exchange.governor import Governor
from breakwater.market_data.history import HistoryError, PublicHistory
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.runtime.clocks import wall_clocks

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
BTC = Symbol("BTCUSDT")


async def test_history_over_http_is_what_the_venue_holds_oldest_first() -> None:
    market = SyntheticMarket(1, [BTC], START)
    venue = PaperVenue(VenueConfig())
    backfill(venue, market, to_ms(START))
    clocks = wall_clocks(market_anchor=START)
    async with VenueServer(venue, "127.0.0.1", 0, clocks) as server:
        history = PublicHistory(server.url, clocks.market, Governor(clocks.infra))
        candles = await history.candles(BTC, 50)
        await history.close()
    expected = market.history(BTC, market.interval_ms, to_ms(START), 50)
    assert [candle.close for candle in candles] == [candle.close for candle in expected]
    assert [to_ms(candle.open_time) for candle in candles] == [candle.open_time_ms for candle in expected]


async def test_symbol_the_venue_does_not_list_is_a_clear_error() -> None:
    clocks = wall_clocks(market_anchor=START)
    async with VenueServer(PaperVenue(VenueConfig()), "127.0.0.1", 0, clocks) as server:
        history = PublicHistory(server.url, clocks.market, Governor(clocks.infra))
        with pytest.raises(HistoryError, match="candles of NOPEUSDT"):
            await history.candles(Symbol("NOPEUSDT"))
        await history.close()


async def test_venue_that_is_not_there_is_a_clear_error() -> None:
    clocks = wall_clocks()
    history = PublicHistory("http://127.0.0.1:9", clocks.market, Governor(clocks.infra))
    with pytest.raises(HistoryError, match="candles of BTCUSDT"):
        await history.candles(BTC)
    await history.close()
