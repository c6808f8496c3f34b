"""A person's requests on an EmergencyStop: which are not answered yet, and the answers to keep in its status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from breakwater.domain.stop_state import StopRequestKind
from breakwater_operator.verdict.body import Body, cut, entries, section, text
from breakwater_operator.verdict.conditions import moment
from breakwater_operator.verdict.report import Outcome

MOST_ANSWERS = 32
_UNVERIFIED = " (as the request says, not verified)"
_MOST_REASON, _MOST_HALT_REASON = 1000, 500
_MOST_WHO = 200

Key = tuple[str, str]
"""Kind and request id: what is answered exactly once."""


@dataclass(frozen=True)
class Request:
    """A trip or reset as the resource's spec asks for it."""

    kind: StopRequestKind
    request_id: str
    reason: str
    who: str
    """Who asked, in words for the audit."""
    trip_id: str = ""
    new_baseline: bool = False

    @property
    def key(self) -> Key:
        return self.kind.value, self.request_id

    def body(self) -> dict[str, Any]:
        """JSON for ``POST /v1/stop/requests``."""
        body: dict[str, Any] = {
            "kind": self.kind.value.lower(),
            "requestID": self.request_id,
            "reason": cut(self.reason, _MOST_REASON),
            "requestedBy": self.who,
        }
        if self.kind is StopRequestKind.RESET:
            body |= {"tripID": self.trip_id, "newBaseline": self.new_baseline}
        return body

    def halt_body(self) -> dict[str, Any]:
        """JSON for ``POST /v1/halt``: a trip goes to execution as well."""
        return {
            "requestID": self.request_id,
            "reason": cut(self.reason, _MOST_HALT_REASON),
            "requestedBy": self.who,
        }


def unanswered(spec: Body, status: Body, outcomes: Iterable[Outcome]) -> tuple[Request, ...]:
    """Requests in ``spec`` that neither the status nor the stop itself has answered, the trip first.

    ``spec`` is the resource's own, not the checked one: a mistake elsewhere in it must not hold up a trip.
    """
    known = {key_of(answer) for answer in entries(status, "requests")} | {
        (o.kind.value, o.request_id) for o in outcomes
    }
    return tuple(request for request in requests_in(spec) if request.key not in known)


def requests_in(spec: Body) -> tuple[Request, ...]:
    """The requests that stand in ``spec``, answered or not, the trip first."""
    found = []
    for kind in (StopRequestKind.TRIP, StopRequestKind.RESET):
        asked = section(spec, kind.value.lower())
        if text(asked, "requestID"):
            found.append(
                Request(
                    kind,
                    text(asked, "requestID"),
                    text(asked, "reason").strip() or "no reason given",
                    cut(text(asked, "requestedBy").strip() or "someone", _MOST_WHO - len(_UNVERIFIED)) + _UNVERIFIED,
                    text(asked, "tripID"),
                    asked.get("newBaseline") is True,
                )
            )
    return tuple(found)


def merged_answers(old: Sequence[Body], outcomes: Iterable[Outcome], spec: Body) -> list[dict[str, Any]]:
    """``status.requests`` with new answers added, oldest first, at most 32.

    An answer once given stays word for word. Of more than 32 the oldest go, but never one to a request that still
    stands in ``spec``: without its answer it would be sent again.
    """
    kept: dict[Key, dict[str, Any]] = {key_of(answer): dict(answer) for answer in old}
    for outcome in outcomes:
        answer = answer_of(outcome)
        kept.setdefault(key_of(answer), answer)
    # Times end in Z and have one length, so that they sort as text; the sort is stable for equal ones.
    ordered = sorted(kept.items(), key=lambda item: str(item[1].get("time", "")))
    standing = {request.key for request in requests_in(spec)}
    spare = len(ordered) - MOST_ANSWERS
    left = []
    for key, answer in ordered:
        if spare > 0 and key not in standing:
            spare -= 1
        else:
            left.append(answer)
    return left


def answer_of(outcome: Outcome) -> dict[str, Any]:
    """One entry of ``status.requests``."""
    answer: dict[str, Any] = {
        "kind": outcome.kind.value,
        "requestID": cut(outcome.request_id, 64),
        "accepted": outcome.accepted,
        "code": cut(outcome.code, 64),
        "message": cut(outcome.text, 1024),
        "time": moment(outcome.time),
    }
    if outcome.who:
        answer["requestedBy"] = cut(outcome.who, 256)
    if outcome.remaining_seconds is not None:
        answer["remainingSeconds"] = max(outcome.remaining_seconds, 0)
    return answer


def key_of(answer: Mapping[str, Any]) -> Key:
    """Which request an entry of ``status.requests`` answers."""
    return str(answer.get("kind", "")), str(answer.get("requestID", ""))
