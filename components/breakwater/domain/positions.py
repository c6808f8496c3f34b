"""Fills and what they make of a position. Average entry and realised PnL by the venue's rules, exact, USDT.

Realised = (price - average entry) x closed quantity x side, before commission; the average moves only when a position grows.
A position is kept as quantity and cost, not as an average, so that nothing is lost by dividing: what rounding (24 decimals)
takes from a partial close stays in the cost, and once flat the total is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Context, Decimal, localcontext

import msgspec
from msgspec.structs import replace

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.money import ZERO

EXACT = Context(prec=80)
_GRAIN = Decimal(1).scaleb(-24)


class Fill(msgspec.Struct, frozen=True):
    """One trade at the venue. ``quantity`` is signed base units (negative sells); a positive commission is a cost."""

    symbol: Symbol
    trade_id: TradeId
    quantity: Decimal
    price: Decimal
    commission: Decimal
    time: datetime
    leverage: int = 1


class Position(msgspec.Struct, frozen=True):
    """Signed quantity and what it cost (quantity x price, same sign)."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    leverage: int = 1
    opened_at: datetime | None = None

    @property
    def entry_price(self) -> Decimal:
        """Average entry, unrounded (28 digits); 0 when flat."""
        return self.cost / self.quantity if self.quantity else ZERO

    def unrealised_pnl(self, mark: Decimal) -> Decimal:
        """At ``mark``, exact."""
        return self.quantity * mark - self.cost


def book(position: Position, fill: Fill) -> tuple[Position, Decimal]:
    """The position after ``fill`` and the PnL it realised, before commission. A flip closes first, then opens."""
    with localcontext(EXACT):
        quantity, cost = position.quantity, position.cost
        realised = ZERO
        left = fill.quantity
        if quantity and (quantity > 0) != (left > 0):
            closing = left if abs(left) <= abs(quantity) else -quantity
            released = cost if closing == -quantity else (cost * -closing / quantity).quantize(_GRAIN)
            realised = -closing * fill.price - released
            quantity, cost, left = quantity + closing, cost - released, left - closing
        if not left:
            after = replace(position, quantity=quantity, cost=cost) if quantity else Position()
            return after, realised
        opened = position.opened_at if quantity else fill.time
        return Position(quantity + left, cost + left * fill.price, fill.leverage, opened), realised


def check(fill: Fill) -> None:
    """Raises ValueError naming the field that cannot be."""
    for name in ("quantity", "price", "commission"):
        if not getattr(fill, name).is_finite():
            raise ValueError(f"trade {fill.symbol} {fill.trade_id}: {name} is {getattr(fill, name)}, not a number")
    if not fill.quantity:
        raise ValueError(f"trade {fill.symbol} {fill.trade_id}: quantity is 0")
    if fill.price <= ZERO:
        raise ValueError(f"trade {fill.symbol} {fill.trade_id}: price is {fill.price}, it must be positive")


def comes_before(trade_id: TradeId, other: TradeId | None) -> bool:
    """Whether the venue made ``trade_id`` before ``other``; False when ids are not numbers and nobody can tell."""
    return other is not None and other.isdecimal() and trade_id.isdecimal() and int(trade_id) < int(other)


def reaches(trade_id: TradeId, through: TradeId | None) -> bool:
    """Whether ``trade_id`` is ``through`` or was made before it."""
    return trade_id == through or comes_before(trade_id, through)


class SymbolBook:
    """One symbol: its position now, and the fills since it was flat the time before last, so that a late one finds its place."""

    def __init__(self, base: Position = Position(), fills: Iterable[Fill] = ()) -> None:  # noqa: B008  immutable
        self.base = base
        self.position = base
        self._realised = ZERO
        """Of the fills since ``base``."""
        self._fills: list[Fill] = []
        self._flats: list[tuple[int, Decimal]] = []
        """Number of fills after which the position was flat, and what they had realised."""
        for fill in fills:
            self._fold(fill)

    @property
    def fills(self) -> tuple[Fill, ...]:
        """Those since ``base``, in the venue's order."""
        return tuple(self._fills)

    def add(self, fill: Fill) -> Decimal:
        """Fold ``fill`` in, at its place in the venue's order. Returns by how much the realised total moves."""
        before = self._realised
        if self._fills and _order(fill) < _order(self._fills[-1]):
            fills = sorted([*self._fills, fill], key=_order)
            self.position, self._realised, self._fills, self._flats = self.base, ZERO, [], []
            for each in fills:
                self._fold(each)
        else:
            self._fold(fill)
        moved = self._realised - before
        if len(self._flats) > 1:
            count, realised = self._flats[-2]
            self._forget(count, realised, Position())
        return moved

    def settle(self, through: TradeId) -> None:
        """Forget the fills up to ``through``: no other can take its place among them any more."""
        position, realised, count = self.base, ZERO, 0
        for fill in self._fills:
            if not reaches(fill.trade_id, through):
                break
            position, gained = book(position, fill)
            with localcontext(EXACT):
                realised += gained
            count += 1
        self._forget(count, realised, position)

    def _fold(self, fill: Fill) -> None:
        self._fills.append(fill)
        self.position, realised = book(self.position, fill)
        with localcontext(EXACT):
            self._realised += realised
        if not self.position.quantity:
            self._flats.append((len(self._fills), self._realised))

    def _forget(self, count: int, realised: Decimal, base: Position) -> None:
        """Drop the first ``count`` fills, which realised ``realised`` and led to ``base``."""
        with localcontext(EXACT):
            self.base, self._fills, self._realised = base, self._fills[count:], self._realised - realised
            self._flats = [(at - count, total - realised) for at, total in self._flats if at > count]


def _order(fill: Fill) -> tuple[int, datetime]:
    """The venue's order within a symbol: by trade id when ids are numbers, else by time."""
    return (int(fill.trade_id) if fill.trade_id.isdecimal() else 0, fill.time)
