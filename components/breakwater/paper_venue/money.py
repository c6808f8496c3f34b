"""Exact decimal helpers. Every amount on this venue is a Decimal; nothing passes through float."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

ZERO = Decimal(0)
ONE = Decimal(1)
CENT_MILLIONTH = Decimal("0.00000001")
"""The exchange's smallest unit of USDT: commissions and realised profit are published with 8 decimals."""


def plain(value: Decimal) -> str:
    """Decimal as the wire writes it: no exponent."""
    return format(value, "f")


def money(value: Decimal) -> str:
    """An amount of USDT with at least 8 decimals; more are kept when the value needs them."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -8:
        value = value.normalize()
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -8:
            return format(value, "f")
    return format(value.quantize(CENT_MILLIONTH), "f")


def round8(value: Decimal) -> Decimal:
    """Round an amount of USDT to 8 decimals, half to even, as the exchange publishes it."""
    return value.quantize(CENT_MILLIONTH, ROUND_HALF_EVEN)


def round8_down(value: Decimal) -> Decimal:
    return value.quantize(CENT_MILLIONTH, ROUND_DOWN)


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Smallest multiple of `step` that is >= value."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Largest multiple of `step` that is <= value."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def nearest(value: Decimal, step: Decimal) -> Decimal:
    """Multiple of `step` nearest to value, half to even."""
    return (value / step).to_integral_value(ROUND_HALF_EVEN) * step


def is_multiple(value: Decimal, step: Decimal) -> bool:
    return value % step == 0
