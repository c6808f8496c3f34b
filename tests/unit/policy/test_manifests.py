from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.policy import Profile, TradingMode
from breakwater.domain.stop_state import StopState
from breakwater.runtime.manifest_rules import stop_update_problems
from breakwater.runtime.manifests import (
    ManifestError,
    load_manifests,
    load_policy,
    load_stop,
    policy_from_object,
    stop_from_object,
)

Text = Callable[..., str]
PROFILES = Path(__file__).parents[3] / "profiles"


def problems(*sources: str | Path) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifests(*sources)
    return str(caught.value)


@pytest.mark.parametrize("name", ["normal", "defensive", "aggressive"])
def test_shipped_profile_loads_and_starts_conservatively(name: str) -> None:
    desk = load_manifests(PROFILES / f"{name}.yaml")
    assert desk.policy.spec.profile is Profile(name.upper())
    assert desk.policy.spec.trading_mode is TradingMode.PAPER
    assert len(desk.policy.spec.symbols) == 3
    assert desk.policy.spec.limits.max_concurrent_positions == 5
    assert desk.policy.name == desk.stop.spec.policy_ref.name == "main"


def test_yaml_fraction_becomes_an_exact_decimal(manifest_text: Text) -> None:
    desk = load_manifests(manifest_text(limits="maxRiskPerTradePct: 0.1, maxDailyDrawdownPct: 5.0"))
    assert str(desk.policy.spec.limits.max_risk_per_trade_pct) == "0.1"
    assert str(desk.policy.spec.limits.max_daily_drawdown_pct) == "5"


def test_objects_of_the_api_server_give_the_same_spec_as_yaml(manifest_text: Text) -> None:
    policy = load_policy(manifest_text(limits="maxRiskPerTradePct: 0.1")).spec
    data = {
        "apiVersion": "breakwater.trading/v1alpha1",
        "kind": "TradingPolicy",
        "metadata": {"name": "main", "namespace": "a", "uid": "x", "creationTimestamp": None, "generation": 2},
        "spec": {"symbols": ["BTCUSDT", "ETHUSDT"], "limits": {"maxRiskPerTradePct": 0.1}},
        "status": {"gate": "OPEN"},
    }
    assert policy_from_object(data).spec == policy
    with pytest.raises(ManifestError, match="kind is not an EmergencyStop"):
        stop_from_object(data)


