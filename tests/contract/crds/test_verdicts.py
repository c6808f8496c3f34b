"""The schema with its CEL rules and our loader give the same verdict on the same manifest."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.domain.policy import PolicySpec
from breakwater.runtime.manifest_rules import policy_update_problems
from breakwater.runtime.manifests import ManifestError, load_policy, load_stop
from breakwater.runtime.policy_diff import to_wire

PROFILES = Path(__file__).parents[3] / "profiles"
Schemas = dict[str, dict[str, Any]]


class Server(Protocol):
    def problems(self, resource: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]: ...


def resource(kind: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": "breakwater.trading/v1alpha1", "kind": kind, "metadata": {"name": "main"}, "spec": spec}


def loaded(manifest: dict[str, Any]) -> tuple[Any, list[str]]:
    """What our loader makes of the manifest as text: its spec, or the problems."""
    load = load_policy if manifest["kind"] == "TradingPolicy" else load_stop
    try:
        return load(json.dumps(manifest)).spec, []
    except ManifestError as error:
        return None, [str(problem) for problem in error.problems]


STRINGS = [
    "BTCUSDT",
    "ETHUSDT",
    "btc",
    "main",
    "r1",
    "a b",
    "",
    "-x",
    "00:00",
    "23:59",
    "25:00",
    "x" * 300,
    "Main",
    "T_1:2",
]
ODD = st.sampled_from([None, True, "5", 5, 0.5, -1, [], {}, ["A"], {"name": "x"}, 10**12, 1.5])


@st.composite
def values(draw: st.DrawFn, schema: dict[str, Any], odds: int) -> Any:
    """Mostly what the schema asks for; one value in ``odds`` of another type or beyond its bounds (0: never)."""
    wrong = bool(odds) and draw(st.integers(1, odds)) == 1
    if wrong and draw(st.booleans()):
        return draw(ODD)
    if "enum" in schema:
        return "Bogus" if wrong else draw(st.sampled_from(schema["enum"]))
    match schema["type"]:
        case "number" | "integer":
            low, high = schema["minimum"], schema["maximum"]
            if wrong:
                return draw(st.sampled_from([low - 1, high + 1, low - 0.01, high + 0.01]))
            if draw(st.booleans()):
                return draw(st.sampled_from([low, high]))
            if schema["type"] == "integer":
                return draw(st.integers(low, high))
            return float(draw(st.decimals(str(low), str(high), places=2)))
        case "boolean":
            return "true" if wrong else draw(st.booleans())
        case "string":
            if wrong or "pattern" not in schema:
                return draw(st.sampled_from(STRINGS))
            text = st.from_regex(schema["pattern"].replace("$", r"\Z"), fullmatch=True)
            return draw(text)[: schema["maxLength"]]
        case "array":
            most = schema["maxItems"] + 1 if wrong else min(4, schema["maxItems"])
            least = 0 if wrong else schema["minItems"]
            return draw(st.lists(values(schema["items"], odds), min_size=least, max_size=most))
        case _:
            found = {}
            for name, inner in schema["properties"].items():
                needed = name in schema.get("required", [])
                if (needed and not wrong) or draw(st.booleans()):
                    found[name] = draw(values(inner, odds))
            if wrong:
                found["unknownField"] = 1
            return found


@pytest.mark.parametrize("kind", ["TradingPolicy", "EmergencyStop"])
@pytest.mark.parametrize("odds", [0, 40])
def test_generated_manifest_gets_the_same_verdict_from_both(
    schemas: Schemas, api_server: Server, kind: str, odds: int
) -> None:
    seen: Counter[bool] = Counter()

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(values(schemas[kind]["properties"]["spec"], odds))
    def same(spec: Any) -> None:
        theirs = api_server.problems(resource(kind, spec))
        _, ours = loaded(resource(kind, spec))
        assert bool(theirs) == bool(ours), (theirs, ours)
        seen[not theirs] += 1

    same()
    assert seen[True] >= 5, seen
    assert seen[False] >= 5, seen


POLICY: dict[str, Any] = {"symbols": ["BTCUSDT"]}
STOP: dict[str, Any] = {"policyRef": {"name": "main"}}
REPLAY: dict[str, Any] = {"market": "replay:a/btc.csv,eth.csv", "dataClaimRef": {"name": "data"}}
RULE_CASES = [
    ("TradingPolicy", {"tradingMode": "Live"}, "tradingMode Live needs"),
    ("TradingPolicy", {"tradingMode": "Live", "venue": {"credentialsSecretRef": {"name": "binance"}}}, ""),
    ("TradingPolicy", {"limits": {"maxLeverage": 31}}, "above 30 needs profile AGGRESSIVE"),
    ("TradingPolicy", {"limits": {"maxLeverage": 50}, "profile": "AGGRESSIVE"}, ""),
    ("TradingPolicy", {"limits": {"maxLeverage": 30}}, ""),
    ("TradingPolicy", {"limits": {"leverage": 11, "maxLeverage": 10}}, "leverage must not be above"),
    ("TradingPolicy", {"limits": {"leverage": 10, "maxLeverage": 10}}, ""),
    ("TradingPolicy", {"limits": {"minPositionMarginUSD": 2001}}, "must not be above maxPositionMarginUSD"),
    ("TradingPolicy", {"limits": {"maxPositionMarginUSD": 99.5}}, "must not be above maxPositionMarginUSD"),
    ("TradingPolicy", {"limits": {"minPositionMarginUSD": 2000}}, ""),
    ("TradingPolicy", {"limits": {"maxOrderNotionalUSD": 99}}, "must not be below minPositionMarginUSD"),
    ("TradingPolicy", {"symbols": ["BTCUSDT", "BTCUSDT"]}, "symbols must be unique"),
    ("TradingPolicy", {"signals": {"lowConfidence": 0.9}}, "confidence bounds must rise"),
    ("TradingPolicy", {"signals": {"minConfidence": 0.6, "highConfidence": 0.6}}, ""),
    ("TradingPolicy", {"signals": {"sources": ["Models", "Models"]}}, "sources must be unique"),
    ("TradingPolicy", {"venue": {"paper": {}}}, ""),
    ("TradingPolicy", {"venue": {"paper": {"market": "synthetic:7", "speed": 60, "crashAfterMinutes": 30}}}, ""),
    ("TradingPolicy", {"venue": {"paper": {**REPLAY, "start": "2025-10-10T20:00:00Z"}}}, ""),
    ("TradingPolicy", {"venue": {"paper": {"start": "2025-10-10T20:00:00Z"}}}, "start belongs to a replay"),
    ("TradingPolicy", {"venue": {"paper": {**REPLAY, "crashAfterMinutes": 5}}}, "crashAfterMinutes belongs to"),
    ("TradingPolicy", {"venue": {"paper": {"market": "replay:btc.csv"}}}, "a replay needs it"),
    ("TradingPolicy", {"venue": {"paper": {"dataClaimRef": {"name": "x"}}}}, "a synthetic market has none"),
    ("TradingPolicy", {"tradingMode": "Staging", "venue": {"paper": {}}}, "venue.paper is the simulated market"),
    ("EmergencyStop", {"staleAfterSeconds": 60}, "missingDataTripSeconds must be above"),
    ("EmergencyStop", {"staleAfterSeconds": 59}, ""),
    ("EmergencyStop", {"onTrip": {"cancelOrders": False}}, "onTrip.closePositions needs cancelOrders"),
    ("EmergencyStop", {"onTrip": {"cancelOrders": False, "closePositions": False}}, ""),
]


@pytest.mark.parametrize(("kind", "spec", "expected"), RULE_CASES)
def test_rule_between_fields_is_enforced_by_both_with_the_same_words(
    api_server: Server, kind: str, spec: dict[str, Any], expected: str
) -> None:
    manifest = resource(kind, {**(POLICY if kind == "TradingPolicy" else STOP), **spec})
    theirs, ours = api_server.problems(manifest), loaded(manifest)[1]
    if not expected:
        assert (theirs, ours) == ([], [])
        return
    (message,) = theirs
    assert expected in message
    assert len(ours) == 1
    assert ours[0].endswith(message)


PAPER_CASES = [
    ("market", "synthetic:1234567890"),
    ("market", "synthetic:-1"),
    ("market", "replay:"),
    ("market", "replay:/etc/passwd"),
    ("market", "replay:../secret.csv"),
    ("market", "replay:a.csv,,b.csv"),
    ("market", "replay:a/../../b.csv"),
    ("speed", 0.5),
    ("speed", 61),
    ("start", "2025-02-31T00:00:00Z"),
    ("start", "2025-10-10T20:00:00+02:00"),
    ("start", "2025-10-10"),
    ("crashAfterMinutes", 0),
    ("crashAfterMinutes", 1441),
]


@pytest.mark.parametrize(("field", "value"), PAPER_CASES)
def test_paper_market_out_of_bounds_is_refused_by_both_at_its_field(
    api_server: Server, field: str, value: object
) -> None:
    paper = {**(REPLAY if field == "start" else {}), field: value}
    manifest = resource("TradingPolicy", {**POLICY, "venue": {"paper": paper}})
    assert api_server.problems(manifest)
    (problem,) = loaded(manifest)[1]
    assert f"spec.venue.paper.{field} " in problem


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("a", True), ("main", True), ("desk-a1", True), ("a" * 40, True), ("a" * 41, False), ("1a", False),
        ("a-", False), ("a.b", False), ("-a", False),
    ],
)  # fmt: skip
def test_policy_name_that_no_component_could_carry_is_refused_by_both(
    api_server: Server, name: str, allowed: bool
) -> None:
    manifest = {**resource("TradingPolicy", POLICY), "metadata": {"name": name}}
    ours = loaded(manifest)[1]
    if allowed:
        assert (api_server.problems(manifest), ours) == ([], [])
        return
    (message,) = api_server.problems(manifest)
    assert ours
    # A name that Kubernetes itself refuses is reported as that.
    assert ours[0].endswith(message) or "does not match" in ours[0]


@pytest.mark.parametrize(
    ("old", "new", "mode", "allowed"),
    [
        (None, None, "Paper", True),
        ({"speed": 5}, {"speed": 5}, "Paper", True),
        (None, {"speed": 5}, "Paper", False),
        ({"speed": 5}, None, "Paper", False),
        ({"speed": 5}, {"speed": 6}, "Paper", False),
        ({"market": "synthetic:1"}, {"market": "synthetic:2"}, "Paper", False),
        ({"speed": 5}, None, "Staging", True),
    ],
)
def test_change_of_the_paper_market_of_a_desk_is_refused_by_both(
    api_server: Server, old: object, new: object, mode: str, allowed: bool
) -> None:
    def manifest(paper: object, mode: str) -> dict[str, Any]:
        venue = {"paper": paper} if paper is not None else {}
        return resource("TradingPolicy", {**POLICY, "tradingMode": mode, "venue": venue})

    before, after = manifest(old, "Paper"), manifest(new, mode)
    theirs = api_server.problems(after, before)
    ours = policy_update_problems(loaded(before)[0], loaded(after)[0])
    assert [sentence for _, sentence in ours] == theirs
    assert bool(theirs) is not allowed


@pytest.mark.parametrize("name", ["normal", "defensive", "aggressive"])
def test_shipped_profile_is_accepted_by_both_and_survives_a_round_trip(api_server: Server, name: str) -> None:
    for manifest in yaml.safe_load_all((PROFILES / f"{name}.yaml").read_text()):
        assert api_server.problems(manifest) == []
        spec, problems = loaded(manifest)
        assert problems == []
        wire = json.loads(json.dumps(to_wire(spec), default=float))
        assert api_server.problems(resource(manifest["kind"], wire)) == []
        assert loaded(resource(manifest["kind"], wire))[0] == spec
        assert isinstance(spec, PolicySpec) == (manifest["kind"] == "TradingPolicy")


STATES = ["DISABLED", "ARMED", "TRIPPED", "COOLING_DOWN"]
ALLOWED = {
    ("DISABLED", "ARMED"), ("ARMED", "DISABLED"), ("ARMED", "TRIPPED"), ("TRIPPED", "COOLING_DOWN"),
    ("COOLING_DOWN", "TRIPPED"), ("COOLING_DOWN", "ARMED"),
}  # fmt: skip


@pytest.mark.parametrize("old", STATES)
@pytest.mark.parametrize("new", STATES)
def test_status_takes_only_the_transitions_of_the_stop(api_server: Server, old: str, new: str) -> None:
    before = {**resource("EmergencyStop", STOP), "status": {"state": old, "epoch": 1}}
    after = {**resource("EmergencyStop", STOP), "status": {"state": new, "epoch": 2}}
    expected = [] if old == new or (old, new) in ALLOWED else [f"cannot go from {old} to {new}"]
    assert api_server.problems(after, before) == expected


def test_update_that_weakens_a_tripped_stop_is_refused(api_server: Server) -> None:
    before = {**resource("EmergencyStop", STOP), "status": {"state": "TRIPPED", "epoch": 2}}
    off, moved, cut, back = (copy.deepcopy(before) for _ in range(4))
    off["spec"]["enabled"] = False
    moved["spec"]["policyRef"]["name"] = "other"
    del cut["status"]["state"]
    back["status"]["epoch"] = 1
    assert api_server.problems(off, before) == [
        "a stop that is TRIPPED or COOLING_DOWN cannot be disabled: reset it first"
    ]
    assert api_server.problems(moved, before) == [
        "policyRef cannot be changed: create another EmergencyStop for the other desk"
    ]
    assert api_server.problems(cut, before) == ["status.state cannot be removed"]
    assert api_server.problems(back, before) == ["status.epoch never falls"]
    tripped = copy.deepcopy(before)
    tripped["spec"]["trip"] = {"requestID": "t1", "reason": "news"}
    assert api_server.problems(tripped, before) == []
