"""The reset drill in virtual time: every wrong way to ask is refused with its code, the right one re-arms once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from breakwater.domain import stop_requests
from breakwater.domain.stop_memory import Memory
from breakwater.domain.stop_reset import missing_for_reset
from breakwater.drills.reset import ResetOptions, run_reset


def test_reset_drill_is_passed_by_a_whole_desk() -> None:
    report = run_reset(ResetOptions(seed=1))
    assert (report.verdict, report.problems) == ("PASSED", ())
    assert [(each.case, each.accepted, each.code) for each in report.resets if "of-two" not in each.case] == [
        ("no-reason", False, "REQUEST_INVALID"),
        ("cooling-down", False, "RESET_COOLING_DOWN"),
        ("old-trip", False, "TRIP_ID_MISMATCH"),
        ("cause-stands", False, "RESET_CAUSE_NOT_GONE"),
        ("refused-id-again", False, "RESET_COOLING_DOWN"),
        ("accepted-id-again", True, "ACCEPTED"),
    ]
    two = {each.code for each in report.resets if "of-two" in each.case}
    assert two == {"ACCEPTED", "RESET_NOT_TRIPPED"}
    assert (report.accepted, report.audit, report.state_at_end) == (1, "OK", "ARMED")
    assert report.risk_increasing_orders_accepted_while_stopped == 0
    assert list(json.loads(report.to_json())) == list(report.__struct_fields__)


@pytest.mark.slow
def test_reset_drill_finds_a_stop_that_takes_any_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = missing_for_reset

    def lenient(memory: Memory, *rest: Any) -> Iterator[Any]:
        return judge(memory, *rest) if memory.latched.trip is None else iter(())

    monkeypatch.setattr(stop_requests, "missing_for_reset", lenient)
    report = run_reset(ResetOptions(seed=1))
    assert report.verdict == "FAILED"
    assert any(problem.startswith("cooling-down: answered ACCEPTED") for problem in report.problems)
