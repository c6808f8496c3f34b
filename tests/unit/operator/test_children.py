"""What a desk is made of: names, owners, security, and what a change of the policy restarts."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.ids import Symbol
from breakwater.domain.policy import (
    ClaimRef,
    LimitOverrides,
    PaperMarket,
    PolicySpec,
    Profile,
    SecretRef,
    SignalRules,
    TradingDay,
    TradingMode,
    VenueSpec,
)
from breakwater_operator.desired.children import BUILDERS, children
from breakwater_operator.desired.components import NAMES, dashed
from breakwater_operator.desired.inputs import DeskFacts, Platform, desk_id
from breakwater_operator.desired.labels import component_name
from breakwater_operator.desired.manifest import Manifest

UID = "0a1b2c3d-5e6f-4711-8a9b-0c1d2e3f4a5b"
SYMBOLS = (Symbol("BTCUSDT"), Symbol("ETHUSDT"))


def facts(policy: PolicySpec, **changes: Any) -> DeskFacts:
    base = {
        "name": "main",
        "namespace": "desk-a",
        "uid": UID,
        "stop_name": "main",
        "token": "t",
        "redis_url": "redis://r",
    }
    return DeskFacts(policy=policy, **(base | changes))


PLATFORM = Platform(image="breakwater:0.1.0")
PLAIN = facts(PolicySpec(symbols=SYMBOLS))


def templates(desk: DeskFacts, platform: Platform = PLATFORM) -> dict[str, Manifest]:
    return {
        child["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: child["spec"]["template"]
        for child in children(desk, platform)
        if child["kind"] == "Deployment"
    }


def restarted(before: DeskFacts, after: DeskFacts) -> set[str]:
    """Components whose pod a change replaces."""
    old, new = templates(before), templates(after)
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}


def environment_of(desk: DeskFacts, component: str) -> dict[str, str]:
    (container,) = templates(desk)[component]["spec"]["containers"]
    return {entry["name"]: entry.get("value", "(from elsewhere)") for entry in container["env"]}


def with_paper(**fields: Any) -> DeskFacts:
    return facts(PolicySpec(symbols=SYMBOLS, venue=VenueSpec(paper=PaperMarket(**fields))))


def test_desk_on_paper_has_all_nine_components_and_what_they_share() -> None:
    kinds = [(child["kind"], child["metadata"]["name"]) for child in children(PLAIN, PLATFORM)]
    assert kinds[:2] == [("ServiceAccount", "main-desk"), ("Secret", "main-desk")]
    assert [name for kind, name in kinds if kind == "Deployment"] == [f"main-{dashed(name)}" for name in NAMES]
    assert {name for kind, name in kinds if kind == "Service"} == {name for kind, name in kinds if kind == "Deployment"}
    assert [name for kind, name in kinds if kind == "PersistentVolumeClaim"] == [
        "main-paper-venue",
        "main-execution",
        "main-portfolio",
        "main-emergency-stop",
    ]
    assert len(BUILDERS) == len(NAMES)


@pytest.mark.parametrize("mode", [TradingMode.STAGING, TradingMode.LIVE])
def test_desk_on_a_real_exchange_has_no_paper_venue_and_no_key_of_it(mode: TradingMode) -> None:
    venue = VenueSpec(credentials_secret_ref=SecretRef("binance"))
    desk = facts(PolicySpec(symbols=SYMBOLS, trading_mode=mode, venue=venue))
    built = children(desk, PLATFORM)
    assert not [child for child in built if child["metadata"]["name"] == "main-paper-venue"]
    (secret,) = [child for child in built if child["kind"] == "Secret"]
    assert set(secret["data"]) == {"token", "redisURL"}
    (mounted,) = [v for v in templates(desk)["execution"]["spec"]["volumes"] if v["name"] == "desk"]
    assert [source["secret"]["name"] for source in mounted["projected"]["sources"]] == ["main-desk", "binance"]
    assert "BREAKWATER_VENUE_URL" not in environment_of(desk, "execution")


def test_exchange_key_reaches_execution_alone() -> None:
    for name, template in templates(PLAIN).items():
        keys = [
            item["key"]
            for volume in template["spec"]["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            for item in source["secret"]["items"]
        ]
        if name == "execution":
            assert keys == ["token", "apiKey", "apiSecret"]
        else:
            assert keys == ([] if name == "paper-venue" else ["token"])


def test_secret_holds_token_store_and_the_simulated_venues_key() -> None:
    (secret,) = [child for child in children(PLAIN, PLATFORM) if child["kind"] == "Secret"]
    content = {key: b64decode(value).decode() for key, value in secret["data"].items()}
    assert content == {"token": "t", "redisURL": "redis://r", "apiKey": "paper-key", "apiSecret": "paper-secret"}


def test_no_secret_stands_in_plain_text_in_any_pod() -> None:
    desk = facts(PolicySpec(symbols=SYMBOLS), token="the-token", redis_url="redis://:the-password@r")
    shown = msgspec.json.encode([child for child in children(desk, PLATFORM) if child["kind"] != "Secret"]).decode()
    assert "the-token" not in shown
    assert "the-password" not in shown
    assert "paper-secret" not in shown


def test_all_but_claims_go_with_their_policy() -> None:
    for child in children(PLAIN, PLATFORM):
        owners = child["metadata"].get("ownerReferences", [])
        if child["kind"] == "PersistentVolumeClaim":
            assert owners == []
        else:
            (owner,) = owners
            assert (owner["kind"], owner["uid"], owner["controller"]) == ("TradingPolicy", UID, True)


def test_every_child_says_whose_it_is() -> None:
    for child in children(PLAIN, PLATFORM):
        labels = child["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "breakwater-operator"
        assert labels["breakwater.trading/policy"] == labels["app.kubernetes.io/instance"] == "main"
        assert child["metadata"]["annotations"] == {"breakwater.trading/policy-uid": UID}
        assert child["metadata"]["namespace"] == "desk-a"


def test_deployment_service_and_pod_agree_on_labels_and_port() -> None:
    built = children(PLAIN, PLATFORM)
    services = {child["metadata"]["name"]: child["spec"] for child in built if child["kind"] == "Service"}
    for child in built:
        if child["kind"] != "Deployment":
            continue
        spec, service = child["spec"], services[child["metadata"]["name"]]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert service["selector"].items() <= labels.items()
        (container,) = spec["template"]["spec"]["containers"]
        assert container["ports"][0]["name"] == service["ports"][0]["targetPort"] == "http"
        # A trip has to arrive while nothing is ready.
        assert service["publishNotReadyAddresses"] is True
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_pods_run_under_the_restricted_profile() -> None:
    for template in templates(PLAIN).values():
        spec = template["spec"]
        (container,) = spec["containers"]
        security = container["securityContext"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert {volume["name"] for volume in spec["volumes"]} >= {"state", "tmp"}
        assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in spec["volumes"]}


def test_state_on_a_claim_lies_under_the_desks_id() -> None:
    for component in NAMES:
        assert environment_of(PLAIN, dashed(component))["BREAKWATER_STATE_DIR"] == f"/var/lib/breakwater/{PLAIN.id}"
    anew = facts(PLAIN.policy, uid="ffffffff-5e6f-4711-8a9b-0c1d2e3f4a5b")
    assert anew.id != PLAIN.id


@given(
    st.from_regex(re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"), fullmatch=True),
    st.from_regex(re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?"), fullmatch=True),
    st.uuids(),
)
def test_names_made_of_any_policy_are_valid(namespace: str, name: str, uid: Any) -> None:
    found = desk_id(namespace, name, str(uid))
    assert len(found) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", found)
    assert found.endswith("-" + uid.hex[:8])
    desk = facts(PLAIN.policy, namespace=namespace, name=name, uid=str(uid))
    for child in children(desk, PLATFORM):
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", child["metadata"]["name"])
        assert len(child["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in child["metadata"]["labels"].values())


def test_children_of_two_policies_never_share_a_name() -> None:
    """``a`` and ``a-paper`` would, if one component's name were the end of another's."""
    for one in NAMES:
        for other in NAMES:
            assert one == other or not dashed(one).endswith(f"-{dashed(other)}")


def test_same_desk_gives_the_same_bytes() -> None:
    assert msgspec.json.encode(children(PLAIN, PLATFORM)) == msgspec.json.encode(children(PLAIN, PLATFORM))


# ------------------------------------------------------------------------------------------------ what restarts

decimals = st.decimals(min_value=1, max_value=20, places=2)


@given(
    st.builds(
        LimitOverrides,
        max_daily_drawdown_pct=st.none() | decimals,
        max_position_margin_usd=st.none() | decimals,
        max_leverage=st.none() | st.integers(1, 30),
        max_exposure_pct=st.none() | decimals,
    ),
    st.sampled_from(Profile),
    st.builds(SignalRules, min_confidence=st.decimals(min_value=0, max_value=1, places=2)),
    st.sampled_from(["00:00", "08:30"]),
)
def test_limits_profile_signals_and_day_restart_nothing(
    limits: LimitOverrides, profile: Profile, signals: SignalRules, start: str
) -> None:
    changed = msgspec.structs.replace(
        PLAIN.policy, limits=limits, profile=profile, signals=signals, day=TradingDay(start_utc=start)
    )
    assert restarted(PLAIN, facts(changed)) == set()


@given(st.sets(st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT"]), min_size=1))
def test_symbols_that_the_market_lists_anyway_restart_nothing(symbols: set[str]) -> None:
    assert restarted(PLAIN, facts(PolicySpec(symbols=tuple(map(Symbol, sorted(symbols)))))) == set()


def test_another_symbol_restarts_the_paper_venue_alone() -> None:
    after = facts(PolicySpec(symbols=(*SYMBOLS, Symbol("DOGEUSDT"))))
    assert restarted(PLAIN, after) == {"paper-venue"}
    assert environment_of(after, "paper-venue")["BREAKWATER_SYMBOLS"] == "DOGEUSDT"


def test_order_of_symbols_restarts_nothing() -> None:
    one = facts(PolicySpec(symbols=(Symbol("DOGEUSDT"), Symbol("ADAUSDT"))))
    assert restarted(one, facts(PolicySpec(symbols=(Symbol("ADAUSDT"), Symbol("DOGEUSDT"))))) == set()


def test_another_stop_restarts_the_dashboard_alone() -> None:
    assert restarted(PLAIN, facts(PLAIN.policy, stop_name="other")) == {"dashboard"}


def test_other_credentials_restart_execution_alone() -> None:
    policy = PolicySpec(symbols=SYMBOLS, trading_mode=TradingMode.STAGING)
    before, after = (
        facts(msgspec.structs.replace(policy, venue=VenueSpec(credentials_secret_ref=SecretRef(name))))
        for name in ("one", "two")
    )
    assert restarted(before, after) == {"execution"}
    assert restarted(PLAIN, facts(msgspec.structs.replace(PLAIN.policy, venue=before.policy.venue))) == set()


def test_another_token_or_store_password_restarts_nothing() -> None:
    assert restarted(PLAIN, facts(PLAIN.policy, token="other", redis_url="redis://other")) == set()


# ------------------------------------------------------------------------------------------------ the paper market


def test_recorded_market_is_read_from_the_users_claim() -> None:
    start = datetime(2025, 10, 10, 20, tzinfo=UTC)
    desk = with_paper(
        market="replay:btc.csv,alts/eth.csv", speed=Decimal(60), start=start, data_claim_ref=ClaimRef("recordings")
    )
    found = environment_of(desk, "paper-venue")
    assert found["BREAKWATER_MARKET"] == "replay:/data/btc.csv,/data/alts/eth.csv"
    assert found["BREAKWATER_MARKET_START"] == "2025-10-10T20:00:00Z"
    assert found["BREAKWATER_SPEED"] == "60"
    spec = templates(desk)["paper-venue"]["spec"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "data"]
    assert volume["persistentVolumeClaim"] == {"claimName": "recordings", "readOnly": True}
    assert environment_of(desk, "execution")["BREAKWATER_CLOCK"] == "venue"
    assert "BREAKWATER_CLOCK" not in found


def test_market_with_a_crash_at_wall_time_leaves_the_clocks_alone() -> None:
    desk = with_paper(market="synthetic:7", crash_after_minutes=5)
    assert environment_of(desk, "paper-venue")["BREAKWATER_CRASH_AFTER_MINUTES"] == "5"
    assert environment_of(desk, "paper-venue")["BREAKWATER_MARKET"] == "synthetic:7"
    assert "BREAKWATER_CLOCK" not in environment_of(desk, "execution")


def test_faster_market_gives_every_other_component_the_venues_clock() -> None:
    desk = with_paper(speed=Decimal("2.50"))
    assert environment_of(desk, "paper-venue")["BREAKWATER_SPEED"] == "2.5"
    for component in NAMES[1:]:
        assert environment_of(desk, dashed(component))["BREAKWATER_CLOCK"] == "venue"


def test_paper_venue_knows_neither_store_nor_token() -> None:
    assert not {"REDIS_URL", "BREAKWATER_TOKEN_FILE"} & environment_of(PLAIN, "paper-venue").keys()
    assert environment_of(PLAIN, "execution")["BREAKWATER_VENUE_URL"] == (
        f"http://{component_name('main', 'paper_venue')}.desk-a.svc:8080"
    )


def test_address_may_refer_to_the_pods_own() -> None:
    (container,) = templates(PLAIN, Platform(image="i", bind_address="$(POD_IP)"))["execution"]["spec"]["containers"]
    names = [entry["name"] for entry in container["env"]]
    assert names.index("POD_IP") < names.index("BREAKWATER_HTTP_HOST")
