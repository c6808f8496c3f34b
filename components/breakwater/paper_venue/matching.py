"""How orders fill: what a taker gets, when a resting limit trades, when a trigger fires. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from breakwater.paper_venue.config import SymbolSpec, VenueConfig
from breakwater.paper_venue.model import Level, Order, Present
from breakwater.paper_venue.money import ONE, ZERO, ceil_to, floor_to


class FillModel(Protocol):
    """What the market gives to an order. Sides are the order's own, except in `levels`; quantities are in base units."""

    @property
    def accounts_meet(self) -> bool:
        """Whether accounts' resting orders are a part of the book, shown in it and hit by others."""
        ...

    def moved(self, spec: SymbolSpec, present: Present, volume: Decimal) -> None:
        """A tick: the market is at `present`, and `volume` traded on the way (0: not told)."""
        ...

    def levels(self, spec: SymbolSpec, side: str, count: int, present: Present) -> list[Level]:
        """At most `count` bids (side BUY) or asks (SELL) to show, best first."""
        ...

    def offered(
        self, spec: SymbolSpec, side: str, quantity: Decimal, limit: Decimal | None, present: Present
    ) -> list[Level]:
        """What a taker would get now: fills at prices that only get worse, none beyond `limit` (None: a market order)."""
        ...

    def take(
        self, spec: SymbolSpec, side: str, quantity: Decimal, limit: Decimal | None, present: Present
    ) -> list[Level]:
        """As `offered`, and given: nobody else gets it."""
        ...

    def crosses(self, spec: SymbolSpec, side: str, price: Decimal, present: Present) -> bool:
        """Whether a limit order at this price would trade at once, so that a post-only one is refused."""
        ...

    def rest(self, spec: SymbolSpec, order: Order, present: Present) -> None:
        """The order begins to wait at its price, behind all others."""
        ...

    def ahead(self, order: Order) -> Decimal:
        """What waits before a resting order at its price."""
        ...

    def served(self, order: Order, quantity: Decimal) -> None:
        """So much of what waits before the order was traded."""
        ...

    def leave(self, order: Order) -> None:
        """The order waits no longer."""
        ...

    def by_priority(self, orders: Sequence[Order]) -> Sequence[Order]:
        """The order in which resting orders, given oldest first, are served."""
        ...

    def reached(self, spec: SymbolSpec, order: Order, wanted: Decimal, present: Present) -> Decimal:
        """How much of `wanted` a resting order gets at its own price, now that the last price is at or through it."""
        ...


class FullFill:
    """The whole quantity at last * (1 +/- slippage), rounded to the tick against the taker."""

    accounts_meet = False

    def __init__(self, config: VenueConfig) -> None:
        self._slippage = config.slippage

    def moved(self, spec: SymbolSpec, present: Present, volume: Decimal) -> None:
        pass

    def levels(self, spec: SymbolSpec, side: str, count: int, present: Present) -> list[Level]:
        """For show: about 250,000 USDT at every tick around the last price."""
        steps = (Decimal(250_000) / present.last / spec.step_size).to_integral_value()
        quantity = max(spec.step_size, steps * spec.step_size)
        away = -spec.tick_size if side == "BUY" else spec.tick_size
        prices = (present.last + away * i for i in range(1, count + 1))
        return [Level(price, quantity) for price in prices if price > 0]

    def offered(
        self, spec: SymbolSpec, side: str, quantity: Decimal, limit: Decimal | None, present: Present
    ) -> list[Level]:
        if side == "BUY":
            price = ceil_to(present.last * (ONE + self._slippage), spec.tick_size)
        else:
            price = max(spec.tick_size, floor_to(present.last * (ONE - self._slippage), spec.tick_size))
        return [Level(price, quantity)] if limit is None or within_limit(side, price, limit) else []

    def take(
        self, spec: SymbolSpec, side: str, quantity: Decimal, limit: Decimal | None, present: Present
    ) -> list[Level]:
        return self.offered(spec, side, quantity, limit, present)

    def crosses(self, spec: SymbolSpec, side: str, price: Decimal, present: Present) -> bool:
        return trades_through(side, price, present.last)

    def rest(self, spec: SymbolSpec, order: Order, present: Present) -> None:
        pass

    def ahead(self, order: Order) -> Decimal:
        return ZERO

    def served(self, order: Order, quantity: Decimal) -> None:
        pass

    def leave(self, order: Order) -> None:
        pass

    def by_priority(self, orders: Sequence[Order]) -> Sequence[Order]:
        return orders

    def reached(self, spec: SymbolSpec, order: Order, wanted: Decimal, present: Present) -> Decimal:
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
