"""Between the pure machine and the bus: facts as event payloads and log fields, a broadcast copy as a latch."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from breakwater.domain.stop_facts import Answered, Fact, Noted, Rebased, Transition
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_state import StopState, StopView, Trigger
from breakwater.runtime.events import (
    BaselineReset,
    Payload,
    StopCoolingDown,
    StopRearmed,
    StopRequestAnswered,
    StopTransition,
    StopTripped,
)

log = structlog.get_logger(__name__)

_TRANSITIONS: dict[StopState, type[StopTransition]] = {
    StopState.TRIPPED: StopTripped,
    StopState.COOLING_DOWN: StopCoolingDown,
}


def payload_of(fact: Fact) -> Payload | None:
    """The event that tells others; None for what only the audit and the lease tell (arming and disabling by the spec)."""
    match fact:
        case Transition():
            kind = _TRANSITIONS.get(fact.state)
            if fact.previous is StopState.COOLING_DOWN and fact.state is StopState.ARMED:
                kind = StopRearmed
            if kind is None:
                return None
            return kind(fact.epoch, fact.previous, fact.state, fact.time, fact.who, fact.reason, fact.trip)
        case Answered():
            return StopRequestAnswered(fact.outcome, fact.request.who)
        case Rebased():
            return BaselineReset(fact.time, fact.epoch, fact.equity, fact.who, fact.transfers)
        case Noted():
            return None


def log_facts(facts: Iterable[Fact]) -> None:
    """One log line each."""
    for fact in facts:
        log.info("emergency stop", **_log_fields(fact))


def _log_fields(fact: Fact) -> dict[str, object]:
    match fact:
        case Transition():
            change = f"{fact.previous.value} -> {fact.state.value}"
            return {"change": change, "epoch": fact.epoch, "who": fact.who, "reason": fact.reason}
        case Answered():
            return {"request": fact.request.request_id, "code": fact.outcome.code, "answer": fact.outcome.text}
        case Rebased():
            return {"new_baseline": str(fact.equity), "who": fact.who}
        case Noted():
            return {"note": fact.kind, "text": fact.text, **fact.numbers}


def from_copy(view: StopView, old: Latched) -> Latched:
    """The state that a broadcast copy tells of, with what ``old`` knows and a copy does not."""
    trip = view.trip
    causes = (trip.trigger,) if trip else ()
    return Latched(
        state=view.state,
        epoch=view.epoch,
        trip=trip,
        causes=causes,
        drawdown_day=trip.time.date() if trip and trip.trigger is Trigger.DAILY_DRAWDOWN else None,
        flat_at=view.flat_at,
        held=old.held,
        execution_seen=old.execution_seen,
        baseline_used_on=view.issued_at.date() if view.day_baseline_used else old.baseline_used_on,
        rebase=old.rebase,
        outcomes=old.outcomes,
        forgotten=old.forgotten,
    )
