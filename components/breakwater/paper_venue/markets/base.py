"""What the venue asks of a market."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from breakwater.paper_venue.markets.candle import Candle
from breakwater.paper_venue.model import Tick


class Market(Protocol):
    """A source of prices for one or more symbols."""

    @property
    def symbols(self) -> tuple[str, ...]: ...

    @property
    def interval_ms(self) -> int:
        """Length of the candles the market is made of."""
        ...

    @property
    def start_ms(self) -> int:
        """Market time of the first tick."""
        ...

    def history(self, symbol: str, interval_ms: int, until_ms: int, limit: int) -> list[Candle]:
        """At most `limit` candles that closed by `until_ms`, oldest first."""
        ...

    def ticks(self, after_ms: int | None = None) -> Iterator[Tick]:
        """Ticks of all symbols in time order, from the start or after a market time already seen."""
        ...
