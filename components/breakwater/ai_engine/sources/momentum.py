"""A plain trend heuristic on closed candles: two exponential averages, a breakout, the average true range.

It exists so that a desk trades without trained models. It claims little: confidence runs from 0.50 to 0.65.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from breakwater.ai_engine.source import Opinion, SignalSource
from breakwater.domain.ids import Symbol
from breakwater.domain.money import HUNDRED, ZERO
from breakwater.domain.signals import Direction
from breakwater.domain.snapshot import Snapshot
from breakwater.runtime.events import CandleClosed, MarkPrice

FAST, SLOW, RANGE, BREAKOUT = 12, 26, 14, 20
"""Candles in the fast and slow average, the average true range, and the breakout channel."""
ENOUGH = 3 * SLOW
"""Candles before the averages have forgotten where they began."""
LEAST_TREND = Decimal("0.1")
"""Distance between the averages, in average true ranges, below which there is no trend."""
STOP_RANGES = Decimal(4)
LEAST_STOP_PCT, MOST_STOP_PCT = Decimal("0.8"), Decimal(4)
TARGET_TO_STOP = Decimal(2)
_HUNDREDTH = Decimal("0.01")


@dataclass
class _Indicators:
    """Running state of one symbol."""

    candles: int = 0
    last_open_time: datetime | None = None
    interval: timedelta = timedelta(minutes=5)
    close: Decimal = ZERO
    fast: Decimal = ZERO
    slow: Decimal = ZERO
    true_range: Decimal = ZERO
    channel: deque[tuple[Decimal, Decimal]] = field(default_factory=lambda: deque(maxlen=BREAKOUT))
    """High and low of the candles before the last one."""
    last: tuple[Decimal, Decimal] | None = None
    judged: datetime | None = None
    """Open time of the candle on which an opinion was last formed."""

    def add(self, candle: CandleClosed) -> bool:
        """False when the candle is not newer than what is known."""
        if self.last_open_time is not None and candle.open_time <= self.last_open_time:
            return False
        if self.candles == 0:
            self.fast = self.slow = candle.close
            self.true_range = candle.high - candle.low
        else:
            reach = max(candle.high, self.close) - min(candle.low, self.close)
            self.fast += (candle.close - self.fast) * 2 / (FAST + 1)
            self.slow += (candle.close - self.slow) * 2 / (SLOW + 1)
            self.true_range += (reach - self.true_range) / RANGE
        if self.last is not None:
            self.channel.append(self.last)
        self.last = (candle.high, candle.low)
        self.close, self.interval, self.last_open_time = candle.close, candle.interval, candle.open_time
        self.candles += 1
        return True


class MomentumSource(SignalSource):
    """Goes with the trend: on each closed candle, and once at start on the history it was given."""

    name = "heuristic:momentum"

    def __init__(self) -> None:
        self._indicators: dict[Symbol, _Indicators] = {}
        self._held: frozenset[Symbol] = frozenset()
        self._symbols: frozenset[Symbol] = frozenset()

    def on_symbols(self, symbols: Set[Symbol]) -> None:
        self._symbols = frozenset(symbols)

    def on_snapshot(self, snapshot: Snapshot, now: datetime) -> Iterable[Opinion]:
        self._held = frozenset(position.symbol for position in snapshot.positions if position.quantity != ZERO)
        return ()

    def on_candle(self, candle: CandleClosed, now: datetime) -> Iterable[Opinion]:
        indicators = self._indicators.setdefault(candle.symbol, _Indicators())
        if not indicators.add(candle) or candle.backfilled:
            return ()  # history speaks with the first price that follows it
        return self._judge(candle.symbol, indicators, now)

    def on_mark(self, mark: MarkPrice, now: datetime) -> Iterable[Opinion]:
        indicators = self._indicators.get(mark.symbol)
        if indicators is None or indicators.judged == indicators.last_open_time or indicators.last_open_time is None:
            return ()
        if mark.time - indicators.last_open_time > 2 * indicators.interval:
            return ()  # the history is old: wait for a candle
        return self._judge(mark.symbol, indicators, now)

    def _judge(self, symbol: Symbol, seen: _Indicators, now: datetime) -> Iterable[Opinion]:
        if seen.candles < ENOUGH or seen.true_range <= ZERO:
            return ()
        seen.judged = seen.last_open_time
        if symbol in self._held or symbol not in self._symbols:
            return ()
        trend = (seen.fast - seen.slow) / seen.true_range
        direction = Direction.LONG if trend > ZERO else Direction.SHORT
        beyond = seen.close > seen.fast if direction is Direction.LONG else seen.close < seen.fast
        if abs(trend) < LEAST_TREND or not beyond:
            return ()
        confidence = Decimal("0.50") + Decimal("0.05") * min(abs(trend), Decimal(2))
        if self._breaks_out(seen, direction):
            confidence += Decimal("0.05")
        stop_pct = STOP_RANGES * seen.true_range / seen.close * HUNDRED
        stop_pct = min(max(stop_pct, LEAST_STOP_PCT), MOST_STOP_PCT).quantize(_HUNDREDTH)
        return (
            Opinion(
                symbol,
                direction,
                confidence.quantize(_HUNDREDTH),
                stop_pct,
                target_pct=stop_pct * TARGET_TO_STOP,
                time=now,
            ),
        )

    @staticmethod
    def _breaks_out(seen: _Indicators, direction: Direction) -> bool:
        if len(seen.channel) < BREAKOUT:
            return False
        if direction is Direction.LONG:
            return seen.close > max(high for high, _ in seen.channel)
        return seen.close < min(low for _, low in seen.channel)
