"""May this desk begin to trade real money? Asked once, at the transition into Live. Pure."""

from __future__ import annotations

import msgspec

from breakwater.domain.limits import EffectiveLimits
from breakwater.domain.policy import Profile
from breakwater.domain.signals import DataKind
from breakwater.domain.stop_state import StopState


class GoLiveFacts(msgspec.Struct, frozen=True):
    """What is known at one instant; None means unknown."""

    stop: StopState | None
    stop_lease_fresh: bool
    profile: Profile | None
    limits: EffectiveLimits | None
    policy_stale: bool
    policy_hold: str
    data: DataKind


def go_live_problems(facts: GoLiveFacts) -> tuple[str, ...]:
    """What keeps a desk from going Live, each with what to do; empty when nothing does. Further checks are added here."""
    problems = []
    if facts.stop is not StopState.ARMED or not facts.stop_lease_fresh:
        state = facts.stop.value if facts.stop is not None else "not heard"
        problems.append(f"the emergency stop must be ARMED and heard, it is {state}: start or reset it")
    if facts.profile is None or facts.limits is None:
        problems.append("no trading policy with its limits is in force: apply one")
    elif facts.policy_stale:
        problems.append("the trading policy is not confirmed: check Redis")
    elif facts.policy_hold:
        problems.append(f"the trading policy is on hold: {facts.policy_hold}")
    if facts.data is not DataKind.MARKET:
        problems.append(f"the market data are {facts.data.value}: Live needs the exchange's own (BREAKWATER_VENUE_URL)")
    return tuple(problems)
