"""What the dashboard has heard so far, event by event; bounded, whatever a desk does and however long it runs."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime
from decimal import Decimal

import msgspec

from breakwater.dashboard.equity_curve import EquityCurve
from breakwater.dashboard.event_rows import line_for
from breakwater.dashboard.view import EventRow, FillRow, OrderRow, RefusalRow
from breakwater.domain.ids import Symbol
from breakwater.domain.orders import OrderRole, OrderStatus
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopView
from breakwater.runtime import events as e

MOST_EVENTS = 200
MOST_ORDERS = 40
MOST_FILLS = 30
MOST_SYMBOLS = 200
MOST_COMPONENTS = 50


class Beat(msgspec.Struct, frozen=True):
    heartbeat: e.Heartbeat
    heard_at: float


class DeskState:
    """Reduces events to what is shown. ``now`` is infrastructure time in seconds; times inside events are market time."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.snapshot_at: float | None = None
        self.stop: StopView | None = None
        self.stop_at: float | None = None
        self.account: e.AccountReported | None = None
        self.health: e.HealthUpdated | None = None
        self.marks: OrderedDict[Symbol, e.MarkPrice] = OrderedDict()
        self.mark_at: float | None = None
        self.marks_received = 0
        self.beats: dict[str, Beat] = {}
        self.orders: OrderedDict[str, OrderRow] = OrderedDict()
        self.fills: deque[FillRow] = deque(maxlen=MOST_FILLS)
        self.refusals: dict[str, RefusalRow] = {}
        self.counts = dict.fromkeys(("signals", "proposals", "refused", "submitted", "filled", "failed"), 0)
        self.protective: dict[Symbol, Decimal] = {}
        """Trigger of the last protective stop sent, by symbol."""
        self.curve = EquityCurve()
        self._rows: deque[EventRow] = deque(maxlen=MOST_EVENTS)
        self._row_number = 0

    def apply(self, event: e.Event, now: float) -> None:
        """Take one event of the streams or one state broadcast."""
        payload = event.payload
        match payload:
            case e.MarkPrice():
                self.marks[payload.symbol] = payload
                self.mark_at, self.marks_received = now, self.marks_received + 1
                if len(self.marks) > MOST_SYMBOLS:
                    self.marks.popitem(last=False)
            case e.PortfolioUpdated():
                self._snapshot(payload.snapshot, now)
            case e.StopLease():
                self._stop(payload.view, now)
            case e.Heartbeat():
                if payload.component in self.beats or len(self.beats) < MOST_COMPONENTS:
                    self.beats[payload.component] = Beat(payload, now)
            case e.AccountReported():
                self.account = payload
                self._at_the_venue(payload)
            case e.FlatConfirmed():
                self._at_the_venue(payload)
            case e.HealthUpdated():
                self.health = payload
            case e.SignalGenerated():
                self.counts["signals"] += 1
            case e.OrderProposed():
                self.counts["proposals"] += 1
            case e.OrderRefused():
                self._refused(payload, event.time)
            case e.OrderSubmitted():
                self._submitted(payload, event.time)
            case e.OrderFilled():
                self._filled(payload)
            case e.OrderFailed():
                self._failed(payload, event.time)
        line = line_for(payload)
        if line is not None:
            self._row_number += 1
            self._rows.append(EventRow(self._row_number, event.time, *line))

    def rows_since(self, number: int, most: int = MOST_EVENTS) -> tuple[EventRow, ...]:
        """Lines numbered above ``number``, oldest first, at most the newest ``most``."""
        return tuple(row for row in self._rows if row.number > number)[-most:]

    @property
    def last_row(self) -> int:
        return self._row_number

    def _snapshot(self, snapshot: Snapshot, now: float) -> None:
        # A restarted portfolio counts from one again, so market time decides what is newer.
        if self.snapshot is None or snapshot.time >= self.snapshot.time:
            self.snapshot, self.snapshot_at = snapshot, now
            self.curve.add(snapshot.time, snapshot.equity, now=now)

    def _stop(self, view: StopView, now: float) -> None:
        known = self.stop
        if known is None or (view.epoch, view.issued_at) >= (known.epoch, known.issued_at):
            self.stop, self.stop_at = view, now

    def _refused(self, payload: e.OrderRefused, time: datetime) -> None:
        self.counts["refused"] += 1
        code = payload.refusal.code.value
        known = self.refusals.get(code)
        count = known.count + 1 if known else 1
        self.refusals[code] = RefusalRow(code, count, payload.by, payload.symbol, payload.refusal.text, time)

    def _submitted(self, payload: e.OrderSubmitted, time: datetime) -> None:
        self.counts["submitted"] += 1
        if payload.role is OrderRole.STOP and payload.trigger_price is not None:
            self.protective[payload.symbol] = payload.trigger_price
        early = self.orders.get(payload.client_order_id)
        filled = early.filled if early else Decimal(0)
        row = OrderRow(
            payload.client_order_id,
            payload.symbol,
            payload.role.value,
            payload.side.value,
            payload.order_type.value,
            payload.quantity,
            filled,
            payload.price,
            payload.trigger_price,
            _status(filled, payload.quantity),
            time,
        )
        self._keep(row)

    def _filled(self, payload: e.OrderFilled) -> None:
        self.counts["filled"] += 1
        self.fills.append(
            FillRow(
                payload.symbol,
                payload.role.value,
                payload.side.value,
                payload.quantity,
                payload.price,
                payload.commission,
                payload.time,
            )
        )
        known = self.orders.get(payload.client_order_id)
        if known is not None:
            filled = known.filled + payload.quantity
            self._keep(msgspec.structs.replace(known, filled=filled, status=_status(filled, known.quantity)))

    def _failed(self, payload: e.OrderFailed, time: datetime) -> None:
        self.counts["failed"] += 1
        known = self.orders.get(payload.client_order_id)
        if known is not None:
            text = f"{payload.code}: {payload.text}"
            self._keep(msgspec.structs.replace(known, status=payload.status.value, text=text, time=time))

    def _at_the_venue(self, report: e.AccountReported | e.FlatConfirmed) -> None:
        """Cancellations are not on the bus: a report without any order says that none rests any more."""
        if report.open_orders or report.open_algo_orders:
            return
        for row in self.orders.values():
            if row.status in _RESTING and row.time <= report.time:
                self._keep(msgspec.structs.replace(row, status=GONE))

    def _keep(self, row: OrderRow) -> None:
        self.orders[row.client_order_id] = row
        if len(self.orders) > MOST_ORDERS:
            self.orders.popitem(last=False)


GONE = "GONE"
"""Status of an order that rests no longer; the bus does not say how it ended."""
_RESTING = frozenset({OrderStatus.NEW.value, OrderStatus.PARTIALLY_FILLED.value})


def _status(filled: Decimal, quantity: Decimal) -> str:
    if filled >= quantity:
        return OrderStatus.FILLED.value
    return OrderStatus.PARTIALLY_FILLED.value if filled else OrderStatus.NEW.value
