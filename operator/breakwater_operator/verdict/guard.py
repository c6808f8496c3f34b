"""Which EmergencyStop guards a desk: exactly one must refer to its policy, or the desk may only reduce risk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from breakwater_operator.verdict.body import Body, cut, listed, name_of, section, text
from breakwater_operator.verdict.reasons import Reason

_MOST_SENTENCE = 1000


@dataclass(frozen=True)
class Guard:
    """``stop`` is the one stop of the desk. None: ``reason`` and ``message`` (also the hold's sentence) say what is wrong."""

    stop: Body | None
    reason: Reason | None = None
    message: str = ""

    @property
    def name(self) -> str:
        """Name of the stop; empty when there is none or more than one."""
        return name_of(self.stop) if self.stop is not None else ""


def guard_of(policy_name: str, stops: Iterable[Body]) -> Guard:
    """The guard of the policy among the ``stops`` of its namespace. One that is being deleted guards nothing any more."""
    ours = [
        stop
        for stop in stops
        if text(stop, "spec", "policyRef", "name") == policy_name
        and not section(stop, "metadata").get("deletionTimestamp")
    ]
    if len(ours) == 1:
        return Guard(ours[0])
    if not ours:
        message = (
            f"no EmergencyStop refers to TradingPolicy {policy_name}: the desk may only reduce risk; "
            f"apply one with spec.policyRef.name: {policy_name}"
        )
        return Guard(None, Reason.NO_EMERGENCY_STOP, message)
    names = sorted(map(name_of, ours))
    message = (
        f"{len(names)} EmergencyStops refer to TradingPolicy {policy_name}, which leaves open whose limits hold: "
        f"the desk may only reduce risk; keep one and delete the others, found {listed(names)}"
    )
    return Guard(None, Reason.SEVERAL_EMERGENCY_STOPS, cut(message, _MOST_SENTENCE))


def stop_problem(stop: Body, policy: Body | None, guard: Guard) -> tuple[Reason, str] | None:
    """Why ``stop`` guards nothing: its policy is missing, or another stop claims the same; None when it is the guard."""
    wanted = text(stop, "spec", "policyRef", "name")
    if policy is None:
        return (
            Reason.POLICY_NOT_FOUND,
            f"TradingPolicy {wanted} does not exist in this namespace: create it, or delete this EmergencyStop",
        )
    if guard.reason is not None:
        return guard.reason, guard.message
    return None
