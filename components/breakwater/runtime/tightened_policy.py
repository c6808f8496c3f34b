"""The policy as one process obeys it when its environment sets limits of its own: the tighter of both binds."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from breakwater.domain.limits import Binding, Bound, EffectiveLimits
from breakwater.runtime.policy_store import PolicyInForce, PolicyReader

_HIGHER_IS_TIGHTER = frozenset({"min_position_margin_usd"})


class TightenedPolicy:
    """Reads ``policy``; ``limits`` (by the name of the limit) can only make it stricter, never looser."""

    def __init__(self, policy: PolicyReader, limits: Mapping[str, Decimal]) -> None:
        self._policy = policy
        self._limits = dict(limits)
        self._known: tuple[PolicyInForce, PolicyInForce] | None = None

    def current(self) -> PolicyInForce | None:
        in_force = self._policy.current()
        if in_force is None or not self._limits:
            return in_force
        if self._known is None or self._known[0] is not in_force:
            limits = tightened(in_force.limits, self._limits)
            self._known = (in_force, msgspec.structs.replace(in_force, limits=limits))
        return self._known[1]


def tightened(limits: EffectiveLimits, by: Mapping[str, Decimal]) -> EffectiveLimits:
    """``limits`` with each one named in ``by`` no looser than the figure there. Raises AttributeError for other names."""
    changed: dict[str, Bound[Any]] = {}
    for name, asked in by.items():
        bound: Bound[Any] = getattr(limits, name)
        if (asked > bound.value) if name in _HIGHER_IS_TIGHTER else (asked < bound.value):
            # A whole number is rounded towards the stricter side.
            value = int(asked) if isinstance(bound.value, int) else asked
            changed[name] = Bound(value, bound.requested, Binding.OVERRIDE)
    if "max_leverage" in changed and limits.leverage.value > changed["max_leverage"].value:
        changed["leverage"] = Bound(int(changed["max_leverage"].value), limits.leverage.requested, Binding.OVERRIDE)
    risk = changed.get("max_risk_per_position_pct")
    if risk is not None and limits.max_risk_per_trade_pct.value > risk.value:
        changed["max_risk_per_trade_pct"] = Bound(
            Decimal(risk.value), limits.max_risk_per_trade_pct.requested, Binding.OVERRIDE
        )
    return msgspec.structs.replace(limits, **changed)
