"""A book of limited depth, drawn around the last price, that fills are made from. Pure.

A level is a price on a grid of about half a basis point. How much rests there follows from the seed, the symbol, the side and the price
alone, so the same ticks and orders give the same fills. What is taken is gone, and comes back evenly within `REFILL_MS` of market time; a
level that the price has passed is drawn anew. The book lives in memory: after a restart it is full again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from hashlib import blake2b

from breakwater.paper_venue.config import SymbolSpec
from breakwater.paper_venue.model import Level, Order, Present
from breakwater.paper_venue.money import ONE, ZERO, ceil_to, floor_to

LEVELS = 1000
"""Levels of one side; beyond them there is nothing."""
REFILL_MS = 10_000
SPACING = Decimal("0.00005")
"""Distance of two levels as a fraction of the price, at most; never less than a tick."""
NEAR = Decimal("0.001")
"""The band around the price that `SymbolSpec.liquidity` speaks of."""
DRAWN_FOR = Decimal("1.5")
"""The grid is laid anew when the price has moved by this factor."""

OPPOSITE = {"BUY": "SELL", "SELL": "BUY"}


class Book:
    """Bids (side BUY) and asks (side SELL) of one symbol. Call `stand` first whenever the market may have moved."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._spec: SymbolSpec | None = None
        self._present = Present(ZERO, 0)
        self._drawn_at = ZERO
        self._grid = ONE
        self._unit = ZERO
        self._full: dict[tuple[str, int], Decimal] = {}
        self._taken: dict[str, dict[int, tuple[Decimal, int]]] = {"BUY": {}, "SELL": {}}

    def stand(self, spec: SymbolSpec, present: Present) -> None:
        """The market is here now. Levels that the price has passed are forgotten, with what was taken from them."""
        last = present.last
        if spec is not self._spec or not self._drawn_at / DRAWN_FOR <= last <= self._drawn_at * DRAWN_FOR:
            self._draw(spec, last)
        self._present = Present(last, max(present.time_ms, self._present.time_ms))
        bids, asks = self._taken["BUY"], self._taken["SELL"]
        for index in [index for index in bids if index > self._first("BUY")]:
            del bids[index]
        for index in [index for index in asks if index < self._first("SELL")]:
            del asks[index]

    def _draw(self, spec: SymbolSpec, last: Decimal) -> None:
        self._spec, self._drawn_at = spec, last
        self._grid = spec.tick_size * _round_number(int(last * SPACING / spec.tick_size))
        self._unit = spec.liquidity * self._grid / (NEAR * last * last)
        self._full.clear()
        for taken in self._taken.values():
            taken.clear()

    # -- what there is -------------------------------------------------------------------------------------

    def levels(self, side: str, count: int) -> list[Level]:
        """At most `count` levels with something on them, best first."""
        found: list[Level] = []
        for index in self._indices(side):
            if len(found) == count:
                break
            quantity = self._available(side, index)
            if quantity:
                found.append(Level(index * self._grid, quantity))
        return found

    def quantity_at(self, side: str, price: Decimal) -> Decimal:
        """What rests on the level that a price belongs to; 0 for a price better than the best level's."""
        best = self._first(side) * self._grid
        better = price > best if side == "BUY" else price < best
        return ZERO if better else self._available(side, self._index_of(side, price))

    def usual_at(self, side: str, price: Decimal) -> Decimal:
        """What rests there while the market is elsewhere and nobody took from it."""
        return self._full_at(side, self._index_of(side, price))

    def _index_of(self, side: str, price: Decimal) -> int:
        # A level stands for all prices of its step that are better than it.
        return int((floor_to if side == "BUY" else ceil_to)(price, self._grid) / self._grid)

    def offered(self, side: str, quantity: Decimal, limit: Decimal | None) -> list[Level]:
        """What a taker of `side` gets for `quantity`, best first, nothing beyond its limit.

        Without a limit (a market order) the symbol's PERCENT_PRICE is the limit.
        """
        return [level for _, level in self._walk(side, quantity, limit)]

    def take(self, side: str, quantity: Decimal, limit: Decimal | None) -> list[Level]:
        """As `offered`, and gone from the book."""
        taken = self._taken[OPPOSITE[side]]
        found = list(self._walk(side, quantity, limit))
        for index, level in found:
            gone = self._gone(OPPOSITE[side], index)
            taken[index] = (gone + level.quantity, self._present.time_ms)
        return [level for _, level in found]

    def _walk(self, side: str, quantity: Decimal, limit: Decimal | None) -> Iterator[tuple[int, Level]]:
        assert self._spec is not None
        if limit is None:
            factor = self._spec.multiplier_up if side == "BUY" else self._spec.multiplier_down
            limit = self._present.last * factor
        other = OPPOSITE[side]
        for index in self._indices(other):
            price = index * self._grid
            if quantity <= 0 or (price > limit if side == "BUY" else price < limit):
                return
            here = min(quantity, self._available(other, index))
            if here:
                quantity -= here
                yield index, Level(price, here)

    def _first(self, side: str) -> int:
        """Index of the level next to the last price. At the last price itself nobody rests."""
        below, rest = divmod(self._present.last, self._grid)
        if side == "SELL":
            return int(below) + 1
        return int(below) if rest else int(below) - 1

    def _indices(self, side: str) -> Iterable[int]:
        first = self._first(side)
        return range(first, max(0, first - LEVELS), -1) if side == "BUY" else range(first, first + LEVELS)

    def _available(self, side: str, index: int) -> Decimal:
        assert self._spec is not None
        full = self._full_at(side, index)
        if index not in self._taken[side]:
            return full
        return floor_to(max(ZERO, full - self._gone(side, index)), self._spec.step_size)

    def _gone(self, side: str, index: int) -> Decimal:
        """What is missing at a level by now."""
        quantity, since_ms = self._taken[side].get(index, (ZERO, 0))
        if not quantity:
            return ZERO
        back = self._full_at(side, index) * (self._present.time_ms - since_ms) / REFILL_MS
        if back >= quantity:
            del self._taken[side][index]
            return ZERO
        return quantity - back

    def _full_at(self, side: str, index: int) -> Decimal:
        """A level nobody took from: between half and one and a half of the unit, at least one step."""
        assert self._spec is not None
        full = self._full.get((side, index))
        if full is None:
            name = f"{self._seed}:{self._spec.symbol}:{side}:{index * self._grid}"
            share = int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) % 1001 + 500
            full = max(self._spec.step_size, floor_to(self._unit * share / 1000, self._spec.step_size))
            self._full[side, index] = full
        return full


