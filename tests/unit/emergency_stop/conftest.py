"""Builders shared by the tests of the emergency stop's pure part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from breakwater.domain import emergency_stop as machine
from breakwater.domain.ids import RequestId, Symbol, TripId
from breakwater.domain.snapshot import PositionView, Snapshot
from breakwater.domain.stop_facts import Answered, Fact, Transition
from breakwater.domain.stop_memory import Latched, Memory, Step
from breakwater.domain.stop_rules import StopRules
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopRequestKind, StopState

START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
RULES = StopRules(
    enabled=True,
    live=False,
    max_daily_drawdown_pct=Decimal(5),
    daily_drawdown_binding="emergencyStop",
    max_open_loss_pct=Decimal(10),
    open_loss_binding="emergencyStop",
    max_consecutive_errors=5,
    cooldown=timedelta(minutes=15),
    allow_manual_reset=True,
    close_positions=True,
    close_positions_on_errors=False,
    stale_after=timedelta(seconds=10),
    trip_on_missing_data=False,
    missing_data_after=timedelta(seconds=60),
)


def make_snapshot(
    sequence: int,
    time: datetime,
    *,
    equity: str = "14000",
    baseline: str = "14000",
    held: str = "0",
    open_loss: str = "0",
    day: date | None = None,
    reconciled: bool = True,
    missing: tuple[str, ...] = (),
) -> Snapshot:
    base, worth = Decimal(baseline), Decimal(equity)
    quantity = Decimal(held)
    positions: tuple[PositionView, ...] = ()
    if quantity:
        price = Decimal(100000)
        positions = (PositionView(Symbol("BTCUSDT"), quantity, price, price, Decimal(0), 10, START),)
    return Snapshot(
        sequence=sequence,
        time=time,
        wallet=worth,
        unrealised_pnl=Decimal(0),
        equity=worth,
        baseline=base,
        baseline_day=day or time.date(),
        daily_drawdown_pct=_drawdown(base, worth),
        open_loss_pct=Decimal(open_loss),
        gross_notional=abs(quantity) * 100000,
        exposure_pct=Decimal(0),
        positions=positions,
        reconciled=reconciled,
        marks_missing=tuple(Symbol(symbol) for symbol in missing),
    )


def _drawdown(base: Decimal, worth: Decimal) -> Decimal:
    if not (base.is_finite() and worth.is_finite()):
        return Decimal("NaN")
    return max(Decimal(0), base - worth) / base * 100


@dataclass
class Desk:
    """Drives the machine and keeps what it said."""

    memory: Memory
    rules: StopRules | None = RULES
    now: datetime = START
    sequence: int = 0
    outcome_sequence: int = 0
    facts: list[Fact] = field(default_factory=list)

    @property
    def state(self) -> StopState:
        return self.memory.latched.state

    @property
    def transitions(self) -> list[tuple[StopState, StopState]]:
        return [(fact.previous, fact.state) for fact in self.facts if isinstance(fact, Transition)]

    def take(self, step: Step) -> None:
        self.memory = step.memory
        self.facts.extend(step.facts)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def configure(self, **changes: object) -> None:
        before = self.rules
        assert before is not None
        self.rules = replace(before, **changes)
        self.take(machine.on_rules(self.memory, before, self.rules, self.now))

    def see(self, **values: object) -> None:
        self.sequence += 1
        snapshot = make_snapshot(self.sequence, self.now, **values)  # type: ignore[arg-type]
        self.take(machine.on_snapshot(self.memory, snapshot, self.rules, self.now))

    def breach(self, **values: object) -> None:
        """Two snapshots over the limit, a second apart."""
        self.see(**values)
        self.wait(1)
        self.see(**values)

    def error(self, text: str | None = "timeout") -> None:
        self.outcome_sequence += 1
        position = (1, self.outcome_sequence)
        self.take(machine.on_execution_outcome(self.memory, position, text, self.rules, self.now))

    def report(self, positions: int = 0) -> None:
        self.take(machine.on_account(self.memory, self.now, positions, self.rules, self.now))

    def flat(self, *, positions: int = 0, orders: int = 0) -> None:
        trip = self.memory.latched.trip
        assert trip is not None
        epoch = self.memory.latched.epoch
        step = machine.on_flat(
            self.memory, trip.trip_id, epoch, self.now, positions=positions, open_orders=orders, now=self.now
        )
        self.take(step)

    def ask(self, request: StopRequest) -> RequestOutcome:
        self.take(machine.on_request(self.memory, request, self.rules, self.now))
        return machine.answer_to(self.memory, request, self.now)

    def trip(self, request_id: str = "p1", reason: str = "news") -> RequestOutcome:
        return self.ask(StopRequest(StopRequestKind.TRIP, RequestId(request_id), reason, "ada"))

    def reset(self, request_id: str, *, new_baseline: bool = False, trip_id: str | None = None) -> RequestOutcome:
        trip = self.memory.latched.trip
        named = TripId(trip_id) if trip_id else (trip.trip_id if trip else None)
        return self.ask(
            StopRequest(StopRequestKind.RESET, RequestId(request_id), "checked", "ada", named, new_baseline)
        )

    @property
    def answers(self) -> list[Answered]:
        return [fact for fact in self.facts if isinstance(fact, Answered)]


def armed_desk(**changes: object) -> Desk:
    desk = Desk(machine.started(Latched(), START))
    desk.configure(**changes)
    desk.see()
    desk.wait(1)
    assert desk.state is StopState.ARMED
    return desk


@pytest.fixture
def desk() -> Desk:
    """ARMED, one good snapshot seen."""
    return armed_desk()


@pytest.fixture
def make_desk() -> Callable[..., Desk]:
    return armed_desk
