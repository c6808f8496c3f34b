"""How liquid the followed symbols are: their spread often, their day's volume seldom, by plain requests to the venue.

Streams of every quote would be hundreds of messages a second; a leverage cap needs a figure a few times a minute.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Awaitable, Callable, Collection

import msgspec
import structlog

from breakwater.domain.ids import Symbol
from breakwater.domain.liquidity import SPREAD_GOOD_FOR, LiquidityReading
from breakwater.market_data.feed import Feed, FeedError
from breakwater.market_data.parse import DayVolume, Quote
from breakwater.runtime.clocks import Clocks

log = structlog.get_logger(__name__)

QUOTE_EVERY_S, VOLUME_EVERY_S = 15.0, 300.0
"""Market seconds between two looks."""
QUOTE_LEAST_S, VOLUME_LEAST_S = 1.0, 10.0
"""Seconds of infrastructure time between two looks, however fast the market runs: requests have a weight."""
KEPT_QUOTES = 5
FEWEST_QUOTES = 3
"""A spread is the median of at least three samples and at most five, about a minute of them: one odd quote says nothing."""


class Figures:
    """The last samples of each symbol and what they come to."""

    def __init__(self) -> None:
        self._quotes: dict[Symbol, deque[Quote]] = {}
        self._volumes: dict[Symbol, DayVolume] = {}

    def take_quote(self, quote: Quote) -> None:
        kept = self._quotes.setdefault(quote.symbol, deque(maxlen=KEPT_QUOTES))
        kept.append(quote)
        while abs(quote.time - kept[0].time) > SPREAD_GOOD_FOR:
            kept.popleft()

    def take_volume(self, volume: DayVolume) -> None:
        self._volumes[volume.symbol] = volume

    def readings(self, symbols: Collection[Symbol]) -> tuple[LiquidityReading, ...]:
        """One for each of ``symbols``, by name; what is known of others is forgotten."""
        for known in (self._quotes, self._volumes):
            for gone in known.keys() - set(symbols):
                del known[gone]
        return tuple(self._reading(symbol) for symbol in sorted(symbols))

    def _reading(self, symbol: Symbol) -> LiquidityReading:
        volume, quotes = self._volumes.get(symbol), list(self._quotes.get(symbol, ()))
        reading = LiquidityReading(symbol)
        if volume is not None:
            reading = msgspec.structs.replace(reading, volume_24h_usd=volume.usd, volume_at=volume.time)
        if len(quotes) >= FEWEST_QUOTES:
            # Of an even number the wider one: it allows less.
            spread = statistics.median_high(quote.spread_pct for quote in quotes)
            reading = msgspec.structs.replace(reading, spread_pct=spread, spread_at=quotes[-1].time)
        return reading


class LiquidityWatch:
    """Looks again and again, and hands every look's readings to ``publish``. Give ``run`` to ``Service.spawn``.

    A look that failed is left out: the figures grow old.
    """

    def __init__(
        self,
        feed: Feed,
        clocks: Clocks,
        symbols: Callable[[], Collection[Symbol]],
        publish: Callable[[tuple[LiquidityReading, ...]], Awaitable[None]],
    ) -> None:
        self._feed = feed
        self._clocks = clocks
        self._symbols = symbols
        self._publish = publish
        self._figures = Figures()
        self._volume_due: dict[Symbol, float] = {}
        """When to ask for a symbol's volume again, infrastructure time."""
        self.failed = 0
        """Looks in a row that came to nothing."""

    async def run(self) -> None:
        """Until cancelled. The first looks follow each other quickly, so that a median exists soon."""
        pause_s = max(QUOTE_LEAST_S, QUOTE_EVERY_S / self._clocks.speed)
        quick = FEWEST_QUOTES
        while True:
            symbols = sorted(self._symbols())
            if symbols:
                await self._look(symbols)
                await self._publish(self._figures.readings(symbols))
                quick = max(0, quick - 1)
            await self._clocks.infra.sleep(QUOTE_LEAST_S if quick else pause_s)

    async def _look(self, symbols: list[Symbol]) -> None:
        now = self._clocks.infra.monotonic()
        try:
            for quote in await self._feed.quotes(symbols):
                self._figures.take_quote(quote)
            due = [symbol for symbol in symbols if self._volume_due.get(symbol, now) <= now]
            for volume in await self._feed.day_volumes(due):
                self._figures.take_volume(volume)
            self._volume_due = {
                symbol: now + max(VOLUME_LEAST_S, VOLUME_EVERY_S / self._clocks.speed)
                if symbol in due
                else self._volume_due[symbol]
                for symbol in symbols
            }
        except FeedError as error:
            if self.failed == 0:
                log.warning("liquidity not read: leverage stays at what is allowed without it", error=str(error))
            self.failed += 1
        else:
            self.failed = 0
