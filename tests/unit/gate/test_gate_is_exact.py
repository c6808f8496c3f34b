"""The gate compares exactly: its verdict is the one of the same rules in fractions, also at the very limit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from breakwater.domain.gate import Approval, GateFacts, decide
from breakwater.domain.gate_rules import LIQUIDATION_TO_STOP, ROUND_TRIP_COST_PCT
from breakwater.domain.limits import Binding, Bound
from breakwater.domain.orders import Proposal, Protection, Side
from breakwater.domain.refusals import Refusal, RefusalCode

Facts = Callable[..., GateFacts]
Order = Callable[..., Proposal]


def amounts(low: str, high: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(low), Decimal(high), places=places, allow_nan=False, allow_infinity=False)


def broken_rule(order: Proposal, facts: GateFacts) -> RefusalCode | None:
    """The rules about figures as REQUIREMENTS R0 and R2 put them, in the gate's order and in exact fractions."""
    rules, limits, protection = facts.instrument, facts.limits, order.protection
    assert rules is not None
    assert limits is not None
    assert protection is not None
    assert order.price is not None
    assert order.leverage is not None
    sign = 1 if order.side is Side.BUY else -1
    mark, price, quantity = Fraction(facts.mark or 0), Fraction(order.price), Fraction(order.quantity)
    equity, stop = Fraction(facts.equity or 0), Fraction(protection.stop_price)
    held = abs(Fraction(facts.position or 0)) + Fraction(facts.in_flight_quantity)
    notional, whole = quantity * mark, (held + quantity) * mark
    collar = Fraction(limits.price_collar_pct.value) / 100 + Fraction(rules.tick_size) / mark
    if max(Fraction(0), (price - mark) * sign) / mark > collar:
        return RefusalCode.PRICE_COLLAR
    if (price - stop) * sign <= 0:
        return RefusalCode.PROTECTION_WRONG_SIDE
    bracket = next((known for known in rules.brackets if whole <= Fraction(known.notional_cap)), None)
    if order.leverage > min(limits.max_leverage.value, bracket.max_leverage if bracket else 0):
        return RefusalCode.LEVERAGE
    assert bracket is not None
    if notional < rules.min_notional:
        return RefusalCode.MIN_NOTIONAL
    if notional > limits.max_order_notional_usd.value:
        return RefusalCode.ORDER_NOTIONAL_MAX
    if notional / order.leverage < limits.min_position_margin_usd.value:
        return RefusalCode.MARGIN_MIN
    if whole / order.leverage > limits.max_position_margin_usd.value:
        return RefusalCode.MARGIN_MAX
    distance = (mark - stop) * sign
    if distance <= 0:
        return RefusalCode.PROTECTION_WRONG_SIDE
    per_unit = distance + mark * Fraction(ROUND_TRIP_COST_PCT) / 100
    if quantity * per_unit > equity * Fraction(limits.max_risk_per_trade_pct.value) / 100:
        return RefusalCode.RISK_AT_STOP
    if held and (held + quantity) * per_unit > equity * Fraction(limits.max_risk_per_position_pct.value) / 100:
        return RefusalCode.RISK_AT_STOP
    away = mark * (Fraction(1, order.leverage) - Fraction(bracket.maintenance_margin_rate))
    if away < Fraction(LIQUIDATION_TO_STOP) * distance:
        return RefusalCode.LIQUIDATION_DISTANCE
    exposure = Fraction(facts.gross_notional) + Fraction(facts.in_flight_notional) + notional
    if exposure / equity * 100 > limits.max_exposure_pct.value:
        return RefusalCode.EXPOSURE
    return None


@given(data=st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_figures_verdict_is_that_of_exact_fractions(facts: Facts, entry: Order, data: st.DataObject) -> None:
    draw = data.draw
    base = facts()
    assert base.limits is not None
    assert base.instrument is not None
    side = draw(st.sampled_from(Side))
    sign = 1 if side is Side.BUY else -1
    mark = draw(amounts("90000", "110000", 8))
    tick, step = Decimal("0.1"), Decimal("0.001")
    price = (mark * (1 + sign * draw(amounts("-0.002", "0.0055", 5)))).quantize(tick)
    stop = price - sign * draw(amounts("10", "4000", 2))
    leverage = draw(st.integers(1, 40))
    quantity = draw(st.integers(1, 400)) * step
    limits = replace(
        base.limits,
        max_risk_per_trade_pct=Bound(draw(amounts("0.5", "5", 2)), Decimal(2), Binding.OVERRIDE),
        max_exposure_pct=Bound(draw(amounts("50", "400", 1)), Decimal(200), Binding.OVERRIDE),
        price_collar_pct=Bound(draw(amounts("0.1", "1", 2)), Decimal(1), Binding.OVERRIDE),
    )
    held = draw(st.integers(0, 50)) * step
    desk = replace(
        base,
        limits=limits,
        mark=mark,
        equity=draw(amounts("2000", "90000", 8)),
        position=sign * held,
        gross_notional=held * mark + draw(amounts("0", "20000", 8)),
        in_flight_quantity=draw(st.integers(0, 20)) * step,
        in_flight_notional=draw(amounts("0", "20000", 8)),
    )
    order = entry(side=side, price=price, quantity=quantity, leverage=leverage, protection=Protection(stop))
    verdict = decide(order, desk)
    assert (verdict.code if isinstance(verdict, Refusal) else None) is broken_rule(order, desk)


@given(thirds=st.integers(1, 50))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exposure_of_exactly_the_limit_passes_and_the_least_more_does_not(
    facts: Facts, entry: Order, thirds: int
) -> None:
    # Equity in multiples of 3 makes exposure over equity a fraction without end: a rounded quotient would decide by luck.
    equity = Decimal(14_001 + 3 * thirds)
    order = entry(quantity=Decimal("0.1"))
    room = equity * 2 - order.quantity * Decimal(100_000)
    assert isinstance(decide(order, facts(equity=equity, gross_notional=room)), Approval)
    over = decide(order, facts(equity=equity, gross_notional=room + Decimal("1e-12")))
    assert isinstance(over, Refusal)
    assert over.code is RefusalCode.EXPOSURE
