"""What a reset needs, in the order in which a refusal names it. REQUIREMENTS R1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

import msgspec

from breakwater.domain.evaluators import EvaluationInput, evaluate
from breakwater.domain.money import ZERO
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_memory import Memory, daily_drawdown_pct, rules_in_force
from breakwater.domain.stop_rules import StopRules
from breakwater.domain.stop_state import StopRequest, StopState, Trigger


class Missing(msgspec.Struct, frozen=True):
    """One precondition that does not hold now."""

    code: RefusalCode
    text: str
    remaining_seconds: int | None = None


def missing_for_reset(
    memory: Memory, request: StopRequest, rules: StopRules | None, now: datetime
) -> Iterator[Missing]:
    """Every precondition of ``request`` that does not hold at ``now``; the first one is the answer. Nothing: it may re-arm."""
    latched = memory.latched
    if not latched.stopped or latched.trip is None:
        yield Missing(RefusalCode.RESET_NOT_TRIPPED, f"the stop is {latched.state.value}: there is nothing to reset")
        return
    if request.trip_id != latched.trip.trip_id:
        named = request.trip_id or "no trip"
        yield Missing(
            RefusalCode.TRIP_ID_MISMATCH,
            f"the request names {named}, the standing trip is {latched.trip.trip_id}: look at it and name it",
        )
    in_force = rules_in_force(latched, rules)
    if in_force is None:
        yield Missing(
            RefusalCode.RESET_NOT_ALLOWED, "no policy is known: apply a TradingPolicy and an EmergencyStop first"
        )
    elif not in_force.allow_manual_reset:
        yield Missing(
            RefusalCode.RESET_NOT_ALLOWED,
            "allowManualReset was false during this trip: only re-creating the desk leaves TRIPPED",
        )
    yield from _cooled_down(memory, now)
    yield from _reconciled(memory, in_force, now)
    yield from _cause_gone(memory, request, in_force)


def _cooled_down(memory: Memory, now: datetime) -> Iterator[Missing]:
    latched = memory.latched
    until = latched.cooling_down_until
    if latched.state is not StopState.COOLING_DOWN or until is None:
        yield Missing(
            RefusalCode.RESET_NOT_FLAT,
            "the venue has not confirmed the account flat yet: the cooldown starts when it has",
        )
    elif now < until:
        left = math.ceil((until - now).total_seconds())
        yield Missing(
            RefusalCode.RESET_COOLING_DOWN,
            f"cooling down for another {left} s, until {until:%Y-%m-%d %H:%M:%S} UTC",
            left,
        )


def _reconciled(memory: Memory, rules: StopRules | None, now: datetime) -> Iterator[Missing]:
    snapshot = memory.snapshot
    if snapshot is None or memory.snapshot_problem:
        why = memory.snapshot_problem or "no portfolio snapshot has been seen since the start"
    elif rules is not None and now - snapshot.time > rules.stale_after:
        why = f"the last portfolio snapshot is {(now - snapshot.time).total_seconds():.0f} s old"
    elif not snapshot.reconciled:
        why = "the ledger does not agree with the venue"
    elif snapshot.marks_missing:
        why = f"no fresh mark price for {', '.join(snapshot.marks_missing)}"
    else:
        return
    yield Missing(RefusalCode.RESET_NOT_RECONCILED, f"{why}: wait for a fresh, reconciled snapshot")


def _cause_gone(memory: Memory, request: StopRequest, rules: StopRules | None) -> Iterator[Missing]:
    latched, snapshot = memory.latched, memory.snapshot
    assert latched.trip is not None
    day = snapshot.baseline_day if snapshot else None
    if request.new_baseline:
        if day is not None and latched.baseline_used_on == day:
            yield Missing(
                RefusalCode.RESET_BASELINE_USED,
                f"newBaseline was already used on {day}: it works once a day, wait for the next trading day",
            )
        if snapshot is not None and snapshot.equity <= ZERO:
            yield _standing("equity is not positive: there is nothing to measure a drawdown from")
    elif Trigger.DAILY_DRAWDOWN in latched.causes and not (day and latched.drawdown_day and day > latched.drawdown_day):
        yield _standing("the day's drawdown stands: wait for the next trading day, or ask with newBaseline: true")
    if Trigger.OPEN_LOSS in latched.causes and (snapshot is None or snapshot.positions):
        yield _standing("positions are still open: after an open-loss trip the desk must be flat")
    after_errors = {Trigger.EXECUTION_ERRORS, Trigger.MISSING_DATA} & set(latched.causes)
    if after_errors and (memory.venue_time is None or memory.venue_time <= latched.trip.time):
        yield _standing("no successful round trip to the venue since the trip: wait for the next account report")
    yield from _would_trip_again(memory, request, rules)


def _would_trip_again(memory: Memory, request: StopRequest, rules: StopRules | None) -> Iterator[Missing]:
    """Whatever fired the stop: arming above a limit would only trip again a second later."""
    snapshot, latched = memory.snapshot, memory.latched
    if snapshot is None or rules is None:
        return
    if memory.pending:
        yield _standing(f"a new breach is being confirmed: {memory.pending[0].breach.text}")
    if memory.open_reports:
        yield _standing("the venue reports a position although the account was flat: find out where it comes from")
    drawdown = ZERO if request.new_baseline else daily_drawdown_pct(snapshot, latched.rebase)
    breaches, problem = evaluate(EvaluationInput(rules, snapshot, drawdown, 0))
    for breach in breaches:
        yield _standing(f"it would trip again at once: {breach.text}")
    if problem:
        yield _standing(problem)


def _standing(text: str) -> Missing:
    return Missing(RefusalCode.RESET_CAUSE_NOT_GONE, text)
