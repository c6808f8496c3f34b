"""Wilder's average true range: his definition, worked by hand and by properties."""

from __future__ import annotations

import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.mathematician.volatility import Bar, wilder_atr

D = Decimal


def bar(high: str, low: str, close: str) -> Bar:
    return Bar(D(high), D(low), D(close))


def test_worked_by_hand() -> None:
    bars = [bar("48.70", "47.79", "48.16"), bar("48.72", "48.14", "48.61"), bar("48.90", "48.39", "48.75"),
            bar("48.87", "48.37", "48.63"), bar("50.00", "49.50", "49.80")]  # fmt: skip
    # True ranges: 0.91; 0.58; 0.51; 0.50; a gap up from 48.63 to 50.00 is 1.37.
    assert wilder_atr(bars[:3], 3) == (D("0.91") + D("0.58") + D("0.51")) / 3
    assert wilder_atr(bars[:4], 3) == (wilder_atr(bars[:3], 3) * 2 + D("0.50")) / 3  # type: ignore[operator]
    assert wilder_atr(bars, 3) == (wilder_atr(bars[:4], 3) * 2 + D("1.37")) / 3  # type: ignore[operator]


def test_too_few_bars_are_no_answer_and_no_period_is_an_error() -> None:
    assert wilder_atr([bar("2", "1", "1")] * 13, 14) is None
    assert wilder_atr([], 2) is None
    with pytest.raises(ValueError, match="period"):
        wilder_atr([bar("2", "1", "1")], 0)


@st.composite
def bars(draw: st.DrawFn) -> list[Bar]:
    price = st.decimals(D("0.01"), D(100_000), places=2)
    found = []
    for _ in range(draw(st.integers(2, 40))):
        low, close, high = sorted((draw(price), draw(price), draw(price)))
        found.append(Bar(high, low, close))
    return found


@given(bars(), st.integers(1, 20))
def test_equal_to_exact_fractions_and_between_least_and_greatest_range(given_bars: list[Bar], period: int) -> None:
    atr = wilder_atr(given_bars, period)
    if len(given_bars) < period:
        assert atr is None
        return
    ranges: list[Fraction] = [Fraction(given_bars[0].high) - Fraction(given_bars[0].low)]
    for before, each in itertools.pairwise(given_bars):
        reach = (Fraction(each.high) - Fraction(each.low), abs(Fraction(each.high) - Fraction(before.close)))
        ranges.append(max(*reach, abs(Fraction(each.low) - Fraction(before.close))))
    exact = sum(ranges[:period], Fraction(0)) / period
    for each_range in ranges[period:]:
        exact = (exact * (period - 1) + each_range) / period
    assert isinstance(atr, Decimal)
    assert abs(Fraction(atr) - exact) < Fraction(1, 10**15)
    assert min(ranges) - Fraction(1, 10**15) <= Fraction(atr) <= max(ranges) + Fraction(1, 10**15)
