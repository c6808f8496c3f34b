"""Which Events follow from a change of status: one for each transition, however often it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_state import StopState
from breakwater_operator.verdict.body import Body, count, cut, entries, text
from breakwater_operator.verdict.reasons import WARNINGS, ConditionType, EventReason, Reason
from breakwater_operator.verdict.walk import walk

_MOST_NOTE = 1000


@dataclass(frozen=True)
class Event:
    """One Event on a resource, ``action`` as events.k8s.io/v1 wants it: what was done, in one word."""

    reason: EventReason
    note: str
    action: str

    @property
    def type(self) -> str:
        return "Warning" if self.reason in WARNINGS else "Normal"


_CONDITIONS = {
    ConditionType.READY: (EventReason.READY, EventReason.NOT_READY),
    ConditionType.COMPONENTS_READY: (EventReason.COMPONENTS_READY, EventReason.COMPONENTS_NOT_READY),
    ConditionType.POLICY_PUBLISHED: (None, EventReason.POLICY_NOT_PUBLISHED),
}
_PASSING = frozenset({Reason.STARTING, Reason.PROGRESSING, Reason.NOT_PUBLISHED, Reason.POLICY_NOT_CONFIRMED})
"""Reasons that a desk has for a moment while it starts or rolls out: no news by themselves."""
_STATES = {
    StopState.ARMED: EventReason.STOP_ARMED,
    StopState.DISABLED: EventReason.STOP_DISABLED,
    StopState.TRIPPED: EventReason.STOP_TRIPPED,
    StopState.COOLING_DOWN: EventReason.STOP_COOLING_DOWN,
}


def policy_events(old: Body, new: Body) -> tuple[Event, ...]:
    """Events on a TradingPolicy whose status went from ``old`` to ``new``."""
    found = []
    if count(new, "version") > count(old, "version"):
        said = _message(new, ConditionType.POLICY_PUBLISHED) or f"version {count(new, 'version')} is in force"
        found.append(Event(EventReason.POLICY_PUBLISHED, cut(said, _MOST_NOTE), "Publish"))
    found += _condition_events(old, new)
    gate = text(new, "gate")
    if gate and gate != text(old, "gate") and ("gate" in old or gate == "OPEN"):
        if gate == "OPEN":
            found.append(Event(EventReason.GATE_OPEN, "the desk may open positions", "Observe"))
        else:
            why = text(new, "gateReason") or "no reason given"
            found.append(
                Event(EventReason.GATE_REDUCE_ONLY, cut(f"only exits are allowed: {why}", _MOST_NOTE), "Observe")
            )
    return tuple(found)


def stop_events(old: Body, new: Body) -> tuple[Event, ...]:
    """Events on an EmergencyStop whose status went from ``old`` to ``new``; every step of its state has one."""
    found = []
    known = {_key(answer) for answer in entries(old, "requests")}
    for answer in entries(new, "requests"):
        if _key(answer) not in known:
            reason = EventReason.REQUEST_ACCEPTED if answer.get("accepted") else EventReason.REQUEST_REFUSED
            asked = f"{text(answer, 'kind').lower()} {text(answer, 'requestID')}"
            said = f"{asked} ({text(answer, 'code')}): {text(answer, 'message')}"
            found.append(Event(reason, cut(said, _MOST_NOTE), "Answer"))
    before = StopState(text(old, "state")) if text(old, "state") else None
    if text(new, "state"):
        for state in walk(before, StopState(text(new, "state"))):
            rearmed = before is StopState.COOLING_DOWN and state is StopState.ARMED
            reason = EventReason.STOP_REARMED if rearmed else _STATES[state]
            found.append(Event(reason, cut(_transition(before, state, new), _MOST_NOTE), "Observe"))
            before = state
    return (*found, *_condition_events(old, new))


def repeated(answer: Body) -> Event:
    """A request came under an id that has this ``answer`` already."""
    asked = f"{text(answer, 'kind').lower()} {text(answer, 'requestID')}"
    note = (
        f"{asked} ({RefusalCode.REQUEST_REPEATED.value}): this id was answered at {text(answer, 'time')} already, "
        "nothing was done now: send the request again under a new requestID"
    )
    return Event(EventReason.REQUEST_REFUSED, note, "Answer")


def _transition(before: StopState | None, state: StopState, new: Body) -> str:
    change = f"{before.value} -> {state.value}" if before else f"is {state.value}"
    latest = next((row for row in reversed(entries(new, "audit")) if row.get("to") == state.value), None)
    said = text(latest, "reason") if latest else ""
    if state is StopState.TRIPPED:
        said = text(new, "reason") or said
    return f"{change}: {said}" if said else change


def _condition_events(old: Body, new: Body) -> list[Event]:
    was, now = _by_type(old), _by_type(new)
    found = []
    causes = set()
    for type_ in (ConditionType.POLICY_PUBLISHED, ConditionType.COMPONENTS_READY, ConditionType.READY):
        condition, before = now.get(type_.value, {}), was.get(type_.value, {})
        holds, reason = text(condition, "status"), text(condition, "reason")
        good, bad = _CONDITIONS[type_]
        if holds == "True" and text(before, "status") != "True" and good is not None:
            found.append(Event(good, cut(text(condition, "message"), _MOST_NOTE), "Observe"))
        elif holds == "False":
            news = (text(before, "status"), text(before, "reason")) != ("False", reason)
            if news and reason not in _PASSING and reason not in causes:
                found.append(Event(bad, cut(text(condition, "message"), _MOST_NOTE), "Observe"))
            causes.add(reason)
    return found


def _by_type(status: Body) -> dict[str, Body]:
    return {text(condition, "type"): condition for condition in entries(status, "conditions")}


def _message(status: Body, type_: ConditionType) -> str:
    condition = _by_type(status).get(type_.value, {})
    return text(condition, "message") if condition.get("status") == "True" else ""


def _key(answer: Mapping[str, object]) -> tuple[object, object]:
    return answer.get("kind"), answer.get("requestID")
