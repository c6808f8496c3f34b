"""Figures as a status shows them: JSON numbers within the schema's bounds, and steady enough to be written seldom."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from breakwater.domain.money import ZERO

MOST_PCT = Decimal(1_000_000)
MOST_USD = Decimal(1_000_000_000_000)
_STEP = Decimal("0.01")
_RELATIVE = Decimal("0.0001")


def number(value: Decimal | int) -> int | float:
    """``value`` as a JSON number; whole ones without a point."""
    exact = Decimal(value)
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def percent(value: Decimal) -> int | float:
    """A percentage for a status: 0 or more, to 0.01 (5 means 5 %)."""
    return number(_rounded(min(max(value, ZERO), MOST_PCT)))


def exact_percent(value: Decimal) -> int | float:
    """A percentage that a rule was decided on: not rounded, so that it never seems to contradict the decision."""
    return number(min(max(value, ZERO), MOST_PCT))


def dollars(value: Decimal, shown: object = None) -> int | float:
    """An amount in USDT to the cent; what is ``shown`` already stays while it is within 0.01 % of ``value``."""
    bounded = min(max(value, -MOST_USD), MOST_USD)
    if isinstance(shown, int | float) and not isinstance(shown, bool):
        before = Decimal(str(shown))
        if abs(before - bounded) <= abs(bounded) * _RELATIVE:
            return shown
    return number(_rounded(bounded))


def whole(value: int, most: int) -> int:
    return min(max(value, 0), most)


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_STEP, rounding=ROUND_HALF_UP)
