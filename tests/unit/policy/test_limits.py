from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import Symbol
from breakwater.domain.limits import Binding, EffectiveLimits, effective_limits, strictness
from breakwater.domain.policy import PROFILE_LIMITS, LimitOverrides, PolicySpec, Profile, wire_name


def policy(profile: Profile = Profile.NORMAL, **limits: Any) -> PolicySpec:
    return PolicySpec(symbols=(Symbol("BTCUSDT"),), profile=profile, limits=LimitOverrides(**limits))


def stop(drawdown: Decimal | int = 5) -> EmergencyStopSpec:
    return EmergencyStopSpec(PolicyRef("main"), max_daily_drawdown_pct=Decimal(drawdown))


@pytest.mark.parametrize(
    ("profile", "risk", "drawdown", "leverage"),
    [
        (Profile.NORMAL, 2, (Decimal(5), Binding.EMERGENCY_STOP), (30, Binding.PROFILE)),
        (Profile.DEFENSIVE, 1, (Decimal(3), Binding.PROFILE), (10, Binding.PROFILE)),
        (Profile.AGGRESSIVE, 3, (Decimal(5), Binding.EMERGENCY_STOP), (30, Binding.RISK_MANAGER)),
    ],
)
def test_profile_without_overrides_gets_the_tighter_of_all_limits(
    profile: Profile, risk: int, drawdown: tuple[Decimal, Binding], leverage: tuple[int, Binding]
) -> None:
    found = effective_limits(policy(profile), stop())
    assert found.max_risk_per_trade_pct.value == risk
    assert found.max_risk_per_trade_pct.binding is Binding.PROFILE
    assert (found.max_daily_drawdown_pct.value, found.max_daily_drawdown_pct.binding) == drawdown
    assert (found.max_leverage.value, found.max_leverage.binding) == leverage
    asked = PROFILE_LIMITS[profile]
    assert found.max_daily_drawdown_pct.requested == asked.max_daily_drawdown_pct
    assert found.max_leverage.requested == asked.max_leverage


def test_aggressive_with_every_limit_saying_so_gets_eight_percent_and_fifty() -> None:
    found = effective_limits(policy(Profile.AGGRESSIVE, max_leverage=50), stop(8))
    assert (found.max_daily_drawdown_pct.value, found.max_daily_drawdown_pct.binding) == (
        Decimal(8),
        Binding.EMERGENCY_STOP,
    )
    assert (found.max_leverage.value, found.max_leverage.binding) == (50, "override")


def test_aggressive_with_only_the_stop_raised_keeps_thirty_times() -> None:
    found = effective_limits(policy(Profile.AGGRESSIVE), stop(8))
    assert found.max_daily_drawdown_pct.value == 8
    assert found.max_leverage.value == 30


def test_stop_raised_above_the_profile_leaves_the_profile_binding() -> None:
    found = effective_limits(policy(), stop(8)).max_daily_drawdown_pct
    assert (found.value, found.binding) == (Decimal(5), Binding.PROFILE)


def test_normal_with_leverage_override_above_the_cap_is_capped_by_the_risk_manager() -> None:
    found = effective_limits(policy(max_leverage=50), stop()).max_leverage
    assert (found.value, found.requested, found.binding) == (30, 50, Binding.RISK_MANAGER)


def test_leverage_above_the_policy_limit_is_cut_and_names_what_cut_it() -> None:
    found = effective_limits(policy(Profile.DEFENSIVE, leverage=20), stop()).leverage
    assert (found.value, found.requested, found.binding) == (10, 20, Binding.PROFILE)


def test_risk_per_trade_override_above_the_position_cap_is_cut() -> None:
    found = effective_limits(policy(max_risk_per_trade_pct=Decimal(8)), stop()).max_risk_per_trade_pct
    assert (found.value, found.requested, found.binding) == (Decimal(5), Decimal(8), Binding.RISK_MANAGER)
    raised = policy(max_risk_per_trade_pct=Decimal(8), max_risk_per_position_pct=Decimal(9))
    assert effective_limits(raised, stop()).max_risk_per_trade_pct.value == 8


