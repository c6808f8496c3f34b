"""How a trip comes about: the one place that makes TRIPPED."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from breakwater.domain.evaluators import Breach
from breakwater.domain.ids import TripId
from breakwater.domain.money import plain
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_facts import Fact, Transition
from breakwater.domain.stop_memory import Latched, Memory, Step
from breakwater.domain.stop_rules import StopRules, tighter
from breakwater.domain.stop_state import StopState, Trigger, Trip

ITSELF = "emergency_stop"
"""Who decided, when it was nobody."""


def make_trip(
    memory: Memory, rules: StopRules | None, breach: Breach, now: datetime, *, who: str = ITSELF, reason: str = ""
) -> Step:
    """TRIPPED by ``breach``, whatever the state was. A later trip never asks for less than the standing one."""
    old, snapshot = memory.latched, memory.snapshot
    epoch = old.epoch + 1
    on_errors = breach.trigger is Trigger.EXECUTION_ERRORS
    close = (rules.close_positions_on_errors if on_errors else rules.close_positions) if rules else True
    if old.stopped and old.trip is not None:
        close = close or old.trip.close_positions  # a later trip never asks for less
    trip = Trip(
        trip_id=_trip_id(epoch, now),
        trigger=breach.trigger,
        time=now,
        measured=breach.measured,
        limit=breach.limit,
        binding=breach.binding,
        who=who,
        reason=reason or breach.text,
        close_positions=close,
    )
    drawdown_day = old.drawdown_day
    if breach.trigger is Trigger.DAILY_DRAWDOWN and snapshot is not None and breach.measured is not None:
        drawdown_day = snapshot.baseline_day
    held = tighter(old.held, rules) if old.stopped and old.held and rules else (rules or old.held)
    latched = replace(
        old,
        state=StopState.TRIPPED,
        epoch=epoch,
        trip=trip,
        causes=(*(cause for cause in old.causes if cause is not breach.trigger), breach.trigger),
        drawdown_day=drawdown_day,
        flat_at=None,
        held=held,
        standing={},
        consecutive_errors=0,
    )
    peaks = dict(memory.peaks) if old.stopped else {}
    if breach.measured is not None:
        peaks[breach.trigger] = breach.measured
    moved = Transition(old.state, latched.state, epoch, now, who, trip.reason, trip, _numbers(breach, snapshot))
    return Step(replace(memory, latched=latched, pending=(), peaks=peaks, seen_flat=False, open_reports=0), (moved,))


def unknown_state(epoch: int, why: str, now: datetime) -> Latched:
    """The closed state for when no copy of the latch is readable: TRIPPED, keeping positions, reset like any other trip.

    Positions are kept because selling on a damaged file would be a loss nobody decided; a person's trip closes them.
    """
    trip = Trip(
        trip_id=_trip_id(epoch, now),
        trigger=Trigger.MISSING_DATA,
        time=now,
        measured=None,
        limit=None,
        binding="latch",
        who=ITSELF,
        reason=why,
        close_positions=False,
    )
    return Latched(state=StopState.TRIPPED, epoch=epoch, trip=trip, causes=(Trigger.MISSING_DATA,))


def after(facts: tuple[Fact, ...], step: Step) -> Step:
    """``step`` with ``facts`` before its own."""
    return Step(step.memory, (*facts, *step.facts))


def _trip_id(epoch: int, now: datetime) -> TripId:
    return TripId(f"t{epoch}-{now:%Y%m%dT%H%M%SZ}")


def _numbers(breach: Breach, snapshot: Snapshot | None) -> dict[str, str]:
    numbers = {"binding": breach.binding}
    if breach.measured is not None and breach.limit is not None:
        numbers |= {"measured": plain(breach.measured), "limit": plain(breach.limit)}
    if snapshot is not None:
        numbers |= {
            "sequence": str(snapshot.sequence),
            "equity": plain(snapshot.equity),
            "baseline": plain(snapshot.baseline),
        }
    return numbers
