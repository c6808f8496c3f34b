"""A market that ends at a given time."""

from __future__ import annotations

from collections.abc import Iterator

from breakwater.paper_venue.markets.base import Market
from breakwater.paper_venue.markets.candle import Candle
from breakwater.paper_venue.model import Tick


class Until:
    """``market`` up to ``end_ms`` (market time, exclusive)."""

    def __init__(self, market: Market, end_ms: int) -> None:
        self._market = market
        self._end_ms = end_ms

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._market.symbols

    @property
    def interval_ms(self) -> int:
        return self._market.interval_ms

    @property
    def start_ms(self) -> int:
        return self._market.start_ms

    def history(self, symbol: str, interval_ms: int, until_ms: int, limit: int) -> list[Candle]:
        return self._market.history(symbol, interval_ms, until_ms, limit)

    def ticks(self, after_ms: int | None = None) -> Iterator[Tick]:
        for tick in self._market.ticks(after_ms):
            if tick.time_ms >= self._end_ms:
                return
            yield tick
