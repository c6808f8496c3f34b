"""The edge a source has shown, and how much of the equity the Kelly criterion would stake on it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from breakwater.domain.money import ONE, ZERO


class Edge(msgspec.Struct, frozen=True):
    """Estimated from closed trades, their results in multiples of what they risked."""

    trades: int
    win_rate: Decimal
    """0..1. A result of nothing is no win."""
    average: Decimal
    """Mean result."""
    average_loss: Decimal
    """Mean loss of a losing trade, positive; 0 when none lost."""
    kelly: Decimal
    """Share of equity to risk, below 1; shrunk towards nothing for a small sample. 0 or less: there is no edge."""


def edge_of(results: Sequence[Decimal], least_trades: int) -> Edge | None:
    """The edge in ``results``; None while there are fewer than ``least_trades`` of them.

    Kelly for a win rate p and a payoff b (mean win over mean loss) is p - (1 - p) / b. It is taken as if ``least_trades``
    more trades had come out even, which multiplies it by n / (n + least_trades).
    """
    count = len(results)
    if count < max(1, least_trades):
        return None
    wins = [result for result in results if result > ZERO]
    losses = [-result for result in results if result <= ZERO]
    win_rate = Decimal(len(wins)) / count
    lost = sum(losses, ZERO)
    average_loss = lost / len(losses) if losses else ZERO
    average = (sum(wins, ZERO) - lost) / count
    if not wins or average <= ZERO:
        kelly = min(average, ZERO)  # whatever its size: nothing to stake on
    elif lost == ZERO:
        kelly = win_rate
    else:
        kelly = win_rate - (ONE - win_rate) * average_loss * len(wins) / sum(wins, ZERO)
    return Edge(count, win_rate, average, average_loss, kelly * count / (count + least_trades))
