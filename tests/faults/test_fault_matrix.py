"""Nothing is lost, doubled or out of order, whatever dies, breaks or fills up when; and a bus that is not careful is found out."""

from __future__ import annotations

import os

import pytest
from tests.faults.judge import judge
from tests.faults.ledger import Kind, Record
from tests.faults.machinery import servers
from tests.faults.matrix import PAIRS, matrix, never_happened, report, shows
from tests.faults.planted import PLANTS
from tests.faults.run import Outcome

SEED = int(os.environ["BREAKWATER_SEEDS"].split(",")[0])
"""A fresh one each time; a failing run says how to repeat it."""


def wrong(outcomes: list[Outcome]) -> str:
    return "\n".join(report(outcome) for outcome in outcomes if not outcome.verdict.right)


def servers_used() -> str:
    return f"servers: {', '.join(servers())}" + ("" if "redis" in servers() else "; redis-server is not on PATH")


async def test_every_pair_of_faults_loses_doubles_and_reorders_nothing() -> None:
    outcomes = await matrix(SEED, range(PAIRS), events=1500)
    assert wrong(outcomes) == "", servers_used()
    assert never_happened(outcomes) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_thirty_runs_with_outages_of_ten_thousand_events_lose_double_and_reorder_nothing() -> None:
    outcomes = await matrix(SEED, range(PAIRS, PAIRS + 30))
    assert wrong(outcomes) == "", servers_used()
    assert never_happened(outcomes) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PLANTS)
async def test_planted_bug_is_found_within_sixteen_runs(name: str) -> None:
    def found(outcome: Outcome) -> bool:
        return shows(name, outcome)

    outcomes = await matrix(SEED, range(2 * PAIRS), plant=name, events=1500, patience=2, enough=found)
    assert any(found(outcome) for outcome in outcomes), f"{PLANTS[name].what}: nobody noticed. {wrong(outcomes)}"


PUBLISHED = [
    Record(kind, 0, number, 7, number, at)
    for number, at in ((1, 1.0), (2, 2.0), (3, 3.0))
    for kind in (Kind.BEGUN, Kind.ACKNOWLEDGED)
]


def applied(*numbers: int, kind: Kind = Kind.APPLIED, life: int = 0, epoch: int = 7) -> list[Record]:
    return [Record(kind, life, number, epoch, number, 5.0) for number in numbers]


def test_events_applied_once_and_in_order_are_right() -> None:
    assert judge(PUBLISHED, applied(1, 2, 3), []).right


def test_event_repeated_after_a_crash_of_its_consumer_is_right() -> None:
    verdict = judge(PUBLISHED, applied(1, 2) + applied(2, kind=Kind.REPEATED, life=1) + applied(3, life=1), [])
    assert verdict.right
    assert verdict.repeated_after_crash == 1


@pytest.mark.parametrize(
    ("consumed", "what"),
    [
        pytest.param(applied(1, 3), {"lost": [2]}, id="lost"),
        pytest.param(applied(1, 2, 3) + applied(2, epoch=8), {"duplicated": [2]}, id="doubled"),
        pytest.param(applied(1, 3, 2), {"out_of_order": [(3, 2)]}, id="reordered"),
        pytest.param(applied(1, 2, 3) + applied(2, kind=Kind.REPEATED), {"repeated": [2]}, id="repeated"),
        pytest.param(applied(1, 2, 3, 4), {"never_begun": [4]}, id="invented"),
    ],
)
def test_wrong_delivery_is_told_by_its_name(consumed: list[Record], what: dict[str, object]) -> None:
    verdict = judge(PUBLISHED, consumed, [])
    assert not verdict.right
    assert {name: getattr(verdict, name) for name in verdict.WRONGS if getattr(verdict, name)} == what


def test_event_refused_deep_in_an_outage_and_delivered_is_wrong() -> None:
    published = [*PUBLISHED, Record(Kind.BEGUN, 0, 4, 0, 0, 13.0), Record(Kind.REFUSED, 0, 4, 0, 0, 13.1)]
    assert judge(published, applied(1, 2, 3, 4), [(10.0, 14.0)]).refused_but_delivered == [4]


def test_event_refused_when_the_server_went_and_delivered_is_allowed() -> None:
    published = [*PUBLISHED, Record(Kind.BEGUN, 0, 4, 0, 0, 10.1), Record(Kind.REFUSED, 0, 4, 0, 0, 10.9)]
    verdict = judge(published, applied(1, 2, 3, 4), [(10.0, 14.0)])
    assert verdict.right
    assert verdict.refused_on_its_way == 1
