"""Execution's own view of orders, positions, marks and permissions. Plain memory: read and changed without awaiting."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from breakwater.domain.ids import ClientOrderId, DeskId, ProposalId, Symbol, TradeId, TranId, VenueOrderId
from breakwater.domain.money import ZERO
from breakwater.domain.movements import SETTLEMENT_ASSET, Movement
from breakwater.domain.orders import OrderRole, Proposal, Protection
from breakwater.domain.snapshot import Snapshot
from breakwater.exchange.messages import TradeReport
from breakwater.execution.client_ids import client_order_id, desk_prefix, root_id
from breakwater.execution.journal import (
    AnyRecord,
    Booked,
    HaltAnswered,
    Halted,
    HaltLifted,
    Intent,
    Kept,
    MovementsRead,
    Outcome,
    Verified,
    newest_first_cut,
)
from breakwater.execution.orders import OrderState, TrackedOrder
from breakwater.execution.stop_lease import StopLeaseBook
from breakwater.runtime.clocks import Clocks

RECONCILE_GOOD_FOR_S = 20.0
"""Infrastructure seconds after which an account nobody could compare counts as unreconciled."""
MAX_HALTS_ANSWERED = 256
"""Requests to halt whose answer is kept for repetitions; the oldest leaves first."""
EXIT_DOUBT_S = 3.0
"""Infrastructure seconds for which an exit of unknown outcome holds back another one."""


class Books:
    """Orders by client id; positions as the sum of fills, corrected by reconciliation. Quantities signed base units."""

    def __init__(self, desk: DeskId, clocks: Clocks) -> None:
        self.desk = desk
        self.prefix = desk_prefix(desk)
        self._clocks = clocks
        self.stop = StopLeaseBook(clocks.infra)
        self.halt: Halted | None = None
        self.halts_answered: dict[str, Halted] = {}
        """What was answered to each request to halt, by its id; the oldest first."""
        self.orders: dict[ClientOrderId, TrackedOrder] = {}
        self.executed: dict[ProposalId, None] = {}
        self.positions: dict[Symbol, Decimal] = {}
        self.positions_known = False
        self.wallet: Decimal | None = None
        """Wallet balance as the fills make it; None until the venue told it once."""
        self.foreign_positions: set[Symbol] = set()
        self.plans: dict[Symbol, Protection] = {}
        self.leverage: dict[Symbol, int] = {}
        self.marks: dict[Symbol, Decimal] = {}
        self.marked_at: dict[Symbol, datetime] = {}
        self.last_tick: datetime | None = None
        self.snapshot: Snapshot | None = None
        self.seen: set[tuple[Symbol, TradeId]] = set()
        """Fills booked since the last verification."""
        self.last_trade: dict[Symbol, TradeId] = {}
        """Highest trade id booked per symbol."""
        self.verified_trade: dict[Symbol, TradeId] = {}
        """Up to here every trade is known to be booked."""
        self.moves: dict[tuple[str, TranId, str], Movement] = {}
        """Wallet movements published in the last days."""
        self.moves_through: datetime | None = None
        """Market time up to which the venue's list of them was read."""
        self.unexplained = ZERO
        """What the wallet was adopted with and nothing known made of it: a movement that shows later is a part of it."""
        self.fills_booked = 0
        self.moves_booked = 0
        self.grown_at: dict[Symbol, float] = {}
        """Infrastructure time of the last fill that grew a position."""
        self.last_entry_at: dict[Symbol, datetime] = {}
        self.repeats: dict[Symbol, tuple[tuple[object, ...], int]] = {}
        self.commands = 0
        self.entries_allowed_from: datetime | None = None
        self.foreign: tuple[str, ...] = ()
        self._reconciled_at: float | None = None

    # ------------------------------------------------------------------------------------------------ orders

    def open(self, proposal: Proposal) -> TrackedOrder:
        """Start to follow an order that is about to be journaled."""
        order = TrackedOrder(client_order_id(self.desk, proposal.proposal_id, proposal.role), proposal)
        self.orders[order.client_id] = order
        if proposal.role is OrderRole.ENTRY:
            self.executed[root_id(proposal.proposal_id)] = None
        return order

    def ours(self, client_id: str) -> bool:
        return client_id.startswith(self.prefix)

    def by_venue_id(self, venue_id: VenueOrderId) -> TrackedOrder | None:
        return next((order for order in self.orders.values() if order.venue_id == venue_id), None)

    def live(self, symbol: Symbol | None = None, *roles: OrderRole) -> list[TrackedOrder]:
        """Orders the venue may still act on, or whose fills we have not all seen; oldest first."""
        return [
            order
            for order in self.orders.values()
            if (symbol is None or order.proposal.symbol == symbol)
            and (not roles or order.proposal.role in roles)
            and not order.settled
        ]

    def working(self, symbol: Symbol | None = None, *roles: OrderRole) -> list[TrackedOrder]:
        """Like ``live``, without those that have ended at the venue."""
        return [order for order in self.live(symbol, *roles) if not order.state.terminal]

    def exits_in_flight(self, symbol: Symbol, besides: ClientOrderId | None = None) -> Decimal:
        """Quantity of exits that may still execute. One that nobody can tell the outcome of counts for a while only:

        an exit too many is cut by the venue (reduce-only), an exit too few leaves the position open.
        """
        doubted = self._clocks.infra.monotonic() - EXIT_DOUBT_S
        return sum(
            (
                order.outstanding
                for order in self.live(symbol, OrderRole.EXIT)
                if order.client_id != besides
                and not (order.state is OrderState.UNKNOWN and (order.sent_at or 0.0) <= doubted)
            ),
            ZERO,
        )

    def take_mark(self, symbol: Symbol, price: Decimal, time: datetime) -> None:
        """One that is no price says nothing: the mark before it grows old."""
        if not price.is_finite() or price <= ZERO:
            return
        self.marks[symbol] = price
        self.marked_at[symbol] = self.last_tick = time

    def mark(self, symbol: Symbol, oldest: datetime) -> Decimal | None:
        """The mark price, unless it is older than ``oldest`` (market time)."""
        at = self.marked_at.get(symbol)
        return None if at is None or at < oldest else self.marks.get(symbol)

    def forget_settled(self, keep: int = 40) -> None:
        """Drop the oldest orders that are over, so that a long-lived process does not grow."""
        settled = [order.client_id for order in self.orders.values() if order.settled]
        for client_id in settled[: max(0, len(settled) - keep)]:
            del self.orders[client_id]

    def command_id(self, kind: str, symbol: Symbol) -> ProposalId:
        """A new id for a stop, target or exit; never used before, also if the journal should be lost."""
        self.commands += 1
        instant = self._clocks.market.now().strftime("%y%m%d%H%M%S%f")
        return ProposalId(f"{kind}-{symbol}-{instant}-{self.commands}")

    # ------------------------------------------------------------------------------------------------ positions

    def position(self, symbol: Symbol) -> Decimal | None:
        """Signed quantity; None while it is not known."""
        return self.positions.get(symbol, ZERO) if self.positions_known else None

    def open_positions(self) -> dict[Symbol, Decimal]:
        return {symbol: quantity for symbol, quantity in self.positions.items() if quantity}

    def book(self, trade: TradeReport, order: TrackedOrder | None, *, forced: bool = False) -> bool:
        """Apply a fill; False when it was applied before. ``forced``: by the venue itself, what is left stays ours."""
        key = (trade.symbol, trade.trade_id)
        verified = self.verified_trade.get(trade.symbol)
        if key in self.seen or (verified is not None and int(trade.trade_id) <= int(verified)):
            return False
        self.seen.add(key)
        self.fills_booked += 1
        self._advance_trade(trade.symbol, trade.trade_id)
        self._apply_fill(trade.symbol, trade.quantity * trade.side.sign, order)
        if self.wallet is not None:
            self.wallet += trade.realised_pnl
            if trade.commission_asset in {"", SETTLEMENT_ASSET}:
                self.wallet -= trade.commission
        if order is None and not forced and self.positions.get(trade.symbol, ZERO) != ZERO:
            self.foreign_positions.add(trade.symbol)
        return True

    def book_movement(self, movement: Movement) -> None:
        """Apply a movement of the wallet."""
        self.moves.setdefault(movement.key, movement)
        self.moves_booked += 1
        if self.wallet is None or movement.asset != SETTLEMENT_ASSET:
            return
        amount = movement.amount
        if self.unexplained * amount > ZERO and abs(amount) <= abs(self.unexplained):
            self.unexplained -= amount
        else:
            self.wallet += amount

    @property
    def bookings(self) -> int:
        """Fills and movements booked so far: unequal numbers mean that something happened in between."""
        return self.fills_booked + self.moves_booked

    def forget_moves(self, before: datetime) -> None:
        """Drop movements that no reading of the list reaches any more."""
        self.moves = {key: movement for key, movement in self.moves.items() if movement.time >= before}

    def _apply_fill(self, symbol: Symbol, signed: Decimal, order: TrackedOrder | None) -> None:
        before = self.positions.get(symbol, ZERO)
        after = before + signed
        self.positions[symbol] = after
        if abs(after) > abs(before):
            self.grown_at[symbol] = self._clocks.infra.monotonic()
        if after == ZERO:
            self.foreign_positions.discard(symbol)
            self.plans.pop(symbol, None)
        if order is None:
            return
        order.booked += abs(signed)
        order.executed = max(order.executed, order.booked)
        if order.role is OrderRole.ENTRY and order.proposal.protection is not None and after != ZERO:
            self.plans[symbol] = order.proposal.protection
            self.leverage[symbol] = order.proposal.leverage or 1
        if not order.algo:
            order.move(OrderState.FILLED if order.booked >= order.proposal.quantity else OrderState.PARTIALLY_FILLED)

    def _advance_trade(self, symbol: Symbol, trade_id: TradeId) -> None:
        known = self.last_trade.get(symbol)
        if known is None or int(trade_id) > int(known):
            self.last_trade[symbol] = trade_id

    # ------------------------------------------------------------------------------------------------ reconciliation

    def verified(self, foreign: tuple[str, ...]) -> None:
        """The account was compared with the venue; ``foreign`` names what is not the desk's."""
        self.foreign = foreign
        self._reconciled_at = self._clocks.infra.monotonic()
        self.positions_known = True
        self.verified_trade.update(self.last_trade)
        self.seen.clear()

    def unverified(self, *why: str) -> None:
        self.foreign = why
        self._reconciled_at = None

    @property
    def reconciled(self) -> bool:
        if self._reconciled_at is None or self.foreign:
            return False
        return self._clocks.infra.monotonic() - self._reconciled_at <= RECONCILE_GOOD_FOR_S

    # ------------------------------------------------------------------------------------------------ journal

    def restore(self, records: Iterable[AnyRecord]) -> None:
        """Rebuild everything from the journal."""
        for record in records:
            match record:
                case Intent(client_id=client_id, proposal=proposal):
                    self.open(proposal)
                    self.orders[client_id].state = OrderState.UNKNOWN  # it may have been sent
                    # Just before the crash for all we know: it may still be on its way.
                    self.orders[client_id].sent_at = self._clocks.infra.monotonic()
                case Outcome(client_id=client_id) if client_id in self.orders:
                    order = self.orders[client_id]
                    order.state = record.state
                    order.executed = max(order.executed, record.executed)
                    order.venue_id = record.venue_id or order.venue_id
                    order.booked = order.booked if record.booked is None else record.booked
                    order.announced = record.state not in {OrderState.UNKNOWN, OrderState.NOT_SENT}
                case Booked(symbol=symbol, trade_id=trade_id, quantity=quantity, client_id=owner):
                    if (symbol, trade_id) not in self.seen:
                        self.seen.add((symbol, trade_id))
                        self._advance_trade(symbol, trade_id)
                        self._apply_fill(symbol, quantity, self.orders.get(owner) if owner else None)
                case Verified():
                    self.positions = dict(record.positions)
                    self.verified_trade = dict(record.trades)
                    self.last_trade = {s: trade for s, trade in record.trades.items() if int(trade) > 0}
                    self.seen.clear()
                    self.foreign_positions = set(record.foreign)
                case MovementsRead():
                    self.moves = {movement.key: movement for movement in record.published}
                    self.moves_through = record.through
                case Halted():
                    self.halt = record
                    self.remember_halt(record.request_id, record)
                case HaltAnswered():
                    self.remember_halt(record.request_id, record.halt)
                case HaltLifted():
                    self.halt = None
                case Kept():
                    self.executed = dict.fromkeys(record.executed)
                    self.plans = dict(record.plans)
                    self.leverage = dict(record.leverage)
                    self.commands = record.commands
                    self.entries_allowed_from = record.entries_allowed_from
                case _:
                    pass  # the outcome of an order that compaction dropped
            if isinstance(record, Intent) and record.proposal.role is not OrderRole.ENTRY:
                number = record.proposal.proposal_id.rpartition("-")[2]
                self.commands = max(self.commands, int(number) if number.isdigit() else 0)
        for symbol in list(self.plans):
            if not self.positions.get(symbol):
                del self.plans[symbol]

    def remember_halt(self, request_id: str, halt: Halted) -> None:
        """Keep what was answered to ``request_id``; an empty id is no id."""
        if not request_id:
            return
        self.halts_answered.pop(request_id, None)
        self.halts_answered[request_id] = halt
        while len(self.halts_answered) > MAX_HALTS_ANSWERED:
            del self.halts_answered[next(iter(self.halts_answered))]

    def verification(self) -> Verified:
        """The account as it stands, to be journaled once everything booked is published."""
        return Verified(
            dict(self.verified_trade), self.open_positions(), self.wallet or ZERO, tuple(sorted(self.foreign_positions))
        )

    def compacted(self) -> list[AnyRecord]:
        """The shortest journal that restores this state."""
        records: list[AnyRecord] = [
            Kept(
                newest_first_cut(self.executed),
                dict(self.plans),
                dict(self.leverage),
                self.commands,
                self.entries_allowed_from,
            )
        ]
        records.append(
            Verified(
                dict(self.verified_trade),
                self.open_positions(),
                self.wallet or ZERO,
                tuple(sorted(self.foreign_positions)),
            )
        )
        if self.moves_through is not None:
            records.append(MovementsRead(self.moves_through, tuple(self.moves.values())))
        for order in self.orders.values():
            if not order.settled:
                records.append(Intent(order.client_id, order.proposal))
                records.append(
                    Outcome(order.client_id, order.state, order.executed, order.venue_id, booked=order.booked)
                )
        # Part of the positions above already: kept so that they are not booked again.
        records += [Booked(symbol, trade_id, ZERO, None) for symbol, trade_id in sorted(self.seen)]
        records += [HaltAnswered(request_id, halt) for request_id, halt in self.halts_answered.items()]
        if self.halt is not None:
            records.append(self.halt)
        return records
