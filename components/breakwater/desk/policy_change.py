"""May this change of policy come into force now, and which part of it has to wait? Pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from breakwater.domain.limits import effective_limits
from breakwater.domain.policy import TradingMode
from breakwater.domain.stop_rules import StopRules, stop_rules, tighter
from breakwater.domain.stop_state import StopState
from breakwater.runtime.manifest_rules import policy_update_problems, stop_update_problems
from breakwater.runtime.manifests import DeskManifests

_WAITING = (StopState.TRIPPED, StopState.COOLING_DOWN)


class Problem(msgspec.Struct, frozen=True):
    """Why a change is refused: field (as the resource spells it), what is wrong, what to do. Lines count from 1."""

    field: str
    problem: str
    remedy: str
    line: int | None = None
    document: int | None = None


def refusals(
    before: DeskManifests | None,
    after: DeskManifests,
    *,
    stop: StopState | None,
    modes: Collection[TradingMode],
) -> list[Problem]:
    """Every reason why ``after`` may not replace ``before`` now. None for ``stop``: not known.

    ``modes``: what desks are wired for here. A desk keeps the mode it was made with.
    """
    found = []
    mode = after.policy.spec.trading_mode
    if mode not in modes:
        known = " or ".join(sorted(m.value for m in modes))
        wrong = f"is {mode.value}, and this desk is wired for {known} only"
        found.append(Problem("spec.tradingMode", wrong, f"write {known}, or run a desk for {mode.value} on Kubernetes"))
    if before is None:
        return found
    was = before.policy.spec.trading_mode
    if mode is not was and mode in modes:
        wrong = f"cannot change from {was.value} to {mode.value}, whose account, books and stop are others"
        found.append(Problem("spec.tradingMode", wrong, f"create another TradingPolicy for {mode.value}"))
    for kind, old, new in (
        ("TradingPolicy", before.policy, after.policy),
        ("EmergencyStop", before.stop, after.stop),
    ):
        if old.name != new.name or old.namespace != new.namespace:
            wrong = f"names {kind} {new.namespace}/{new.name}, this desk's is {old.namespace}/{old.name}"
            found.append(Problem("metadata.name", wrong, "keep the desk's own names; another name is another desk"))
    for field, sentence in policy_update_problems(before.policy.spec, after.policy.spec):
        found.append(Problem(field, sentence.partition(": ")[0], sentence.partition(": ")[2]))
    for field, sentence in stop_update_problems(before.stop.spec, after.stop.spec, stop):
        if field != "spec.policyRef":  # renaming is named above already
            found.append(Problem(field, sentence.partition(": ")[0], sentence.partition(": ")[2]))
    if stop is None and before.stop.spec.enabled and not after.stop.spec.enabled:
        wrong = "cannot be switched off while the emergency stop's state is not known"
        found.append(Problem("spec.enabled", wrong, "try again once breakwater status shows the stop"))
    return found


def waits_for_rearm(before: DeskManifests | None, after: DeskManifests, stop: StopState | None) -> list[str]:
    """What of ``after`` only holds once the stop is re-armed: between trip and re-arm its rules only become stricter."""
    if before is None or stop not in _WAITING:
        return []
    held, asked = _rules(before), _rules(after)
    now = tighter(held, asked)
    return [
        f"{name.replace('_', ' ')}: {_text(getattr(now, name))} holds, {_text(getattr(asked, name))} waits for the re-arm"
        for name in StopRules.__struct_fields__
        if not name.endswith("_binding") and getattr(now, name) != getattr(asked, name)
    ]


def exits_only(before: DeskManifests | None, after: DeskManifests) -> list[str]:
    """Symbols that leave: their positions are managed to the end, nothing new is opened."""
    if before is None:
        return []
    gone = [symbol for symbol in before.policy.spec.symbols if symbol not in after.policy.spec.symbols]
    return [f"{symbol} is exits only from now on" for symbol in gone]


def _rules(desk: DeskManifests) -> StopRules:
    policy, stop = desk.policy.spec, desk.stop.spec
    return stop_rules(stop, effective_limits(policy, stop), policy.trading_mode)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
