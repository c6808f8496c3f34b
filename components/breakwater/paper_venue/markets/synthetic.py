"""A seeded market generator: volatility regimes, jumps, and a crash shaped like the real ones.

The whole path is a function of (seed, symbols, start): the same arguments give the same ticks on any machine,
and a market stopped at any time continues on the same path. Prices of a symbol are drawn from its own random
source, plus one common source that all symbols share (correlation).
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from breakwater.paper_venue.config import SymbolSpec, spec_for
from breakwater.paper_venue.markets.candle import INTERVALS, Candle, aggregate, candle_path
from breakwater.paper_venue.model import Tick
from breakwater.paper_venue.money import nearest

STEP_MS = INTERVALS["5m"]
HISTORY_CANDLES = 2016
"""Candles before the start: 7 days of 5 minutes."""
KEPT_CANDLES = HISTORY_CANDLES + 288
"""Candles kept of each symbol, at least: what a venue loads as history, and a day. Older ones are drawn again when asked for."""
_SPARE = 288
START_PRICES = {"BTCUSDT": 64000.0, "ETHUSDT": 3200.0, "SOLUSDT": 150.0}
"""Where the generator begins, HISTORY_CANDLES before the start. Other symbols begin at 10 USDT."""
DEFAULT_CRASH_AFTER = timedelta(hours=4)

_REGIMES = (0.0006, 0.0014, 0.0032)
"""Volatility of a 5-minute return: calm, normal, nervous."""
_SWITCH = 0.02
_JUMP = 0.004
_CRASH_LEGS = (-0.012, -0.02, -0.028, -0.035, -0.022, -0.012, 0.015, 0.022, 0.01, 0.004)
"""Common returns of the candles of a crash: an hour's worth, down about 12 %, a third of it recovered."""


@dataclass(frozen=True, slots=True)
class Crash:
    """A crash begins with the candle that holds `at`; `depth` scales it (1 is down about 12 %)."""

    at: datetime
    depth: float = 1.0


@dataclass(slots=True)
class _Walk:
    spec: SymbolSpec
    rng: random.Random
    price: float
    beta: float
    candles: list[Candle]
    closed: float
    """Where the candle before ended, before rounding."""


