"""A plan is read whole or refused with its line and field; decisions are seeded and count what they match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from breakwater.paper_venue.faults.catalogue import EVENT_FAULTS, INSTANT_FAULTS, REQUEST_FAULTS, Fault
from breakwater.paper_venue.faults.decide import FaultDecider, Seen
from breakwater.paper_venue.faults.plan import FaultPlan, FaultPlanError, FaultRule, Match, parse_plan, read_plan_file

ORDER = Seen("/fapi/v1/order", "BTCUSDT", "bw-1-e", "POST")


def decided(seen: list[Seen], *rules: FaultRule, seed: int = 1, at_ms: int = 0) -> list[Fault | None]:
    decider = FaultDecider()
    decider.load(FaultPlan(seed, rules), 0)
    return [rule.fault if (rule := decider.request(each, at_ms)) else None for each in seen]


def test_plan_file_is_read_with_what_was_left_out_at_its_default(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"seed": 3, "rules": [{"fault": "hang", "match": {"nth": 2}, "executed": false}]}')
    plan = read_plan_file(path)
    assert plan == FaultPlan(3, (FaultRule(Fault.HANG, Match(nth=2), executed=False),))
    assert plan.rules[0].count == 1


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ('{\n"rules": [\n{"fault": "hagn"}]}', 3, "rules[0].fault"),
        ('{"rules": [\n{"fault": "hang"},\n{"fault": "hang", "match": {\n"nth": 0}}]}', 4, "rules[1].match.nth"),
        ('{"rules": [\n{"fault": "hang",\n"probabilty": 0.5}]}', 3, "rules[0].probabilty"),
        ('{"rules": [\n{"fault": "hang", "match":\n{"probability": "often"}}]}', 3, "rules[0].match.probability"),
        ('{"rules": [\n{"fault": "reset_after",\n"executed": false}]}', 3, "rules[0].executed"),
        ('{"rules": [\n{"fault": "price_gap", "match": {"symbol": "BTCUSDT"}}]}', 2, "rules[0].fault"),
        ('{"rules": [\n{"fault": "symbol_halted"}]}', 2, "rules[0].match.symbol"),
        ('{"rules": [\n{"fault": "hang", "match": {"from_s": 5,\n"to_s": 5}}]}', 3, "rules[0].match.to_s"),
        ('{"rules": [\n{"fault": "stream_closed", "match": {\n"nth": 2}}]}', 3, "rules[0].match.nth"),
        ('{\n\t"seed": "x"}', 2, "seed"),
        ('{"seed": 1,\n"seed": 2}', 2, "seed"),
    ],
)
def test_mistake_in_a_plan_is_named_with_line_and_field(text: str, line: int, field: str) -> None:
    with pytest.raises(FaultPlanError) as refused:
        parse_plan(text.encode(), "plan.json")
    assert str(refused.value).startswith(f"plan.json: line {line}: ")
    assert field in str(refused.value)


@pytest.mark.parametrize("text", ['{"rules": [}', "", "[]", "null", "\xff", '{"rules": [[[[' + "[" * 3000])
def test_text_that_is_no_plan_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(FaultPlanError, match=r"^plan\.json: "):
        parse_plan(text.encode("latin-1"), "plan.json")


def test_file_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(FaultPlanError, match=r"none\.json: cannot be read"):
        read_plan_file(tmp_path / "none.json")


def test_every_fault_belongs_to_one_family_and_has_a_meaning() -> None:
    families: list[Any] = [set(REQUEST_FAULTS), set(EVENT_FAULTS), set(INSTANT_FAULTS)]
    assert set().union(*families) == set(Fault)
    assert sum(map(len, families)) == len(Fault)


def test_plan_written_and_read_again_is_the_same() -> None:
    plan = FaultPlan(5, (FaultRule(Fault.SLOW_REPLY, Match(path="*/order", from_s=1, to_s=2), delay_s=0.5),))
    assert parse_plan(msgspec.json.encode(plan), "again") == plan


def test_nth_and_count_choose_which_of_the_matching_requests_fail() -> None:
    rule = FaultRule(Fault.HANG, Match(method="POST", path="*/order"), count=2)
    second = msgspec.structs.replace(rule, match=Match(method="POST", path="*/order", nth=2))
    other = Seen("/fapi/v1/order", "BTCUSDT", "bw-1-e", "GET")
    assert decided([ORDER, other, ORDER, ORDER, ORDER], second) == [None, None, "hang", "hang", None]


@pytest.mark.parametrize(
    "match",
    [
        Match(method="GET"),
        Match(path="/fapi/v1/algoOrder"),
        Match(symbol="ETHUSDT"),
        Match(client_id="*-x"),
        Match(from_s=1.0),
    ],
)
def test_request_that_does_not_match_passes(match: Match) -> None:
    assert decided([ORDER], FaultRule(Fault.HANG, match)) == [None]
    assert decided([ORDER], FaultRule(Fault.HANG)) == ["hang"]


def test_window_ends_before_its_last_second() -> None:
    rule = FaultRule(Fault.HANG, Match(from_s=1, to_s=2), count=0)
    at = {ms: decided([ORDER], rule, at_ms=ms)[0] for ms in (999, 1000, 1999, 2000)}
    assert at == {999: None, 1000: "hang", 1999: "hang", 2000: None}


def test_same_seed_decides_the_same_and_another_seed_otherwise() -> None:
    rule = FaultRule(Fault.HANG, Match(probability=0.5), count=0)
    first, again, other = (decided([ORDER] * 64, rule, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert 16 < first.count(Fault.HANG) < 48


def test_rule_before_it_never_changes_what_a_rule_draws() -> None:
    rule = FaultRule(Fault.HTML, Match(path="*/order", probability=0.5), count=0)
    before = FaultRule(Fault.HANG, Match(path="*/algoOrder", probability=0.5), count=0)
    mixed = [ORDER, Seen("/fapi/v1/algoOrder", "BTCUSDT", "bw-1-s", "POST")] * 32
    decider, alone = FaultDecider(), FaultDecider()
    decider.load(FaultPlan(1, (rule, before)), 0)
    alone.load(FaultPlan(1, (rule,)), 0)
    both = [decider.request(each, 0) for each in mixed][::2]
    assert both == [alone.request(each, 0) for each in mixed][::2]


def test_instant_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    rule = FaultRule(Fault.SYMBOL_HALTED, Match(symbol="BTCUSDT", from_s=1, to_s=3))
    decider = FaultDecider()
    decider.load(FaultPlan(1, (rule,)), 0)
    told = [(len(due.begins), len(due.ends)) for ms in (0, 1000, 2000, 3000, 4000) for due in [decider.due(ms)]]
    assert told == [(0, 0), (1, 0), (0, 0), (0, 1), (0, 0)]


def test_rules_taken_back_name_what_has_to_be_undone() -> None:
    halted = FaultRule(Fault.SYMBOL_HALTED, Match(symbol="BTCUSDT", to_s=30))
    decider = FaultDecider()
    decider.load(FaultPlan(1, (halted, FaultRule(Fault.HANG))), 0)
    decider.due(0)
    assert decider.clear() == [halted]
    assert decider.request(ORDER, 0) is None
