"""Watches one run from the outside, through the desk's events alone, and counts what the report says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from breakwater.domain.ids import ClientOrderId
from breakwater.domain.money import ZERO
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, Trip
from breakwater.runtime.bus import Bus
from breakwater.runtime.events import (
    AccountReported,
    Event,
    OrderFailed,
    OrderFilled,
    OrderRefused,
    OrderSubmitted,
    PortfolioUpdated,
    SignalGenerated,
    StopCoolingDown,
    StopLease,
    StopRearmed,
    StopTripped,
)
from breakwater.whatif.report import Curve


@dataclass
class Tripped:
    """One trip and what became of it."""

    trip: Trip
    flat_at: datetime | None = None
    reset_at: datetime | None = None


class Watch:
    """Start it before the desk. What happens before ``start`` of the replay counts, but has no place on the curve."""

    def __init__(self, bus: Bus, *, start: datetime, end: datetime) -> None:
        self._bus = bus
        self._changed = asyncio.Condition()
        self.signals = 0
        self.submitted = 0
        self.failed = 0
        self.fills = 0
        self.fees = ZERO
        self.liquidations = 0
        self.filled: set[ClientOrderId] = set()
        self.refused: Counter[str] = Counter()
        self.refused_by: Counter[str] = Counter({"gate": 0, "risk_manager": 0})
        self.trips: list[Tripped] = []
        self.resets = 0
        self.snapshot: Snapshot | None = None
        self.account_events = 0
        self.lease: StopLease | None = None
        self.drawdown: tuple[Decimal, datetime | None] = (ZERO, None)
        self.open_loss: tuple[Decimal, datetime | None] = (ZERO, None)
        self.exposure = ZERO
        self.lowest_equity: Decimal | None = None
        self.curve = Curve(start, end)
        bus.subscribe(
            self._apply,
            producers=("ai_engine", "risk_manager", "execution", "portfolio", "emergency_stop"),
            types=(
                SignalGenerated,
                OrderRefused,
                OrderSubmitted,
                OrderFilled,
                OrderFailed,
                AccountReported,
                PortfolioUpdated,
                StopTripped,
                StopCoolingDown,
                StopRearmed,
            ),
            group=None,
        )
        bus.watch_state(self._apply, types=(StopLease,))

    async def start(self) -> None:
        await self._bus.start()

    async def stop(self) -> None:
        await self._bus.stop()

    @property
    def state(self) -> StopState | None:
        return self.lease.view.state if self.lease else None

    async def wait_for(self, fact: Callable[[], bool]) -> None:
        """Return once ``fact()`` holds; looked at after every event."""
        async with self._changed:
            await self._changed.wait_for(fact)

    async def _apply(self, event: Event) -> None:
        self._count(event.payload)
        async with self._changed:
            self._changed.notify_all()

    def _count(self, payload: object) -> None:
        match payload:
            case SignalGenerated():
                self.signals += 1
            case OrderRefused(by=by, refusal=refusal):
                self.refused[refusal.code.value] += 1
                self.refused_by[by] += 1
            case OrderSubmitted():
                self.submitted += 1
            case OrderFilled():
                self.fills += 1
                self.fees += payload.commission
                self.liquidations += payload.liquidation
                self.filled.add(payload.client_order_id)
            case OrderFailed():
                self.failed += 1
            case AccountReported():
                self.account_events += 1
            case PortfolioUpdated(snapshot=snapshot):
                self._measure(snapshot)
            case StopTripped(trip=trip) if trip is not None:
                self.trips.append(Tripped(trip))
            case StopCoolingDown(time=time) if self.trips:
                self.trips[-1].flat_at = time
            case StopRearmed(time=time):
                self.resets += 1
                if self.trips:
                    self.trips[-1].reset_at = time
            case StopLease():
                self.lease = payload
            case _:
                pass

    def _measure(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.curve.add(snapshot.time, snapshot.equity)
        if snapshot.daily_drawdown_pct > self.drawdown[0]:
            self.drawdown = (snapshot.daily_drawdown_pct, snapshot.time)
        if snapshot.open_loss_pct > self.open_loss[0]:
            self.open_loss = (snapshot.open_loss_pct, snapshot.time)
        self.exposure = max(self.exposure, snapshot.exposure_pct)
        if self.lowest_equity is None or snapshot.equity < self.lowest_equity:
            self.lowest_equity = snapshot.equity
