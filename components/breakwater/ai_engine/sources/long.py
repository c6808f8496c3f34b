"""The drills' simplest trader: always wants to be long. Drills are compared over time: do not tune it."""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import datetime, timedelta
from decimal import Decimal

from breakwater.ai_engine.source import DEFAULT_HORIZON, Opinion, SignalSource
from breakwater.domain.ids import Symbol
from breakwater.domain.money import ZERO
from breakwater.domain.orders import OrderRole
from breakwater.domain.signals import Direction
from breakwater.domain.snapshot import Snapshot
from breakwater.runtime.events import OrderFilled

CONFIDENCE = Decimal("0.75")
STOP_PCT = Decimal(2)
WAIT_AFTER_EXIT = timedelta(minutes=5)


class LongSource(SignalSource):
    """Long with a 2 % stop and no target whenever flat; again 5 minutes of market time after a stop; silent after a trip."""

    name = "heuristic:long"
    ends_at_first_trip = True

    def __init__(self) -> None:
        self._symbols: tuple[Symbol, ...] = ()
        self._held: set[Symbol] = set()
        self._quiet_until: dict[Symbol, datetime] = {}

    def on_symbols(self, symbols: Set[Symbol]) -> None:
        self._symbols = tuple(sorted(symbols))

    def on_fill(self, fill: OrderFilled, now: datetime) -> Iterable[Opinion]:
        if fill.role is not OrderRole.ENTRY:
            self._be_quiet(fill.symbol, fill.time + WAIT_AFTER_EXIT)
        return ()

    def on_snapshot(self, snapshot: Snapshot, now: datetime) -> Iterable[Opinion]:
        held = {position.symbol for position in snapshot.positions if position.quantity != ZERO}
        for symbol in self._held - held:
            self._be_quiet(symbol, snapshot.time + WAIT_AFTER_EXIT)
        self._held = held
        opinions = []
        for symbol in self._symbols:
            if symbol in held or now < self._quiet_until.get(symbol, now):
                continue
            # One question at a time: the next one only when this one can no longer be answered.
            self._quiet_until[symbol] = now + DEFAULT_HORIZON
            opinions.append(Opinion(symbol, Direction.LONG, CONFIDENCE, STOP_PCT, time=now))
        return opinions

    def _be_quiet(self, symbol: Symbol, until: datetime) -> None:
        self._quiet_until[symbol] = max(until, self._quiet_until.get(symbol, until))
