"""Whatever happens in whatever order: the machine only ever walks the transitions of R1, and arms by a person's reset alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.domain import emergency_stop as machine
from breakwater.domain.stop_facts import Answered, Transition
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_state import StopRequestKind, StopState, StopView
from breakwater.domain.stop_view import reduce_only_reason, stop_view

A, T, C, D = StopState.ARMED, StopState.TRIPPED, StopState.COOLING_DOWN, StopState.DISABLED
ALLOWED = {(D, A), (A, D), (A, T), (T, T), (T, C), (C, T), (C, A)}

equities = st.sampled_from(["14000", "13400", "13300", "13200", "12000", "NaN", "-10"])
commands = st.one_of(
    st.tuples(st.just("see"), equities, st.sampled_from(["0", "0.1"]), st.sampled_from(["0", "9", "12"])),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 1, 2, 11, 61, 900, 90000])),
    st.tuples(st.just("error"), st.booleans()),
    st.tuples(st.just("report"), st.sampled_from([0, 1])),
    st.tuples(st.just("flat"), st.sampled_from([0, 1])),
    st.tuples(st.just("time")),
    st.tuples(st.just("trip"), st.integers(0, 4)),
    st.tuples(st.just("reset"), st.integers(0, 30), st.booleans()),
    st.tuples(st.just("configure"), st.booleans(), st.sampled_from(["5", "3", "50"])),
    st.tuples(st.just("restart")),
)


def run(desk: Any, command: tuple[Any, ...]) -> None:
    match command:
        case ("see", equity, held, open_loss):
            desk.see(equity=equity, held=held, open_loss=open_loss)
        case ("wait", seconds):
            desk.wait(seconds)
        case ("error", failed):
            desk.error("x" if failed else None)
        case ("report", positions):
            desk.report(positions)
        case ("flat", positions):
            if desk.memory.latched.trip is not None:
                desk.flat(positions=positions)
        case ("time",):
            desk.take(machine.on_time(desk.memory, desk.rules, desk.now))
        case ("trip", number):
            desk.trip(f"trip-{number}")
        case ("reset", number, new_baseline):
            desk.reset(f"reset-{number}", new_baseline=new_baseline)
        case ("configure", enabled, limit):
            desk.configure(enabled=enabled, max_daily_drawdown_pct=Decimal(limit))
        case ("restart",):
            data = msgspec.json.encode(desk.memory.latched)
            desk.memory = machine.started(msgspec.json.decode(data, type=Latched), desk.now)
            desk.take(machine.on_rules(desk.memory, None, desk.rules, desk.now))


def view_of(desk: Any) -> StopView:
    return stop_view(desk.memory, desk.rules, desk.now, sequence=1, issued_at=desk.now, lease_seconds=Decimal(1))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trip_on_missing=st.booleans(), script=st.lists(commands, max_size=40))
def test_any_history_keeps_the_rules(
    make_desk: Callable[..., Any], trip_on_missing: bool, script: list[tuple[Any, ...]]
) -> None:
    desk = make_desk(trip_on_missing_data=trip_on_missing)
    answers: dict[str, Any] = {}
    for command in script:
        before, seen = desk.memory, len(desk.facts)
        run(desk, command)
        after = desk.memory
        moved = [fact for fact in desk.facts[seen:] if isinstance(fact, Transition)]
        # Only the transitions of R1, each with the next epoch; without a transition neither state nor epoch moves.
        state, epoch = before.latched.state, before.latched.epoch
        for fact in moved:
            assert fact.previous is state
            assert (fact.previous, fact.state) in ALLOWED
            assert fact.epoch == epoch + 1
            state, epoch = fact.state, fact.epoch
        assert (after.latched.state, after.latched.epoch) == (state, epoch)
        # Nothing re-arms by itself: a first, accepted reset, after the cooldown.
        for fact in moved:
            if (fact.previous, fact.state) == (C, A):
                assert command[0] == "reset"
                until = before.latched.cooling_down_until
                assert until is not None
                assert desk.now >= until
                assert f"reset-{command[1]}" not in answers
        # One answer per request, for ever.
        for fact in desk.facts[seen:]:
            if isinstance(fact, Answered):
                assert fact.request.request_id not in answers
                answers[fact.request.request_id] = fact.outcome
        for outcome in after.latched.outcomes:
            assert answers[outcome.request_id] == outcome
        if command[0] in ("trip", "reset"):
            kind = StopRequestKind.TRIP if command[0] == "trip" else StopRequestKind.RESET
            asked = desk.trip if kind is StopRequestKind.TRIP else desk.reset
            facts = len(desk.facts)
            again = asked(f"{command[0]}-{command[1]}")
            assert again == answers[f"{command[0]}-{command[1]}"]
            assert len(desk.facts) == facts
        # Stopped or unseen always means reduce-only, and the trip is told as long as it stands.
        if after.latched.stopped or after.snapshot is None:
            assert reduce_only_reason(after, desk.rules, desk.now)
        assert (view_of(desk).trip is not None) is after.latched.stopped
        assert (after.latched.flat_at is not None) is (after.latched.state is C)
        if after.latched.state is C:
            assert after.latched.cooling_down_until is not None


@pytest.mark.parametrize("seconds", [0.0, 899.9, 900, 90000, 9000000])
def test_time_alone_never_arms(desk: Any, seconds: float) -> None:
    desk.trip()
    desk.flat()
    desk.now += timedelta(seconds=seconds)
    desk.take(machine.on_time(desk.memory, desk.rules, desk.now))
    desk.see()
    assert desk.state is C
