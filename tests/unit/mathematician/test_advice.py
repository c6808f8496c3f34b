"""What the mathematician advises, and what a risk manager makes of it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.mathematician.advice import Advice, advise
from breakwater.domain.mathematician.edge import Edge, edge_of
from breakwater.domain.policy import MathematicianRules
from breakwater.domain.refusals import Refusal, RefusalCode

D = Decimal
RULES = MathematicianRules()
GOOD = edge_of([D("1.5")] * 30 + [D(-1)] * 20, 30)


def advice(atr: str | None = "250", edge: Edge | None = None, rules: MathematicianRules = RULES) -> Advice:
    found = advise(rules, atr=None if atr is None else D(atr), mark=D(100_000), edge=edge)
    assert isinstance(found, Advice), found
    return found


def test_stop_and_target_from_volatility() -> None:
    found = advice()
    assert (found.stop_pct, found.target_pct) == (D(1), D(2))


@pytest.mark.parametrize(("atr", "leverage"), [("250", 20), ("500", 10), ("600", 8), ("100", 50), ("12500", 1)])
def test_leverage_keeps_the_stop_to_a_fifth_of_the_margin(atr: str, leverage: int) -> None:
    assert advice(atr).leverage == leverage


def test_edge_gives_a_quarter_of_kelly_as_risk() -> None:
    assert GOOD is not None
    assert advice(edge=GOOD).risk_pct == D("0.25") * GOOD.kelly * 100
    assert advice(edge=None).risk_pct is None


def test_source_that_loses_more_than_its_stop_is_staked_by_what_it_loses() -> None:
    gaps = edge_of([D(5)] * 30 + [D(-2)] * 20, 30)
    assert gaps is not None
    assert advice(edge=gaps).risk_pct == D("0.25") * gaps.kelly * 100 / 2


@pytest.mark.parametrize("atr", [None, "0", "-1"])
def test_volatility_not_known_is_refused(atr: str | None) -> None:
    found = advise(RULES, atr=None if atr is None else D(atr), mark=D(100_000), edge=None)
    assert isinstance(found, Refusal)
    assert found.code is RefusalCode.VOLATILITY_UNKNOWN
    assert "14 closed candles" in found.text


def test_losing_source_is_refused_with_its_figures() -> None:
    losing = edge_of([D(1)] * 10 + [D(-1)] * 30, 30)
    found = advise(RULES, atr=D(250), mark=D(100_000), edge=losing)
    assert isinstance(found, Refusal)
    assert found.code is RefusalCode.NO_EDGE
    assert found.numbers == {"trades": "40", "average": "-0.5", "bound_by": "fractionalKelly"}


@given(
    st.decimals(D("0.01"), D(100_000), places=2),
    st.lists(st.decimals(D(-3), D(5), places=2), min_size=10, max_size=60),
    st.decimals(D("0.05"), D(1), places=2),
)
def test_advice_is_exact_and_never_stakes_more_than_kelly(
    atr: Decimal, results: list[Decimal], fraction: Decimal
) -> None:
    rules = MathematicianRules(kelly_fraction=fraction, min_closed_trades=10)
    edge = edge_of(results, 10)
    found = advise(rules, atr=atr, mark=D(50_000), edge=edge)
    assert edge is not None
    if edge.kelly <= 0:
        assert isinstance(found, Refusal)
        return
    assert isinstance(found, Advice)
    assert isinstance(found.stop_pct, Decimal)
    assert isinstance(found.risk_pct, Decimal)
    assert 0 < found.risk_pct <= fraction * edge.kelly * 100
    assert found.leverage >= 1
    assert found.leverage == 1 or found.leverage * found.stop_pct <= rules.stop_loss_of_margin_pct
