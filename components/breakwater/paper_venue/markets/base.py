"""What the venue asks of a market."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class LiveFeed(Protocol):
    """A market whose ticks nobody knows beforehand: `ticks` has none, they come while `feed` runs."""

    async def feed(self, deliver: Callable[[Tick], None]) -> None:
        """Hand over each tick as it comes, until cancelled."""
        ...
