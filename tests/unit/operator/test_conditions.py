"""Conditions: the four of them from the facts of a desk, and when their times move."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from breakwater_operator.verdict.components import ComponentsVerdict
from breakwater_operator.verdict.conditions import Fact, moment, parsed_moment, with_conditions
from breakwater_operator.verdict.halted import halted
from breakwater_operator.verdict.readiness import Publication, Standing, components_ready, confirmed, ready
from breakwater_operator.verdict.reasons import ConditionType, Reason
from breakwater_operator.verdict.report import BadReport, DeskReport, carried, execution_report, outcome, stop_report

NOW = datetime(2025, 10, 10, 20, 50, tzinfo=UTC)
LATER = NOW + timedelta(seconds=90)
MakeReport = Callable[..., DeskReport]
MakeStanding = Callable[..., Standing]


def fact(holds: bool | None = True, reason: Reason = Reason.RUNNING, message: str = "runs") -> Fact:
    return Fact(ConditionType.READY, holds, reason, message)


# ------------------------------------------------------------------------------------------------ the list


def test_time_moves_only_when_the_status_does() -> None:
    first = with_conditions([], [fact()], 1, NOW)
    assert first[0]["lastTransitionTime"] == "2025-10-10T20:50:00Z"
    same = with_conditions(first, [fact(reason=Reason.STARTING, message="other words")], 2, LATER)
    assert same[0] | {"reason": "", "message": ""} == {
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "",
        "lastTransitionTime": "2025-10-10T20:50:00Z",
        "observedGeneration": 2,
    }
    turned = with_conditions(same, [fact(None)], 2, LATER)
    assert (turned[0]["status"], turned[0]["lastTransitionTime"]) == ("Unknown", "2025-10-10T20:51:30Z")


def test_conditions_of_others_stay_behind_ours() -> None:
    theirs = {
        "type": "Audited",
        "status": "True",
        "lastTransitionTime": "2025-01-01T00:00:00Z",
        "reason": "Yes",
        "message": "",
    }
    found = with_conditions([theirs], [fact(), Fact(ConditionType.HALTED, False, Reason.ARMED, "armed")], 1, NOW)
    assert [condition["type"] for condition in found] == ["Ready", "Halted", "Audited"]


def test_condition_that_nothing_is_said_of_stays() -> None:
    first = with_conditions([], [Fact(ConditionType.HALTED, True, Reason.TRIPPED, "x")], 1, NOW)
    assert [condition["type"] for condition in with_conditions(first, [fact()], 1, NOW)] == ["Ready", "Halted"]


def test_overlong_message_is_cut_to_what_the_schema_takes() -> None:
    assert len(with_conditions([], [fact(message="x" * 9000)], 1, NOW)[0]["message"]) == 4096


def test_time_without_a_zone_is_refused_and_garbage_is_no_time() -> None:
    with pytest.raises(ValueError, match="zone"):
        moment(datetime(2025, 10, 10))  # noqa: DTZ001
    assert parsed_moment("2025-10-10T20:50:00Z") == NOW
    for wrong in ("", "yesterday", "2025-10-10T20:50:00", None, 7):
        assert parsed_moment(wrong) is None


# ------------------------------------------------------------------------------------------------ Ready


def test_desk_in_order_is_ready(standing: MakeStanding) -> None:
    said = ready(standing(), was_confirmed=True)
    assert (said.holds, said.reason) == (True, Reason.RUNNING)
    assert confirmed(standing())


BAD_COMPONENTS = ComponentsVerdict(False, Reason.CRASH_LOOP, "execution: it ended")
BAD_POLICY = Publication(published=False, reason=Reason.INVALID, message="spec.symbols: is empty", version=4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"problem": (Reason.NO_EMERGENCY_STOP, "none")}, Reason.NO_EMERGENCY_STOP),
        ({"publication": BAD_POLICY}, Reason.INVALID),
        ({"components": BAD_COMPONENTS}, Reason.CRASH_LOOP),
        ({"components": None}, Reason.PUBLISHED),
        ({"report": None}, Reason.STARTING),
    ],
)
def test_what_is_missing_gives_the_reason(standing: MakeStanding, changes: dict[str, Any], reason: Reason) -> None:
    said = ready(standing(**changes), was_confirmed=True)
    assert (said.holds, said.reason) == (False, reason)


def test_first_cause_wins(standing: MakeStanding) -> None:
    said = ready(standing(publication=BAD_POLICY, components=BAD_COMPONENTS, report=None), was_confirmed=False)
    assert said.reason is Reason.INVALID


def test_silent_stop_is_told_with_since_when(standing: MakeStanding, report: MakeReport) -> None:
    silent = report(stop=None, stop_problem="connection refused", stop_heard_at=NOW - timedelta(seconds=9))
    said = ready(standing(report=silent), was_confirmed=True)
    assert (said.holds, said.reason) == (False, Reason.STOP_UNREACHABLE)
    assert "since 2025-10-10T20:49:51Z: connection refused" in said.message


def test_silent_execution_is_told(standing: MakeStanding, report: MakeReport) -> None:
    said = ready(standing(report=report(execution=None)), was_confirmed=True)
    assert said.reason is Reason.EXECUTION_UNREACHABLE


def test_old_report_is_no_report(standing: MakeStanding, report: MakeReport) -> None:
    said = ready(standing(report=report(asked_at=NOW - timedelta(minutes=1))), was_confirmed=True)
    assert said.reason is Reason.STOP_UNREACHABLE


@pytest.mark.parametrize("code", ["STOP_UNKNOWN", "STOP_LEASE_EXPIRED"])
def test_execution_without_the_stops_lease_is_not_ready(standing: MakeStanding, report: MakeReport, code: str) -> None:
    without = report(execution={"gate": "REDUCE_ONLY", "code": code})
    assert ready(standing(report=without), was_confirmed=True).reason is Reason.LEASE_EXPIRED


def test_tripped_desk_is_ready_all_the_same(standing: MakeStanding, tripped: MakeReport) -> None:
    assert ready(standing(report=tripped()), was_confirmed=True).holds


@pytest.mark.parametrize("part", ["stop", "execution"])
@pytest.mark.parametrize("policy", [None, {"version": 3, "stale": False}, {"version": 4, "stale": True}])
def test_policy_counts_as_confirmed_only_when_both_obey_it_fresh(
    standing: MakeStanding, report: MakeReport, part: str, policy: Any
) -> None:
    changed = standing(report=report(**{part: {"policy": policy}}))
    assert not confirmed(changed)
    assert ready(changed, was_confirmed=False).reason is Reason.POLICY_NOT_CONFIRMED


def test_nothing_started_says_why(standing: MakeStanding) -> None:
    said = components_ready(standing(components=None, problem=(Reason.NO_EMERGENCY_STOP, "none")))
    assert (said.holds, said.reason) == (False, Reason.NO_EMERGENCY_STOP)


# ------------------------------------------------------------------------------------------------ Halted


def test_armed_desk_is_not_halted(report: MakeReport) -> None:
    assert halted(report(), "main", "desk-a") == Fact(
        ConditionType.HALTED, False, Reason.ARMED, "the emergency stop is armed and watches"
    )


@pytest.mark.parametrize(("state", "reason"), [("TRIPPED", Reason.TRIPPED), ("COOLING_DOWN", Reason.COOLING_DOWN)])
def test_tripped_desk_shows_cause_and_the_line_that_arms_it_again(
    tripped: MakeReport, state: str, reason: Reason
) -> None:
    said = halted(tripped(state), "main", "desk-a")
    assert (said.holds, said.reason) == (True, reason)
    assert said.message.startswith("the day's drawdown is 5.004 %, at or above the limit of 5 %. ")
    line = re.search(r"kubectl patch estop main -n desk-a --type merge -p '(.*)'$", said.message)
    assert line is not None
    assert json.loads(line[1]) == {
        "spec": {
            "reset": {
                "requestID": "reset-4-1",
                "tripID": "main-4",
                "reason": "why it is safe again",
                "newBaseline": False,
            }
        }
    }
    assert ("cool down until 2025-10-10T21:03:10Z" in said.message) is (state == "COOLING_DOWN")


def test_line_never_repeats_an_id_that_was_answered(tripped: MakeReport) -> None:
    refused = {
        "request_id": "reset-4-1",
        "kind": "RESET",
        "accepted": False,
        "code": "RESET_NOT_FLAT",
        "text": "not flat",
        "time": "2025-10-10T20:49:00Z",
    }
    assert '"requestID":"reset-4-2"' in halted(tripped(outcomes=[refused]), "main", "desk-a").message


def test_line_asks_for_a_new_baseline_when_only_that_helps(tripped: MakeReport) -> None:
    gone = {"code": "RESET_CAUSE_NOT_GONE", "text": "still 5.1 %"}
    message = halted(tripped(reset={"plain": [gone], "newBaseline": []}), "main", "desk-a").message
    assert '"newBaseline":true' in message
    assert "A reset is refused while what fired it still holds" in message
    both = halted(tripped(reset={"plain": [gone], "newBaseline": [gone]}), "main", "desk-a").message
    assert '"newBaseline":false' in both


def test_message_does_not_count_down(tripped: MakeReport) -> None:
    def message(seconds: int) -> str:
        needs = [{"code": "RESET_COOLING_DOWN", "text": f"{seconds} s are left", "remaining_seconds": seconds}]
        return halted(tripped("COOLING_DOWN", reset={"plain": needs, "newBaseline": needs}), "main", "desk-a").message

    assert message(90) == message(89)


def test_trip_id_that_a_shell_would_read_gets_no_line(tripped: MakeReport) -> None:
    odd = tripped(trip_id="x'; rm -rf ~")
    assert "kubectl" not in halted(odd, "main", "desk-a").message


def test_person_who_halted_execution_directly_is_named(report: MakeReport) -> None:
    said = halted(report(execution={"gate": "REDUCE_ONLY", "halted_by": "ann"}), "main", "desk-a")
    assert (said.holds, said.reason) == (True, Reason.HALTED_BY_PERSON)
    assert said.message.startswith("ann halted execution directly")


def test_silent_stop_leaves_halted_as_it_was(report: MakeReport) -> None:
    before = Fact(ConditionType.HALTED, True, Reason.TRIPPED, "x")
    assert halted(report(stop=None), "main", "desk-a", before) is before
    assert halted(None, "main", "desk-a").holds is None


# ------------------------------------------------------------------------------------------------ reports


def test_lost_answer_is_bridged_for_a_moment_only(report: MakeReport) -> None:
    first = carried(None, report())
    assert first.stop_heard_at == NOW
    soon = carried(first, report(stop=None, asked_at=NOW + timedelta(seconds=3), stop_problem="timeout"))
    assert soon.stop is first.stop
    late = carried(soon, report(stop=None, asked_at=NOW + timedelta(seconds=6), stop_problem="timeout"))
    assert (late.stop, late.stop_heard_at, late.execution_heard_at) == (None, NOW, NOW + timedelta(seconds=6))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"view": {"state": "ODD"}}', b"[" * 100_000])
def test_answer_without_a_state_is_refused(data: bytes) -> None:
    with pytest.raises(BadReport):
        stop_report(data)
    with pytest.raises(BadReport):
        execution_report(data)
    with pytest.raises(BadReport):
        outcome(data)


def test_unreadable_details_never_hide_the_state(report: MakeReport) -> None:
    odd = report(
        stop={"outcomes": [{"kind": "NEW"}, 7], "audit": "none", "measured": {"openPositions": "many"}, "policy": 4}
    )
    assert odd.stop is not None
    assert (odd.stop.outcomes, odd.stop.audit, odd.stop.measured, odd.stop.policy) == ((), (), None, None)
