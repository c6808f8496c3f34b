"""Exactly one stop guards a desk; and the way from one state to another that the API server accepts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.stop_state import StopState
from breakwater_operator.verdict.guard import Guard, guard_of, stop_problem
from breakwater_operator.verdict.reasons import Reason
from breakwater_operator.verdict.walk import walk

A, T, C, D = StopState.ARMED, StopState.TRIPPED, StopState.COOLING_DOWN, StopState.DISABLED


def stop(name: str, policy: str = "main", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "spec": {"policyRef": {"name": policy}}}


def test_one_stop_guards_its_policy_whatever_others_refer_to() -> None:
    guard = guard_of("main", [stop("b", "other"), stop("a")])
    assert (guard.name, guard.reason, guard.message) == ("a", None, "")
    assert guard.stop == stop("a")


def test_no_stop_says_which_one_to_apply() -> None:
    guard = guard_of("main", [stop("b", "other")])
    assert (guard.stop, guard.name, guard.reason) == (None, "", Reason.NO_EMERGENCY_STOP)
    assert "spec.policyRef.name: main" in guard.message


def test_two_stops_are_named_and_neither_guards() -> None:
    guard = guard_of("main", [stop("b"), stop("a")])
    assert (guard.stop, guard.reason) == (None, Reason.SEVERAL_EMERGENCY_STOPS)
    assert "found a and b" in guard.message


def test_stop_that_is_being_deleted_guards_nothing_any_more() -> None:
    leaving = stop("a", deletionTimestamp="2025-10-10T20:00:00Z")
    assert guard_of("main", [leaving]).reason is Reason.NO_EMERGENCY_STOP
    assert guard_of("main", [leaving, stop("b")]).name == "b"


@pytest.mark.parametrize(
    "broken", [{}, {"spec": None}, {"spec": {"policyRef": "main"}}, {"spec": {"policyRef": {"name": 1}}}]
)
def test_stop_that_cannot_be_read_guards_nothing(broken: dict[str, Any]) -> None:
    assert guard_of("main", [broken]).reason is Reason.NO_EMERGENCY_STOP


def test_hundreds_of_stops_still_fit_a_hold() -> None:
    assert len(guard_of("main", [stop(f"stop-{n}") for n in range(500)]).message) <= 1000


def test_stop_without_its_policy_says_so() -> None:
    problem = stop_problem(stop("a", "gone"), None, Guard(None))
    assert problem is not None
    assert problem[0] is Reason.POLICY_NOT_FOUND
    assert "gone" in problem[1]


def test_guard_has_no_problem_and_a_rival_has() -> None:
    policy = {"metadata": {"name": "main"}}
    assert stop_problem(stop("a"), policy, guard_of("main", [stop("a")])) is None
    problem = stop_problem(stop("a"), policy, guard_of("main", [stop("a"), stop("b")]))
    assert problem is not None
    assert problem[0] is Reason.SEVERAL_EMERGENCY_STOPS


@pytest.mark.parametrize(
    ("old", "new", "steps"),
    [
        (None, T, (T,)),
        (A, A, ()),
        (A, T, (T,)),
        (A, C, (T, C)),
        (T, A, (C, A)),
        (C, T, (T,)),
        (T, D, (C, A, D)),
        (D, C, (A, T, C)),
        (D, T, (A, T)),
    ],
)
def test_missed_states_are_walked_one_by_one(
    old: StopState | None, new: StopState, steps: tuple[StopState, ...]
) -> None:
    assert walk(old, new) == steps


@given(st.lists(st.sampled_from(StopState), max_size=12))
def test_every_sequence_of_reported_states_arrives(reported: list[StopState]) -> None:
    state: StopState | None = None
    for new in reported:
        for step in walk(state, new):
            state = step
        assert state is new
