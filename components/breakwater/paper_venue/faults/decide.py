"""The decision alone: which rule, if any, applies to a request, a message or an instant. No clock, no I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from breakwater.paper_venue.faults.catalogue import Family
from breakwater.paper_venue.faults.plan import FaultPlan, FaultRule


@dataclass(frozen=True, slots=True)
class Seen:
    """A request, or a stream's message (then ``event`` is its kind and ``path`` the stream's)."""

    path: str
    symbol: str = ""
    client_id: str = ""
    method: str = ""
    event: str = ""


@dataclass(slots=True)
class _Loaded:
    rule: FaultRule
    since_ms: int
    draws: random.Random
    matched: int = 0
    fired: int = 0
    begun: bool = False
    ended: bool = False

    def open(self, now_ms: int) -> bool:
        elapsed = (now_ms - self.since_ms) / 1000
        match = self.rule.match
        return elapsed >= match.from_s and (match.to_s is None or elapsed < match.to_s)

    def over(self, now_ms: int) -> bool:
        to_s = self.rule.match.to_s
        return to_s is not None and (now_ms - self.since_ms) / 1000 >= to_s


@dataclass(slots=True)
class Due:
    """Rules of the INSTANT family whose time has come, and those whose time is over."""

    begins: list[FaultRule] = field(default_factory=list)
    ends: list[FaultRule] = field(default_factory=list)


class FaultDecider:
    """Every rule draws from a source of its own, so that one rule never changes what another does. Times in ms of wall clock."""

    def __init__(self) -> None:
        self._loaded: list[_Loaded] = []
        self._count = 0

    def load(self, plan: FaultPlan, now_ms: int) -> None:
        """Add the rules of ``plan`` behind those already there."""
        for rule in plan.rules:
            draws = random.Random(f"fault-{plan.seed}-{self._count}")
            self._loaded.append(_Loaded(rule, now_ms, draws))
            self._count += 1

    def clear(self) -> list[FaultRule]:
        """Forget every rule. Returns those of the INSTANT family that had begun and not ended: they have to be undone."""
        left = [each.rule for each in self._loaded if each.begun and not each.ended]
        self._loaded.clear()
        return left

    def report(self) -> list[tuple[FaultRule, int, int]]:
        """Each rule, how often it matched, and how often it happened."""
        return [(each.rule, each.matched, each.fired) for each in self._loaded]

    def watches(self, family: Family) -> bool:
        """Whether any rule could befall this family."""
        return any(each.rule.fault.family is family for each in self._loaded)

    def request(self, seen: Seen, now_ms: int) -> FaultRule | None:
        """What happens to this request. Counts it."""
        return self._first(Family.REQUEST, seen, now_ms)

    def message(self, seen: Seen, now_ms: int) -> FaultRule | None:
        """What happens to this message. Counts it."""
        return self._first(Family.EVENT, seen, now_ms)

    def due(self, now_ms: int) -> Due:
        """What begins or ends now; each is told once."""
        due = Due()
        for each in self._loaded:
            if each.rule.fault.family is not Family.INSTANT:
                continue
            if not each.begun and each.open(now_ms):
                each.begun = True
                each.matched = each.fired = 1
                due.begins.append(each.rule)
            if each.begun and not each.ended and each.over(now_ms):
                each.ended = True
                due.ends.append(each.rule)
        return due

    def _first(self, family: Family, seen: Seen, now_ms: int) -> FaultRule | None:
        for each in self._loaded:
            rule = each.rule
            if rule.fault.family is not family or not each.open(now_ms) or not _matches(rule, seen):
                continue
            each.matched += 1
            if each.matched < rule.match.nth or (rule.count and each.fired >= rule.count):
                continue
            if rule.match.probability < 1 and each.draws.random() >= rule.match.probability:
                continue
            each.fired += 1
            return rule
        return None


def _matches(rule: FaultRule, seen: Seen) -> bool:
    match = rule.match
    return all(
        pattern == "*" or fnmatchcase(value, pattern)
        for pattern, value in (
            (match.method, seen.method),
            (match.path, seen.path),
            (match.symbol, seen.symbol),
            (match.client_id, seen.client_id),
            (match.event, seen.event),
        )
    )
