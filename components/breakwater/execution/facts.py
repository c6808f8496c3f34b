"""What the gate gets to see: filled from the books without awaiting, right before an order goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from breakwater.domain.gate import GateFacts
from breakwater.domain.ids import ClientOrderId, Symbol
from breakwater.domain.limits import EffectiveLimits
from breakwater.domain.money import HUNDRED, ZERO, percent_of, plain
from breakwater.domain.orders import OrderRole, Proposal
from breakwater.execution.books import Books
from breakwater.execution.client_ids import client_order_id, root_id
from breakwater.execution.orders import OrderState
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.policy_store import PolicyInForce, PolicyReader

LONGEST_UNHEARD_S = 10
"""Market seconds a mark or snapshot counts for while no policy says so (its stop's ``staleAfterSeconds``)."""

_ENTRY: Final = OrderRole.ENTRY
_STOP: Final = OrderRole.STOP
_TARGET: Final = OrderRole.TARGET
_UNKNOWN: Final = OrderState.UNKNOWN


class FactFinder:
    """Reads books, policy, instruments and clock at one instant."""

    def __init__(
        self,
        books: Books,
        policy: PolicyReader,
        instruments: InstrumentBook,
        clocks: Clocks,
        *,
        events_trouble: Callable[[], str] = str,
        venue_trouble: Callable[[], str] = str,
        venue_ban: Callable[[], str] = str,
    ) -> None:
        self._venue_trouble = venue_trouble
        self._events_trouble = events_trouble
        self._venue_ban = venue_ban
        self._books = books
        self._policy = policy
        self._instruments = instruments
        self._clocks = clocks
        self._take_policy(None)

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
        if in_force is not self._read_from:
            self._take_policy(in_force)
        limits = in_force.limits if in_force else None
        now = self._clocks.market.now()
        oldest = now - self._patience
        positions = books.open_positions()
        gross = _gross(positions, books.marks)
        equity = self._equity(oldest)
        exposed = set(positions)
        in_flight = quantity = ZERO
        unresolved = False
        # Asked about the desk alone, many times a second: no order matters then.
        for order in books.orders.values() if symbol else ():
            proposal = order.proposal
            role, placed = proposal.role, proposal.symbol
            if role is _STOP or role is _TARGET or order.settled or order.client_id == own:
                continue
            if order.state is _UNKNOWN and placed == symbol:
                unresolved = True
            if role is _ENTRY and (outstanding := order.outstanding) > ZERO:
                exposed.add(placed)
                in_flight += outstanding * (books.marks.get(placed) or proposal.price or ZERO)
                if placed == symbol:
                    quantity += outstanding
        marked_at = books.marked_at
        missing = [held for held in exposed if (at := marked_at.get(held)) is None or at < oldest]
        return GateFacts(
            now=now,
            stop=books.stop.view,
            stop_lease_fresh=books.stop.fresh,
            halted_by_person=books.halt is not None,
            mode=in_force.policy.trading_mode if in_force else None,
            limits=limits,
            symbols=self._symbols,
            policy_stale=in_force is None or in_force.stale,
            policy_hold=in_force.hold if in_force else "",
            events_trouble=self._events_trouble(),
            venue_trouble=self._venue_trouble(),
            venue_ban=self._venue_ban(),
            reconciled=books.reconciled,
            passive_breach=_passive_breach(gross, equity, limits, len(positions)),
            instrument=self._instruments.get(symbol),
            mark=books.mark(symbol, oldest),
            equity=equity,
            position=books.position(symbol) if symbol in books.verified_trade else None,
            gross_notional=gross,
            in_flight_notional=in_flight,
            in_flight_quantity=quantity,
            marks_missing=frozenset(missing),
            open_symbols=frozenset(exposed),
            exits_in_flight=books.exits_in_flight(symbol, besides=own),
            unresolved=unresolved,
            last_entry_at=books.last_entry_at.get(symbol),
            repeated=repeated,
            already_executed=executed,
        )

    def _take_policy(self, in_force: PolicyInForce | None) -> None:
        """What follows from the policy alone, worked out once for each."""
        self._read_from = in_force
        self._symbols = frozenset(in_force.policy.symbols) if in_force else frozenset()
        self._patience = timedelta(seconds=in_force.stop.stale_after_seconds if in_force else LONGEST_UNHEARD_S)

    def _equity(self, oldest: datetime) -> Decimal | None:
        snapshot = self._books.snapshot
        if snapshot is None or snapshot.time < oldest or snapshot.marks_missing or not snapshot.reconciled:
            return None
        return snapshot.equity if snapshot.equity.is_finite() else None

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


def _gross(positions: Mapping[Symbol, Decimal], marks: Mapping[Symbol, Decimal]) -> Decimal:
    total = ZERO
    for symbol, quantity in positions.items():
        mark = marks.get(symbol)
        if mark is not None:
            total += abs(quantity) * mark
    return total


def _passive_breach(gross: Decimal, equity: Decimal | None, limits: EffectiveLimits | None, positions: int) -> str:
    if limits is None:
        return ""
    if equity is not None and gross > ZERO:
        if equity <= ZERO:
            return f"equity is {plain(equity)} with positions open"
        limit = limits.max_exposure_pct.value
        if gross * HUNDRED > equity * limit:
            return f"exposure {percent_of(gross, equity):.1f} % of equity, limit {plain(limit)} %"
    if positions > limits.max_concurrent_positions.value:
        return f"{positions} positions, limit {limits.max_concurrent_positions.value}"
    return ""
