"""What differs between two policies, field by field, for people and for the history."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec
from breakwater.domain.limits import EffectiveLimits, effective_limits
from breakwater.domain.money import plain
from breakwater.domain.policy import PolicySpec
from breakwater.runtime.manifests import POLICY_KIND, STOP_KIND, DeskManifests


class Change(msgspec.Struct, frozen=True):
    """One field that differs. ``path`` begins with the kind (``TradingPolicy.spec.limits.maxLeverage``); None: not set."""

    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.path}: {self.before or 'not set'} -> {self.after or 'not set'}"


def to_wire(spec: PolicySpec | EmergencyStopSpec) -> dict[str, Any]:
    """The spec as the custom resource spells it, defaults included, unset fields left out; Decimals stay Decimal."""
    wire = _dropped(msgspec.to_builtins(spec, builtin_types=(Decimal,)))
    assert isinstance(wire, dict)
    return wire


def desk_to_wire(desk: DeskManifests) -> dict[str, dict[str, Any]]:
    """Both resources, each with its name, namespace and spec. Requests to the stop are not part of a policy."""
    return {
        POLICY_KIND: {
            "metadata": {"name": desk.policy.name, "namespace": desk.policy.namespace},
            "spec": to_wire(desk.policy.spec),
        },
        STOP_KIND: {
            "metadata": {"name": desk.stop.name, "namespace": desk.stop.namespace},
            "spec": to_wire(desk.stop.spec.without_requests()),
        },
    }


def diff_policies(before: DeskManifests | None, after: DeskManifests) -> list[Change]:
    """Every field of either resource that differs, in the order of their names. None as ``before``: nothing was there."""
    old = _flat("", desk_to_wire(before)) if before else {}
    new = _flat("", desk_to_wire(after))
    return [
        Change(path, old.get(path), new.get(path)) for path in sorted({*old, *new}) if old.get(path) != new.get(path)
    ]


def diff_holds(before: str, after: str) -> list[Change]:
    """The change from one hold to another; empty when there is none."""
    return [Change("hold", before or None, after or None)] if before != after else []


def diff_limits(before: DeskManifests, after: DeskManifests) -> list[Change]:
    """Every limit whose value in force differs, for example ``effective.maxLeverage: 30 -> 10``."""
    pairs = zip(_limits(before).items(), _limits(after).items(), strict=True)
    return [
        Change(f"effective.{name}", _text(old.value), _text(new.value))
        for (name, old), (_, new) in pairs
        if old.value != new.value
    ]


def _limits(desk: DeskManifests) -> EffectiveLimits:
    return effective_limits(desk.policy.spec, desk.stop.spec)


def _dropped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _dropped(inner) for key, inner in value.items() if inner is not None}
    return [_dropped(inner) for inner in value] if isinstance(value, list | tuple) else value


def _flat(path: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {path: _text(value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= _flat(f"{path}.{key}" if path else str(key), inner)
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return plain(value) if isinstance(value, Decimal) else str(value)
