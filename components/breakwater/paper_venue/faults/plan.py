"""A fault plan: rules as JSON, checked so that a mistake is named with its line and field."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec

from breakwater.paper_venue.faults.catalogue import REQUEST_FAULTS, Family, Fault
from breakwater.runtime import strict_yaml

MOST_BYTES = strict_yaml.MOST_BYTES

Seconds = Annotated[float, msgspec.Meta(ge=0, le=7 * 86_400)]


class FaultPlanError(Exception):
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
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)


def read_plan_file(path: Path) -> FaultPlan:
    """The plan in a file. Raises FaultPlanError."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise FaultPlanError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    return parse_plan(content, str(path))


def parse_plan(content: bytes, source: str) -> FaultPlan:
    """The plan in ``content``; ``source`` is named in errors. Raises FaultPlanError."""
    if len(content) > MOST_BYTES:
        raise FaultPlanError(f"{source}: is over {MOST_BYTES} bytes long; a plan has a few rules")
    try:
        text = content.decode("utf-8")
        json.loads(text)
    except UnicodeDecodeError as error:
        raise FaultPlanError(f"{source}: byte {error.start} is not UTF-8: save it as UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise FaultPlanError(
            f"{source}: line {error.lineno}: this is not JSON: {error.msg}; check commas, quotes and brackets there"
        ) from None
    except (RecursionError, ValueError):
        raise FaultPlanError(f"{source}: this is no plan: an object with seed and rules is needed") from None
    lines = _lines(text, source)
    try:
        plan = msgspec.json.decode(content, type=FaultPlan)
    except msgspec.ValidationError as error:
        found = _PLACE.match(str(error))
        assert found is not None  # it matches every text
        raise _problem(source, lines, found["path"] or "", found["what"]) from None
    for number, rule in enumerate(plan.rules):
        for name, what in _problems(rule):
            raise _problem(source, lines, f"rules[{number}].{name}", what)
    return plan


def _lines(text: str, source: str) -> dict[str, int]:
    try:
        documents = strict_yaml.read_documents(text.replace("\t", " "))
    except strict_yaml.YamlProblem as error:
        where = f"line {error.line}: " if error.line else ""
        raise FaultPlanError(f"{source}: {where}{error.problem}; {error.remedy}") from None
    return documents[0].lines if documents else {}


def _problem(source: str, lines: dict[str, int], path: str, what: str) -> FaultPlanError:
    unknown = re.search(r"unknown field `([^`]+)`", what)
    field = f"{path}.{unknown[1]}".lstrip(".") if unknown else path
    near = field
    while near not in lines and near:
        near = near.rpartition(".")[0] if "." in near else ""
    where = f"line {lines.get(near, 1)}: "
    if "enum value" in what:
        what += f"; known faults are {', '.join(Fault)}"
    return FaultPlanError(f"{source}: {where}{field or 'the plan'}: {what}")


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
