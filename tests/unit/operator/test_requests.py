"""A person's requests: each handed over until it is answered, each answer kept word for word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.stop_state import StopRequestKind
from breakwater_operator.verdict.report import Outcome
from breakwater_operator.verdict.requests import MOST_ANSWERS, merged_answers, requests_in, unanswered

NOW = datetime(2025, 10, 10, 20, 50, tzinfo=UTC)
TRIP, RESET = StopRequestKind.TRIP, StopRequestKind.RESET


def outcome(request_id: str, kind: StopRequestKind = TRIP, minute: int = 0, **changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "accepted": True,
        "code": "ACCEPTED",
        "text": "done",
        "time": NOW + timedelta(minutes=minute),
    }
    return Outcome(request_id=request_id, kind=kind, **(fields | changes))


def spec(trip: str = "", reset: str = "", **trip_fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"policyRef": {"name": "main"}}
    if trip:
        found["trip"] = {"requestID": trip, "reason": "news", **trip_fields}
    if reset:
        found["reset"] = {"requestID": reset, "tripID": "main-4", "reason": "checked", "newBaseline": True}
    return found


def test_trip_goes_before_a_reset() -> None:
    waiting = unanswered(spec("t1", "r1"), {}, [])
    assert [(request.kind, request.request_id) for request in waiting] == [(TRIP, "t1"), (RESET, "r1")]


def test_request_answered_in_the_status_or_by_the_stop_is_not_sent_again() -> None:
    status = {"requests": merged_answers([], [outcome("t1")], spec())}
    assert unanswered(spec("t1"), status, []) == ()
    assert unanswered(spec("t1"), {}, [outcome("t1")]) == ()


def test_answer_to_a_trip_is_none_to_a_reset_of_the_same_id() -> None:
    assert [request.kind for request in unanswered(spec("x", "x"), {}, [outcome("x")])] == [RESET]


def test_trip_is_read_however_broken_the_rest_of_the_spec_is() -> None:
    odd: dict[str, Any] = {"maxDailyDrawdownPct": "x", "reset": 7, "trip": {"requestID": "t1"}}
    (request,) = requests_in(odd)
    assert request.reason == "no reason given"
    assert request.who == "someone (as the request says, not verified)"


@pytest.mark.parametrize("odd", [{}, {"trip": None}, {"trip": {}}, {"trip": {"requestID": 5}}, {"trip": []}])
def test_spec_without_a_request_has_none(odd: dict[str, Any]) -> None:
    assert requests_in(odd) == ()


def test_bodies_have_what_the_components_take() -> None:
    trip, reset = requests_in(spec("t1", "r1", requestedBy="ann", reason="x" * 1024))
    assert trip.body() == {
        "kind": "trip",
        "requestID": "t1",
        "reason": "x" * 999 + "…",
        "requestedBy": "ann (as the request says, not verified)",
    }
    assert len(trip.halt_body()["reason"]) == 500
    assert reset.body() | {"requestedBy": ""} == {
        "kind": "reset",
        "requestID": "r1",
        "reason": "checked",
        "requestedBy": "",
        "tripID": "main-4",
        "newBaseline": True,
    }


def test_longest_name_still_fits_the_components() -> None:
    (trip,) = requests_in(spec("t1", requestedBy="x" * 256))
    assert len(trip.who) == 200
    assert trip.who.endswith("not verified)")


def test_answer_once_given_stays_word_for_word() -> None:
    old = merged_answers([], [outcome("r1", RESET, accepted=False, code="RESET_NOT_FLAT", text="not flat")], {})
    assert merged_answers(old, [outcome("r1", RESET, minute=9)], {}) == old


def test_answer_shows_who_asked_and_what_cooldown_was_left() -> None:
    refused = outcome(
        "r1", RESET, accepted=False, code="RESET_COOLING_DOWN", text="wait", remaining_seconds=61, who="ann"
    )
    assert merged_answers([], [refused], {}) == [
        {
            "kind": "RESET",
            "requestID": "r1",
            "accepted": False,
            "code": "RESET_COOLING_DOWN",
            "message": "wait",
            "time": "2025-10-10T20:50:00Z",
            "requestedBy": "ann",
            "remainingSeconds": 61,
        }
    ]


def test_oldest_answers_go_but_never_one_to_a_request_that_still_stands() -> None:
    standing = spec("t0")
    answers = merged_answers([], [outcome(f"t{n}", minute=n) for n in range(MOST_ANSWERS + 9)], standing)
    assert len(answers) == MOST_ANSWERS
    assert answers[0]["requestID"] == "t0"
    assert answers[1]["requestID"] == "t10"
    assert unanswered(standing, {"requests": answers}, []) == ()


def test_overlong_id_of_somebody_else_is_added_once() -> None:
    first = merged_answers([], [outcome("x" * 200)], {})
    assert merged_answers(first, [outcome("x" * 200)], {}) == first


outcomes = st.lists(
    st.builds(
        outcome, st.from_regex(r"[a-z0-9]{1,3}", fullmatch=True), st.sampled_from(StopRequestKind), st.integers(0, 500)
    ),
    max_size=60,
)


@given(outcomes, outcomes)
def test_answers_are_few_in_order_and_settle(first: list[Outcome], second: list[Outcome]) -> None:
    standing = spec("a", "b")
    answers = merged_answers([], first, standing)
    merged = merged_answers(answers, second, standing)
    assert len(merged) <= MOST_ANSWERS
    assert [answer["time"] for answer in merged] == sorted(answer["time"] for answer in merged)
    keys = [(answer["kind"], answer["requestID"]) for answer in merged]
    assert len(set(keys)) == len(keys)
    assert merged_answers(merged, second, standing) == merged
    kept = {(answer["kind"], answer["requestID"]) for answer in answers}
    assert {key for key in kept if key in {("TRIP", "a"), ("RESET", "b")}} <= set(keys)
