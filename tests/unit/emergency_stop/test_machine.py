"""Every transition of R1, and none besides."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from breakwater.domain import emergency_stop as machine
from breakwater.domain.ids import TripId
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_facts import Noted, Rebased, Transition
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_state import StopState, Trigger
from breakwater.domain.stop_view import next_deadline, reduce_only_reason

A, T, C, D = StopState.ARMED, StopState.TRIPPED, StopState.COOLING_DOWN, StopState.DISABLED
OVER = {"equity": "13290"}  # 5.07 % down


def closed(desk: Any) -> str:
    return reduce_only_reason(desk.memory, desk.rules, desk.now)


def cooled(desk: Any, **breach: object) -> Any:
    """Tripped by drawdown, flat, cooldown elapsed, a fresh snapshot and an account report there."""
    desk.breach(**(breach or OVER))
    assert desk.state is T
    desk.flat()
    desk.wait(15 * 60)
    desk.report()
    desk.see(**(breach or OVER) | {"held": "0", "open_loss": "0"})
    return desk


def test_no_snapshot_yet_keeps_reduce_only() -> None:
    from_boot = machine.started(Latched(state=A, epoch=3), _start())
    assert "no portfolio snapshot" in reduce_only_reason(from_boot, _rules(), _start())
    assert "no policy" in reduce_only_reason(from_boot, None, _start())


def test_armed_with_a_fresh_snapshot_is_open(desk: Any) -> None:
    assert closed(desk) == ""


@pytest.mark.parametrize(("equity", "trips"), [("13300", True), ("13300.01", False), ("13299.99", True), ("-5", True)])
def test_drawdown_at_the_limit_exactly_trips(desk: Any, equity: str, trips: bool) -> None:
    desk.breach(equity=equity)
    assert (desk.state is T) is trips


def test_first_breach_closes_at_once_and_the_second_trips(desk: Any) -> None:
    desk.see(**OVER, held="0.1")
    assert desk.state is A
    assert "daily drawdown" in closed(desk)
    desk.wait(0.9)
    desk.see(**OVER, held="0.1")
    assert desk.state is A
    desk.wait(0.1)
    desk.see(**OVER, held="0.1")
    assert desk.state is T
    trip = desk.memory.latched.trip
    assert (trip.trigger, trip.limit, trip.binding) == (Trigger.DAILY_DRAWDOWN, Decimal(5), "emergencyStop")
    assert trip.measured == Decimal(710) / Decimal(14000) * 100
    assert trip.close_positions


def test_the_same_snapshot_again_confirms_nothing(desk: Any) -> None:
    desk.see(**OVER)
    desk.wait(5)
    desk.take(machine.on_snapshot(desk.memory, desk.memory.snapshot, desk.rules, desk.now))
    assert desk.state is A


def test_a_snapshot_back_under_clears_the_breach(desk: Any) -> None:
    desk.see(**OVER)
    desk.wait(1)
    desk.see()
    assert closed(desk) == ""
    desk.wait(1)
    desk.see(**OVER)
    assert desk.state is A


def test_an_incomplete_snapshot_never_clears_a_breach(desk: Any) -> None:
    desk.see(**OVER)
    desk.wait(0.5)
    desk.see(missing=("BTCUSDT",))
    desk.wait(0.5)
    desk.see(**OVER)
    assert desk.state is T


def test_open_loss_over_its_limit_trips(desk: Any) -> None:
    desk.breach(open_loss="10", held="0.1", baseline="14000")
    assert desk.memory.latched.trip.trigger is Trigger.OPEN_LOSS


@pytest.mark.parametrize("field", ["equity", "open_loss", "baseline"])
def test_not_a_number_closes_and_is_not_fresh(desk: Any, field: str) -> None:
    seen = desk.memory.snapshot
    desk.see(**{field: "NaN"})
    assert "NaN" in closed(desk)
    assert desk.memory.snapshot is seen
    assert desk.state is A


def test_five_errors_in_a_row_trip_without_closing(desk: Any) -> None:
    for _ in range(4):
        desk.error()
    assert desk.state is A
    desk.error()
    trip = desk.memory.latched.trip
    assert (trip.trigger, trip.measured, trip.close_positions) == (Trigger.EXECUTION_ERRORS, Decimal(5), False)


def test_an_accepted_entry_zeroes_the_errors(desk: Any) -> None:
    for outcome in ["x"] * 4 + [None] + ["x"] * 4:
        desk.error(outcome)
    assert desk.state is A


def test_a_redelivered_error_counts_once(desk: Any) -> None:
    for _ in range(9):
        desk.take(machine.on_execution_outcome(desk.memory, (1, 7), "x", desk.rules, desk.now))
    assert desk.memory.latched.consecutive_errors == 1


def test_outcomes_that_nobody_knows_count_as_one_error_each_time(desk: Any) -> None:
    for _ in range(4):
        desk.error()
    desk.take(machine.on_execution_outcome(desk.memory, None, "events are missing", desk.rules, desk.now))
    assert desk.state is T
    desk.error(None)
    assert desk.memory.latched.execution_seen == (1, 5)


def test_a_person_trips_even_when_flat(desk: Any) -> None:
    outcome = desk.trip()
    assert outcome.accepted
    assert desk.memory.latched.trip.who == "ada"
    assert desk.transitions[-1] == (A, T)


def test_a_person_trips_again_while_cooling_down(desk: Any) -> None:
    desk.trip()
    desk.flat()
    first = desk.memory.latched.trip.trip_id
    assert desk.trip("p2").accepted
    assert desk.state is T
    assert desk.memory.latched.trip.trip_id != first


def test_a_person_turns_an_error_trip_into_one_that_closes(desk: Any) -> None:
    for _ in range(5):
        desk.error()
    epoch = desk.memory.latched.epoch
    desk.trip()
    assert desk.state is T
    assert desk.memory.latched.trip.close_positions
    assert desk.memory.latched.epoch == epoch + 1


def test_a_drawdown_during_an_error_trip_closes_positions(desk: Any) -> None:
    for _ in range(5):
        desk.error()
    desk.breach(**OVER, held="0.1")
    assert desk.memory.latched.trip.trigger is Trigger.DAILY_DRAWDOWN
    assert desk.memory.latched.trip.close_positions
    assert desk.memory.latched.causes == (Trigger.EXECUTION_ERRORS, Trigger.DAILY_DRAWDOWN)


def test_disabled_refuses_a_trip_and_evaluates_nothing(make_desk: Any) -> None:
    desk = make_desk()
    desk.configure(enabled=False)
    assert desk.state is D
    desk.breach(**OVER)
    assert desk.state is D
    assert desk.trip().code == RefusalCode.TRIP_DISABLED
    assert closed(desk) == ""
    desk.configure(live=True)
    assert "disabled" in closed(desk)


@pytest.mark.parametrize("on_missing", [False, True])
def test_silence_closes_and_trips_only_if_asked(make_desk: Any, on_missing: bool) -> None:
    desk = make_desk(trip_on_missing_data=on_missing)
    last = desk.memory.snapshot.time
    assert next_deadline(desk.memory, desk.rules, desk.now) == last + timedelta(seconds=10)
    desk.now = last + timedelta(seconds=10, milliseconds=1)
    desk.take(machine.on_time(desk.memory, desk.rules, desk.now))
    assert "old" in closed(desk)
    assert desk.state is A
    assert next_deadline(desk.memory, desk.rules, desk.now) == last + timedelta(seconds=60)
    desk.now = last + timedelta(seconds=60)
    desk.take(machine.on_time(desk.memory, desk.rules, desk.now))
    assert desk.state is (T if on_missing else A)


def test_flat_is_believed_only_for_this_trip_and_only_when_flat(desk: Any) -> None:
    desk.breach(**OVER)
    trip, epoch = desk.memory.latched.trip, desk.memory.latched.epoch
    for trip_id, at_epoch, positions, orders in [
        (TripId("t1-old"), epoch, 0, 0),
        (trip.trip_id, epoch - 1, 0, 0),
        (trip.trip_id, epoch, 1, 0),
        (trip.trip_id, epoch, 0, 2),
    ]:
        desk.take(
            machine.on_flat(
                desk.memory, trip_id, at_epoch, desk.now, positions=positions, open_orders=orders, now=desk.now
            )
        )
        assert desk.state is T
    desk.flat()
    assert desk.state is C


def test_cooldown_runs_from_the_later_of_trip_and_flat(desk: Any) -> None:
    desk.breach(**OVER)
    desk.wait(7)
    desk.flat()
    assert desk.memory.latched.flat_at == desk.now
    assert desk.memory.latched.cooling_down_until == desk.now + timedelta(minutes=15)


def test_reset_refusals_come_in_their_order(desk: Any) -> None:
    assert desk.reset("r0").code == RefusalCode.RESET_NOT_TRIPPED
    desk.breach(**OVER)
    assert desk.reset("r1", trip_id="t0-x").code == RefusalCode.TRIP_ID_MISMATCH
    assert desk.reset("r2").code == RefusalCode.RESET_NOT_FLAT
    desk.flat()
    desk.wait(60)
    early = desk.reset("r3")
    assert (early.code, early.remaining_seconds) == (RefusalCode.RESET_COOLING_DOWN, 14 * 60)
    desk.wait(14 * 60)
    assert desk.reset("r4").code == RefusalCode.RESET_NOT_RECONCILED  # the snapshot is 15 minutes old
    desk.see(**OVER, reconciled=False)
    assert desk.reset("r5").code == RefusalCode.RESET_NOT_RECONCILED
    desk.see(**OVER)
    assert desk.reset("r6").code == RefusalCode.RESET_CAUSE_NOT_GONE
    accepted = desk.reset("r7", new_baseline=True)
    assert accepted.accepted
    assert desk.state is A
    assert Rebased in {type(fact) for fact in desk.facts}


def test_reset_not_allowed_stays_so_though_the_spec_is_loosened(make_desk: Any) -> None:
    desk = make_desk(allow_manual_reset=False)
    cooled(desk)
    desk.configure(allow_manual_reset=True)
    assert desk.reset("r1", new_baseline=True).code == RefusalCode.RESET_NOT_ALLOWED


@pytest.mark.parametrize("field", ["reason", "who", "request_id"])
def test_an_incomplete_request_is_refused_naming_the_field(desk: Any, field: str) -> None:
    from msgspec.structs import replace

    from breakwater.domain.ids import RequestId
    from breakwater.domain.stop_state import StopRequest, StopRequestKind

    whole = StopRequest(StopRequestKind.TRIP, RequestId("q"), "news", "ada")
    outcome = desk.ask(replace(whole, **{field: " "}))
    assert outcome.code == RefusalCode.REQUEST_INVALID
    assert {"reason": "reason", "who": "who", "request_id": "requestID"}[field] in outcome.text
    assert desk.state is A


def test_a_repeated_request_gets_the_same_answer_and_does_nothing(desk: Any) -> None:
    cooled(desk)
    desk.now -= timedelta(minutes=1)
    refused = desk.reset("r1", new_baseline=True)
    assert refused.code == RefusalCode.RESET_COOLING_DOWN
    desk.wait(60)
    desk.see(**OVER)
    facts = len(desk.facts)
    assert desk.reset("r1", new_baseline=True) == refused  # it would be accepted now, were it a new one
    assert desk.state is C
    assert len(desk.facts) == facts


def test_an_old_trip_request_never_trips_again(desk: Any) -> None:
    desk.trip("p1")
    desk.flat()
    desk.wait(15 * 60)
    desk.see()
    assert desk.reset("r1").accepted
    assert desk.trip("p1").accepted  # the old answer
    assert desk.state is A


def test_an_id_used_for_the_other_kind_is_refused(desk: Any) -> None:
    desk.trip("x1")
    assert desk.reset("x1").code == RefusalCode.REQUEST_REPEATED


def test_drawdown_is_gone_when_the_day_has_rolled(desk: Any) -> None:
    cooled(desk)
    desk.now += timedelta(hours=6)
    desk.see(equity="13290", baseline="13290")
    assert desk.reset("r1").accepted


def test_drawdown_recovered_on_the_same_day_is_not_gone(desk: Any) -> None:
    cooled(desk)
    desk.see(equity="13900")
    assert desk.reset("r1").code == RefusalCode.RESET_CAUSE_NOT_GONE


def test_a_new_baseline_works_once_a_day(desk: Any) -> None:
    cooled(desk)
    assert desk.reset("r1", new_baseline=True).accepted
    desk.breach(equity="12600")  # 5.2 % below 13290
    assert desk.state is T
    desk.flat()
    desk.wait(15 * 60)
    desk.see(equity="12600")
    assert desk.reset("r2", new_baseline=True).code == RefusalCode.RESET_BASELINE_USED


def test_after_a_new_baseline_old_snapshots_do_not_trip_again(desk: Any) -> None:
    cooled(desk)
    assert desk.reset("r1", new_baseline=True).accepted
    desk.breach(**OVER)  # the portfolio has not heard of the new baseline yet
    assert desk.state is A
    assert closed(desk) == ""


def test_errors_are_gone_after_a_round_trip_to_the_venue(desk: Any) -> None:
    for _ in range(5):
        desk.error()
    desk.flat()
    desk.wait(15 * 60)
    desk.see()
    assert desk.reset("r1").code == RefusalCode.RESET_CAUSE_NOT_GONE
    desk.report()
    assert desk.reset("r2").accepted


def test_a_persons_trip_needs_nothing_more_than_the_cooldown(desk: Any) -> None:
    desk.trip()
    desk.flat()
    desk.wait(15 * 60)
    desk.see()
    assert desk.reset("r1").accepted


def test_arming_above_a_limit_is_refused_whoever_tripped(desk: Any) -> None:
    desk.trip()
    desk.flat()
    desk.wait(15 * 60)
    desk.see(**OVER)
    outcome = desk.reset("r1")
    assert outcome.code == RefusalCode.RESET_CAUSE_NOT_GONE
    assert "trip again" in outcome.text


def test_a_standing_drawdown_does_not_trip_again_while_cooling(desk: Any) -> None:
    desk.breach(**OVER)
    desk.flat()
    for equity in ("13290", "13280", "13000"):
        desk.wait(2)
        desk.see(equity=equity)
    assert desk.state is C


def test_a_position_that_reappears_while_cooling_trips_again(desk: Any) -> None:
    desk.breach(**OVER)
    desk.flat()
    desk.see(**OVER, held="0.1")  # the portfolio lags behind the venue
    desk.wait(2)
    desk.see(**OVER, held="0.1")
    assert desk.state is C
    desk.see(**OVER)
    desk.breach(**OVER, held="0.1")
    assert desk.state is T
    assert desk.memory.latched.trip.trigger is Trigger.DAILY_DRAWDOWN
    assert "reappeared" in desk.memory.latched.trip.reason


def test_positions_in_two_account_reports_after_flat_trip_again(desk: Any) -> None:
    desk.breach(**OVER)
    desk.flat()
    desk.wait(5)
    desk.report(positions=1)
    assert desk.state is C
    desk.wait(5)
    desk.report(positions=1)
    assert desk.state is T


def test_a_drawdown_that_grows_with_open_positions_trips_again(make_desk: Any) -> None:
    desk = make_desk(close_positions=False)
    desk.breach(**OVER, held="0.1")
    desk.flat(positions=1)
    assert desk.state is C
    desk.breach(equity="13280", held="0.1")
    assert desk.state is C
    desk.breach(equity="13200", held="0.1")
    assert desk.state is T


def test_an_open_loss_while_cooling_from_an_error_trip_trips_again(desk: Any) -> None:
    for _ in range(5):
        desk.error()
    desk.flat(positions=1)
    desk.breach(open_loss="11", held="0.1")
    assert desk.state is T
    assert desk.memory.latched.trip.close_positions


def test_disabling_and_loosening_wait_for_the_rearm(desk: Any) -> None:
    desk.breach(**OVER)
    desk.configure(enabled=False, max_daily_drawdown_pct=Decimal(50), cooldown=timedelta(minutes=1))
    assert desk.state is T
    assert any(isinstance(fact, Noted) and fact.kind == "spec_refused" for fact in desk.facts)
    desk.flat()
    assert desk.memory.latched.cooling_down_until == desk.now + timedelta(minutes=15)
    desk.wait(15 * 60)
    desk.see(**OVER)
    assert desk.reset("r1").code == RefusalCode.RESET_CAUSE_NOT_GONE
    assert desk.reset("r2", new_baseline=True).accepted
    desk.configure(cooldown=timedelta(minutes=2))
    assert desk.state is D  # as the spec says since long
    assert desk.transitions[-2:] == [(C, A), (A, D)]


def test_tightening_holds_at_once_while_cooling(desk: Any) -> None:
    desk.breach(**OVER)
    desk.flat()
    desk.configure(cooldown=timedelta(minutes=60))
    desk.wait(15 * 60)
    desk.see(**OVER)
    assert desk.reset("r1", new_baseline=True).remaining_seconds == 45 * 60


def test_an_unknown_latch_is_a_trip_that_keeps_positions_and_can_be_reset(desk: Any) -> None:
    desk.memory = machine.started(machine.unknown_state(9, "latch damaged", desk.now), desk.now)
    desk.take(machine.on_rules(desk.memory, None, desk.rules, desk.now))
    assert desk.state is T
    assert not desk.memory.latched.trip.close_positions
    desk.flat(positions=1)
    desk.wait(15 * 60)
    desk.report()
    desk.see()
    assert desk.reset("r1").accepted
    assert desk.memory.latched.epoch == 11


def test_every_transition_carries_its_trip_and_numbers(desk: Any) -> None:
    cooled(desk)
    desk.reset("r1", new_baseline=True)
    moved = [fact for fact in desk.facts if isinstance(fact, Transition)]
    assert [(fact.previous, fact.state) for fact in moved] == [(D, A), (A, T), (T, C), (C, A)]
    assert [fact.epoch for fact in moved] == [1, 2, 3, 4]
    assert moved[1].numbers["equity"] == "13290"
    assert moved[3].who == "ada"


def _start() -> Any:
    from datetime import UTC, datetime

    return datetime(2025, 10, 10, 20, 0, tzinfo=UTC)


def _rules() -> Any:
    from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
    from breakwater.domain.ids import Symbol
    from breakwater.domain.limits import effective_limits
    from breakwater.domain.policy import PolicySpec, TradingMode
    from breakwater.domain.stop_rules import stop_rules

    spec = EmergencyStopSpec(PolicyRef("main"))
    return stop_rules(spec, effective_limits(PolicySpec((Symbol("BTCUSDT"),)), spec), TradingMode.PAPER)
