"""Watches a desk from the outside, through its events alone: what drills, what-if and simulations report."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState
from breakwater.runtime.bus import Bus
from breakwater.runtime.events import (
    AccountReported,
    Event,
    FlatConfirmed,
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


class Observer:
    """Counts and remembers. Subscribe before the desk starts; nothing here influences the desk."""

    def __init__(self, bus: Bus, *, on_snapshot: Callable[[Snapshot], None] = lambda _: None) -> None:
        self._bus = bus
        self._on_snapshot = on_snapshot
        self._changed = asyncio.Condition()
        self.signals = 0
        self.submitted: list[OrderSubmitted] = []
        self.fills: list[OrderFilled] = []
        self.failures: list[OrderFailed] = []
        self.refused: Counter[str] = Counter()
        self.snapshot: Snapshot | None = None
        self.account: AccountReported | None = None
        self.account_events = 0
        self.trip: StopTripped | None = None
        """The first trip."""
        self.cooling: StopCoolingDown | None = None
        self.rearmed: StopRearmed | None = None
        self.flat: FlatConfirmed | None = None
        self.lease: StopLease | None = None
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
                FlatConfirmed,
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
        self.remember(event.payload)
        async with self._changed:
            self._changed.notify_all()

    def remember(self, payload: object) -> None:
        """Keep what ``payload`` tells; whoever counts more extends it."""
        match payload:
            case SignalGenerated():
                self.signals += 1
            case OrderRefused(refusal=refusal):
                self.refused[refusal.code.value] += 1
            case OrderSubmitted():
                self.submitted.append(payload)
            case OrderFilled():
                self.fills.append(payload)
            case OrderFailed():
                self.failures.append(payload)
            case AccountReported():
                self.account = payload
                self.account_events += 1
            case FlatConfirmed():
                self.flat = self.flat or payload
            case PortfolioUpdated(snapshot=snapshot):
                self.snapshot = snapshot
                self._on_snapshot(snapshot)
            case StopTripped():
                self.trip = self.trip or payload
            case StopCoolingDown():
                self.cooling = self.cooling or payload
            case StopRearmed():
                self.rearmed = self.rearmed or payload
            case StopLease():
                self.lease = payload
            case _:
                pass
