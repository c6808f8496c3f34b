"""Settings, days and baselines that change while the stop has fired: nothing gets laxer before a person re-arms it."""

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
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_facts import Noted
from breakwater.domain.stop_memory import Latched, rules_in_force
from breakwater.domain.stop_rules import StopRules, tighter
from breakwater.domain.stop_state import StopState, Trigger
from breakwater.domain.stop_view import reduce_only_reason

OVER = {"equity": "13290"}  # 5.07 % down
LOWER_IS_STRICTER = ("max_daily_drawdown_pct", "max_open_loss_pct", "max_consecutive_errors", "stale_after")
edits = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans(),
        "max_daily_drawdown_pct": st.decimals(1, 100, places=1),
        "max_open_loss_pct": st.decimals(1, 100, places=1),
        "max_consecutive_errors": st.integers(1, 50),
        "cooldown": st.integers(1, 600).map(lambda minutes: timedelta(minutes=minutes)),
        "allow_manual_reset": st.booleans(),
        "close_positions": st.booleans(),
        "close_positions_on_errors": st.booleans(),
        "stale_after": st.integers(1, 600).map(lambda seconds: timedelta(seconds=seconds)),
        "trip_on_missing_data": st.booleans(),
        "missing_data_after": st.integers(1, 900).map(lambda seconds: timedelta(seconds=seconds)),
    },
)


def in_force(desk: Any) -> StopRules:
    rules = rules_in_force(desk.memory.latched, desk.rules)
    assert rules is not None
    return rules


def as_strict(after: StopRules, before: StopRules) -> bool:
    return (
        all(getattr(after, name) <= getattr(before, name) for name in LOWER_IS_STRICTER)
        and after.missing_data_after <= before.missing_data_after
        and after.cooldown >= before.cooldown
        and after.enabled >= before.enabled
        and after.allow_manual_reset <= before.allow_manual_reset
        and after.close_positions >= before.close_positions
        and after.close_positions_on_errors >= before.close_positions_on_errors
        and after.trip_on_missing_data >= before.trip_on_missing_data
    )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(edits, min_size=1, max_size=6), flat_after=st.integers(0, 6), restart=st.booleans())
def test_any_edits_while_stopped_only_ever_tighten_and_the_last_one_holds_after_the_rearm(
    make_desk: Callable[..., Any], changes: list[dict[str, Any]], flat_after: int, restart: bool
) -> None:
    desk = make_desk()
    desk.trip()
    at_trip = desk.rules
    for number, change in enumerate(changes):
        if number == flat_after:
            desk.flat()
        before = in_force(desk)
        desk.configure(**change)
        if restart:
            written = msgspec.json.decode(msgspec.json.encode(desk.memory.latched), type=Latched)
            desk.memory = machine.started(written, desk.now)
            desk.take(machine.on_rules(desk.memory, None, desk.rules, desk.now))
        held = in_force(desk)
        assert as_strict(held, before)
        assert as_strict(held, at_trip)
        assert as_strict(held, desk.rules)
        assert desk.state in (StopState.TRIPPED, StopState.COOLING_DOWN)
    if desk.state is StopState.TRIPPED:
        desk.flat()
    held = in_force(desk)
    desk.now = desk.memory.latched.cooling_down_until
    desk.report()
    desk.see()
    answer = desk.reset("r1")
    if not held.allow_manual_reset:
        assert answer.code == RefusalCode.RESET_NOT_ALLOWED
        return
    assert answer.accepted, answer
    assert in_force(desk) is desk.rules


@given(one=edits, other=edits)
def test_tighter_of_two_is_as_strict_as_each_whatever_their_order(one: dict[str, Any], other: dict[str, Any]) -> None:
    base = StopRules(
        True, False, Decimal(5), "emergencyStop", Decimal(10), "emergencyStop", 5, timedelta(minutes=15), True, True,
        False, timedelta(seconds=10), False, timedelta(seconds=60),
    )  # fmt: skip
    left, right = msgspec.structs.replace(base, **one), msgspec.structs.replace(base, **other)
    both = tighter(left, right)
    assert as_strict(both, left)
    assert as_strict(both, right)
    assert as_strict(tighter(right, left), both)
    assert as_strict(both, tighter(right, left))