class SyntheticMarket:
    """Endless 5-minute candles, 60 ticks each.

    `crash_at=None` schedules one crash 4 hours after the start; pass `crashes=()` for none.
    The last 8 days of candles are kept in memory. Getting to a far moment takes about 10 ms for each day on the way.
    """

    interval_ms = STEP_MS

    def __init__(
        self,
        seed: int,
        symbols: Sequence[str],
        start: datetime,
        *,
        crash_at: datetime | None = None,
        crashes: Sequence[Crash] | None = None,
        ticks_per_candle: int = 60,
    ) -> None:
        if start.tzinfo is None:
            raise ValueError("the market's start needs a time zone")
        if not symbols or len(set(symbols)) != len(symbols):
            raise ValueError("a synthetic market needs symbols, each named once")
        self._again = partial(
            SyntheticMarket, seed, tuple(symbols), start, crash_at=crash_at, crashes=crashes,
            ticks_per_candle=ticks_per_candle,
        )  # fmt: skip
        start_ms = int(start.timestamp() * 1000)
        self.start_ms = start_ms - start_ms % STEP_MS
        self.seed = seed
        self._ticks_per_candle = ticks_per_candle
        if crashes is None:
            crashes = (Crash(crash_at or start + DEFAULT_CRASH_AFTER),)
        self._crashes = [(int(c.at.timestamp() * 1000) // STEP_MS * STEP_MS, c.depth) for c in crashes]
        self._common = random.Random(f"{seed}:common")
        self._regime = 1
        self._next_ms = self.start_ms - HISTORY_CANDLES * STEP_MS
        self._first_ms = self._next_ms
        self._dropped = 0
        """Candles of each symbol that are not kept any more."""
        self._walks = {
            symbol: _Walk(
                spec=spec_for(symbol),
                rng=random.Random(f"{seed}:{symbol}"),
                price=START_PRICES.get(symbol, 10.0),
                beta=1.0 if symbol == "BTCUSDT" else 1.25,
                candles=[],
                closed=START_PRICES.get(symbol, 10.0),
            )
            for symbol in symbols
        }
        self._generate_until(self.start_ms)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._walks)

    def _generate_until(self, until_ms: int) -> None:
        kept_from = until_ms - KEPT_CANDLES * STEP_MS
        while self._next_ms < until_ms:
            if len(next(iter(self._walks.values())).candles) >= KEPT_CANDLES + _SPARE:
                self._drop(_SPARE)
            self._generate_candle(keep=self._next_ms >= kept_from)

    def _drop(self, count: int) -> None:
        self._dropped += count
        for walk in self._walks.values():
            del walk.candles[:count]

    def _crash_return(self, open_ms: int) -> float:
        total = 0.0
        for at_ms, depth in self._crashes:
            leg = (open_ms - at_ms) // STEP_MS
            if 0 <= leg < len(_CRASH_LEGS):
                total += _CRASH_LEGS[leg] * depth
        return total

    def _generate_candle(self, *, keep: bool) -> None:
        """``keep=False`` only moves prices and random sources on, which is most of the way to a far moment."""
        if not keep:
            self._drop(len(next(iter(self._walks.values())).candles))
            self._dropped += 1
        rng = self._common
        if rng.random() < _SWITCH:
            self._regime = rng.randrange(len(_REGIMES))
        sigma = _REGIMES[self._regime]
        crash = self._crash_return(self._next_ms)
        common = rng.gauss(0.0, sigma)
        if rng.random() < _JUMP:
            common += rng.gauss(0.0, 0.012)
        for symbol, walk in self._walks.items():
            own = walk.rng.gauss(0.0, sigma * 0.5)
            move = math.exp(walk.beta * (common + crash) + own)
            wick = sigma + abs(crash) * 0.25
            closed = walk.price * move
            high = max(walk.price, closed) * (1 + abs(walk.rng.gauss(0.0, wick * 0.6)))
            low = min(walk.price, closed) * (1 - min(0.5, abs(walk.rng.gauss(0.0, wick * 0.6))))
            # About 25 million USDT in a calm candle, more when it moves: enough for any liquidity rule.
            traded = 2.5e7 / walk.price * (0.5 + walk.rng.random() + abs(move - 1.0) / 0.002)
            if keep:
                walk.candles.append(self._candle(symbol, walk, closed, high, low, traded))
            walk.closed = closed
            walk.price = max(closed, float(walk.spec.tick_size) * 10)
        self._next_ms += STEP_MS

    def _candle(self, symbol: str, walk: _Walk, closed: float, high: float, low: float, traded: float) -> Candle:
        size = walk.spec.tick_size

        def price(value: float) -> Decimal:
            return max(size, nearest(Decimal(str(value)), size))

        opened = price(walk.closed)
        last = price(closed)
        return Candle(
            symbol=symbol,
            open_time_ms=self._next_ms,
            interval_ms=STEP_MS,
            open=opened,
            high=max(price(high), opened, last),
            low=min(price(low), opened, last),
            close=last,
            volume=nearest(Decimal(str(traded)), walk.spec.step_size),
        )

    def history(self, symbol: str, interval_ms: int, until_ms: int, limit: int) -> list[Candle]:
        """At most `limit` closed candles up to `until_ms`. Empty for intervals finer than 5 minutes."""
        if interval_ms % STEP_MS or limit < 1:
            return []
        self._generate_until(until_ms - until_ms % STEP_MS)
        count = max(0, (until_ms - self._first_ms) // STEP_MS)
        needed = (limit + 1) * (interval_ms // STEP_MS)
        if count - self._dropped < min(needed, count, KEPT_CANDLES):
            return self._again().history(symbol, interval_ms, until_ms, limit)
        begin = max(0, count - needed - self._dropped)
        result = aggregate(self._walks[symbol].candles[begin : count - self._dropped], interval_ms)
        if result and result[-1].open_time_ms + interval_ms > until_ms:
            result.pop()
        return result[-limit:]

    def ticks(self, after_ms: int | None = None) -> Iterator[Tick]:
        """Ticks of all symbols in time order, without end."""
        return heapq.merge(*(self._ticks_of(symbol, after_ms) for symbol in self._walks), key=lambda tick: tick.time_ms)

    def _ticks_of(self, symbol: str, after_ms: int | None) -> Iterator[Tick]:
        walk = self._walks[symbol]
        begin = self.start_ms if after_ms is None else max(self.start_ms, after_ms)
        index = (begin - self._first_ms) // STEP_MS
        while True:
            if index >= self._dropped + len(walk.candles):
                self._generate_until(self._first_ms + (index + 1) * STEP_MS)
            if index < self._dropped:
                yield from self._again()._ticks_of(symbol, after_ms)
                return
            candle = walk.candles[index - self._dropped]
            for tick in candle_path(candle, self._ticks_per_candle, tick_size=walk.spec.tick_size):
                if after_ms is None or tick.time_ms > after_ms:
                    yield tick
                    after_ms = tick.time_ms
            index += 1
