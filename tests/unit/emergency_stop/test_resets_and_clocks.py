"""A reset that races a new breach, and snapshots from a clock that is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from breakwater.domain import emergency_stop as machine
from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.stop_rules import market_silence
from breakwater.domain.stop_state import StopState
from breakwater.domain.stop_view import reduce_only_reason


def cooled_down(desk: Any) -> None:
    """Tripped by a person, flat, and the timer over."""
    desk.trip()
    desk.flat()
    desk.wait(900)
    desk.report()
    desk.see()


def test_a_reset_while_a_new_breach_is_being_confirmed_is_refused(desk: Any) -> None:
    cooled_down(desk)
    desk.wait(1)
    desk.see(held="0.1")  # a position after flat: the second snapshot would trip again
    answer = desk.reset("r1")
    assert (answer.accepted, answer.code) == (False, "RESET_CAUSE_NOT_GONE")
    desk.wait(1)
    desk.see(held="0.1")
    assert desk.state is StopState.TRIPPED


def test_a_reset_while_the_venue_alone_shows_a_position_is_refused(desk: Any) -> None:
    cooled_down(desk)
    desk.wait(1)
    desk.report(positions=1)
    answer = desk.reset("r1")
    assert (answer.accepted, answer.code) == (False, "RESET_CAUSE_NOT_GONE")
    desk.wait(1)
    desk.report(positions=0)
    assert desk.reset("r2").accepted


def test_a_snapshot_from_the_future_is_not_fresh(desk: Any) -> None:
    ahead = replace(desk.memory.snapshot, sequence=50, time=desk.now + timedelta(hours=1))
    desk.take(machine.on_snapshot(desk.memory, ahead, desk.rules, desk.now))
    assert "ahead of the clock" in reduce_only_reason(desk.memory, desk.rules, desk.now)
    desk.sequence = 50
    desk.see()
    assert not reduce_only_reason(desk.memory, desk.rules, desk.now)


@pytest.mark.parametrize(("speed", "seconds"), [(0.5, 10), (1, 10), (2, 10), (5, 10), (10, 20), (60, 120)])
def test_silence_in_a_fast_market_lasts_two_seconds_of_the_machine_at_least(speed: float, seconds: int) -> None:
    spec = EmergencyStopSpec(PolicyRef("main"))
    assert market_silence(spec.stale_after_seconds, spec, speed) == timedelta(seconds=seconds)
    assert market_silence(spec.missing_data_trip_seconds, spec, speed) == timedelta(seconds=6 * seconds)


def test_rules_that_are_already_kept_wait_for_nothing(desk: Any) -> None:
    assert not machine.waits_for_rules(desk.memory, desk.rules)
    desk.trip()
    assert not machine.waits_for_rules(desk.memory, desk.rules)
