"""What a signal source is: something that hears the market and the desk, and now and then has an opinion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Set
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from breakwater.domain.ids import Symbol
from breakwater.domain.signals import Direction
from breakwater.domain.snapshot import Snapshot
from breakwater.runtime.clocks import MarketClock
from breakwater.runtime.events import CandleClosed, MarkPrice, OrderFilled
from breakwater.runtime.lifecycle import Check

DEFAULT_HORIZON = timedelta(seconds=60)


class Opinion(msgspec.Struct, frozen=True):
    """What a source says; the engine makes a Signal of it. ``stop_pct``, ``target_pct``: percent of the price."""

    symbol: Symbol
    direction: Direction
    confidence: Decimal
    stop_pct: Decimal
    target_pct: Decimal | None = None
    horizon: timedelta = DEFAULT_HORIZON
    time: datetime | None = None
    """When it was formed (market time); None: now."""
    key: str = ""
    """Distinguishes opinions of one source on one symbol at one instant; part of the signal's id."""


Emit = Callable[[Opinion], Awaitable[None]]


class SignalSource:
    """Base of all sources. Override what you listen to; everything is called in the engine's event order.

    A source that raises loses that event, not the engine; the failure is logged and shown in readiness.
    """

    name: str = "source"
    """Goes into provenance: ``heuristic:momentum``, ``file:signals.jsonl``..."""
    ends_at_first_trip: bool = False
    """Says nothing any more once the emergency stop has tripped, restarts included."""

    def on_symbols(self, symbols: Set[Symbol]) -> None:
        """The symbols the policy names; called before the first event and on each change."""

    def on_candle(self, candle: CandleClosed, now: datetime) -> Iterable[Opinion]:
        return ()

    def on_mark(self, mark: MarkPrice, now: datetime) -> Iterable[Opinion]:
        return ()

    def on_snapshot(self, snapshot: Snapshot, now: datetime) -> Iterable[Opinion]:
        return ()

    def on_fill(self, fill: OrderFilled, now: datetime) -> Iterable[Opinion]:
        return ()

    async def run(self, emit: Emit, clock: MarketClock) -> None:
        """For sources that speak by themselves (files, schedules). Runs until it returns or the engine stops."""

    def check(self) -> Check:
        """The source's own health."""
        return Check(ok=True)
