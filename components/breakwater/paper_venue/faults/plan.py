"""A fault plan: rules as JSON, checked so that a mistake is named with its line and field."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec

from breakwater.paper_venue.faults.catalogue import REQUEST_FAULTS, Family, Fault
from breakwater.paper_venue.json_text import MOST_BYTES as MOST_BYTES
from breakwater.paper_venue.json_text import JsonText, JsonTextError, read_text

Seconds = Annotated[float, msgspec.Meta(ge=0, le=7 * 86_400)]


class FaultPlanError(JsonTextError):
    """A plan that cannot be read. The text names source, line and field, and says what to write."""


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests or messages a rule means. What is left out matches everything; names may contain ``*``.

    Times are seconds after the rule was loaded, on the venue's wall clock: from ``from_s`` until before ``to_s``.
    """

    method: str = "*"
    path: str = "*"
    symbol: str = "*"
    client_id: str = "*"
    event: str = "*"
    """The ``e`` of a stream's message: ORDER_TRADE_UPDATE, ALGO_UPDATE, ACCOUNT_UPDATE, ..."""
    nth: Annotated[int, msgspec.Meta(ge=1)] = 1
    """The first of the matching ones that goes wrong."""
    probability: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    from_s: Seconds = 0.0
    to_s: Seconds | None = None


class FaultRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault, the first ``count`` times it matches (0: always)."""

    fault: Fault
    match: Match = Match()
    count: Annotated[int, msgspec.Meta(ge=0)] = 1
    executed: bool | None = None
    """For faults that leave open whether the venue did it: whether it did (yes when left out)."""
    delay_s: Seconds | None = None
    retry_after_s: Annotated[int, msgspec.Meta(ge=0, le=259_200)] | None = None
    code: Annotated[int, msgspec.Meta(lt=0)] | None = None
    text: str | None = None
    factor: Decimal | None = None
    tick_size: Decimal | None = None
    step_size: Decimal | None = None
    min_notional: Decimal | None = None


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules in order: the first that applies to a request is the one that happens to it."""

    seed: int = 0
    rules: tuple[FaultRule, ...] = ()


_TAKES = {
    "executed": [fault for fault, how in REQUEST_FAULTS.items() if how.ambiguous],
    "delay_s": [Fault.SLOW_REPLY, Fault.EVENT_DELAYED, Fault.EVENT_REORDERED],
    "retry_after_s": [Fault.RATE_LIMITED_429, Fault.BANNED_418],
    "code": [Fault.REJECTED],
    "text": [Fault.REJECTED],
    "factor": [Fault.PRICE_GAP],
    "tick_size": [Fault.FILTER_CHANGED],
    "step_size": [Fault.FILTER_CHANGED],
    "min_notional": [Fault.FILTER_CHANGED],
}
"""Which faults a parameter belongs to."""
_NEEDS = {
    Fault.SLOW_REPLY: ("delay_s",),
    Fault.EVENT_DELAYED: ("delay_s",),
    Fault.REJECTED: ("code",),
    Fault.PRICE_GAP: ("factor",),
}
_POSITIVE = ("factor", "tick_size", "step_size", "min_notional")
_MATCHES = {
    "method": [Family.REQUEST],
    "client_id": [Family.REQUEST, Family.EVENT],
    "event": [Family.EVENT],
    "path": [Family.REQUEST, Family.EVENT],
    "nth": [Family.REQUEST, Family.EVENT],
    "probability": [Family.REQUEST, Family.EVENT],
}
_WITH_SYMBOL = (Fault.FILTER_CHANGED, Fault.SYMBOL_HALTED, Fault.PRICE_GAP)


def read_plan_file(path: Path) -> FaultPlan:
    """The plan in a file. Raises FaultPlanError."""
    return parse_plan(read_text(path, FaultPlanError), str(path))


def parse_plan(content: bytes, source: str) -> FaultPlan:
    """The plan in ``content``; ``source`` is named in errors. Raises FaultPlanError."""
    text = JsonText(content, source, "a plan, an object with seed and rules", FaultPlanError)
    plan = text.decode(FaultPlan)
    for number, rule in enumerate(plan.rules):
        for name, what in _problems(rule):
            raise text.problem(f"rules[{number}].{name}", what)
    return plan


def _problems(rule: FaultRule) -> list[tuple[str, str]]:
    """Field and what is wrong with it."""
    found = []
    for name, faults in _TAKES.items():
        if getattr(rule, name) is not None and rule.fault not in faults:
            found.append((name, f"does not belong to {rule.fault}, only to {', '.join(faults)}"))
    missing = (name for name in _NEEDS.get(rule.fault, ()) if getattr(rule, name) is None)
    found += [("fault", f"{rule.fault} needs {name}") for name in missing]
    for name in _POSITIVE:  # msgspec bounds no decimals
        value = getattr(rule, name)
        if value is not None and not (value.is_finite() and value > 0):
            found.append((name, f"must be a number above 0, is {value}"))
    default = Match()
    for name, families in _MATCHES.items():
        if getattr(rule.match, name) != getattr(default, name) and rule.fault.family not in families:
            found.append((f"match.{name}", f"{rule.fault} befalls no {_ands(families)}: leave it out"))
    match = rule.match
    if match.to_s is not None and match.to_s <= match.from_s:
        found.append(("match.to_s", f"must be after from_s ({match.from_s:g}), is {match.to_s:g}"))
    if rule.fault in _WITH_SYMBOL and (match.symbol == "*" or "*" in match.symbol):
        found.append(("match.symbol", f"{rule.fault} needs one symbol, for example BTCUSDT"))
    if rule.fault is Fault.FILTER_CHANGED and not (rule.tick_size or rule.step_size or rule.min_notional):
        found.append(("fault", "filter_changed needs tick_size, step_size or min_notional"))
    return found


def _ands(families: list[Family]) -> str:
    return " and no ".join(family.value for family in families)
