"""The desk's own account: an exact fold over fills and wallet movements; all Decimal, USDT.

wallet = what was adopted + realised PnL - commissions + funding + transfers + other movements. Each fill and each movement
counts once, in whatever order they arrive. What can no longer come again is forgotten (``settle``), so that a ledger does not
grow with its history; ``state`` is all that is left, exactly.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, localcontext

import msgspec

from breakwater.domain import movements
from breakwater.domain.ids import Symbol, TradeId, TranId
from breakwater.domain.money import ZERO
from breakwater.domain.movements import SETTLEMENT_ASSET, Movement, MovementKind
from breakwater.domain.positions import EXACT, Fill, Position, SymbolBook, book, check, comes_before, reaches

__all__ = ["BookState", "Booked", "Fill", "Ledger", "LedgerState", "Position", "book", "check"]


class Booked(enum.Enum):
    """What became of a fill or a movement."""

    APPLIED = enum.auto()
    REPEATED = enum.auto()
    """Seen before, same numbers, or so old that it must have been."""
    CONFLICTING = enum.auto()
    """Same id, other numbers: the first stays, and somebody has to look."""


class BookState(msgspec.Struct, frozen=True):
    """One symbol: a position, and the fills since it, in the venue's order."""

    symbol: Symbol
    base: Position
    fills: tuple[Fill, ...] = ()


class LedgerState(msgspec.Struct, frozen=True):
    """Everything a ledger knows. ``Ledger.restored(ledger.state())`` continues as the original would."""

    adopted: bool = False
    wallet: Decimal = ZERO
    realised: Decimal = ZERO
    commissions: Decimal = ZERO
    funding: Decimal = ZERO
    transfers: Decimal = ZERO
    other: Decimal = ZERO
    books: tuple[BookState, ...] = ()
    seen: tuple[Fill, ...] = ()
    through: dict[Symbol, TradeId] = {}
    last: dict[Symbol, TradeId] = {}
    moved: tuple[Movement, ...] = ()
    moved_through: datetime | None = None
    waiting: tuple[Fill, ...] = ()
    waiting_moves: tuple[Movement, ...] = ()


