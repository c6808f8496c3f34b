"""Depth streams: the best levels, or what has changed in the book since the event before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from breakwater.paper_venue.channels import depth_channel
from breakwater.paper_venue.model import Level, Tick
from breakwater.paper_venue.money import plain
from breakwater.paper_venue.streams import StreamHub
from breakwater.paper_venue.wire import Json

Levels = Callable[[str, str, int], list[Level]]
"""Symbol, side (BUY: bids, SELL: asks) and count -> the best levels of that side, best first."""
DEPTH_SHOWN = 1000
"""Levels of each side that changes are told of: as many as `GET /fapi/v1/depth` shows at most."""

Side = dict[Decimal, Decimal | None]
"""Quantity by price; None: told of otherwise than by an event, so the next one says it again."""


@dataclass
class _Told:
    """What the listeners of one stream know."""

    last_id: int
    sent_ms: int
    bids: Side
    asks: Side


class DepthPublisher:
    """``next_id`` numbers changes of books; the snapshot of `GET /fapi/v1/depth` carries the last one given out."""

    def __init__(self, hub: StreamHub, levels: Levels, next_id: Callable[[], int], last_id: Callable[[], int]) -> None:
        self._hub = hub
        self._levels = levels
        self._next_id = next_id
        self._last_id = last_id
        self._told: dict[str, _Told] = {}

    def publish(self, tick: Tick) -> None:
        """Send what is due on every depth stream of the tick's symbol that somebody listens to."""
        name = tick.symbol.lower()
        for stream in self._hub.wanted(f"{name}@depth"):
            channel = depth_channel(stream.partition("@")[2])
            if channel is None:
                continue
            count, pace_ms = channel
            told = self._told.get(stream)
            if told is not None and told.sent_ms <= tick.time_ms < told.sent_ms + pace_ms:
                continue
            self._told[stream] = self._send(stream, tick, count, told)

    def shown(self, symbol: str, bids: list[Level], asks: list[Level]) -> None:
        """A client has read this snapshot, and goes on from it with the events that follow."""
        for stream in self._hub.wanted(f"{symbol.lower()}@depth"):
            told = self._told.setdefault(stream, _Told(self._last_id(), 0, {}, {}))
            _say_again(told.bids, bids, away=-1)
            _say_again(told.asks, asks, away=1)

    def _send(self, stream: str, tick: Tick, count: int, told: _Told | None) -> _Told:
        bids, asks = (self._side(tick.symbol, side, count or DEPTH_SHOWN) for side in ("BUY", "SELL"))
        before = told.last_id if told is not None else self._last_id()
        number = self._next_id()
        known = told if told is not None and not count else _Told(before, 0, {}, {})
        event: Json = {
            "e": "depthUpdate",
            "E": tick.time_ms,
            "T": tick.time_ms,
            "s": tick.symbol,
            "ps": tick.symbol,
            "U": before + 1,
            "u": number,
            "pu": before,
            "b": _changes(known.bids, bids),
            "a": _changes(known.asks, asks),
            "st": 1,
        }
        self._hub.publish(stream, event)
        return _Told(number, tick.time_ms, bids, asks)

    def _side(self, symbol: str, side: str, count: int) -> Side:
        return {level.price: level.quantity for level in self._levels(symbol, side, count)}


def _say_again(known: Side, levels: list[Level], *, away: int) -> None:
    """Mark what a snapshot says differently. Prices beyond its last one, ``away`` from the market, were not asked for."""
    now = {level.price: level.quantity for level in levels}
    for price in [*now, *known]:
        beyond = bool(levels) and (price - levels[-1].price) * away > 0
        if not beyond and known.get(price) != now.get(price):
            known[price] = None


def _changes(before: Side, now: Side) -> list[list[str]]:
    """Levels with another quantity than before, and those that are gone with none, in the order of the book."""
    changed = [
        [plain(price), plain(quantity)]
        for price, quantity in now.items()
        if quantity is not None and before.get(price) != quantity
    ]
    return changed + [[plain(price), "0"] for price in before if price not in now]
