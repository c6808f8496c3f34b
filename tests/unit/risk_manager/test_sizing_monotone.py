"""Sizing as a whole: tightening anything never gives a larger size, and nothing in a result is a binary float."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import Symbol
from breakwater.domain.instruments import Instrument, LeverageBracket
from breakwater.domain.limits import Binding, Bound, effective_limits
from breakwater.domain.liquidity import Liquidity
from breakwater.domain.orders import Side
from breakwater.domain.policy import LimitOverrides, PolicySpec, Profile, SignalRules
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.sizing import Sized, SizingInput, loss_at_stop_pct, size

D = Decimal
BRACKETS = (
    LeverageBracket(D(20_000), 75, D("0.0065")),
    LeverageBracket(D(80_000), 20, D("0.01")),
    LeverageBracket(D(900_000), 5, D("0.05")),
)
SYMBOL = Symbol("BTCUSDT")
COIN = Instrument(SYMBOL, D("0.1"), D("0.001"), D("0.001"), D(1000), D(120), D(5), brackets=BRACKETS)
LIMITS = [
    "max_position_margin_usd", "leverage", "base_risk_per_trade_pct", "max_risk_per_position_pct",
    "max_risk_per_trade_pct", "max_exposure_pct", "max_order_notional_usd",
]  # fmt: skip


def case(profile: Profile, overrides: dict[str, object], **given: object) -> SizingInput:
    policy = PolicySpec((SYMBOL,), profile, limits=msgspec.structs.replace(LimitOverrides(), **overrides))
    limits = effective_limits(policy, EmergencyStopSpec(policy_ref=PolicyRef("main")))
    base = SizingInput(
        Side.BUY, D("0.75"), D("1.8"), None, D(100_000), D(14_000), D(0), D(0), COIN, limits, SignalRules(),
        liquidity=Liquidity(D(10_000_000_000), D("0.001")),
    )  # fmt: skip
    return msgspec.structs.replace(base, **given)


liquidity = st.builds(
    Liquidity,
    st.none() | st.decimals(D(0), D(1_000_000_000), places=0),
    st.none() | st.decimals(D(0), D(1), places=3),
    st.booleans(),
)
cases = st.builds(
    case,
    st.sampled_from(Profile),
    st.fixed_dictionaries(
        {
            "leverage": st.integers(1, 50),
            "max_risk_per_position_pct": st.decimals(D("0.05"), D(10), places=2),
            "max_exposure_pct": st.decimals(D(10), D(1000), places=1),
            "max_position_margin_usd": st.decimals(D(100), D(50_000), places=1),
            "max_order_notional_usd": st.decimals(D(100), D(1_000_000), places=1),
        }
    ),
    side=st.sampled_from(Side),
    confidence=st.decimals(D("0.4"), D(1), places=3),
    stop_pct=st.decimals(D("0.05"), D(30), places=2),
    target_pct=st.none() | st.decimals(D(1), D(50), places=1),
    mark=st.decimals(D("0.5"), D(200_000), places=1),
    equity=st.decimals(D(500), D(500_000), places=2),
    gross_notional=st.decimals(D(0), D(50_000), places=2),
    in_flight_notional=st.decimals(D(0), D(20_000), places=2),
    fallback=st.booleans(),
    liquidity=liquidity,
    volatility_leverage=st.none() | st.integers(1, 60),
    edge_risk_pct=st.none() | st.decimals(D("0.01"), D(20), places=2),
)


def quantity(given_case: SizingInput) -> Decimal:
    """0 for a refusal: the smallest size there is."""
    result = size(given_case)
    return result.quantity if isinstance(result, Sized) else D(0)


def too_little_margin(given_case: SizingInput) -> bool:
    """Less leverage takes more margin for the same notional, so it can lift a trade over the smallest margin."""
    result = size(given_case)
    return isinstance(result, Refusal) and result.code is RefusalCode.MARGIN_MIN


@given(cases, st.sampled_from(LIMITS), st.decimals(D(0), D(1), places=2))
def test_tighter_limit_never_gives_a_larger_size(given_case: SizingInput, name: str, factor: Decimal) -> None:
    old = getattr(given_case.limits, name).value
    tight = max(1, int(old * factor)) if isinstance(old, int) else old * factor
    limits = msgspec.structs.replace(given_case.limits, **{name: Bound(tight, old, Binding.OVERRIDE)})
    if name == "leverage" and too_little_margin(given_case):
        return
    assert quantity(msgspec.structs.replace(given_case, limits=limits)) <= quantity(given_case)


@given(cases, st.decimals(D(0), D(1000), places=1))
def test_larger_minimum_only_refuses(given_case: SizingInput, more: Decimal) -> None:
    old = given_case.limits.min_position_margin_usd.value
    bound = Bound(old + more, old, Binding.OVERRIDE)
    stricter = msgspec.structs.replace(
        given_case, limits=msgspec.structs.replace(given_case.limits, min_position_margin_usd=bound)
    )
    assert quantity(stricter) in (D(0), quantity(given_case))


@given(cases, st.decimals(D(0), D("0.6"), places=3))
def test_less_confidence_never_gives_a_larger_size(given_case: SizingInput, less: Decimal) -> None:
    unsure = msgspec.structs.replace(given_case, confidence=given_case.confidence - less)
    assert quantity(unsure) <= quantity(given_case)


@given(cases)
def test_stale_or_unknown_liquidity_is_never_better_than_a_liquid_market(given_case: SizingInput) -> None:
    liquid = msgspec.structs.replace(given_case, liquidity=Liquidity(D(10_000_000_000), D("0.001")))
    if too_little_margin(liquid):
        return
    assert quantity(given_case) <= quantity(liquid)


@given(cases)
def test_mathematician_never_gives_more_than_the_plain_size(given_case: SizingInput) -> None:
    plain = msgspec.structs.replace(given_case, volatility_leverage=None, edge_risk_pct=None)
    assert quantity(given_case) <= quantity(plain)


@given(cases)
def test_mathematicians_caps_hold_and_are_named_when_they_bind_last(given_case: SizingInput) -> None:
    result = size(given_case)
    if isinstance(result, Refusal):
        return
    if given_case.volatility_leverage is not None:
        assert result.leverage <= given_case.volatility_leverage
    if given_case.edge_risk_pct is not None:
        assert given_case.stop_pct is not None
        each = loss_at_stop_pct(given_case.side, given_case.stop_pct, given_case.fee_pct, given_case.slippage_pct)
        assert result.notional * each <= given_case.equity * given_case.edge_risk_pct * (1 + D("1e-20"))


@pytest.mark.parametrize(
    ("given", "bound_by"),
    [
        ({"volatility_leverage": 4}, "volatilityLeverage"),
        ({"edge_risk_pct": D("0.7")}, "fractionalKelly"),
        ({"volatility_leverage": 4, "edge_risk_pct": D("0.7")}, "fractionalKelly"),
        ({"volatility_leverage": 10, "edge_risk_pct": D(9)}, "baseRiskPerTradePct"),
        ({"edge_risk_pct": D("0.7"), "gross_notional": D(26_000)}, "maxExposurePct"),
    ],
)
def test_last_cap_that_bound_is_named(given: dict[str, object], bound_by: str) -> None:
    result = size(case(Profile.NORMAL, {}, **given))
    assert isinstance(result, Sized), result
    assert result.bound_by == bound_by


def test_trade_with_too_little_margin_is_not_lifted_over_it_by_less_leverage() -> None:
    small = case(Profile.NORMAL, {"max_order_notional_usd": D(600)})
    assert quantity(small) == 0
    assert quantity(msgspec.structs.replace(small, volatility_leverage=2)) == 0


def test_margin_too_small_for_the_edge_is_refused_and_names_it() -> None:
    result = size(case(Profile.NORMAL, {}, edge_risk_pct=D("0.01")))
    assert isinstance(result, Refusal)
    assert result.numbers["bound_by"] == "fractionalKelly"


@given(cases)
def test_no_binary_float_anywhere_in_a_result(given_case: SizingInput) -> None:
    result = size(given_case)
    kinds = {type(value) for value in leaves(result)}
    assert float not in kinds
    assert Decimal in kinds or isinstance(result, Refusal)


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from leaves(getattr(value, name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from leaves(each)
    elif isinstance(value, dict):
        yield from leaves(tuple(value.items()))
    else:
        yield value


@pytest.mark.parametrize("nudge", ["-1e-18", "0", "1e-18"])
@pytest.mark.parametrize(
    ("bound", "below", "from_it_on"), [("0.45", 0, 700), ("0.60", 700, 1400), ("0.85", 1400, 2000)]
)
def test_confidence_bounds_hold_to_the_last_digit(nudge: str, bound: str, below: int, from_it_on: int) -> None:
    result = size(case(Profile.NORMAL, {}, confidence=D(bound) + D(nudge), stop_pct=D("0.5"), mark=D(100)))
    expected = below if D(nudge) < 0 else from_it_on
    if expected == 0:
        assert isinstance(result, Refusal)
        return
    assert isinstance(result, Sized)
    margins = [step.margin for step in result.steps if step.name not in ("headroom", "stepSize")]
    assert margins[-1] == expected


def test_steps_follow_the_order_of_the_requirements() -> None:
    result = size(
        case(
            Profile.NORMAL, {"leverage": 30, "max_exposure_pct": D(10), "max_order_notional_usd": D(1300)},
            confidence=D("0.9"), stop_pct=D(2), equity=D(15_000), volatility_leverage=25, edge_risk_pct=D("1.5"),
            liquidity=Liquidity(),
        )
    )  # fmt: skip
    assert isinstance(result, Sized), result
    assert [step.name for step in result.steps] == [
        "baseRiskPerTradePct", "highConfidenceMultiplier", "maxPositionMarginUSD", "leverage", "volatilityLeverage",
        "liquidityUnknown", "maxRiskPerTradePct", "fractionalKelly", "maxExposurePct", "maxOrderNotionalUSD",
        "headroom", "stepSize",
    ]  # fmt: skip
    margins = [step.margin for step in result.steps[2:]]
    assert margins == sorted(margins, reverse=True)
