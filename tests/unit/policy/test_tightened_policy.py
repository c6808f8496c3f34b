"""Limits from the environment make a policy stricter, never looser."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import Symbol
from breakwater.domain.limits import EffectiveLimits, effective_limits
from breakwater.domain.policy import PolicySpec
from breakwater.runtime.settings import LIMIT_VARIABLES
from breakwater.runtime.tightened_policy import tightened

LIMITS = effective_limits(PolicySpec(symbols=(Symbol("BTCUSDT"),)), EmergencyStopSpec(policy_ref=PolicyRef("main")))


def test_tighter_figures_bind_and_are_named_as_override() -> None:
    limits = tightened(LIMITS, {"max_position_margin_usd": Decimal(500), "min_position_margin_usd": Decimal(200)})
    assert (limits.max_position_margin_usd.value, limits.max_position_margin_usd.binding) == (Decimal(500), "override")
    assert limits.min_position_margin_usd.value == Decimal(200)


def test_looser_figures_change_nothing() -> None:
    assert tightened(LIMITS, {"max_position_margin_usd": Decimal(9000), "max_leverage": Decimal(100)}) == LIMITS


def test_lower_leverage_cap_lowers_the_leverage_used() -> None:
    limits = tightened(LIMITS, {"max_leverage": Decimal("5.9")})
    assert (limits.max_leverage.value, limits.leverage.value) == (5, 5)


def test_lower_risk_cap_lowers_the_risk_per_trade() -> None:
    assert tightened(LIMITS, {"max_risk_per_position_pct": Decimal(1)}).max_risk_per_trade_pct.value == Decimal(1)


@pytest.mark.parametrize("name", LIMIT_VARIABLES.values())
@given(figure=st.decimals(min_value=1, max_value=100_000, places=1))
def test_no_figure_ever_loosens_any_limit(name: str, figure: Decimal) -> None:
    limits = tightened(LIMITS, {name: figure})
    for field in EffectiveLimits.__struct_fields__:
        before, after = getattr(LIMITS, field).value, getattr(limits, field).value
        assert after >= before if field == "min_position_margin_usd" else after <= before
