"""Sizing: the document's worked example, the order of caps, and that no cap is ever exceeded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.gate import GateFacts, decide
from breakwater.domain.ids import ProposalId, Symbol
from breakwater.domain.instruments import Instrument, LeverageBracket
from breakwater.domain.leverage import liquidation_leverage
from breakwater.domain.limits import effective_limits
from breakwater.domain.liquidity import Liquidity
from breakwater.domain.money import is_multiple
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.policy import LimitOverrides, PolicySpec, Profile, SignalRules, TradingMode
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import DataKind, Provenance
from breakwater.domain.sizing import Sized, SizingInput, loss_at_stop_pct, size
from breakwater.domain.stop_state import StopState, StopView

D = Decimal
LIQUID = Liquidity(volume_24h_usd=D(10_000_000_000), spread_pct=D("0.001"))
BRACKETS = (
    LeverageBracket(D(50_000), 125, D("0.004")),
    LeverageBracket(D(600_000), 100, D("0.005")),
    LeverageBracket(D(3_000_000), 20, D("0.01")),
)
BTC = Instrument(
    symbol=Symbol("BTCUSDT"),
    tick_size=D("0.1"),
    step_size=D("0.001"),
    min_quantity=D("0.001"),
    max_quantity=D(1000),
    max_market_quantity=D(120),
    min_notional=D(100),
    brackets=BRACKETS,
)


def limits_of(profile: Profile = Profile.NORMAL, **overrides: object):  # type: ignore[no-untyped-def]
    policy = PolicySpec(
        symbols=(Symbol("BTCUSDT"),),
        profile=profile,
        limits=msgspec.structs.replace(LimitOverrides(), **overrides),
    )
    return effective_limits(policy, EmergencyStopSpec(policy_ref=PolicyRef("main")))


def case(**changes: object) -> SizingInput:
    base = SizingInput(
        side=Side.BUY,
        confidence=D("0.75"),
        stop_pct=D("1.8"),
        target_pct=None,
        mark=D(100_000),
        equity=D(14_000),
        gross_notional=D(0),
        in_flight_notional=D(0),
        instrument=BTC,
        limits=limits_of(),
        rules=SignalRules(),
        liquidity=LIQUID,
    )
    return msgspec.structs.replace(base, **changes)


def sized(given: SizingInput) -> Sized:
    result = size(given)
    assert isinstance(result, Sized), result
    return result


def in_usdt(result: Sized) -> tuple[Decimal, Decimal]:
    """Margin and notional before the headroom and the quantity grid."""
    last = [step for step in result.steps if step.name not in {"headroom", "stepSize"}][-1]
    return last.margin, last.notional


def refused(given: SizingInput) -> Refusal:
    result = size(given)
    assert isinstance(result, Refusal), result
    return result


def test_worked_example_with_a_stop_within_two_percent_gives_margin_1400_and_exposure_14000() -> None:
    result = sized(case())
    assert (*in_usdt(result), result.leverage) == (D(1400), D(14_000), 10)
    # The loss at the stop is exactly what is allowed, so the headroom takes 0.05 of 2.05 %.
    assert result.quantity == D("0.136")
    assert sized(case(stop_pct=D("1.7"))).quantity == D("0.140")
    assert result.bound_by == "baseRiskPerTradePct"


def test_drill_stop_of_two_percent_plus_costs_is_shrunk_by_the_profile() -> None:
    result = sized(case(stop_pct=D(2)))
    assert result.bound_by == "maxRiskPerTradePct"
    before_rounding = next(step.notional for step in result.steps if step.name == "maxRiskPerTradePct")
    assert before_rounding.quantize(D(1)) == D(12_727)
    assert result.quantity == D("0.124")
    assert result.stop_price == D(98_000)
    assert result.collar_price == D(100_450)


@pytest.mark.parametrize(
    ("confidence", "margin"),
    [("0.45", 700), ("0.5999", 700), ("0.60", 1400), ("0.8499", 1400), ("0.85", 2000), ("1", 2000)],
)
def test_confidence_bounds_are_exact(confidence: str, margin: int) -> None:
    result = sized(case(confidence=D(confidence), stop_pct=D("0.5"), mark=D(100)))
    assert in_usdt(result)[0] == D(margin)


def test_confidence_below_the_minimum_is_refused_with_both_numbers() -> None:
    refusal = refused(case(confidence=D("0.4499")))
    assert refusal.code is RefusalCode.CONFIDENCE_LOW
    assert "0.4499" in refusal.text
    assert "0.45" in refusal.text


def test_high_confidence_is_clamped_to_the_largest_margin_and_says_so() -> None:
    result = sized(case(confidence=D("0.9"), stop_pct=D("0.5")))
    assert in_usdt(result) == (D(2000), D(20_000))
    assert result.quantity == D("0.199")
    assert result.bound_by == "maxPositionMarginUSD"


def test_fallback_signal_gets_half() -> None:
    assert sized(case(fallback=True)).margin == D(700)
    rich = case(fallback=True, equity=D(100_000), stop_pct=D("0.5"))
    assert sized(rich).margin == D(1000)


def test_exposure_room_shrinks_and_counts_orders_in_flight() -> None:
    result = sized(case(gross_notional=D(20_000), in_flight_notional=D(2_000)))
    assert in_usdt(result)[1] == D(6_000)
    assert result.bound_by == "maxExposurePct"


def test_no_exposure_room_is_refused_as_exposure() -> None:
    assert refused(case(gross_notional=D(28_000))).code is RefusalCode.EXPOSURE


def test_margin_below_the_minimum_is_refused_and_names_the_cap_that_bound() -> None:
    refusal = refused(case(gross_notional=D(27_500)))
    assert refusal.code is RefusalCode.MARGIN_MIN
    assert refusal.numbers["bound_by"] == "maxExposurePct"


def test_order_notional_is_the_last_money_cap() -> None:
    result = sized(case(limits=limits_of(max_order_notional_usd=D(5_000))))
    assert (in_usdt(result)[1], result.bound_by) == (D(5_000), "maxOrderNotionalUSD")


def test_wide_stop_lowers_leverage_until_liquidation_is_twice_as_far() -> None:
    result = sized(case(stop_pct=D(8), limits=limits_of(Profile.AGGRESSIVE, max_risk_per_trade_pct=D(5))))
    assert result.leverage == 6
    assert any(step.name == "liquidationDistance" for step in result.steps)


def test_stop_too_wide_for_any_leverage_is_refused() -> None:
    assert refused(case(stop_pct=D("49.9"))).code is RefusalCode.LIQUIDATION_DISTANCE


def test_unknown_brackets_refuse_and_unknown_liquidity_allows_ten() -> None:
    unknown = msgspec.structs.replace(BTC, brackets=())
    assert refused(case(instrument=unknown)).code is RefusalCode.LEVERAGE
    wants_20 = limits_of(leverage=20)
    assert sized(case(limits=wants_20, liquidity=Liquidity(), stop_pct=D("0.5"))).leverage == 10
    assert sized(case(limits=wants_20, stop_pct=D("0.5"))).leverage == 20
    thin = Liquidity(volume_24h_usd=D(5_000_000), spread_pct=D("0.3"))
    result = sized(case(liquidity=thin))
    assert (result.leverage, result.bound_by) == (3, "liquidity")


def test_policy_leverage_cut_by_the_profile_is_named() -> None:
    result = sized(case(limits=limits_of(Profile.DEFENSIVE, leverage=20), stop_pct=D("0.2")))
    assert (result.leverage, result.bound_by) == (10, "maxLeverage")


@pytest.mark.parametrize("stop_pct", [None, D(0), D(-1), D(100)])
def test_missing_or_senseless_stop_distance_is_refused(stop_pct: Decimal | None) -> None:
    assert refused(case(stop_pct=stop_pct)).code is RefusalCode.STOP_DISTANCE_MISSING


def test_short_prices_are_rounded_so_that_the_loss_is_not_larger() -> None:
    tick = msgspec.structs.replace(BTC, tick_size=D("0.5"))
    result = sized(case(side=Side.SELL, mark=D("99999.7"), instrument=tick, target_pct=D(3)))
    assert result.stop_price <= D("99999.7") * D("1.018") < result.stop_price + D("0.5")
    assert result.collar_price >= D("99999.7") * D("0.995")
    assert result.target_price is not None
    assert result.target_price >= D("99999.7") * D("0.97")


def test_target_inside_the_collar_is_refused() -> None:
    assert refused(case(target_pct=D("0.4"))).code is RefusalCode.PROTECTION_WRONG_SIDE


money = st.decimals(D(1), D(500_000), places=2)
cases = st.builds(
    case,
    side=st.sampled_from(Side),
    confidence=st.decimals(D(0), D(1), places=3),
    stop_pct=st.decimals(D("0.01"), D(60), places=2),
    mark=st.decimals(D("0.5"), D(200_000), places=1),
    equity=money,
    gross_notional=st.decimals(D(0), D(100_000), places=2),
    in_flight_notional=st.decimals(D(0), D(50_000), places=2),
    fallback=st.booleans(),
    limits=st.builds(
        limits_of,
        profile=st.sampled_from(Profile),
        leverage=st.integers(1, 50),
        max_risk_per_position_pct=st.decimals(D("0.05"), D(10), places=2),
        max_exposure_pct=st.decimals(D(10), D(1000), places=1),
        max_position_margin_usd=st.decimals(D(100), D(100_000), places=1),
        max_order_notional_usd=st.decimals(D(100), D(1_000_000), places=1),
    ),
    liquidity=st.builds(
        Liquidity,
        st.none() | st.decimals(D(0), D(1_000_000_000), places=0),
        st.none() | st.decimals(D(0), D(1), places=3),
    ),
)


@given(cases)
def test_any_input_never_exceeds_a_cap(given_case: SizingInput) -> None:
    result = size(given_case)
    if isinstance(result, Refusal):
        assert result.text
        return
    limits, equity = given_case.limits, given_case.equity
    assert result.margin * result.leverage == pytest.approx(result.notional)
    assert limits.min_position_margin_usd.value <= result.margin
    assert result.notional <= limits.max_position_margin_usd.value * result.leverage
    assert result.leverage <= min(limits.leverage.value, BTC.leverage_cap(result.notional))
    stop_distance = (given_case.mark - result.stop_price) * given_case.side.sign
    assert stop_distance > 0
    loss = result.quantity * stop_distance + result.notional * D("0.2") / 100
    assert loss <= equity * limits.max_risk_per_trade_pct.value / 100
    assert given_case.mark * (D(1) / result.leverage - BRACKETS[0].maintenance_margin_rate) >= 2 * stop_distance
    exposure = given_case.gross_notional + given_case.in_flight_notional + result.notional
    assert exposure <= equity * limits.max_exposure_pct.value / 100
    assert result.notional <= limits.max_order_notional_usd.value
    assert is_multiple(result.quantity, BTC.step_size)
    assert is_multiple(result.collar_price, BTC.tick_size)
    assert is_multiple(result.stop_price, BTC.tick_size)
    assert result.bound_by in {step.name for step in result.steps}


@given(cases, st.decimals(D("-0.05"), D("0.05"), places=4))
def test_mark_that_moves_by_up_to_the_headroom_is_still_approved_by_the_gate(
    given_case: SizingInput, move_pct: Decimal
) -> None:
    result = size(given_case)
    if isinstance(result, Refusal):
        return
    now = datetime(2025, 10, 10, 20, 50, tzinfo=UTC)
    mark = given_case.mark * (1 + move_pct / 100)
    proposal = Proposal(
        proposal_id=ProposalId("p-1"),
        symbol=BTC.symbol,
        role=OrderRole.ENTRY,
        side=given_case.side,
        quantity=result.quantity,
        order_type=OrderType.LIMIT,
        created_at=now,
        reduce_only=False,
        price=result.collar_price,
        time_in_force=TimeInForce.IOC,
        expires_at=now + timedelta(seconds=60),
        leverage=result.leverage,
        protection=Protection(result.stop_price, result.target_price),
        provenance=Provenance("test", DataKind.SYNTHETIC),
    )
    stop = StopView(StopState.ARMED, 1, 1, now, D(1), reduce_only=False)
    verdict = decide(
        proposal,
        GateFacts(
            now=now,
            stop=stop,
            stop_lease_fresh=True,
            halted_by_person=False,
            mode=TradingMode.PAPER,
            limits=given_case.limits,
            symbols=frozenset({BTC.symbol}),
            policy_stale=False,
            reconciled=True,
            passive_breach="",
            instrument=BTC,
            mark=mark,
            equity=given_case.equity,
            position=D(0),
            gross_notional=given_case.gross_notional,
            in_flight_notional=given_case.in_flight_notional,
            open_symbols=frozenset(),
            exits_in_flight=D(0),
            unresolved=False,
            last_entry_at=None,
            repeated=0,
        ),
    )
    # The minima are refused by the sizing itself; a mark that falls may still cross them.
    if isinstance(verdict, Refusal) and verdict.code in {RefusalCode.MARGIN_MIN, RefusalCode.MIN_NOTIONAL}:
        assert move_pct < 0
        return
    # A stop or collar of a few ticks has no room for a move of many.
    ticks = BTC.tick_size / given_case.mark * 100
    if min(given_case.stop_pct or D(0), given_case.limits.price_collar_pct.value) <= D("0.11") + 2 * ticks:
        return
    assert not isinstance(verdict, Refusal), verdict.text


@given(cases, money)
def test_more_equity_never_gives_a_smaller_size(given_case: SizingInput, more: Decimal) -> None:
    before = size(given_case)
    after = size(msgspec.structs.replace(given_case, equity=given_case.equity + more))
    if isinstance(before, Sized):
        assert isinstance(after, Sized)
        assert after.quantity >= before.quantity


@given(cases, st.decimals(D("0.01"), D(10), places=2))
def test_wider_stop_never_gives_a_larger_size(given_case: SizingInput, wider: Decimal) -> None:
    before = size(given_case)
    assert given_case.stop_pct is not None
    after = size(msgspec.structs.replace(given_case, stop_pct=given_case.stop_pct + wider))
    if isinstance(before, Sized) and isinstance(after, Sized):
        assert after.quantity <= before.quantity


@given(cases, st.decimals(D(0), D(50_000), places=2))
def test_more_in_flight_never_gives_a_larger_size(given_case: SizingInput, more: Decimal) -> None:
    before = size(given_case)
    after = size(msgspec.structs.replace(given_case, in_flight_notional=given_case.in_flight_notional + more))
    if isinstance(after, Sized):
        assert isinstance(before, Sized)
        assert after.quantity <= before.quantity


@given(st.sampled_from(Side), st.decimals(D("0.01"), D(49), places=2))
def test_liquidation_leverage_is_the_largest_that_keeps_twice_the_stop(side: Side, stop_pct: Decimal) -> None:
    rate = D("0.004")
    leverage = liquidation_leverage(side, stop_pct, rate)

    def distance(at: int) -> Decimal:
        margin_left = D(1) / at - rate
        return margin_left / (1 + rate) if side is Side.SELL else margin_left

    if leverage:
        assert distance(leverage) >= 2 * stop_pct / 100 - D("1e-20")
    assert distance(leverage + 1) < 2 * stop_pct / 100


def test_loss_at_stop_counts_costs_of_both_ways() -> None:
    assert loss_at_stop_pct(Side.BUY, D(2), D("0.05"), D("0.05")) == D("2.2")
    assert loss_at_stop_pct(Side.SELL, D(2), D("0.05"), D("0.05")) == D("2.202")
