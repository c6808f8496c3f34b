"""A market made of a desk's own recording: the marks it saw, at the times it saw them."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from breakwater.desk.recording import Candle as RecordedCandle
from breakwater.desk.recording import Recording
from breakwater.domain.ids import Symbol
from breakwater.domain.instruments import Instrument
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import Bracket, SymbolSpec, spec_for
from breakwater.paper_venue.markets.candle import MINUTE_MS, Candle, aggregate
from breakwater.paper_venue.model import Tick
from breakwater.paper_venue.money import ZERO, nearest

STEP_MS = 5000
"""At most this much market time between two ticks: an emergency stop that hears nothing for 10 s closes the gate."""
GAP_MS = 2 * MINUTE_MS
"""From here on nothing was recorded (the desk was not running): the price then stands still."""


def spec_of(instrument: Instrument) -> SymbolSpec:
    """The recorded trading rules as the paper venue's own; without brackets those it lists itself."""
    listed = spec_for(instrument.symbol)
    brackets = tuple(
        Bracket(each.notional_cap, each.max_leverage, each.maintenance_margin_rate) for each in instrument.brackets
    )
    return SymbolSpec(
        symbol=instrument.symbol,
        base=listed.base,
        tick_size=instrument.tick_size,
        step_size=instrument.step_size,
        min_notional=instrument.min_notional,
        max_qty=instrument.max_quantity,
        market_max_qty=instrument.max_market_quantity,
        brackets=brackets or listed.brackets,
    )


class RecordedMarket:
    """The recording between two market times. Between two recorded marks the price moves straight."""

    def __init__(self, recording: Recording, symbols: Sequence[Symbol], start: datetime, end: datetime) -> None:
        self.start_ms, self.end_ms = to_ms(start), to_ms(end)
        rules = recording.instruments
        self.specs = tuple(spec_of(rules[s]) if s in rules else spec_for(s) for s in symbols)
        self._candles = {str(s): _candles(recording.candles.get(s, {})) for s in symbols}
        self._marks = {str(s): _marks(recording.marks[s]) for s in symbols}
        self.interval_ms = min(
            (c.interval_ms for series in self._candles.values() for c in series), default=5 * MINUTE_MS
        )
        self.gaps = sum(
            after - before > GAP_MS
            for marks in self._marks.values()
            for (before, _), (after, _) in pairwise(marks)
            if self.start_ms <= before < self.end_ms
        )
        """Stretches without a recorded price, over all symbols."""

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._marks)

    def history(self, symbol: str, interval_ms: int, until_ms: int, limit: int) -> list[Candle]:
        """At most ``limit`` closed candles up to ``until_ms``, as far as the recording has them."""
        if interval_ms % self.interval_ms or limit < 1:
            return []
        done = [c for c in self._candles[symbol] if c.open_time_ms + c.interval_ms <= until_ms]
        result = aggregate(done, interval_ms)
        if result and result[-1].open_time_ms + interval_ms > until_ms:
            result.pop()
        return result[-limit:]

    def ticks(self, after_ms: int | None = None) -> Iterator[Tick]:
        """Ticks of all symbols from start to end in time order."""
        return heapq.merge(*(self._ticks_of(symbol, after_ms) for symbol in self._marks), key=lambda tick: tick.time_ms)

    def _ticks_of(self, symbol: str, after_ms: int | None) -> Iterator[Tick]:
        spec = next(each for each in self.specs if each.symbol == symbol)
        volume = _VolumePerTick(self._candles[symbol], spec)
        for time_ms, price in self._path(self._marks[symbol], spec.tick_size):
            if self.start_ms <= time_ms < self.end_ms and (after_ms is None or time_ms > after_ms):
                yield Tick(symbol, time_ms, price, volume.at(time_ms))

    def _path(self, marks: Sequence[tuple[int, Decimal]], tick_size: Decimal) -> Iterator[tuple[int, Decimal]]:
        # One that was known at the start, so that every symbol has a price from the first moment on.
        times = [time_ms for time_ms, _ in marks]
        first = max(bisect_right(times, self.start_ms) - 1, 0)
        if times[first] != self.start_ms:
            marks = [(self.start_ms, marks[first][1]), *marks[first + (times[first] < self.start_ms) :]]
        else:
            marks = marks[first:]
        last = max(self.end_ms, marks[-1][0])
        for (time_ms, price), (next_ms, next_price) in pairwise([*marks, (last, marks[-1][1])]):
            if time_ms >= self.end_ms:
                return
            yield time_ms, price
            gap = next_ms - time_ms
            for moment in range(time_ms + STEP_MS, next_ms, STEP_MS):
                if gap > GAP_MS:
                    yield moment, price
                else:
                    straight = price + (next_price - price) * (moment - time_ms) / gap
                    yield moment, nearest(straight, tick_size)


class _VolumePerTick:
    """A candle's volume in equal parts, one for each step of its time; nothing where no candle was recorded."""

    def __init__(self, candles: Sequence[Candle], spec: SymbolSpec) -> None:
        self._parts = {
            candle.open_time_ms: nearest(candle.volume * STEP_MS / candle.interval_ms, spec.step_size)
            for candle in candles
        }
        self._interval_ms = candles[0].interval_ms if candles else MINUTE_MS

    def at(self, time_ms: int) -> Decimal:
        return self._parts.get(time_ms - time_ms % self._interval_ms, ZERO)


def _candles(recorded: Mapping[datetime, RecordedCandle]) -> list[Candle]:
    return [
        Candle(c.symbol, to_ms(c.time), c.seconds * 1000, c.open, c.high, c.low, c.close, c.volume)
        for _, c in sorted(recorded.items())
    ]


def _marks(recorded: Mapping[datetime, Decimal]) -> list[tuple[int, Decimal]]:
    return [(to_ms(moment), price) for moment, price in sorted(recorded.items())]
