"""Recorded candles from CSV files, replayed tick by tick."""

from __future__ import annotations

import csv
import gzip
import heapq
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from zlib import error as ZlibError

from breakwater.paper_venue.config import spec_for
from breakwater.paper_venue.markets.candle import Candle, aggregate, candle_path
from breakwater.paper_venue.model import Tick

COLUMNS = ("ts", "open", "high", "low", "close", "volume")
_SYMBOL = re.compile(r"^([A-Z0-9]{2,20}USDT)[-_.]")


class MarketFileError(Exception):
    """A market file that cannot be used. The text names file, line, column and what to do about it."""

    def __init__(self, file: Path, problem: str, remedy: str, *, line: int = 0, column: str = "") -> None:
        self.file, self.problem, self.remedy, self.line, self.column = file, problem, remedy, line, column
        place = str(file) + (f", line {line}" if line else "") + (f", column {column!r}" if column else "")
        super().__init__(f"{place}: {problem}. {remedy}")


def symbol_of(file: Path) -> str:
    """The symbol a file name starts with: BTCUSDT-5m-2025-09.csv.gz holds BTCUSDT."""
    match = _SYMBOL.match(file.name)
    if match is None:
        raise MarketFileError(
            file,
            "the file name does not start with a symbol",
            "Rename it like BTCUSDT-5m-2025-10.csv or BTCUSDT-5m-2025-10.csv.gz",
        )
    return match.group(1)


def load_candles(file: Path) -> list[Candle]:
    """Read one CSV or CSV.gz file with the columns ts,open,high,low,close,volume (ts in ms UTC).

    Raises MarketFileError.
    """
    symbol = symbol_of(file)
    try:
        with gzip.open(file, "rt", newline="") if file.suffix == ".gz" else file.open(newline="") as stream:
            rows = list(csv.reader(stream))
    except FileNotFoundError:
        raise MarketFileError(file, "there is no such file", "Check the path") from None
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, ZlibError) as error:
        raise MarketFileError(
            file, f"the file cannot be read ({error})", "Give a text CSV, plain or gzip with the ending .gz"
        ) from None
    if not rows or tuple(name.strip() for name in rows[0]) != COLUMNS:
        found = ",".join(rows[0]) if rows else "an empty file"
        raise MarketFileError(
            file, f"the header is {found[:80]!r}", f"The first line must be {','.join(COLUMNS)}", line=1
        )
    parsed = [_row(file, number, row) for number, row in enumerate(rows[1:], start=2) if row]
    if len(parsed) < 2:
        raise MarketFileError(file, f"it holds {len(parsed)} candle(s)", "At least two candles are needed")
    return _check_times(file, symbol, parsed)


def _row(file: Path, line: int, row: Sequence[str]) -> tuple[int, int, list[Decimal]]:
    if len(row) != len(COLUMNS):
        raise MarketFileError(
            file, f"it has {len(row)} fields instead of {len(COLUMNS)}", "Complete or remove the line", line=line
        )
    if not row[0].strip().isdecimal():
        raise MarketFileError(
            file, f"{row[0]!r} is not a time in ms", "Write ms since 1970 UTC", line=line, column="ts"
        )
    values: list[Decimal] = []
    for name, text in zip(COLUMNS[1:], row[1:], strict=True):
        try:
            value = Decimal(text.strip())
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite():
            raise MarketFileError(
                file, f"{text!r} is not a number", "Correct or remove the line", line=line, column=name
            )
        if value < 0 or (value == 0 and name != "volume"):
            raise MarketFileError(
                file, f"{text} is not a possible value", "Correct or remove the line", line=line, column=name
            )
        values.append(value)
    opened, high, low, close, _ = values
    if high < max(opened, close, low):
        raise MarketFileError(
            file, "high is below another price", "Correct or remove the line", line=line, column="high"
        )
    if low > min(opened, close):
        raise MarketFileError(file, "low is above another price", "Correct or remove the line", line=line, column="low")
    return line, int(row[0]), values


