"""What a run says, from outside: the two ledgers, the instants the server was away, and what the server holds at the end."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from tests.faults.ledger import Kind, Record

NOTICED = 1.5
"""Seconds within which a bus notices that its server is gone. What is refused in that time may have been on its way."""


@dataclass
class Verdict:
    begun: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    """Begun and neither: the publisher was killed in the middle. Delivered once or not at all."""
    applied: int = 0
    repeated_after_crash: int = 0
    """Seen again by a consumer that had died meanwhile, or after the server forgot what it had been told: allowed."""
    refused_on_its_way: int = 0
    """Refused when the server went, and delivered all the same: allowed, the outcome was unknown."""
    lost: list[int] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    out_of_order: list[tuple[int, int]] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    """Given twice to a consumer that had not died."""
    refused_but_delivered: list[int] = field(default_factory=list)
    never_begun: list[int] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    WRONGS = ("lost", "duplicated", "out_of_order", "repeated", "refused_but_delivered", "never_begun", "other")

    @property
    def right(self) -> bool:
        return not any(getattr(self, name) for name in self.WRONGS)

    def counts(self) -> dict[str, int]:
        return {name: value if isinstance(value, int) else len(value) for name, value in asdict(self).items()}

    def wrongs(self) -> str:
        found = {name: getattr(self, name) for name in self.WRONGS if getattr(self, name)}
        return "; ".join(f"{name} {len(items)}: {items[:8]}" for name, items in found.items())


def judge(published: Sequence[Record], consumed: Sequence[Record], outages: Sequence[tuple[float, float]]) -> Verdict:
    """``outages`` are the times, on the ledgers' clock, in which the server was known to be dead."""
    verdict = Verdict()
    begun = {record.number: record.at for record in published if record.kind is Kind.BEGUN}
    acknowledged = {record.number for record in published if record.kind is Kind.ACKNOWLEDGED}
    refused = {record.number: record.at for record in published if record.kind is Kind.REFUSED}
    first = [record for record in consumed if record.kind is Kind.APPLIED]
    applied = collections.Counter(record.number for record in first)
    verdict.begun, verdict.acknowledged, verdict.refused = len(begun), len(acknowledged), len(refused)
    verdict.unknown = len(begun.keys() - acknowledged - refused.keys())
    verdict.applied = len(applied)
    verdict.lost = sorted(acknowledged - applied.keys())
    verdict.never_begun = sorted(applied.keys() - begun.keys())
    verdict.duplicated = sorted(number for number, times in applied.items() if times > 1)
    verdict.out_of_order = _disorder(first)
    lives: dict[tuple[int, int, int], int] = collections.Counter(
        (record.incarnation, record.epoch, record.sequence)
        for record in consumed
        if record.kind in (Kind.APPLIED, Kind.REPEATED)
    )
    verdict.repeated = sorted(sequence for (_, _, sequence), times in lives.items() if times > 1)
    repeats = sum(record.kind is Kind.REPEATED for record in consumed)
    verdict.repeated_after_crash = repeats - sum(times - 1 for times in lives.values() if times > 1)
    for number in sorted(refused.keys() & applied.keys()):
        if any(down + NOTICED <= begun[number] and refused[number] <= up for down, up in outages):
            verdict.refused_but_delivered.append(number)
        else:
            verdict.refused_on_its_way += 1
    gaps = sum(record.kind is Kind.GAP for record in consumed)
    if gaps and not verdict.lost:
        verdict.other.append(f"{gaps} gaps were reported and nothing was missing")
    return verdict


def _disorder(first: Sequence[Record]) -> list[tuple[int, int]]:
    """Pairs of numbers applied the wrong way round; each event counts at its first time."""
    found = []
    highest = 0
    seen: set[int] = set()
    for record in first:
        if record.number < highest and record.number not in seen:
            found.append((highest, record.number))
        seen.add(record.number)
        highest = max(highest, record.number)
    return found
