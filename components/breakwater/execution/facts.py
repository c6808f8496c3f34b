"""What the gate gets to see: filled from the books without awaiting, right before an order goes."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from breakwater.domain.gate import GateFacts
from breakwater.domain.ids import ClientOrderId, Symbol
from breakwater.domain.limits import EffectiveLimits
from breakwater.domain.money import ZERO, percent_of, plain
from breakwater.domain.orders import OrderRole, Proposal
from breakwater.execution.books import Books
from breakwater.execution.client_ids import client_order_id, root_id
from breakwater.execution.orders import OrderState, TrackedOrder
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.policy_store import PolicyReader

LONGEST_UNHEARD_S = 10
"""Market seconds a mark or snapshot counts for while no policy says so (its stop's ``staleAfterSeconds``)."""


class FactFinder:
    """Reads books, policy, instruments and clock at one instant."""

    def __init__(self, books: Books, policy: PolicyReader, instruments: InstrumentBook, clocks: Clocks) -> None:
        self._books = books
        self._policy = policy
        self._instruments = instruments
        self._clocks = clocks

    def for_proposal(self, proposal: Proposal, *, first: bool) -> GateFacts:
        """Facts for one order. ``first``: it has not been journaled yet; otherwise it does not count against itself."""
        books = self._books
        root = root_id(proposal.proposal_id)
        fresh_command = first and root == proposal.proposal_id
        before_damage = books.entries_allowed_from is not None and proposal.created_at < books.entries_allowed_from
        executed = proposal.role is OrderRole.ENTRY and fresh_command and (root in books.executed or before_damage)
        own = client_order_id(books.desk, proposal.proposal_id, proposal.role)
        return self._read(proposal.symbol, own=own, executed=executed, repeated=self._repeated(proposal, fresh_command))

    def for_desk(self) -> GateFacts:
        """Facts about the desk alone, for the gate's state."""
        return self._read(Symbol(""), own=None, executed=False, repeated=0)

    def _read(self, symbol: Symbol, *, own: ClientOrderId | None, executed: bool, repeated: int) -> GateFacts:
        books = self._books
        in_force = self._policy.current()
        limits = in_force.limits if in_force else None
        # Asked about the desk alone, many times a second: no order matters then.
        others = [order for order in books.live() if order.client_id != own] if symbol else []
        entries = [order for order in others if order.adds_risk and order.outstanding > ZERO]
        now = self._clocks.market.now()
        oldest = now - timedelta(seconds=in_force.stop.stale_after_seconds if in_force else LONGEST_UNHEARD_S)
        gross = self._gross()
        equity = self._equity(oldest)
        exposed = frozenset(books.open_positions()) | {order.symbol for order in entries}
        return GateFacts(
            now=now,
            stop=books.stop.view,
            stop_lease_fresh=books.stop.fresh,
            halted_by_person=books.halt is not None,
            mode=in_force.policy.trading_mode if in_force else None,
            limits=limits,
            symbols=frozenset(in_force.policy.symbols) if in_force else frozenset(),
            policy_stale=in_force is None or in_force.stale,
            policy_hold=in_force.hold if in_force else "",
            reconciled=books.reconciled,
            passive_breach=_passive_breach(gross, equity, limits, len(books.open_positions())),
            instrument=self._instruments.get(symbol),
            mark=books.mark(symbol, oldest),
            equity=equity,
            position=books.position(symbol) if symbol in books.verified_trade else None,
            gross_notional=gross,
            in_flight_notional=sum((self._notional(order) for order in entries), ZERO),
            in_flight_quantity=sum((order.outstanding for order in entries if order.symbol == symbol), ZERO),
            marks_missing=frozenset(held for held in exposed if books.mark(held, oldest) is None),
            open_symbols=exposed,
            exits_in_flight=books.exits_in_flight(symbol, besides=own),
            unresolved=any(
                order.symbol == symbol and order.state is OrderState.UNKNOWN
                for order in others
                if order.role in {OrderRole.ENTRY, OrderRole.EXIT}
            ),
            last_entry_at=books.last_entry_at.get(symbol),
            repeated=repeated,
            already_executed=executed,
        )

    def _equity(self, oldest: datetime) -> Decimal | None:
        snapshot = self._books.snapshot
        if snapshot is None or snapshot.time < oldest or snapshot.marks_missing or not snapshot.reconciled:
            return None
        return snapshot.equity

    def _gross(self) -> Decimal:
        total = ZERO
        for symbol, quantity in self._books.open_positions().items():
            total += abs(quantity) * self._books.marks.get(symbol, ZERO)
        return total

    def _notional(self, order: TrackedOrder) -> Decimal:
        price = self._books.marks.get(order.symbol) or order.proposal.price or ZERO
        return order.outstanding * price

    def _repeated(self, proposal: Proposal, fresh_command: bool) -> int:
        if proposal.role is not OrderRole.ENTRY or not fresh_command:
            return 0
        known, count = self._books.repeats.get(proposal.symbol, ((), 0))
        return count if known == sameness(proposal) else 0


def sameness(proposal: Proposal) -> tuple[object, ...]:
    """Entries with equal keys on one symbol are identical for the repeated-order throttle."""
    return (proposal.side, proposal.quantity, proposal.price)


def note_entry(books: Books, proposal: Proposal) -> None:
    """Count an entry that was let through, for the repeated-order throttle."""
    known, count = books.repeats.get(proposal.symbol, ((), 0))
    key = sameness(proposal)
    books.repeats[proposal.symbol] = (key, count + 1 if known == key else 1)


def _passive_breach(gross: Decimal, equity: Decimal | None, limits: EffectiveLimits | None, positions: int) -> str:
    if limits is None:
        return ""
    if equity is not None and gross > ZERO:
        if equity <= ZERO:
            return f"equity is {plain(equity)} with positions open"
        exposure = percent_of(gross, equity)
        if exposure > limits.max_exposure_pct.value:
            return f"exposure {exposure:.1f} % of equity, limit {plain(limits.max_exposure_pct.value)} %"
    if positions > limits.max_concurrent_positions.value:
        return f"{positions} positions, limit {limits.max_concurrent_positions.value}"
    return ""
