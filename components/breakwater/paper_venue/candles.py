"""Klines of every interval, kept up to date tick by tick."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from breakwater.paper_venue.markets.candle import INTERVALS, MINUTE_MS, Candle, aggregate, candle_path
from breakwater.paper_venue.model import Tick
from breakwater.paper_venue.money import ZERO, plain, round8

KEPT = 1500
"""Candles kept per symbol and interval: the most one klines request may ask for."""
FINE_HISTORY = 300
"""How many backfilled candles are split to give the finer intervals a history too."""


@dataclass(slots=True)
class LiveCandle:
    """A candle that still changes. `quote` is the traded amount in USDT, `count` the number of ticks."""

    open_time_ms: int
    interval_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = ZERO
    quote: Decimal = ZERO
    count: int = 0

    def add(self, price: Decimal, volume: Decimal) -> None:
        if price > self.high:
            self.high = price
        if price < self.low:
            self.low = price
        self.close = price
        if volume:
            self.volume += volume
            self.quote += volume * price
        self.count += 1


class CandleBook:
    """All intervals of all symbols."""

    def __init__(self, symbols: Iterable[str]) -> None:
        self._series: dict[str, dict[str, deque[LiveCandle]]] = {
            symbol: {name: deque(maxlen=KEPT) for name in INTERVALS} for symbol in symbols
        }

    def backfill(self, candles: Sequence[Candle]) -> None:
        """Load closed candles of one symbol and interval, oldest first; replaces what is there."""
        if not candles:
            return
        symbol, base = candles[0].symbol, candles[0].interval_ms
        for name, interval in INTERVALS.items():
            series = self._series[symbol][name]
            series.clear()
            if interval % base == 0:
                series.extend(_live(c) for c in aggregate(candles, interval))
        finer = [name for name, interval in INTERVALS.items() if interval < base]
        ticks_each = max(4, 2 * base // MINUTE_MS)
        for candle in candles[-FINE_HISTORY:] if finer else ():
            for tick in candle_path(candle, ticks_each):
                for name in finer:
                    self._add(self._series[symbol][name], INTERVALS[name], tick)

    def add(self, tick: Tick) -> dict[str, LiveCandle]:
        """Update every interval. Returns the candles that this tick closed, by interval name."""
        closed: dict[str, LiveCandle] = {}
        for name, series in self._series[tick.symbol].items():
            done = self._add(series, INTERVALS[name], tick)
            if done is not None:
                closed[name] = done
        return closed

    @staticmethod
    def _add(series: deque[LiveCandle], interval: int, tick: Tick) -> LiveCandle | None:
        start = tick.time_ms - tick.time_ms % interval
        current = series[-1] if series else None
        if current is not None and current.open_time_ms >= start:
            current.add(tick.price, tick.volume)
            return None
        fresh = LiveCandle(start, interval, tick.price, tick.price, tick.price, tick.price)
        fresh.add(tick.price, tick.volume)
        series.append(fresh)
        return current

    def current(self, symbol: str, interval: str) -> LiveCandle | None:
        series = self._series[symbol][interval]
        return series[-1] if series else None

    def klines(self, symbol: str, interval: str, start_ms: int, end_ms: int, limit: int) -> list[LiveCandle]:
        """Candles whose open time lies in [start, end]; the latest `limit`, or the first from a given start."""
        found = [c for c in self._series[symbol][interval] if start_ms <= c.open_time_ms <= end_ms]
        return found[:limit] if start_ms > 0 else found[-limit:]

    def last_day(self, symbol: str, now_ms: int) -> list[LiveCandle]:
        """Five-minute candles of the last 24 hours."""
        return [c for c in self._series[symbol]["5m"] if c.open_time_ms > now_ms - 24 * 60 * MINUTE_MS]


def _live(candle: Candle) -> LiveCandle:
    middle = (candle.open + candle.high + candle.low + candle.close) / 4
    return LiveCandle(
        candle.open_time_ms,
        candle.interval_ms,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        round8(candle.volume * middle),
        1,
    )


def kline_row(candle: LiveCandle) -> list[object]:
    """A row of /fapi/v1/klines; taker-buy volumes are half of the whole, as nobody is recorded."""
    return [
        candle.open_time_ms,
        plain(candle.open),
        plain(candle.high),
        plain(candle.low),
        plain(candle.close),
        plain(candle.volume),
        candle.open_time_ms + candle.interval_ms - 1,
        plain(candle.quote),
        candle.count,
        plain(candle.volume / 2),
        plain(candle.quote / 2),
        "0",
    ]
