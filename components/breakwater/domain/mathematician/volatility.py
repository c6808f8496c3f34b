"""The average true range, as Welles Wilder defined it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from breakwater.domain.money import ZERO


class Bar(msgspec.Struct, frozen=True):
    """One closed candle, in quote units."""

    high: Decimal
    low: Decimal
    close: Decimal


def wilder_atr(bars: Sequence[Bar], period: int) -> Decimal | None:
    """Average true range of ``bars``, oldest first, in quote units; None for fewer than ``period`` of them.

    The first value is the mean of ``period`` true ranges; each later range then counts for one part in ``period``.
    Raises ValueError for a period below 1.
    """
    if period < 1:
        raise ValueError(f"a period of {period} candles is none")
    if len(bars) < period:
        return None
    ranges = _true_ranges(bars)
    atr = sum(ranges[:period], ZERO) / period
    for true_range in ranges[period:]:
        atr = (atr * (period - 1) + true_range) / period
    return atr


def _true_ranges(bars: Sequence[Bar]) -> list[Decimal]:
    """The reach of each bar, a gap to the close before it included."""
    ranges = [bars[0].high - bars[0].low]
    for before, bar in itertools.pairwise(bars):
        ranges.append(max(bar.high, before.close) - min(bar.low, before.close))
    return ranges
