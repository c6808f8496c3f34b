"""The desk's own account: an exact fold over fills. Average entry, realised PnL, commissions, wallet; all Decimal, USDT.

Rules are the venue's: realised = (price - average entry) x closed quantity x side, before commission; the average moves only
when a position grows. A position is kept as quantity and cost, not as an average, so that nothing is lost by dividing: what
rounding (24 decimals) takes from a partial close stays in the cost, and once flat the total is exact.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import datetime
from decimal import Context, Decimal, localcontext

import msgspec
from msgspec.structs import replace

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.money import ZERO

_EXACT = Context(prec=80)
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


class Booked(enum.Enum):
    """What became of a fill."""

    APPLIED = enum.auto()
    REPEATED = enum.auto()
    """Seen before, same numbers."""
    CONFLICTING = enum.auto()
    """Same trade id, other numbers: the first stays, and somebody has to look."""


def book(position: Position, fill: Fill) -> tuple[Position, Decimal]:
    """The position after ``fill`` and the PnL it realised, before commission. A flip closes first, then opens."""
    with localcontext(_EXACT):
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


class _Book:
    """One symbol: its position now, and the fills since it was flat the time before last, so that a late one finds its place."""

    def __init__(self, base: Position = Position()) -> None:  # noqa: B008  immutable
        self._base = base
        self.position = base
        self._realised = ZERO
        """Of the fills since ``base``."""
        self._fills: list[Fill] = []
        self._flats: list[tuple[int, Decimal]] = []
        """Number of fills after which the position was flat, and what they had realised."""

    def add(self, fill: Fill) -> Decimal:
        """Fold ``fill`` in, at its place in the venue's order. Returns by how much the realised total moves."""
        before = self._realised
        if self._fills and _order(fill) < _order(self._fills[-1]):
            fills = sorted([*self._fills, fill], key=_order)
            self.position, self._realised, self._fills, self._flats = self._base, ZERO, [], []
            for each in fills:
                self._fold(each)
        else:
            self._fold(fill)
        moved = self._realised - before
        if len(self._flats) > 1:
            self._forget(*self._flats[-2])
        return moved

    def _fold(self, fill: Fill) -> None:
        self._fills.append(fill)
        self.position, realised = book(self.position, fill)
        self._realised += realised
        if not self.position.quantity:
            self._flats.append((len(self._fills), self._realised))

    def _forget(self, count: int, realised: Decimal) -> None:
        """Drop the first ``count`` fills: the position was flat after them."""
        self._base, self._fills, self._realised = Position(), self._fills[count:], self._realised - realised
        self._flats = [(at - count, total - realised) for at, total in self._flats if at > count]


class Ledger:
    """The account after a number of fills. Not adopted until a first report of the venue gave it a wallet to start from."""

    def __init__(self) -> None:
        self.adopted = False
        self.wallet = ZERO
        self.realised = ZERO
        self.commissions = ZERO
        self._books: dict[Symbol, _Book] = {}
        self._seen: dict[tuple[Symbol, TradeId], Fill] = {}
        self._through: dict[Symbol, TradeId] = {}
        self._last: dict[Symbol, TradeId] = {}
        self._waiting: list[Fill] = []

    def adopt(
        self, wallet: Decimal, positions: Iterable[tuple[Symbol, Position]], through: dict[Symbol, TradeId]
    ) -> None:
        """Start from what the venue reports: it contains every trade up to ``through`` (per symbol, inclusive).

        Fills that came before are applied now, unless the report contains them. Raises ValueError when already adopted.
        """
        if self.adopted:
            raise ValueError("the ledger has a wallet already: it is changed by fills alone")
        self.adopted, self.wallet, self._through = True, wallet, dict(through)
        self._books = {symbol: _Book(position) for symbol, position in positions if position.quantity}
        waiting, self._waiting = self._waiting, []
        for symbol in {fill.symbol for fill in waiting}:
            fills = [fill for fill in waiting if fill.symbol == symbol]
            ids = [fill.trade_id for fill in fills]
            contained = ids.index(through[symbol]) + 1 if through.get(symbol) in ids else 0
            for fill in fills[contained:]:
                if not self._contained(fill):
                    self._apply(fill)

    def judge(self, fill: Fill) -> Booked:
        """What ``record`` would say, without doing it. Raises ValueError for numbers that cannot be a trade."""
        check(fill)
        known = self._seen.get((fill.symbol, fill.trade_id))
        if known is None:
            return Booked.APPLIED
        same = (known.quantity, known.price, known.commission) == (fill.quantity, fill.price, fill.commission)
        return Booked.REPEATED if same else Booked.CONFLICTING

    def record(self, fill: Fill) -> Booked:
        """Apply ``fill`` once. Raises ValueError for numbers that cannot be a trade."""
        verdict = self.judge(fill)
        if verdict is not Booked.APPLIED:
            return verdict
        self._seen[fill.symbol, fill.trade_id] = fill
        if not _before(fill.trade_id, self.last_trade(fill.symbol)):
            self._last[fill.symbol] = fill.trade_id
        if not self.adopted:
            self._waiting.append(fill)
        elif not self._contained(fill):
            self._apply(fill)
        return Booked.APPLIED

    def has_seen(self, symbol: Symbol, trade_id: TradeId) -> bool:
        """Whether this trade is in the wallet, by a fill or by what was adopted."""
        return (symbol, trade_id) in self._seen or self._through.get(symbol) == trade_id

    def last_trade(self, symbol: Symbol) -> TradeId | None:
        """The latest trade recorded, in the venue's order; before any fill the one adopted."""
        return self._last.get(symbol, self._through.get(symbol))

    @property
    def positions(self) -> dict[Symbol, Position]:
        """Open positions, by symbol in alphabetical order."""
        books = sorted(self._books.items())
        return {symbol: held.position for symbol, held in books if held.position.quantity}

    def _contained(self, fill: Fill) -> bool:
        """Whether the adopted report already had it: ids of one symbol rise."""
        through = self._through.get(fill.symbol)
        return fill.trade_id == through or _before(fill.trade_id, through)

    def _apply(self, fill: Fill) -> None:
        with localcontext(_EXACT):
            realised = self._books.setdefault(fill.symbol, _Book()).add(fill)
            self.realised += realised
            self.commissions += fill.commission
            self.wallet += realised - fill.commission


def check(fill: Fill) -> None:
    """Raises ValueError naming the field that cannot be."""
    for name in ("quantity", "price", "commission"):
        if not getattr(fill, name).is_finite():
            raise ValueError(f"trade {fill.symbol} {fill.trade_id}: {name} is {getattr(fill, name)}, not a number")
    if not fill.quantity:
        raise ValueError(f"trade {fill.symbol} {fill.trade_id}: quantity is 0")
    if fill.price <= ZERO:
        raise ValueError(f"trade {fill.symbol} {fill.trade_id}: price is {fill.price}, it must be positive")


def _before(trade_id: TradeId, other: TradeId | None) -> bool:
    """Whether the venue made ``trade_id`` before ``other``; False when ids are not numbers and nobody can tell."""
    return other is not None and other.isdecimal() and trade_id.isdecimal() and int(trade_id) < int(other)


def _order(fill: Fill) -> tuple[int, datetime]:
    """The venue's order within a symbol: by trade id when ids are numbers, else by time."""
    return (int(fill.trade_id) if fill.trade_id.isdecimal() else 0, fill.time)
