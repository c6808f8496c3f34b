"""Standard conditions: status, reason and sentence; the time moves only when the status does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from breakwater_operator.verdict.body import Body, cut, text
from breakwater_operator.verdict.reasons import ConditionType, Reason

_MOST_CONDITIONS = 16
_MOST_MESSAGE = 4096


@dataclass(frozen=True)
class Fact:
    """What one condition says now. ``holds`` None: it is not known."""

    type: ConditionType
    holds: bool | None
    reason: Reason
    message: str

    @property
    def status(self) -> Literal["True", "False", "Unknown"]:
        return "Unknown" if self.holds is None else "True" if self.holds else "False"


def moment(time: datetime) -> str:
    """``time`` as Kubernetes writes it: UTC, whole seconds. Raises ValueError for a time without zone."""
    if time.tzinfo is None:
        raise ValueError("a time needs a zone")
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parsed_moment(value: object) -> datetime | None:
    """The time that a status field holds; None when it holds none."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None else None


def with_conditions(old: Sequence[Body], facts: Iterable[Fact], generation: int, now: datetime) -> list[dict[str, Any]]:
    """The list to write: ours in the order of `ConditionType`, then what others put there.

    ``lastTransitionTime`` is ``now`` (UTC) for a condition whose status changed, else what it was.
    """
    before = {text(condition, "type"): condition for condition in old}
    said = {fact.type: fact for fact in facts}
    ours = []
    for type_ in ConditionType:
        if type_ in said:
            ours.append(_condition(said[type_], before.get(type_.value), generation, now))
        elif type_.value in before:
            ours.append(dict(before[type_.value]))
    known = {type_.value for type_ in ConditionType}
    foreign = [dict(condition) for name, condition in before.items() if name not in known]
    return [*ours, *foreign][:_MOST_CONDITIONS]


def _condition(fact: Fact, before: Body | None, generation: int, now: datetime) -> dict[str, Any]:
    since = text(before, "lastTransitionTime") if before and before.get("status") == fact.status else ""
    return {
        "type": fact.type.value,
        "status": fact.status,
        "reason": fact.reason.value,
        "message": cut(fact.message, _MOST_MESSAGE),
        "lastTransitionTime": since or moment(now),
        "observedGeneration": generation,
    }
