"""The emergency stop's state machine: pure functions from memory and one input to new memory and facts. REQUIREMENTS R1.

Every transition there is:

    DISABLED <-> ARMED          by the spec (``on_rules``)
    ARMED -> TRIPPED            by an evaluator, missing data or a person
    TRIPPED -> COOLING_DOWN     by itself, when the venue confirmed flat (``on_flat``)
    COOLING_DOWN -> TRIPPED     on a *new* breach, or a person
    COOLING_DOWN -> ARMED       by an accepted reset alone (``on_request``)

A trip that keeps positions (execution errors) gives way, within TRIPPED, to a stronger one that closes them: same state,
next epoch, new trip id.

What counts as a new breach while cooling down: a position that reappears after the account was flat; an open loss; a
drawdown that has grown by a tenth of its limit while positions exist; execution errors. A standing drawdown on a flat
account is none of these: nothing is left to stop.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from breakwater.domain.evaluators import EVALUATORS, Breach, EvaluationInput, evaluate
from breakwater.domain.ids import TripId
from breakwater.domain.money import plain
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_facts import Fact, Noted, Transition
from breakwater.domain.stop_memory import (
    Latched,
    Memory,
    Pending,
    Step,
    cannot_be,
    daily_drawdown_pct,
    rules_in_force,
    unusable,
)
from breakwater.domain.stop_requests import answer_to, on_request
from breakwater.domain.stop_rules import StopRules, tighter
from breakwater.domain.stop_state import StopState, Trigger
from breakwater.domain.stop_trip import ITSELF, after, make_trip, unknown_state

__all__ = [
    "CONFIRM_AFTER",
    "ITSELF",
    "answer_to",
    "on_account",
    "on_execution_outcome",
    "on_flat",
    "on_request",
    "on_rules",
    "on_snapshot",
    "on_time",
    "started",
    "unknown_state",
    "waits_for_rules",
]

CONFIRM_AFTER = timedelta(seconds=1)
"""Market time between the first snapshot over a limit and the one that trips."""

_AT_ONCE: Final = frozenset(evaluator.trigger for evaluator in EVALUATORS if not evaluator.debounced)
_ARMED: Final = StopState.ARMED
_DISABLED: Final = StopState.DISABLED
_COOLING_DOWN: Final = StopState.COOLING_DOWN


def started(latched: Latched, now: datetime) -> Memory:
    """What a process knows when it has read the latch and nothing else yet."""
    trip = latched.trip
    peaks = {trip.trigger: trip.measured} if trip is not None and trip.measured is not None else {}
    return Memory(latched=latched, since=now, peaks=peaks)


def on_rules(memory: Memory, before: StopRules | None, rules: StopRules | None, now: datetime) -> Step:
    """The configuration changed from ``before`` to ``rules``. While stopped it can only get stricter."""
    latched = memory.latched
    if rules is None:
        return Step(memory)
    if latched.stopped:
        facts: tuple[Fact, ...] = ()
        if not rules.enabled and (before is None or before.enabled):
            text = f"enabled: false is refused while {latched.state.value}; it takes effect after the re-arm"
            facts = (Noted("spec_refused", now, text),)
        held = tighter(latched.held, rules) if latched.held else rules
        return Step(replace(memory, latched=replace(latched, held=held)), facts)
    wanted = StopState.ARMED if rules.enabled else StopState.DISABLED
    if latched.state is wanted:
        return Step(memory)
    new = replace(latched, state=wanted, epoch=latched.epoch + 1, consecutive_errors=0)
    reason = f"enabled: {str(rules.enabled).lower()} in the spec"
    moved = Transition(latched.state, wanted, new.epoch, now, ITSELF, reason)
    return Step(replace(memory, latched=new, pending=()), (moved,))


def waits_for_rules(memory: Memory, rules: StopRules) -> bool:
    """Whether ``on_rules`` still has something to do although ``rules`` are not new: what was refused or unknown before."""
    latched = memory.latched
    if latched.stopped:
        return latched.held is None
    return rules.enabled is (latched.state is StopState.DISABLED)


def on_snapshot(memory: Memory, snapshot: Snapshot, rules: StopRules | None, now: datetime) -> Step:
    """A portfolio snapshot arrived: judge it. A redelivered or overtaken one changes nothing."""
    last = memory.snapshot
    if last is not None and snapshot.sequence == last.sequence:
        return Step(memory)
    problem = unusable(snapshot, rules, now)
    if last is not None and not problem and snapshot.sequence < last.sequence and snapshot.time < last.time:
        return Step(memory)
    if problem:
        known = bool(memory.snapshot_problem)
        noted = () if known else (Noted("snapshot_unusable", now, problem),)
        return Step(replace(memory, snapshot_problem=problem), noted)
    latched = memory.latched
    state = latched.state
    known_problem = memory.snapshot_problem
    seen_flat = memory.seen_flat or (state is _COOLING_DOWN and not snapshot.positions)
    memory = replace(memory, snapshot=snapshot, snapshot_problem="", seen_flat=seen_flat)
    in_force = rules_in_force(latched, rules)
    if in_force is None or state is _DISABLED:
        return Step(replace(memory, pending=()))
    breaches, problem = _evaluate(memory, in_force)
    if state is not _ARMED:
        memory = replace(memory, peaks=_peaks(memory, breaches))
        breaches = list(_new_while_stopped(memory, breaches, in_force))
    if not problem:
        return _debounce(memory, breaches, snapshot, in_force, now)
    noted = () if problem == known_problem else (Noted("evaluator_failed", now, problem),)
    return after(noted, _debounce(replace(memory, snapshot_problem=problem), breaches, snapshot, in_force, now))


def on_execution_outcome(
    memory: Memory, position: tuple[int, int] | None, error: str | None, rules: StopRules | None, now: datetime
) -> Step:
    """The final outcome of one command: an execution error's text, or None for an entry that the venue accepted.

    ``position`` is the event's (epoch, sequence): each outcome counts once. None: no event tells, it is not known how it ended.
    """
    latched = memory.latched
    if position is None:
        position = latched.execution_seen
    elif position <= latched.execution_seen:
        return Step(memory)
    count = latched.consecutive_errors
    if error is None:
        count = 0
    elif latched.state in (StopState.ARMED, StopState.COOLING_DOWN):
        count += 1
    memory = replace(memory, latched=replace(latched, execution_seen=position, consecutive_errors=count))
    in_force = rules_in_force(latched, rules)
    if error is None or in_force is None or latched.state not in (StopState.ARMED, StopState.COOLING_DOWN):
        return Step(memory)
    noted = Noted("execution_error", now, error, {"consecutive": str(count)})
    for breach in _evaluate(memory, in_force)[0]:
        if breach.trigger is Trigger.EXECUTION_ERRORS:
            return after((noted,), make_trip(memory, in_force, breach, now, reason=f"{breach.text}; last: {error}"))
    return Step(memory, (noted,))


def on_account(memory: Memory, time: datetime, positions: int, rules: StopRules | None, now: datetime) -> Step:
    """The venue was reached at ``time`` and holds ``positions`` open positions."""
    latched = memory.latched
    if cannot_be(time, now) or (memory.venue_time is not None and time <= memory.venue_time):
        return Step(memory)
    again = latched.state is StopState.COOLING_DOWN and latched.trip is not None and latched.trip.close_positions
    reappeared = again and positions > 0 and latched.flat_at is not None and time > latched.flat_at
    reports = memory.open_reports + 1 if reappeared else 0
    memory = replace(memory, venue_time=time, open_reports=reports)
    in_force = rules_in_force(latched, rules)
    if reports < 2 or in_force is None:
        return Step(memory)
    return make_trip(memory, in_force, _reappeared(latched, f"the venue reports {positions} open position(s)"), now)


def on_flat(
    memory: Memory, trip_id: TripId, epoch: int, time: datetime, *, positions: int, open_orders: int, now: datetime
) -> Step:
    """The venue confirmed flat. If positions were to be kept, that means: no entries, everything protected.

    ``open_orders`` counts both kinds. A confirmation of another trip or epoch changes nothing.
    """
    latched = memory.latched
    trip = latched.trip
    if latched.state is not StopState.TRIPPED or trip is None or (trip.trip_id, latched.epoch) != (trip_id, epoch):
        return Step(memory)
    if trip.close_positions and (positions or open_orders):
        text = f"a flat confirmation with {positions} position(s) and {open_orders} order(s) was not believed"
        return Step(memory, (Noted("flat_refused", now, text),))
    new = replace(
        latched,
        state=StopState.COOLING_DOWN,
        epoch=epoch + 1,
        flat_at=now if cannot_be(time, now) else max(trip.time, time),
        standing=dict(memory.peaks),
        consecutive_errors=0,
    )
    reason = "the venue confirmed flat" if trip.close_positions else "no entries left, positions are protected"
    moved = Transition(latched.state, new.state, new.epoch, now, ITSELF, reason, trip)
    return Step(replace(memory, latched=new, pending=(), seen_flat=False, open_reports=0), (moved,))


def on_time(memory: Memory, rules: StopRules | None, now: datetime) -> Step:
    """Time passed without a fresh snapshot: trip, if that is what the spec asks for."""
    if memory.latched.state is not StopState.ARMED or rules is None or not rules.trip_on_missing_data:
        return Step(memory)
    age = now - (memory.snapshot.time if memory.snapshot else memory.since)
    if age < rules.missing_data_after:
        return Step(memory)
    seconds = Decimal(str(age.total_seconds()))
    limit = Decimal(str(rules.missing_data_after.total_seconds()))
    text = f"no fresh portfolio snapshot for {seconds:.0f} s, the limit is {plain(limit)} s"
    return make_trip(memory, rules, Breach(Trigger.MISSING_DATA, seconds, limit, "emergencyStop", text), now)


def _evaluate(memory: Memory, rules: StopRules) -> tuple[list[Breach], str]:
    snapshot = memory.snapshot
    drawdown = daily_drawdown_pct(snapshot, memory.latched.rebase) if snapshot else Decimal(0)
    return evaluate(EvaluationInput(rules, snapshot, drawdown, memory.latched.consecutive_errors))


def _peaks(memory: Memory, breaches: list[Breach]) -> dict[Trigger, Decimal]:
    """The worst so far of each trigger."""
    peaks = dict(memory.peaks)
    for breach in breaches:
        if breach.measured is not None:
            peaks[breach.trigger] = max(peaks.get(breach.trigger, breach.measured), breach.measured)
    return peaks


def _new_while_stopped(memory: Memory, breaches: list[Breach], rules: StopRules) -> Iterable[Breach]:
    """Of what stands over a limit while stopped, that which calls for another trip."""
    latched, snapshot = memory.latched, memory.snapshot
    if snapshot is None or latched.trip is None or not snapshot.positions:
        return
    if latched.state is StopState.TRIPPED:
        if not latched.trip.close_positions and rules.close_positions:
            yield from (breach for breach in breaches if breach.trigger not in latched.causes)
        return
    if latched.trip.close_positions and memory.seen_flat:
        symbols = ", ".join(position.symbol for position in snapshot.positions)
        yield _reappeared(latched, f"the portfolio shows {symbols}")
    for breach in breaches:
        standing = latched.standing.get(breach.trigger)
        grown = standing is None or breach.measured is None or breach.limit is None
        if grown or breach.measured >= standing + breach.limit / 10:  # type: ignore[operator]
            yield breach


def _reappeared(latched: Latched, what: str) -> Breach:
    """A position after flat. It keeps the standing trip's trigger, so that its cause still has to go."""
    assert latched.trip is not None
    return Breach(latched.trip.trigger, None, None, "flat", f"a position reappeared while cooling down: {what}")


def _debounce(memory: Memory, breaches: list[Breach], snapshot: Snapshot, rules: StopRules, now: datetime) -> Step:
    waiting = memory.pending
    if not breaches and not waiting:
        return Step(memory)
    after: tuple[Pending, ...] = ()
    facts: tuple[Fact, ...] = ()
    for breach in breaches:
        key = breach.trigger + "/" + breach.binding
        first = None
        for pending in waiting:  # a handful at most
            if pending.key == key:
                first = pending
        if breach.trigger in _AT_ONCE or (
            first is not None and snapshot.sequence != first.sequence and snapshot.time - first.time >= CONFIRM_AFTER
        ):
            return make_trip(memory, rules, breach, now)
        if first is None:
            facts += (Noted("breach_seen", now, breach.text),)
            first = Pending(key, snapshot.sequence, snapshot.time, breach)
        after += (first,)
    if waiting and snapshot.marks_missing:
        # Incomplete figures may confirm a breach but never clear one.
        after = (*waiting, *(pending for pending in after if pending not in waiting))
    return Step(replace(memory, pending=after), facts)
