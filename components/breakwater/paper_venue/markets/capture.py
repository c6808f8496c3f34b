"""Raw websocket messages as they were recorded, played at their own times."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from zlib import error as ZlibError

import msgspec

from breakwater.paper_venue.config import spec_for
from breakwater.paper_venue.markets.candle import MINUTE_MS, Candle, aggregate
from breakwater.paper_venue.markets.replay import MarketFileError
from breakwater.paper_venue.model import Tick
from breakwater.paper_venue.money import ZERO


class _Data(msgspec.Struct):
    """What is used of a market event. Prices and quantities are text on the wire."""

    e: str = ""
    s: str = ""
    T: int = 0
    p: str | int | list[object] = ""
    q: str | int = ""
    b: str | list[list[str]] = ""
    a: str | int | list[list[str]] = ""


class _Message(msgspec.Struct):
    data: _Data


_decoder = msgspec.json.Decoder(_Message)
_TRADES = frozenset({"trade", "aggTrade"})


@dataclass
class CaptureCounts:
    """What became of the lines of a capture."""

    used: int = 0
    ignored: int = 0
    """Whole messages of kinds that carry no price of a trade or of the book's top."""
    unreadable: int = 0
    """Torn, damaged, or no message of a stream."""
    late: int = 0
    """Older than what came before: their prices were the market's no more."""


@dataclass
class _Track:
    """One symbol while its ticks are put together."""

    ticks: list[Tick] = field(default_factory=list)
    price: Decimal = ZERO


class CaptureMarket:
    """Lines of a receive time in ns and a combined stream's message, plain or gzip, as a recorder writes them.

    Trades move the price and carry their volume; a best bid above the price, or a best ask below it, takes the price along.
    What cannot be read is counted in ``counts`` and left out. Raises MarketFileError for a file without a single price.
    """

    interval_ms = MINUTE_MS

    def __init__(self, files: Sequence[Path | str]) -> None:
        if not files:
            raise ValueError("a capture needs at least one file")
        self.counts = CaptureCounts()
        tracks: dict[str, _Track] = {}
        for name in files:
            before = self.counts.used
            self._read(Path(name), tracks)
            if self.counts.used == before:
                raise MarketFileError(
                    Path(name),
                    "it holds no trade and no bookTicker",
                    'Each line must be a time in ns and a message {"stream":...,"data":{...}}',
                )
        self._ticks = sorted((tick for track in tracks.values() for tick in track.ticks), key=lambda tick: tick.time_ms)
        self.symbols = tuple(sorted(tracks))
        self.start_ms = self._ticks[0].time_ms
        self.end_ms = self._ticks[-1].time_ms + 1

    def _read(self, file: Path, tracks: dict[str, _Track]) -> None:
        try:
            with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
                self._lines(stream, tracks)
        except FileNotFoundError:
            raise MarketFileError(file, "there is no such file", "Check the path") from None
        except OSError as error:
            raise MarketFileError(
                file, f"the file cannot be read ({error})", "Give a text file, or gzip with the ending .gz"
            ) from None

    def _lines(self, stream: Iterable[bytes], tracks: dict[str, _Track]) -> None:
        try:
            for line in stream:
                self._line(line, tracks)
        except (EOFError, ZlibError):
            self.counts.unreadable += 1  # the recorder was killed in the middle of a block

    def _line(self, line: bytes, tracks: dict[str, _Track]) -> None:
        _, _, text = line.partition(b" ")
        try:
            data = _decoder.decode(text).data
            if data.e in _TRADES:
                price, volume = _positive(data.p), _positive(data.q)
                bid = ask = price
            elif data.e == "bookTicker":
                bid, ask = _positive(data.b), _positive(data.a)
                price, volume = None, ZERO
            else:
                self.counts.ignored += 1
                return
            if not data.s or data.T <= 0:
                raise ValueError("neither symbol nor time")
        except (msgspec.DecodeError, ValueError, InvalidOperation, UnicodeDecodeError):
            self.counts.unreadable += 1
            return
        track = tracks.setdefault(data.s, _Track())
        if track.ticks and track.ticks[-1].time_ms > data.T:
            self.counts.late += 1
            return
        self.counts.used += 1
        known = track.price or (bid + ask) / 2
        moved = price if price is not None else min(max(known, bid), ask)
        moved = _on_grid(data.s, moved)
        if moved == track.price and not volume:
            return
        track.price = moved
        track.ticks.append(Tick(data.s, data.T, moved, volume))

    def history(self, symbol: str, interval_ms: int, until_ms: int, limit: int) -> list[Candle]:
        """At most `limit` candles that closed by `until_ms`, made of what was recorded before: nothing else is known."""
        if interval_ms % self.interval_ms or limit < 1:
            return []
        minutes: dict[int, list[Tick]] = {}
        for tick in self._ticks:
            if tick.symbol == symbol and tick.time_ms < until_ms:
                minutes.setdefault(tick.time_ms - tick.time_ms % MINUTE_MS, []).append(tick)
        closed = [_candle(symbol, opened, ticks) for opened, ticks in minutes.items() if opened + MINUTE_MS <= until_ms]
        return [c for c in aggregate(closed, interval_ms) if c.open_time_ms + interval_ms <= until_ms][-limit:]

    def ticks(self, after_ms: int | None = None) -> Iterator[Tick]:
        return (tick for tick in self._ticks if after_ms is None or tick.time_ms > after_ms)


def _candle(symbol: str, opened: int, ticks: list[Tick]) -> Candle:
    prices = [tick.price for tick in ticks]
    volume = sum((tick.volume for tick in ticks), ZERO)
    return Candle(symbol, opened, MINUTE_MS, prices[0], max(prices), min(prices), prices[-1], volume)


def _positive(value: object) -> Decimal:
    if not isinstance(value, str):
        raise ValueError("a price or quantity must be text")
    number = Decimal(value)
    if not number.is_finite() or number <= ZERO:
        raise ValueError("a price or quantity must be above 0")
    return number


def _on_grid(symbol: str, price: Decimal) -> Decimal:
    """The middle between bid and ask may lie between two ticks."""
    size = spec_for(symbol).tick_size
    return (price / size).to_integral_value() * size