def percentages(low: str, high: str) -> st.SearchStrategy[Decimal | None]:
    return st.none() | st.decimals(Decimal(low), Decimal(high), places=2)


overrides = st.builds(
    LimitOverrides,
    max_leverage=st.none() | st.integers(1, 50),
    leverage=st.none() | st.integers(1, 50),
    max_risk_per_position_pct=percentages("0.05", "10"),
    max_risk_per_trade_pct=percentages("0.05", "10"),
    max_daily_drawdown_pct=percentages("0.1", "20"),
    max_exposure_pct=percentages("1", "1000"),
)
policies = st.builds(
    PolicySpec, symbols=st.just((Symbol("BTCUSDT"),)), profile=st.sampled_from(Profile), limits=overrides
)
stops = st.decimals(Decimal("0.1"), Decimal(20), places=2).map(stop)


@given(policies, stops)
def test_any_policy_is_never_looser_than_any_source(spec: PolicySpec, guard: EmergencyStopSpec) -> None:
    found, profile = effective_limits(spec, guard), PROFILE_LIMITS[spec.profile]
    asked = spec.limits.max_daily_drawdown_pct or profile.max_daily_drawdown_pct
    assert found.max_daily_drawdown_pct.value == min(asked, guard.max_daily_drawdown_pct)
    if asked >= guard.max_daily_drawdown_pct:
        assert found.max_daily_drawdown_pct.binding is Binding.EMERGENCY_STOP
    assert found.max_leverage.value <= (spec.limits.max_leverage or profile.max_leverage)
    assert found.max_leverage.value <= 30 or (spec.profile is Profile.AGGRESSIVE and spec.limits.max_leverage)
    assert found.leverage.value <= min(found.max_leverage.value, spec.limits.leverage or 10)
    risk = spec.limits.max_risk_per_trade_pct or profile.max_risk_per_trade_pct
    assert found.max_risk_per_trade_pct.value == min(risk, found.max_risk_per_position_pct.value)
    for name, bound in found.items():
        assert bound.value <= bound.requested, name
        assert (bound.value == bound.requested) or bound.binding is not Binding.OVERRIDE or name == "leverage"


GROWING = [
    "max_leverage", "leverage", "max_risk_per_trade_pct", "max_risk_per_position_pct", "max_daily_drawdown_pct",
]  # fmt: skip


@given(policies, stops, st.sampled_from(GROWING), st.integers(1, 10))
def test_lowering_one_override_never_loosens_any_limit(
    spec: PolicySpec, guard: EmergencyStopSpec, name: str, lower: int
) -> None:
    before = getattr(spec.limits, name)
    if before is None or before <= lower:
        return
    change: dict[str, Any] = {name: lower if isinstance(before, int) else Decimal(lower)}
    tighter = msgspec.structs.replace(spec, limits=msgspec.structs.replace(spec.limits, **change))
    one, two = effective_limits(spec, guard), effective_limits(tighter, guard)
    for (what, loose), (_, tight) in zip(one.items(), two.items(), strict=True):
        assert tight.value <= loose.value, what
    assert strictness(tighter, guard) <= strictness(spec, guard)


@given(policies, stops, st.decimals(Decimal("0.1"), Decimal(20), places=2))
def test_lowering_the_stop_never_loosens_drawdown(spec: PolicySpec, guard: EmergencyStopSpec, other: Decimal) -> None:
    low, high = sorted([guard.max_daily_drawdown_pct, other])
    tight, loose = (effective_limits(spec, stop(x)).max_daily_drawdown_pct.value for x in (low, high))
    assert tight <= loose


def test_every_override_has_its_effective_limit() -> None:
    effective = {name for name, _ in effective_limits(policy(), stop()).items()}
    assert {wire_name(name) for name in LimitOverrides.__struct_fields__} == effective - {"maxOpenLossPct"}
    assert EffectiveLimits.__struct_fields__[0] == "min_position_margin_usd"
