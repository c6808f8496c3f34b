"""Accounts' resting orders as a part of the book: who can be hit, what a taker gets of book and orders together, what is shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from breakwater.paper_venue.config import SymbolSpec
from breakwater.paper_venue.matching import within_limit
from breakwater.paper_venue.model import Level, Order, Present
from breakwater.paper_venue.money import ZERO


def percent_price_limit(spec: SymbolSpec, side: str, present: Present) -> Decimal:
    """The worst price that a market order may pay."""
    return present.last * (spec.multiplier_up if side == "BUY" else spec.multiplier_down)


def best_first(side: str, price: Decimal) -> Decimal:
    """Sort key of prices at which a taker of `side` trades."""
    return price if side == "BUY" else -price


def hit_by(orders: Iterable[Order], side: str, limit: Decimal) -> list[Order]:
    """Resting orders that a taker of `side` may trade with, best price first, then the oldest (`orders` come oldest first)."""
    reached = [o for o in orders if o.side != side and within_limit(side, o.price, limit)]
    return sorted(reached, key=lambda o: best_first(side, o.price))


def together(side: str, levels: Iterable[Level], makers: Iterable[Order], quantity: Decimal) -> list[Level]:
    """What a taker of `side` gets for `quantity` of the book's levels and of resting orders, best first."""
    given: list[Level] = []
    rows = [*levels, *(Level(maker.price, maker.remaining) for maker in makers)]
    for price, offered in sorted(rows, key=lambda row: best_first(side, row.price)):
        part = min(offered, quantity)
        if part <= ZERO:
            break
        given.append(Level(price, part))
        quantity -= part
    return given


def shown(side: str, levels: list[Level], opposite: list[Level], orders: Iterable[Order], count: int) -> list[Level]:
    """One side as everybody sees it, best first. An order that the other side has passed is about to fill and not shown."""
    best = opposite[0].price if opposite else None
    rows = {level.price: level.quantity for level in levels}
    for order in orders:
        if order.side == side and (best is None or not within_limit(side, best, order.price)):
            rows[order.price] = rows.get(order.price, ZERO) + order.remaining
    # Bids are what a seller trades with.
    taker = "SELL" if side == "BUY" else "BUY"
    return [Level(price, rows[price]) for price in sorted(rows, key=lambda price: best_first(taker, price))][:count]
