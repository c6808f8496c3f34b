"""How orders fill: the price a taker pays, when a resting limit trades, when a trigger fires. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from breakwater.paper_venue.config import SymbolSpec, VenueConfig
from breakwater.paper_venue.money import ONE, ceil_to, floor_to


class FillModel(Protocol):
    """Decides price and quantity of fills. The default fills everything at once."""

    def taker_price(self, spec: SymbolSpec, side: str, last: Decimal) -> Decimal: ...

    def quantity(self, spec: SymbolSpec, side: str, wanted: Decimal) -> Decimal: ...


class FullFill:
    """The whole quantity at last * (1 +/- slippage), rounded to the tick against the taker."""

    def __init__(self, config: VenueConfig) -> None:
        self._slippage = config.slippage

    def taker_price(self, spec: SymbolSpec, side: str, last: Decimal) -> Decimal:
        if side == "BUY":
            return ceil_to(last * (ONE + self._slippage), spec.tick_size)
        return max(spec.tick_size, floor_to(last * (ONE - self._slippage), spec.tick_size))

    def quantity(self, spec: SymbolSpec, side: str, wanted: Decimal) -> Decimal:
        return wanted


def within_limit(side: str, price: Decimal, limit: Decimal) -> bool:
    """Whether a fill price respects the order's limit."""
    return price <= limit if side == "BUY" else price >= limit


def trades_through(side: str, limit: Decimal, last: Decimal) -> bool:
    """Whether a tick at or through the limit fills an order resting there."""
    return last <= limit if side == "BUY" else last >= limit


def is_triggered(order_type: str, side: str, trigger: Decimal, last: Decimal) -> bool:
    """Whether a tick reaches a conditional order's trigger.

    A stop guards against the price moving on (sell below, buy above); a take-profit waits for the opposite.
    """
    stop = order_type in ("STOP", "STOP_MARKET")
    falls = (side == "SELL") == stop
    return last <= trigger if falls else last >= trigger


def is_risk_increasing(position_qty: Decimal, side: str, qty: Decimal, *, reduce_only: bool) -> bool:
    """Whether an order could add to, open or flip a position. Reduce-only orders never do."""
    if reduce_only:
        return False
    signed = qty if side == "BUY" else -qty
    if position_qty == 0 or (position_qty > 0) == (signed > 0):
        return True
    return qty > abs(position_qty)


def reducible(position_qty: Decimal, side: str) -> Decimal:
    """How much an order of this side can reduce: 0 when there is nothing on the other side."""
    if position_qty > 0 and side == "SELL":
        return position_qty
    if position_qty < 0 and side == "BUY":
        return -position_qty
    return Decimal(0)
