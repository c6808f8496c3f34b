"""Which leverage an entry may use: the policy's, lowered by liquidity, the venue's brackets and the distance to liquidation."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from breakwater.domain.instruments import Instrument
from breakwater.domain.liquidity import Liquidity
from breakwater.domain.money import HUNDRED, ONE, ZERO
from breakwater.domain.orders import Side

LIQUIDATION_TO_STOP = Decimal(2)
"""Liquidation must be at least this many stop distances away (REQUIREMENTS R0)."""


class LeveragedNotional(msgspec.Struct, frozen=True):
    """The largest notional that a margin may carry, the leverage that carries it, and the caps that lowered it, in order."""

    notional: Decimal
    leverage: int
    caps: tuple[str, ...]


def liquidation_leverage(side: Side, stop_pct: Decimal, maintenance_margin_rate: Decimal) -> int:
    """Greatest leverage at which liquidation (isolated margin) is at least twice the stop distance away; 0 if none is."""
    distance = LIQUIDATION_TO_STOP * stop_pct / HUNDRED
    # Liquidated where the margin left equals the maintenance margin: distance = (1/L - m) / (1 - m) long, / (1 + m) short.
    # Dividing by less than one only widens a long's distance, so it is left out: the gate judges without it, too.
    widening = maintenance_margin_rate * distance if side is Side.SELL else ZERO
    return int(ONE / (distance + maintenance_margin_rate + widening))


def leveraged_notional(
    margin: Decimal, leverage: int, *, side: Side, stop_pct: Decimal, instrument: Instrument, liquidity: Liquidity
) -> LeveragedNotional:
    """``margin`` x leverage, for the leverage of at most ``leverage`` that carries most; notional 0 when none is possible."""
    caps: list[str] = []
    allowed = leverage
    liquid = liquidity.leverage_cap()
    if liquid is not None and liquid.leverage < allowed:
        allowed = liquid.leverage
        caps.append(liquid.name)
    best = LeveragedNotional(ZERO, 0, (*caps, "venueBracket"))
    for bracket in instrument.brackets:
        survivable = liquidation_leverage(side, stop_pct, bracket.maintenance_margin_rate)
        usable = min(allowed, bracket.max_leverage, survivable)
        if usable < 1:
            named = "liquidationDistance" if survivable < 1 else "venueBracket"
            if best.leverage == 0:
                best = LeveragedNotional(ZERO, 0, (*caps, named))
            continue
        notional = min(margin * usable, bracket.notional_cap)
        if notional <= best.notional:
            continue
        named_here = list(caps)
        if bracket.max_leverage < allowed:
            named_here.append("venueBracket")
        if survivable < min(allowed, bracket.max_leverage):
            named_here.append("liquidationDistance")
        if notional < margin * usable:
            named_here.append("venueBracket")
        best = LeveragedNotional(notional, usable, tuple(named_here))
    return best