class BookFill:
    """Fills from the books of all symbols; a resting order waits behind what rested at its level before it."""

    accounts_meet = True

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._books: dict[str, Book] = {}
        self._ahead: dict[int, Decimal] = {}
        """By order: what is served first at its price, in base units."""
        self._flow: dict[str, Decimal] = {}
        """What traded with the last tick and has not filled an order yet."""

    def book(self, spec: SymbolSpec, present: Present) -> Book:
        """A symbol's book as it is now."""
        book = self._books.get(spec.symbol)
        if book is None:
            book = self._books[spec.symbol] = Book(self._seed)
        book.stand(spec, present)
        return book

    def moved(self, spec: SymbolSpec, present: Present, volume: Decimal) -> None:
        self.book(spec, present)
        self._flow[spec.symbol] = volume

    def levels(self, spec: SymbolSpec, side: str, count: int, present: Present) -> list[Level]:
        return self.book(spec, present).levels(side, count)

    def offered(
        self, spec: SymbolSpec, side: str, quantity: Decimal, limit: Decimal | None, present: Present
    ) -> list[Level]:
        return self.book(spec, present).offered(side, quantity, limit)

    def take(
        self, spec: SymbolSpec, side: str, quantity: Decimal, limit: Decimal | None, present: Present
    ) -> list[Level]:
        return self.book(spec, present).take(side, quantity, limit)

    def crosses(self, spec: SymbolSpec, side: str, price: Decimal, present: Present) -> bool:
        best = self.book(spec, present).levels(OPPOSITE[side], 1)
        return bool(best) and (price >= best[0].price if side == "BUY" else price <= best[0].price)

    def rest(self, spec: SymbolSpec, order: Order, present: Present) -> None:
        self._ahead[order.order_id] = self.book(spec, present).quantity_at(order.side, order.price)

    def ahead(self, order: Order) -> Decimal:
        return self._ahead.get(order.order_id, ZERO)

    def served(self, order: Order, quantity: Decimal) -> None:
        self._ahead[order.order_id] = max(ZERO, self.ahead(order) - quantity)

    def leave(self, order: Order) -> None:
        self._ahead.pop(order.order_id, None)

    def by_priority(self, orders: Sequence[Order]) -> Sequence[Order]:
        """Best price first, then the oldest."""
        return sorted(orders, key=lambda order: -order.price if order.side == "BUY" else order.price)

    def reached(self, spec: SymbolSpec, order: Order, wanted: Decimal, present: Present) -> Decimal:
        """Those whom the price has passed sell to (buy from) the order, then what traded at its price beyond its queue.

        A tick that tells no volume fills what it passes, and nobody who stands at its very price.
        """
        book = self.book(spec, present)
        if order.order_id not in self._ahead:
            # Its place was forgotten with a restart: it stands behind everybody.
            self._ahead[order.order_id] = book.usual_at(order.side, order.price)
        passing = book.take(order.side, wanted, order.price)
        filled = sum((level.quantity for level in passing), ZERO)
        if order.price != present.last:
            self._ahead[order.order_id] = ZERO
        flow, ahead = self._flow.get(spec.symbol, ZERO), self._ahead[order.order_id]
        self._ahead[order.order_id] = max(ZERO, ahead - flow)
        traded = min(wanted - filled, floor_to(max(ZERO, flow - ahead), spec.step_size))
        self._flow[spec.symbol] = flow - traded
        return filled + traded


def _round_number(most: int) -> int:
    """The largest of 1, 2, 5, 10, 20, ... that is not above `most`; 1 for anything less."""
    power = 1
    while power * 10 <= most:
        power *= 10
    return next((power * lead for lead in (5, 2) if power * lead <= most), power)