def test_several_mistakes_are_all_reported_at_once_with_field_and_line(manifest_text: Text) -> None:
    text = manifest_text(limits="maxLeverage: 200, minPositionMarginUSD: 3000", stop="cooldownMinute: 3")
    found = problems(text)
    assert ":8 (document 1): spec.limits.maxLeverage 200 is above 50: use a whole number from 1 to 50" in found
    assert "spec.limits.minPositionMarginUSD breaks a rule: minPositionMarginUSD must not be above" in found
    assert "(document 2): spec.cooldownMinute is not a field of this resource: did you mean cooldownMinutes?" in found
    assert "no TradingPolicy" not in found


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("profile: NORMAL", "profile: BOLD", "spec.profile 'BOLD' is not allowed: use 'NORMAL', 'DEFENSIVE' or"),
        ("  limits: {}", "  maxLeverage: 3", "spec.maxLeverage is not a field of this resource: it belongs at spec.limits"),
        ("limits: {}", "limits: {maxLeverage: '3'}", "spec.limits.maxLeverage is text: use a whole number"),
        ("limits: {}", "limits: {maxLeverage: 2.5}", "spec.limits.maxLeverage 2.5 is not whole"),
        ("limits: {}", "limits: {maxLeverage: yes}", "spec.limits.maxLeverage is true/false"),
        ("limits: {}", "limits: {maxLeverage: }", "spec.limits.maxLeverage has no value"),
        ("limits: {}", "limits: {maxLeverage: 1_0}", "'1_0' means different numbers to different readers"),
        ("limits: {}", "limits: {maxExposurePct: .inf}", "'.inf' means different numbers"),
        ("limits: {}", "limits: {maxExposurePct: 1.00000000000000000001}", "has more than 17 digits"),
        ("limits: {}", "limits: [1]", "spec.limits '[1]' is not a group of fields"),
        ("limits: {}", "limits: {maxLeverage: 31}", "limits.maxLeverage above 30 needs profile AGGRESSIVE"),
        ("limits: {}", "tradingMode: Live", "tradingMode Live needs venue.credentialsSecretRef"),
        ("[BTCUSDT, ETHUSDT]", "[]", "spec.symbols has 0 entries: use at least 1"),
        ("[BTCUSDT, ETHUSDT]", "BTCUSDT", "spec.symbols 'BTCUSDT' is not a list"),
        ("[BTCUSDT, ETHUSDT]", "[BTCUSDT, eth-usdt]", "spec.symbols[1] 'eth-usdt' does not match"),
        ("[BTCUSDT, ETHUSDT]", "[BTCUSDT, BTCUSDT]", "symbols must be unique"),
        ("[BTCUSDT, ETHUSDT]", "[BTCUSDT, 10000]", 'is a number, not text: put it in quotes: "10000"'),
        ("limits: {}", "limits: {}\n  limits: {}", "spec.limits is given twice: remove one"),
        ("limits: {}", "day: {startUTC: 25:00}", "spec.day.startUTC '25:00' does not match"),
        ("limits: {}", "limits: &a {}", "anchors (&name) and aliases (*name) are not read"),
        ("limits: {}", "limits: !!map {}", "is not read: remove it"),
        ("enabled: true", "enabled: 'true'", "spec.enabled 'true' is not true or false"),
        ("enabled: true", "onTrip: {cancelOrders: false}", "onTrip.closePositions needs cancelOrders"),
        ("enabled: true", "staleAfterSeconds: 60", "missingDataTripSeconds must be above staleAfterSeconds"),
        ("enabled: true", "trip: {requestID: t1}", "spec.trip.reason is missing: add it"),
        ("policyRef: {name: main}", "policyRef: {name: other}", "spec.policyRef.name is 'other', but the TradingPolicy"),
        ("kind: EmergencyStop", "kind: EmergencyStp", "kind 'EmergencyStp' is not known here: did you mean EmergencyStop?"),
        ("kind: EmergencyStop", "kind: TradingPolicy", "kind is a second TradingPolicy"),
        ("apiVersion: breakwater.trading/v1alpha1", "apiVersion: v1", "apiVersion is 'v1': write apiVersion: breakwater"),
        ("metadata: {name: main}", "metadata: {}", "metadata.name is missing"),
        ("spec:\n  policyRef", "specs:\n  policyRef", "specs is not a field of this resource: did you mean spec?"),
    ],
)  # fmt: skip
def test_one_mistake_names_field_and_remedy(manifest_text: Text, old: str, new: str, expected: str) -> None:
    text = manifest_text()
    assert old in text
    assert expected in problems(text.replace(old, new))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds no document"),
        (b"\xff\xfe", "byte 0 is not UTF-8: save the file as UTF-8 text"),
        (b"a: [", "this is not YAML"),
        (b"[" * 5000, "nested more than 32 deep"),
        (b"a: \x00", "this is not YAML"),
        (b"x" * 300_000, "bytes long"),
        (b"- 1\n" * 30_000, "there are more than 20000 values"),
        (b"---\na: 1\n" * 40, "more than 32 documents"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "anchors (&name)"),
        (b"just text", "is not a resource"),
        (b"? [a]\n: b", "a key is not plain text"),
    ],
)
def test_unreadable_file_is_refused_with_its_name(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "desk.yaml"
    file.write_bytes(content)
    found = problems(file)
    assert "desk.yaml" in found
    assert expected in found


def test_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    assert "gone.yaml: cannot be read: No such file or directory" in problems(tmp_path / "gone.yaml")


def test_desk_in_two_sources_loads_and_one_alone_names_the_missing_kind(manifest_text: Text) -> None:
    policy, stop = manifest_text().split("---")
    assert load_manifests(policy, stop) == load_manifests(stop, policy)
    assert "no EmergencyStop found: add its document" in problems(policy)
    assert load_policy(policy).name == load_stop(stop).name
    with pytest.raises(ManifestError, match="no EmergencyStop found"):
        load_stop(policy)


def test_update_of_a_tripped_stop_may_not_disable_it_nor_move_it() -> None:
    old, off = EmergencyStopSpec(PolicyRef("a")), EmergencyStopSpec(PolicyRef("a"), enabled=False)
    for state in (StopState.TRIPPED, StopState.COOLING_DOWN):
        assert [path for path, _ in stop_update_problems(old, off, state)] == ["spec.enabled"]
    assert stop_update_problems(old, off, StopState.ARMED) == []
    assert stop_update_problems(off, off, StopState.TRIPPED) == []
    assert stop_update_problems(old, EmergencyStopSpec(PolicyRef("b")), None)[0][0] == "spec.policyRef"


def test_defaults_are_the_documented_ones(manifest_text: Text) -> None:
    desk = load_manifests(manifest_text())
    assert desk.policy.spec.limits.max_leverage is None
    assert desk.policy.spec.signals.min_confidence == Decimal("0.45")
    stop = desk.stop.spec
    assert (stop.max_daily_drawdown_pct, stop.max_open_loss_pct) == (Decimal(5), Decimal(10))
    assert (stop.max_consecutive_errors, stop.cooldown_minutes, stop.on_error_trip.close_positions) == (5, 15, False)