class Ledger:
    """The account after a number of fills and movements. Not adopted until a first report of the venue gave it a wallet."""

    def __init__(self) -> None:
        self.adopted = False
        self.wallet = ZERO
        self.realised = ZERO
        self.commissions = ZERO
        self.funding = ZERO
        """Received minus paid."""
        self.transfers = ZERO
        """Capital in minus out: no PnL."""
        self.other = ZERO
        """Other movements that are PnL."""
        self._books: dict[Symbol, SymbolBook] = {}
        self._seen: dict[tuple[Symbol, TradeId], Fill] = {}
        self._through: dict[Symbol, TradeId] = {}
        """Up to these, every trade is in the wallet."""
        self._last: dict[Symbol, TradeId] = {}
        self._waiting: list[Fill] = []
        self._moved: dict[tuple[str, TranId, str], Movement] = {}
        self._moved_through: datetime | None = None
        """Up to here, every movement is in the wallet."""
        self._waiting_moves: list[Movement] = []

    def adopt(
        self,
        wallet: Decimal,
        positions: Iterable[tuple[Symbol, Position]],
        through: dict[Symbol, TradeId],
        moved_through: datetime | None = None,
    ) -> None:
        """Start from what the venue reports. It contains every trade up to ``through`` (per symbol, inclusive) and every
        movement up to ``moved_through``.

        Fills and movements that came before are applied now, unless the report contains them. Raises ValueError when
        already adopted.
        """
        if self.adopted:
            raise ValueError("the ledger has a wallet already: it is changed by fills and movements alone")
        self.adopted, self.wallet, self._through = True, wallet, dict(through)
        self._moved_through = moved_through
        self._books = {symbol: SymbolBook(position) for symbol, position in positions if position.quantity}
        waiting, self._waiting = self._waiting, []
        for symbol in {fill.symbol for fill in waiting}:
            fills = [fill for fill in waiting if fill.symbol == symbol]
            ids = [fill.trade_id for fill in fills]
            contained = ids.index(through[symbol]) + 1 if through.get(symbol) in ids else 0
            for fill in fills[contained:]:
                if not self._contained(fill):
                    self._apply(fill)
        moves, self._waiting_moves = self._waiting_moves, []
        for movement in moves:
            if not self.contains(movement):
                self._move(movement)

    # ------------------------------------------------------------------------------------------------ fills

    def judge(self, fill: Fill) -> Booked:
        """What ``record`` would say, without doing it. Raises ValueError for numbers that cannot be a trade."""
        check(fill)
        known = self._seen.get((fill.symbol, fill.trade_id))
        if known is None:
            return Booked.REPEATED if self.adopted and self._contained(fill) else Booked.APPLIED
        same = (known.quantity, known.price, known.commission) == (fill.quantity, fill.price, fill.commission)
        return Booked.REPEATED if same else Booked.CONFLICTING

    def record(self, fill: Fill) -> Booked:
        """Apply ``fill`` once. Raises ValueError for numbers that cannot be a trade."""
        verdict = self.judge(fill)
        if verdict is not Booked.APPLIED:
            return verdict
        self._seen[fill.symbol, fill.trade_id] = fill
        if not comes_before(fill.trade_id, self.last_trade(fill.symbol)):
            self._last[fill.symbol] = fill.trade_id
        if self.adopted:
            self._apply(fill)
        else:
            self._waiting.append(fill)
        return Booked.APPLIED

    def has_seen(self, symbol: Symbol, trade_id: TradeId) -> bool:
        """Whether this trade is in the wallet, by a fill or by what was adopted."""
        return (symbol, trade_id) in self._seen or reaches(trade_id, self._through.get(symbol))

    def last_trade(self, symbol: Symbol) -> TradeId | None:
        """The latest trade recorded, in the venue's order; before any fill the one adopted."""
        return self._last.get(symbol, self._through.get(symbol))

    @property
    def positions(self) -> dict[Symbol, Position]:
        """Open positions, by symbol in alphabetical order."""
        books = sorted(self._books.items())
        return {symbol: held.position for symbol, held in books if held.position.quantity}

    # ------------------------------------------------------------------------------------------------ movements

    def judge_movement(self, movement: Movement) -> Booked:
        """What ``record_movement`` would say, without doing it. Raises ValueError for what cannot be a movement."""
        movements.check(movement)
        known = self._moved.get(movement.key)
        if known is None:
            return Booked.REPEATED if self.adopted and self.contains(movement) else Booked.APPLIED
        same = (known.amount, known.symbol, known.time) == (movement.amount, movement.symbol, movement.time)
        return Booked.REPEATED if same else Booked.CONFLICTING

    def record_movement(self, movement: Movement) -> Booked:
        """Apply ``movement`` once; one of another asset is noted and changes nothing here. Raises ValueError."""
        verdict = self.judge_movement(movement)
        if verdict is not Booked.APPLIED:
            return verdict
        self._moved[movement.key] = movement
        if self.adopted:
            self._move(movement)
        else:
            self._waiting_moves.append(movement)
        return Booked.APPLIED

    def contains(self, movement: Movement) -> bool:
        """Whether what was adopted, or settled since, had ``movement`` in it."""
        return self._moved_through is not None and movement.time <= self._moved_through

    # ------------------------------------------------------------------------------------------------ state

    def settle(self, through: Mapping[Symbol, TradeId], moved_through: datetime | None = None) -> None:
        """Forget ids that need not be told apart any more: every trade up to ``through`` and every movement up to
        ``moved_through`` is in the wallet, and counts as repeated from now on.
        """
        if not self.adopted:
            return
        for symbol, trade_id in through.items():
            if not trade_id.isdecimal() or reaches(trade_id, self._through.get(symbol)):
                continue
            self._through[symbol] = trade_id
            if (held := self._books.get(symbol)) is not None:
                held.settle(trade_id)
                if not held.position.quantity and not held.fills:
                    del self._books[symbol]
        self._seen = {key: fill for key, fill in self._seen.items() if not self._contained(fill)}
        if moved_through is not None and (self._moved_through is None or moved_through > self._moved_through):
            self._moved_through = moved_through
            self._moved = {key: moved for key, moved in self._moved.items() if not self.contains(moved)}

    def state(self) -> LedgerState:
        """All of it, to be written down."""
        return LedgerState(
            adopted=self.adopted,
            wallet=self.wallet,
            realised=self.realised,
            commissions=self.commissions,
            funding=self.funding,
            transfers=self.transfers,
            other=self.other,
            books=tuple(BookState(symbol, held.base, held.fills) for symbol, held in sorted(self._books.items())),
            seen=tuple(self._seen.values()),
            through=dict(self._through),
            last=dict(self._last),
            moved=tuple(self._moved.values()),
            moved_through=self._moved_through,
            waiting=tuple(self._waiting),
            waiting_moves=tuple(self._waiting_moves),
        )

    @classmethod
    def restored(cls, state: LedgerState) -> Ledger:
        """The ledger whose ``state`` this is."""
        ledger = cls()
        ledger.adopted, ledger.wallet = state.adopted, state.wallet
        ledger.realised, ledger.commissions = state.realised, state.commissions
        ledger.funding, ledger.transfers, ledger.other = state.funding, state.transfers, state.other
        ledger._books = {each.symbol: SymbolBook(each.base, each.fills) for each in state.books}
        ledger._seen = {(fill.symbol, fill.trade_id): fill for fill in state.seen}
        ledger._through, ledger._last = dict(state.through), dict(state.last)
        ledger._moved = {movement.key: movement for movement in state.moved}
        ledger._moved_through = state.moved_through
        ledger._waiting, ledger._waiting_moves = list(state.waiting), list(state.waiting_moves)
        return ledger

    def _contained(self, fill: Fill) -> bool:
        """Whether the adopted or settled account already had it: ids of one symbol rise."""
        return reaches(fill.trade_id, self._through.get(fill.symbol))

    def _apply(self, fill: Fill) -> None:
        with localcontext(EXACT):
            realised = self._books.setdefault(fill.symbol, SymbolBook()).add(fill)
            self.realised += realised
            self.commissions += fill.commission
            self.wallet += realised - fill.commission

    def _move(self, movement: Movement) -> None:
        if movement.asset != SETTLEMENT_ASSET:
            return
        with localcontext(EXACT):
            self.wallet += movement.amount
            if movement.capital:
                self.transfers += movement.amount
            elif movement.kind is MovementKind.FUNDING:
                self.funding += movement.amount
            else:
                self.other += movement.amount
