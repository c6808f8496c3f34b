"""Watches one run from the outside, through the desk's events alone, and counts what the report says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from breakwater.desk.observer import Observer
from breakwater.domain.ids import ClientOrderId
from breakwater.domain.money import ZERO
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import Trip
from breakwater.runtime.bus import Bus
from breakwater.runtime.events import OrderFilled, OrderRefused, StopCoolingDown, StopRearmed, StopTripped
from breakwater.whatif.report import Curve


@dataclass
class Tripped:
    """One trip and what became of it."""

    trip: Trip
    flat_at: datetime | None = None
    reset_at: datetime | None = None


class Watch(Observer):
    """Start it before the desk. What happens before ``start`` of the replay counts, but has no place on the curve."""

    def __init__(self, bus: Bus, *, start: datetime, end: datetime) -> None:
        super().__init__(bus, on_snapshot=self._measure)
        self.fees = ZERO
        self.liquidations = 0
        self.filled: set[ClientOrderId] = set()
        self.refused_by: Counter[str] = Counter({"gate": 0, "risk_manager": 0})
        self.trips: list[Tripped] = []
        self.resets = 0
        self.drawdown: tuple[Decimal, datetime | None] = (ZERO, None)
        self.open_loss: tuple[Decimal, datetime | None] = (ZERO, None)
        self.exposure = ZERO
        self.lowest_equity: Decimal | None = None
        self.curve = Curve(start, end)

    def remember(self, payload: object) -> None:
        super().remember(payload)
        match payload:
            case OrderRefused(by=by):
                self.refused_by[by] += 1
            case OrderFilled():
                self.fees += payload.commission
                self.liquidations += payload.liquidation
                self.filled.add(payload.client_order_id)
            case StopTripped(trip=trip) if trip is not None:
                self.trips.append(Tripped(trip))
            case StopCoolingDown(time=time) if self.trips:
                self.trips[-1].flat_at = time
            case StopRearmed(time=time):
                self.resets += 1
                if self.trips:
                    self.trips[-1].reset_at = time
            case _:
                pass

    def _measure(self, snapshot: Snapshot) -> None:
        self.curve.add(snapshot.time, snapshot.equity)
        if snapshot.daily_drawdown_pct > self.drawdown[0]:
            self.drawdown = (snapshot.daily_drawdown_pct, snapshot.time)
        if snapshot.open_loss_pct > self.open_loss[0]:
            self.open_loss = (snapshot.open_loss_pct, snapshot.time)
        self.exposure = max(self.exposure, snapshot.exposure_pct)
        if self.lowest_equity is None or snapshot.equity < self.lowest_equity:
            self.lowest_equity = snapshot.equity
