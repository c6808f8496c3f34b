"""The statuses of both kinds, what of them is written, and the Events that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from breakwater_operator.verdict.components import ComponentsVerdict, ComponentVerdict, diagnose
from breakwater_operator.verdict.events import Event, policy_events, stop_events
from breakwater_operator.verdict.figures import dollars, exact_percent, percent
from breakwater_operator.verdict.guard import Guard
from breakwater_operator.verdict.patch import status_patch
from breakwater_operator.verdict.readiness import Publication, Standing
from breakwater_operator.verdict.reasons import EventReason, Reason
from breakwater_operator.verdict.report import DeskReport
from breakwater_operator.verdict.status import policy_status, stop_status, stop_writes

NOW = datetime(2025, 10, 10, 20, 50, tzinfo=UTC)
GUARD = Guard({"metadata": {"name": "main-stop"}})
NO_GUARD = Guard(None, Reason.NO_EMERGENCY_STOP, "no EmergencyStop refers to it")
MakeReport = Callable[..., DeskReport]
MakeStanding = Callable[..., Standing]


def of_policy(standing: Standing, old: dict[str, Any] | None = None, *, guard: Guard = GUARD) -> dict[str, Any]:
    return policy_status(old or {}, name="main", namespace="desk-a", generation=7, guard=guard, standing=standing)


def of_stop(standing: Standing, old: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return stop_status(
        old or {},
        name="main-stop",
        namespace="desk-a",
        generation=2,
        standing=standing,
        requests=fields.pop("requests", []),
        policy_status=fields.pop("policy_status", {}),
    )


def condition(status: dict[str, Any], type_: str = "Ready") -> dict[str, Any]:
    (found,) = [entry for entry in status["conditions"] if entry["type"] == type_]
    return dict(found)


# ------------------------------------------------------------------------------------------------ TradingPolicy


def test_running_desk_shows_everything(standing: MakeStanding) -> None:
    status = of_policy(standing())
    limits, conditions = status.pop("limits"), status.pop("conditions")
    assert status == {
        "observedGeneration": 7,
        "emergencyStopName": "main-stop",
        "version": 4,
        "versionSHA256": "ab" * 32,
        "fetchedAt": "2025-10-10T20:50:00Z",
        "mode": "Paper",
        "gate": "OPEN",
        "gateReason": "",
        "stopState": "ARMED",
        "openPositions": 2,
        "equityUSD": 13827.16,
        "dailyDrawdownPct": 1.23,
        "exposurePct": 57.1,
    }
    assert limits[2] == {"name": "maxLeverage", "requested": 30, "effective": 30, "binding": "profile"}
    assert {"name": "priceCollarPct", "requested": 0.5, "effective": 0.5, "binding": "default"} in limits
    assert [(c["type"], c["status"], c["observedGeneration"]) for c in conditions] == [
        ("Ready", "True", 7),
        ("PolicyPublished", "True", 7),
        ("ComponentsReady", "True", 7),
        ("Halted", "False", 7),
    ]


def test_closed_gate_says_why(standing: MakeStanding, tripped: MakeReport) -> None:
    status = of_policy(standing(report=tripped()))
    assert (status["gate"], status["gateReason"]) == ("REDUCE_ONLY", "the emergency stop has fired")
    assert condition(status, "Halted")["status"] == "True"


def test_silent_desk_keeps_what_it_last_said(standing: MakeStanding, report: MakeReport) -> None:
    before = of_policy(standing())
    silent = of_policy(standing(report=report(stop=None, execution=None)), before)
    moved = {name for name in before if silent[name] != before[name]}
    assert moved == {"conditions"}
    assert condition(silent)["reason"] == "StopUnreachable"


def test_invalid_change_is_told_and_the_last_good_policy_stays(standing: MakeStanding) -> None:
    before = of_policy(standing())
    good = standing().publication
    bad = Publication(
        published=False,
        reason=Reason.INVALID,
        message="spec.symbols[1]: is repeated: remove it",
        version=good.version,
        digest=good.digest,
        policy=good.policy,
        stop=good.stop,
    )
    status = of_policy(standing(publication=bad), before)
    assert condition(status, "PolicyPublished")["message"] == "spec.symbols[1]: is repeated: remove it"
    assert (status["version"], status["limits"]) == (4, before["limits"])
    assert condition(status, "ComponentsReady")["status"] == "True"


def test_desk_without_a_stop_that_never_ran_is_reduce_only(standing: MakeStanding) -> None:
    nothing = Publication(published=False, reason=Reason.NO_EMERGENCY_STOP, message="none")
    problem = (Reason.NO_EMERGENCY_STOP, "none")
    status = of_policy(standing(publication=nothing, components=None, report=None, problem=problem), guard=NO_GUARD)
    assert (status["gate"], status["emergencyStopName"]) == ("REDUCE_ONLY", "")
    assert "version" not in status
    assert {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]} == {
        "Ready": ("False", "NoEmergencyStop"),
        "PolicyPublished": ("False", "NoEmergencyStop"),
        "ComponentsReady": ("False", "NoEmergencyStop"),
        "Halted": ("Unknown", "Unknown"),
    }


def test_version_never_falls(standing: MakeStanding) -> None:
    assert of_policy(standing(), {"version": 9})["version"] == 9


def test_mode_is_the_one_the_desk_runs_in(standing: MakeStanding, report: MakeReport) -> None:
    assert of_policy(standing(report=report(execution={"mode": "Staging"})))["mode"] == "Staging"
    assert of_policy(standing(report=report(execution={"mode": "Other"})))["mode"] == "Paper"


def test_confirmation_is_written_once_a_minute_and_at_once_for_a_new_version(standing: MakeStanding) -> None:
    before = of_policy(standing())
    soon, late = NOW + timedelta(seconds=59), NOW + timedelta(seconds=60)
    assert of_policy(standing(now=soon), before)["fetchedAt"] == "2025-10-10T20:50:00Z"
    assert of_policy(standing(now=late), before)["fetchedAt"] == "2025-10-10T20:51:00Z"
    assert of_policy(standing(now=soon), before | {"version": 3})["fetchedAt"] == "2025-10-10T20:50:59Z"


def test_new_version_does_not_make_a_running_desk_unready(standing: MakeStanding, report: MakeReport) -> None:
    before = of_policy(standing())
    newer = replace(standing().publication, version=5)
    soon = of_policy(standing(publication=newer, now=NOW + timedelta(seconds=20), report=report()), before)
    assert (condition(soon)["status"], soon["fetchedAt"]) == ("True", before["fetchedAt"])
    later = NOW + timedelta(minutes=3)
    late = of_policy(standing(publication=newer, now=later, report=report(asked_at=later)), before)
    assert condition(late)["reason"] == "PolicyNotConfirmed"


def test_older_component_without_figures_still_counts_positions(standing: MakeStanding, report: MakeReport) -> None:
    status = of_policy(standing(report=report(stop={"measured": None})))
    assert status["openPositions"] == 2
    assert "equityUSD" not in status


# ------------------------------------------------------------------------------------------------ EmergencyStop


def test_armed_stop_shows_state_and_figures(standing: MakeStanding) -> None:
    status = of_stop(standing())
    conditions = status.pop("conditions")
    assert status == {
        "observedGeneration": 2,
        "state": "ARMED",
        "epoch": 3,
        "reduceOnly": False,
        "reduceOnlyReason": "",
        "dailyDrawdownPct": 1.23,
        "openLossPct": 0.4,
        "consecutiveErrors": 0,
        "audit": [],
        "requests": [],
    }
    assert {c["type"]: c["status"] for c in conditions} == {
        "Ready": "True",
        "PolicyPublished": "True",
        "ComponentsReady": "True",
        "Halted": "False",
    }


def test_tripped_stop_shows_what_was_measured_unrounded(standing: MakeStanding, tripped: MakeReport) -> None:
    row = {
        "time": "2025-10-10T20:48:00Z",
        "epoch": 4,
        "from": "ARMED",
        "to": "TRIPPED",
        "who": "emergency_stop",
        "reason": "drawdown",
        "measuredPct": "5.004",
        "limitPct": "5",
        "hash": "ab" * 32,
    }
    status = of_stop(standing(report=tripped("COOLING_DOWN", 5, audit=[row])))
    assert (status["state"], status["epoch"], status["tripID"]) == ("COOLING_DOWN", 5, "main-4")
    assert (status["trigger"], status["measuredPct"], status["limitPct"]) == ("DAILY_DRAWDOWN", 5.004, 5)
    assert (status["flatAt"], status["coolingDownUntil"]) == ("2025-10-10T20:48:10Z", "2025-10-10T21:03:10Z")
    assert status["audit"] == [row | {"measuredPct": 5.004, "limitPct": 5}]


def test_signed_head_is_kept_and_a_lower_one_or_silence_does_not_take_it_back(
    standing: MakeStanding, report: MakeReport
) -> None:
    head: dict[str, Any] = {
        "desk": "desk-a/main", "number": 7, "hash": "ab" * 32, "epoch": 3, "state": "ARMED",
        "time": "2025-10-10T20:48:00.25Z", "keyID": "01" * 8, "publicKey": "cd" * 32, "signature": "ef" * 64,
    }  # fmt: skip
    status = of_stop(standing(report=report(stop={"head": head})))
    assert [each["number"] for each in status["auditHeads"]] == [7]
    for said in ({"head": head | {"number": 5}}, {"head": None}, {"head": "odd"}, {}):
        assert of_stop(standing(report=report(stop=said)), status)["auditHeads"] == status["auditHeads"]
    silent = of_stop(standing(report=report(stop=None)), status)
    assert silent["auditHeads"] == status["auditHeads"]


def test_armed_again_only_name_and_time_of_the_last_trip_stay(standing: MakeStanding, tripped: MakeReport) -> None:
    before = of_stop(standing(report=tripped("COOLING_DOWN", 5)))
    after = of_stop(standing(), before)
    assert (after["state"], after["tripID"], after["trippedAt"]) == ("ARMED", "main-4", "2025-10-10T20:48:00Z")
    assert not {"trigger", "measuredPct", "reason", "flatAt", "coolingDownUntil"} & after.keys()
    assert after["epoch"] == 5


def test_stop_beside_another_mirrors_nothing(standing: MakeStanding, tripped: MakeReport) -> None:
    before = of_stop(standing())
    problem = (Reason.SEVERAL_EMERGENCY_STOPS, "two")
    status = of_stop(standing(report=tripped(), problem=problem), before)
    assert (status["state"], status["epoch"]) == ("ARMED", 3)
    assert (condition(status)["reason"], condition(status, "Halted")["status"]) == ("SeveralEmergencyStops", "False")


def test_stop_does_not_care_about_components_it_does_not_need(standing: MakeStanding) -> None:
    parts = {
        "emergency-stop": ComponentVerdict("emergency-stop", True),
        "execution": ComponentVerdict("execution", True),
        "ai-engine": ComponentVerdict("ai-engine", False, Reason.CRASH_LOOP, "ai-engine: it ended"),
    }
    bad = ComponentsVerdict(False, Reason.CRASH_LOOP, "ai-engine: it ended", parts)
    assert condition(of_stop(standing(components=bad)))["status"] == "True"
    assert condition(of_policy(standing(components=bad)))["status"] == "False"


def test_missed_states_are_written_one_by_one_with_rising_epochs(standing: MakeStanding, tripped: MakeReport) -> None:
    before = of_stop(standing())
    after = of_stop(standing(report=tripped("COOLING_DOWN", 5)), before)
    writes = stop_writes(before, after)
    assert [(write["state"], write["epoch"]) for write in writes] == [("TRIPPED", 4), ("COOLING_DOWN", 5)]
    assert [write["trigger"] for write in writes] == [after["trigger"]] * 2, "no write says TRIPPED without saying why"
    assert "coolingDownUntil" not in writes[0]
    assert writes[-1] == after
    assert stop_writes({}, after) == (after,)
    assert stop_writes(after, after) == (after,)


# ------------------------------------------------------------------------------------------------ what is written


def test_patch_names_what_changed_and_what_went_away() -> None:
    assert status_patch({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5}) == {"b": 5, "c": None}
    assert status_patch({"a": 1}, {"a": 1.0}) is None


def test_figures_alone_wait_but_go_along_with_anything_else() -> None:
    old = {"equityUSD": 1, "gate": "OPEN"}
    assert status_patch(old, {"equityUSD": 2, "gate": "OPEN"}, figures=False) is None
    assert status_patch(old, {"equityUSD": 2, "gate": "OPEN"}) == {"equityUSD": 2}
    assert status_patch(old, {"equityUSD": 2, "gate": "REDUCE_ONLY"}, figures=False) == {
        "equityUSD": 2,
        "gate": "REDUCE_ONLY",
    }


@pytest.mark.parametrize(
    ("old", "new", "waits"),
    [
        ({"gateReason": "no snapshot for 12 s"}, {"gateReason": "no snapshot for 13.5 s"}, True),
        ({"gateReason": "no snapshot for 12 s"}, {"gateReason": "the stop fired"}, False),
        ({"tripID": "main-4"}, {"tripID": "main-5"}, False),
        ({"version": 4}, {"version": 5}, False),
        ({"coolingDownUntil": "2025-10-10T21:03:10Z"}, {"coolingDownUntil": "2025-10-10T21:03:11Z"}, False),
        ({"conditions": [{"message": "since 20:50:00 h"}]}, {"conditions": [{"message": "since 20:50:01 h"}]}, True),
        ({"conditions": [{"status": "True"}]}, {"conditions": [{"status": "False"}]}, False),
    ],
)
def test_numbers_in_sentences_wait_like_figures(old: dict[str, Any], new: dict[str, Any], waits: bool) -> None:
    assert (status_patch(old, new, figures=False) is None) is waits
    assert status_patch(old, new) is not None


def test_status_of_a_quiet_desk_is_written_once(standing: MakeStanding) -> None:
    for make in (of_policy, of_stop):
        first = make(standing())
        assert status_patch(first, make(standing(now=NOW + timedelta(seconds=5)), first)) is None


def test_figures_stay_within_what_the_schema_takes() -> None:
    assert percent(Decimal("-0.5")) == 0
    assert percent(Decimal("1e9")) == 1_000_000
    assert percent(Decimal("1.235")) == 1.24
    assert exact_percent(Decimal("5.00001")) == 5.00001
    assert dollars(Decimal("-1e20")) == -1_000_000_000_000
    assert isinstance(percent(Decimal("5.000")), int)


def test_equity_is_rewritten_only_when_it_moved_by_a_ten_thousandth() -> None:
    assert dollars(Decimal("14001.39"), 14000) == 14000
    assert dollars(Decimal("14001.42"), 14000) == 14001.42
    assert dollars(Decimal(0), 0.01) == 0
    assert dollars(Decimal(5), "x") == 5


# ------------------------------------------------------------------------------------------------ Events


def reasons(events: tuple[Event, ...]) -> list[str]:
    return [event.reason.value for event in events]


def test_desk_that_starts_tells_of_publishing_readiness_and_gate(standing: MakeStanding) -> None:
    events = policy_events({}, of_policy(standing()))
    assert reasons(events) == ["PolicyPublished", "ComponentsReady", "Ready", "GateOpen"]
    assert {event.type for event in events} == {"Normal"}
    assert events[0].note == "version 4 of the policy is in force"


def test_nothing_changed_tells_nothing(standing: MakeStanding) -> None:
    for make, events in ((of_policy, policy_events), (of_stop, stop_events)):
        first = make(standing())
        assert events(first, make(standing(now=NOW + timedelta(seconds=5)), first)) == ()


def test_passing_reasons_of_a_start_are_no_news(standing: MakeStanding) -> None:
    starting = of_policy(standing(components=diagnose(["execution"], [], []), report=None))
    assert reasons(policy_events({"version": 4}, starting)) == []


def test_cause_is_told_once_though_three_conditions_have_it(standing: MakeStanding) -> None:
    bad = Publication(published=False, reason=Reason.INVALID, message="spec.symbols: is empty")
    events = policy_events({}, of_policy(standing(publication=bad, components=None, report=None)))
    assert reasons(events) == ["PolicyNotPublished"]
    assert (events[0].type, events[0].note) == ("Warning", "spec.symbols: is empty")


def test_closing_gate_is_a_warning_with_the_reason(standing: MakeStanding, tripped: MakeReport) -> None:
    before = of_policy(standing())
    (event,) = policy_events(before, of_policy(standing(report=tripped()), before))
    assert (event.reason, event.type) == (EventReason.GATE_REDUCE_ONLY, "Warning")
    assert event.note == "only exits are allowed: the emergency stop has fired"


def test_every_step_of_the_stop_has_its_event(standing: MakeStanding, tripped: MakeReport) -> None:
    armed = of_stop(standing())
    cooling = of_stop(standing(report=tripped("COOLING_DOWN", 5)), armed)
    assert reasons(stop_events({}, armed))[0] == "StopArmed"
    events = stop_events(armed, cooling)
    assert reasons(events) == ["StopTripped", "StopCoolingDown"]
    assert events[0].note == "ARMED -> TRIPPED: the day's drawdown is 5.004 %, at or above the limit of 5 %."
    assert reasons(stop_events(cooling, of_stop(standing(), cooling))) == ["StopRearmed"]


def test_each_answer_is_told_once(standing: MakeStanding) -> None:
    answer = {"kind": "RESET", "requestID": "r1", "accepted": False, "code": "RESET_NOT_FLAT", "message": "not flat"}
    before = of_stop(standing())
    after = of_stop(standing(), before, requests=[answer])
    (event,) = stop_events(before, after)
    assert (event.reason, event.type) == (EventReason.REQUEST_REFUSED, "Warning")
    assert event.note == "reset r1 (RESET_NOT_FLAT): not flat"
    assert stop_events(after, after) == ()


def test_notes_fit_an_event(standing: MakeStanding) -> None:
    long = Publication(published=False, reason=Reason.INVALID, message="x" * 5000)
    (event,) = policy_events({}, of_policy(standing(publication=long, components=None, report=None)))
    assert len(event.note) <= 1000


def test_confirmation_from_the_future_confirms_nothing(standing: MakeStanding, report: MakeReport) -> None:
    forged = {"version": 4, "fetchedAt": "2099-01-01T00:00:00Z"}
    behind = report(stop={"policy": {"version": 3}}, execution={"policy": {"version": 3}})
    ready = condition(of_policy(standing(report=behind), forged))
    assert (ready["status"], ready["reason"]) == ("False", "PolicyNotConfirmed")
    assert "emergency stop obeys version 3, execution obeys version 3" in ready["message"]
    assert of_policy(standing(), forged)["fetchedAt"] == "2025-10-10T20:50:00Z"


def test_stop_whose_desk_never_takes_the_new_version_does_not_stay_ready(
    standing: MakeStanding, report: MakeReport
) -> None:
    before = of_stop(standing())
    behind = standing(report=report(stop={"policy": {"version": 3}}, execution={"policy": {"version": 3}}))
    lately = {"fetchedAt": "2025-10-10T20:49:00Z"}
    long_ago = {"fetchedAt": "2025-10-10T20:40:00Z"}
    assert condition(of_stop(behind, before, policy_status=lately))["status"] == "True"
    assert condition(of_stop(behind, before, policy_status=long_ago))["reason"] == "PolicyNotConfirmed"


def test_digest_of_a_version_that_was_passed_is_not_put_beside_the_new_one(standing: MakeStanding) -> None:
    status = of_policy(standing(), {"version": 5, "versionSHA256": "cd" * 32})
    assert (status["version"], status["versionSHA256"]) == (5, "cd" * 32)