@pytest.mark.parametrize("flat", [False, True])
def test_disabling_while_stopped_is_refused_on_record_and_repeating_it_adds_no_record(desk: Any, flat: bool) -> None:
    desk.trip()
    if flat:
        desk.flat()
    for _ in range(3):
        desk.configure(enabled=False)
    refused = [fact for fact in desk.facts if isinstance(fact, Noted) and fact.kind == "spec_refused"]
    assert len(refused) == 1
    assert desk.state.value in refused[0].text


def test_limit_that_a_person_tightens_below_the_standing_drawdown_closes_first_and_trips_by_two_snapshots(
    desk: Any,
) -> None:
    desk.see(equity="13500")  # 3.6 % down
    desk.configure(max_daily_drawdown_pct=Decimal(3))
    assert desk.state is StopState.ARMED  # an edit alone never trips
    desk.wait(1)
    desk.see(equity="13500")
    assert desk.state is StopState.ARMED
    assert "waiting for a second snapshot" in reduce_only_reason(desk.memory, desk.rules, desk.now)
    desk.wait(1)
    desk.see(equity="13500")
    assert desk.memory.latched.trip.limit == Decimal(3)


def test_day_that_rolls_before_the_desk_is_flat_counts_as_rolled(desk: Any) -> None:
    desk.breach(**OVER, held="0.1")
    desk.now += timedelta(hours=6)
    desk.see(equity="13290", baseline="13290", held="0.1")
    assert desk.state is StopState.TRIPPED  # a new baseline by itself changes nothing
    desk.flat()
    desk.wait(15 * 60)
    desk.report()
    desk.see(equity="13290", baseline="13290")
    assert desk.reset("r1").accepted


def test_day_that_rolled_into_another_drawdown_is_not_gone(desk: Any) -> None:
    desk.breach(**OVER)
    desk.flat()
    desk.now += timedelta(hours=6)
    desk.see(equity="12600", baseline="13290")
    answer = desk.reset("r1")
    assert answer.code == RefusalCode.RESET_CAUSE_NOT_GONE
    assert "trip again at once" in answer.text


def test_new_baseline_is_there_again_the_next_day_and_not_before_though_restarted(desk: Any) -> None:
    desk.breach(**OVER)
    desk.flat()
    desk.wait(15 * 60)
    desk.report()
    desk.see(**OVER)
    assert desk.reset("r1", new_baseline=True).accepted
    desk.memory = machine.started(desk.memory.latched, desk.now)
    desk.trip("p2")
    desk.flat()
    desk.wait(15 * 60)
    desk.see(**OVER)
    assert desk.reset("r2", new_baseline=True).code == RefusalCode.RESET_BASELINE_USED
    desk.now += timedelta(hours=6)
    desk.see(equity="13290", baseline="13290")
    assert desk.reset("r3", new_baseline=True).accepted


def test_error_trip_is_flat_when_execution_says_that_positions_are_protected(desk: Any) -> None:
    desk.see(held="0.1")
    for _ in range(5):
        desk.error()
    assert not desk.memory.latched.trip.close_positions
    desk.flat(positions=1, orders=2)  # a position with its stop and target
    assert desk.state is StopState.COOLING_DOWN
    desk.wait(15 * 60)
    desk.see(held="0.1")
    assert desk.reset("r1").code == RefusalCode.RESET_CAUSE_NOT_GONE  # no round trip to the venue since
    desk.report(positions=1)
    assert desk.reset("r2").accepted


def test_error_trip_that_is_to_close_is_flat_only_when_nothing_is_left(make_desk: Any) -> None:
    desk = make_desk(close_positions_on_errors=True)
    for _ in range(5):
        desk.error()
    assert desk.memory.latched.trip.close_positions
    desk.flat(positions=1)
    desk.flat(orders=1)
    assert desk.memory.latched.stopped
    assert desk.memory.latched.flat_at is None
    desk.flat()
    assert desk.state is StopState.COOLING_DOWN


def test_five_errors_while_cooling_down_trip_again(desk: Any) -> None:
    desk.trip()
    desk.flat()
    for _ in range(5):
        desk.error()
    assert desk.state is StopState.TRIPPED
    assert desk.memory.latched.trip.trigger is Trigger.EXECUTION_ERRORS
    assert desk.memory.latched.trip.close_positions  # never less than what stood