def _check_times(file: Path, symbol: str, rows: list[tuple[int, int, list[Decimal]]]) -> list[Candle]:
    interval = min(after[1] - before[1] for before, after in pairwise(rows))
    previous: int | None = None
    for line, time_ms, _ in rows:
        if previous is not None and time_ms <= previous:
            raise MarketFileError(
                file, "time does not increase", "Sort the lines and remove doubles", line=line, column="ts"
            )
        previous = time_ms
    for line, time_ms, _ in rows:
        if time_ms % interval:
            raise MarketFileError(
                file,
                f"time is not a multiple of the interval of {interval} ms",
                "Give candles of one interval only",
                line=line,
                column="ts",
            )
    return [Candle(symbol, time_ms, interval, *values) for _, time_ms, values in rows]


class ReplayMarket:
    """One or more files replayed between two market times, merged in time order.

    Candles before `start` serve as history. Raises MarketFileError when a file is unusable, when two files hold
    the same symbol or different intervals, or when a file has no candle between start and end.
    """

    def __init__(
        self, files: Sequence[Path | str], start: datetime, end: datetime, *, ticks_per_candle: int = 60
    ) -> None:
        if start.tzinfo is None or end.tzinfo is None:
            raise ValueError("start and end need a time zone: write them like 2025-10-10T20:00:00Z")
        if end <= start:
            raise ValueError(f"the replay ends ({end.isoformat()}) before it starts ({start.isoformat()})")
        if not files:
            raise ValueError("a replay needs at least one market file")
        if ticks_per_candle < 60:
            raise ValueError(f"a candle is replayed with at least 60 ticks, not {ticks_per_candle}")
        self.start_ms = int(start.timestamp() * 1000)
        self.end_ms = int(end.timestamp() * 1000)
        self._ticks_per_candle = ticks_per_candle
        self._candles: dict[str, list[Candle]] = {}
        self.interval_ms = 0
        for name in files:
            self._load(Path(name))

    def _load(self, file: Path) -> None:
        candles = load_candles(file)
        symbol = candles[0].symbol
        if symbol in self._candles:
            raise MarketFileError(file, f"another file holds {symbol} already", "Give each symbol once")
        if self.interval_ms and candles[0].interval_ms != self.interval_ms:
            raise MarketFileError(
                file,
                f"its candles last {candles[0].interval_ms} ms, the other files' {self.interval_ms} ms",
                "Replay files of one interval",
            )
        if not any(self.start_ms <= candle.open_time_ms < self.end_ms for candle in candles):
            first, last = (_iso(candles[i].open_time_ms) for i in (0, -1))
            raise MarketFileError(
                file,
                f"it has no candle between {_iso(self.start_ms)} and {_iso(self.end_ms)}",
                f"It holds {first} to {last}: choose start and end inside that",
            )
        self.interval_ms = candles[0].interval_ms
        self._candles[symbol] = candles

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._candles)

    def history(self, symbol: str, interval_ms: int, until_ms: int, limit: int) -> list[Candle]:
        """At most `limit` closed candles up to `until_ms`. Empty for intervals finer than the file's."""
        if interval_ms % self.interval_ms or limit < 1:
            return []
        needed = (limit + 1) * (interval_ms // self.interval_ms)
        done = [c for c in self._candles[symbol] if c.open_time_ms + c.interval_ms <= until_ms][-needed:]
        result = aggregate(done, interval_ms)
        if result and result[-1].open_time_ms + interval_ms > until_ms:
            result.pop()
        return result[-limit:]

    def ticks(self, after_ms: int | None = None) -> Iterator[Tick]:
        """Every tick from start to end in time order; ticks at the same instant in the order of the files."""
        return heapq.merge(
            *(self._ticks_of(symbol, after_ms) for symbol in self._candles), key=lambda tick: tick.time_ms
        )

    def _ticks_of(self, symbol: str, after_ms: int | None) -> Iterator[Tick]:
        size = spec_for(symbol).tick_size
        for candle in self._candles[symbol]:
            if candle.open_time_ms < self.start_ms or candle.open_time_ms >= self.end_ms:
                continue
            if after_ms is not None and candle.close_time_ms <= after_ms:
                continue
            for tick in candle_path(candle, self._ticks_per_candle, tick_size=size):
                if tick.time_ms < self.end_ms and (after_ms is None or tick.time_ms > after_ms):
                    yield tick


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
