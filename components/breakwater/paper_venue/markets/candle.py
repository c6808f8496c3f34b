"""Candles, the path of ticks through one, and building larger candles from smaller ones."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from breakwater.paper_venue.model import Tick
from breakwater.paper_venue.money import nearest

MINUTE_MS = 60_000
INTERVALS: dict[str, int] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "2h": 120 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS,
    "12h": 720 * MINUTE_MS,
    "1d": 1440 * MINUTE_MS,
}
"""Interval names of the wire and their length in ms. All divide a day, so candles align with UTC midnight."""


class Candle(NamedTuple):
    """Prices in USDT, volume in base units, `open_time_ms` in ms since 1970 UTC."""

    symbol: str
    open_time_ms: int
    interval_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    @property
    def close_time_ms(self) -> int:
        """Last millisecond that belongs to the candle."""
        return self.open_time_ms + self.interval_ms - 1


def candle_path(candle: Candle, ticks: int = 60, *, tick_size: Decimal = Decimal("0.00000001")) -> list[Tick]:
    """The ticks of a candle: O-L-H-C when it rises (close >= open), O-H-L-C when it falls.

    `ticks` (at least 4) are spread evenly over the candle, the first at its open time, the last before its end.
    O, L, H and C are hit exactly; between them the path is straight, rounded to `tick_size` and kept inside
    [low, high]. The volume is shared evenly; the last tick takes the remainder.
    """
    if ticks < 4:
        raise ValueError(f"a candle needs at least 4 ticks to visit O, H, L and C, not {ticks}")
    rises = candle.close >= candle.open
    turns = (
        (candle.open, candle.low, candle.high, candle.close)
        if rises
        else (candle.open, candle.high, candle.low, candle.close)
    )
    last = ticks - 1
    corners = (0, last // 3, (2 * last) // 3, last)
    share = (candle.volume / ticks).quantize(Decimal("0.00000001")) if candle.volume else Decimal(0)
    path: list[Tick] = []
    leg = 0
    for i in range(ticks):
        if i > corners[leg + 1]:
            leg += 1
        start, end = corners[leg], corners[leg + 1]
        if i == start:
            price = turns[leg]
        elif i == end:
            price = turns[leg + 1]
        else:
            price = turns[leg] + (turns[leg + 1] - turns[leg]) * (i - start) / (end - start)
            price = min(candle.high, max(candle.low, nearest(price, tick_size)))
        time_ms = candle.open_time_ms + candle.interval_ms * i // ticks
        volume = candle.volume - share * last if i == last else share
        path.append(Tick(candle.symbol, time_ms, price, volume))
    return path


def aggregate(candles: Iterable[Candle], interval_ms: int) -> list[Candle]:
    """Larger candles from smaller ones of one symbol in time order. A partly covered first one is dropped."""
    result: list[Candle] = []
    for candle in candles:
        start = candle.open_time_ms - candle.open_time_ms % interval_ms
        if result and result[-1].open_time_ms == start:
            known = result[-1]
            result[-1] = known._replace(
                high=max(known.high, candle.high),
                low=min(known.low, candle.low),
                close=candle.close,
                volume=known.volume + candle.volume,
            )
        elif result or candle.open_time_ms == start:
            result.append(candle._replace(open_time_ms=start, interval_ms=interval_ms))
    return result
