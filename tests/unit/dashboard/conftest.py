"""Values and a dashboard on a memory bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.dashboard.service import DashboardService
from breakwater.dashboard.view import DeskFacts, DeskStatus
from breakwater.domain.ids import DeskId, Symbol, TripId
from breakwater.domain.limits import effective_limits
from breakwater.domain.signals import DataKind
from breakwater.domain.snapshot import PositionView, Snapshot
from breakwater.domain.stop_state import StopState, StopView, Trigger, Trip
from breakwater.runtime import events as e
from breakwater.runtime.clocks import Clocks, wall_clocks
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.manifests import load_manifests
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.bus import MemoryBroker, MemoryBus

ROOT = Path(__file__).resolve().parents[3]
NOON = datetime(2025, 10, 10, 12, 0, tzinfo=UTC)
DESK = DeskId("main")


class Make:
    """Values with everything filled in that a test does not care about."""

    noon = NOON
    facts = DeskFacts("synthetic:7", "0.1.0", NOON)

    def __init__(self) -> None:
        desk = load_manifests(ROOT / "profiles" / "normal.yaml")
        policy, stop = desk.policy.spec, desk.stop.spec
        limits = effective_limits(policy, stop)
        self.policy = PolicyInForce(3, policy, stop, limits, NOON, False, desk, "0" * 64)
        self._sequence = 0

    def event(self, producer: str, payload: e.Payload, time: datetime = NOON) -> e.Event:
        self._sequence += 1
        return e.Event(DESK, producer, 1, self._sequence, time, e.EVENT_NAMES[type(payload)], payload)

    def position(
        self, symbol: str = "BTCUSDT", quantity: str = "0.1", entry: str = "100000", mark: str = "99000"
    ) -> PositionView:
        q, first, now = Decimal(quantity), Decimal(entry), Decimal(mark)
        return PositionView(Symbol(symbol), q, first, now, (now - first) * q, 10, NOON)

    def snapshot(self, *positions: PositionView, equity: str = "13900", time: datetime = NOON, **more: Any) -> Snapshot:
        self._sequence += 1
        total, baseline = Decimal(equity), Decimal(14000)
        unrealised = sum((p.unrealised_pnl for p in positions), Decimal(0))
        gross = sum((p.notional for p in positions), Decimal(0))
        given: dict[str, Any] = {
            "sequence": self._sequence,
            "time": time,
            "wallet": total - unrealised,
            "unrealised_pnl": unrealised,
            "equity": total,
            "baseline": baseline,
            "baseline_day": time.date(),
            "daily_drawdown_pct": max(Decimal(0), baseline - total) / baseline * 100,
            "open_loss_pct": max(Decimal(0), -unrealised) / (total - unrealised) * 100,
            "gross_notional": gross,
            "exposure_pct": gross / total * 100,
            "positions": positions,
            "reconciled": True,
        }
        return Snapshot(**(given | more))

    def trip(self, trigger: Trigger = Trigger.DAILY_DRAWDOWN, **more: Any) -> Trip:
        given: dict[str, Any] = {
            "trip_id": TripId("main-7"),
            "trigger": trigger,
            "time": NOON,
            "measured": Decimal("5.1"),
            "limit": Decimal(5),
            "binding": "profile",
            "who": "emergency_stop",
            "reason": "over the limit",
        }
        return Trip(**(given | more))

    def view(self, state: StopState = StopState.ARMED, **more: Any) -> StopView:
        self._sequence += 1
        given: dict[str, Any] = {
            "state": state,
            "epoch": 1,
            "sequence": self._sequence,
            "issued_at": datetime.now(UTC),
            "lease_seconds": Decimal(1),
            "reduce_only": state is not StopState.ARMED,
        }
        return StopView(**(given | more))

    def heartbeat(self, component: str, *, checks: dict[str, bool] | None = None, **detail: str) -> e.Heartbeat:
        return e.Heartbeat(component, NOON, 1, checks or {"tasks": True}, detail)


@pytest.fixture
def make() -> Make:
    return Make()


class FixedMarketClock:
    """Market time that stands still at noon."""

    def now(self) -> datetime:
        return NOON + timedelta(minutes=1)

    async def sleep_until(self, moment: datetime) -> None:
        raise NotImplementedError


class FixedPolicy:
    def __init__(self, policy: PolicyInForce | None) -> None:
        self.in_force = policy

    def current(self) -> PolicyInForce | None:
        return self.in_force


@dataclass
class Harness:
    service: DashboardService
    policy: FixedPolicy
    bus: Callable[[str], Any]

    def status(self) -> DeskStatus:
        return self.service.status()


@pytest.fixture
async def harness(make: Make, tmp_path: Path) -> AsyncIterator[Harness]:
    """A dashboard on a memory bus; ``await harness.bus("execution")`` gives a started bus to publish on."""
    clocks = Clocks(FixedMarketClock(), wall_clocks().infra)
    broker = MemoryBroker()
    own = MemoryBus(broker, DESK, "dashboard", clocks.infra)
    policy = FixedPolicy(make.policy)
    context = ComponentContext(DESK, clocks, own, FileDisk(tmp_path), policy, DataKind.SYNTHETIC)
    service = DashboardService(context, make.facts)
    await own.start()
    await service.start()
    others: list[MemoryBus] = []

    async def bus(producer: str) -> MemoryBus:
        made = MemoryBus(broker, DESK, producer, clocks.infra)
        await made.start()
        others.append(made)
        return made

    yield Harness(service, policy, bus)
    await service.stop()
    for each in (own, *others):
        await each.stop()
    assert broker.failures == []
