"""From volatility and edge to what a trade should look like, before the limits have their say."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from breakwater.domain.mathematician.edge import Edge
from breakwater.domain.money import HUNDRED, ONE, ZERO, plain
from breakwater.domain.policy import MathematicianRules
from breakwater.domain.refusals import Refusal, RefusalCode


class Advice(msgspec.Struct, frozen=True):
    """Stop and target in percent of the mark, and two more caps on the size."""

    stop_pct: Decimal
    target_pct: Decimal
    leverage: int
    """At most this, so that the stop takes at most ``stopLossOfMarginPct`` of the margin; never below 1."""
    risk_pct: Decimal | None
    """At most this share of equity lost at the stop, in percent: fractional Kelly. None: too few closed trades to say."""


def advise(rules: MathematicianRules, *, atr: Decimal | None, mark: Decimal, edge: Edge | None) -> Advice | Refusal:
    """What ``rules`` make of an average true range (quote units), the mark and the edge of the signal's source.

    Refuses while the volatility is not known, and for a source whose closed trades lose.
    """
    if atr is None or atr <= ZERO or mark <= ZERO:
        return Refusal(
            RefusalCode.VOLATILITY_UNKNOWN,
            f"the average true range is not known: it needs {rules.atr_period} closed candles in a row, the last one recent "
            "(mathematician.atrPeriod)",
        )
    if edge is not None and edge.kelly <= ZERO:
        shown = edge.average.quantize(Decimal("0.001"))
        return Refusal(
            RefusalCode.NO_EDGE,
            f"the last {edge.trades} closed trades of this source lose {plain(-shown)} times what they risk on average: "
            "no more until they are a month old, or a person changes the source or the policy's mathematician",
            {"trades": str(edge.trades), "average": plain(shown), "bound_by": "fractionalKelly"},
        )
    stop_pct = rules.stop_atr_multiple * atr / mark * HUNDRED
    return Advice(
        stop_pct=stop_pct,
        target_pct=stop_pct * rules.reward_to_risk,
        leverage=max(1, int(rules.stop_loss_of_margin_pct / stop_pct)),
        # A source that loses more than its stop allowed for is staked by what it really loses.
        risk_pct=None if edge is None else rules.kelly_fraction * edge.kelly * HUNDRED / max(ONE, edge.average_loss),
    )
