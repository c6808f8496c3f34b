"""A person's requests to the emergency stop: each answered exactly once, refusals included. REQUIREMENTS R1."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from breakwater.domain.evaluators import Breach
from breakwater.domain.money import plain
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_facts import Answered, Fact, Rebased, Transition
from breakwater.domain.stop_memory import Latched, Memory, Rebase, Step, rules_in_force
from breakwater.domain.stop_reset import missing_for_reset
from breakwater.domain.stop_rules import StopRules
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopRequestKind, StopState, Trigger
from breakwater.domain.stop_trip import after, make_trip

ACCEPTED = "ACCEPTED"


def on_request(memory: Memory, request: StopRequest, rules: StopRules | None, now: datetime) -> Step:
    """A person's request: answered exactly once. A repeated id gets the old answer and does nothing (no facts).

    The answer is the ``Answered`` fact; for a repeated id use ``answer_to``.
    """
    if memory.latched.was_answered(request.request_id):
        return Step(replace(memory, latched=memory.latched.asked_again(request.request_id)))
    if text := _invalid(request):
        return _refuse(memory, request, RefusalCode.REQUEST_INVALID, text, now)
    if request.kind is StopRequestKind.TRIP:
        return _on_trip_request(memory, request, rules, now)
    missing = next(iter(missing_for_reset(memory, request, rules, now)), None)
    if missing is not None:
        return _refuse(memory, request, missing.code, missing.text, now, missing.remaining_seconds)
    return _rearm(memory, request, now)


def answer_to(memory: Memory, request: StopRequest, now: datetime) -> RequestOutcome:
    """The kept answer to ``request``; if its id was used for the other kind of request, a refusal that says so."""
    kept = memory.latched.outcome_of(request.request_id)
    if kept is not None and kept.kind is request.kind:
        return kept
    if kept is not None:
        used = f"was used for a {kept.kind.value}"
    else:
        known = memory.latched.was_answered(request.request_id)
        used = "was answered before, longer ago than answers are kept" if known else "has no answer"
    text = f"request id {request.request_id} {used}: send the request again under a new id"
    code = RefusalCode.REQUEST_REPEATED.value
    return RequestOutcome(request.request_id, request.kind, False, code, text, now, who=request.who)


def _on_trip_request(memory: Memory, request: StopRequest, rules: StopRules | None, now: datetime) -> Step:
    latched = memory.latched
    if latched.state is StopState.DISABLED:
        text = "the emergency stop is disabled: set enabled: true, then trip; or halt the execution component directly"
        return _refuse(memory, request, RefusalCode.TRIP_DISABLED, text, now)
    in_force = rules_in_force(latched, rules)
    trip = latched.trip
    if latched.state is StopState.TRIPPED and trip is not None:
        stronger = not trip.close_positions and (in_force is None or in_force.close_positions)
        if not stronger:
            return _answer(memory, request, True, ACCEPTED, f"already tripped as {trip.trip_id}", now)
    breach = Breach(Trigger.PERSON, None, None, "person", request.reason)
    step = make_trip(memory, in_force, breach, now, who=request.who)
    tripped = step.memory.latched.trip
    assert tripped is not None
    return after(step.facts, _answer(step.memory, request, True, ACCEPTED, f"tripped as {tripped.trip_id}", now))


def _rearm(memory: Memory, request: StopRequest, now: datetime) -> Step:
    old, snapshot = memory.latched, memory.snapshot
    assert snapshot is not None
    assert old.trip is not None
    epoch = old.epoch + 1
    latched = Latched(
        state=StopState.ARMED,
        epoch=epoch,
        execution_seen=old.execution_seen,
        baseline_used_on=old.baseline_used_on,
        rebase=old.rebase,
        outcomes=old.outcomes,
        forgotten=old.forgotten,
    )
    numbers = {"equity": plain(snapshot.equity), "baseline": plain(snapshot.baseline)}
    facts: list[Fact] = []
    if request.new_baseline:
        rebase = Rebase(snapshot.baseline_day, snapshot.equity, epoch)
        latched = replace(latched, baseline_used_on=rebase.day, rebase=rebase)
        facts.append(Rebased(epoch, now, rebase.equity, request.who, snapshot.transfers))
    facts.append(Transition(old.state, latched.state, epoch, now, request.who, request.reason, old.trip, numbers))
    memory = replace(memory, latched=latched, pending=(), peaks={}, seen_flat=False, open_reports=0)
    return after(tuple(facts), _answer(memory, request, True, ACCEPTED, f"re-armed after {old.trip.trip_id}", now))


def _invalid(request: StopRequest) -> str:
    for field, value in (("requestID", request.request_id), ("reason", request.reason), ("who", request.who)):
        if not value.strip():
            return f"{field} is empty: say it, it is written to the audit"
    return ""


def _refuse(
    memory: Memory, request: StopRequest, code: RefusalCode, text: str, now: datetime, remaining: int | None = None
) -> Step:
    return _answer(memory, request, False, code.value, text, now, remaining)


def _answer(
    memory: Memory,
    request: StopRequest,
    accepted: bool,
    code: str,
    text: str,
    now: datetime,
    remaining: int | None = None,
) -> Step:
    outcome = RequestOutcome(request.request_id, request.kind, accepted, code, text, now, remaining, request.who)
    return Step(replace(memory, latched=memory.latched.with_outcome(outcome)), (Answered(request, outcome),))
