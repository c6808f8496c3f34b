"""Entries: each proposal is executed at most once, and what did not fill is worked while it is still worth it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import structlog

from breakwater.domain.ids import ProposalId
from breakwater.domain.money import ZERO, floor_to, plain
from breakwater.domain.orders import OrderRole, OrderStatus, Proposal, TimeInForce
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.execution import journal as records
from breakwater.execution.books import Books
from breakwater.execution.client_ids import CHILD_MARK, child_id, root_id
from breakwater.execution.fills import FillKeeper
from breakwater.execution.journal import ExecutionJournal
from breakwater.execution.orders import OrderState, TrackedOrder
from breakwater.execution.outbox import Outbox
from breakwater.execution.sender import OrderSender, Sent
from breakwater.execution.venue_calls import VenueCalls, absent
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import OrderFailed, OrderRefused
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.policy_store import PolicyReader

log = structlog.get_logger(__name__)

ENOUGH = Decimal("0.9")
"""Filled this far, an entry is accepted as it is (PATCH #9)."""
MOST_TRIES = 3

Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class Entries:
    """Takes proposals in; what happens to each goes on in a task of its own, so that one lost reply delays no other symbol."""

    def __init__(
        self,
        books: Books,
        sender: OrderSender,
        fills: FillKeeper,
        calls: VenueCalls,
        journal: ExecutionJournal,
        outbox: Outbox,
        instruments: InstrumentBook,
        policy: PolicyReader,
        clocks: Clocks,
        spawn: Spawn,
    ) -> None:
        self._books = books
        self._sender = sender
        self._fills = fills
        self._calls = calls
        self._journal = journal
        self._outbox = outbox
        self._instruments = instruments
        self._policy = policy
        self._clocks = clocks
        self._spawn = spawn
        self.refused = 0

    async def take(self, proposal: Proposal) -> None:
        """Returns once the proposal is refused, or durable in the journal and on its way."""
        if proposal.role is not OrderRole.ENTRY:
            self._refuse(
                proposal,
                Refusal(RefusalCode.ORDER_TYPE, f"execution places {proposal.role} orders by itself: propose entries"),
            )
            return
        if root_id(proposal.proposal_id) != proposal.proposal_id:
            # Such ids are made here, for the remainders of a proposal, which are not looked for among proposals executed.
            why = f"the proposal id {proposal.proposal_id!r} contains {CHILD_MARK!r}, which execution keeps for remainders"
            self._refuse(proposal, Refusal(RefusalCode.DUPLICATE_PROPOSAL, why))
            return
        begun = await self._sender.begin(proposal)
        if isinstance(begun, Sent):
            if begun.refusal is not None:
                self._refuse(proposal, begun.refusal)
            return
        self._spawn(self._work(begun), f"entry.{begun.client_id}")

    async def _work(self, order: TrackedOrder) -> None:
        root, ordinal, filled = order.proposal, 1, ZERO
        while True:
            sent = await self._sender.deliver(order)
            if sent.refusal is not None:
                self._end(root, order, filled, sent.refusal)
                return
            if not sent.accepted:
                return  # reported by the sender
            if order.state.resting:
                if self._sender.closed() is not None:
                    await self.cancel(order)  # the gate closed while it was on the wire
                self._spawn(self._expire(order), f"expire.{order.client_id}")
                return
            await self._fills.ensure(order)
            filled += order.executed
            rest = self._rest(root, filled)
            if rest == ZERO or ordinal >= MOST_TRIES or root.time_in_force is not TimeInForce.IOC:
                self._end(root, order, filled, None)
                return
            ordinal += 1
            await self._wait_for_spacing(root)
            child = msgspec.structs.replace(
                root, proposal_id=child_id(root.proposal_id, ordinal), quantity=rest, bound_by="remainder"
            )
            begun = await self._sender.begin(child)
            if isinstance(begun, Sent):
                self._end(root, order, filled, begun.refusal)
                return
            order = begun

    def _rest(self, root: Proposal, filled: Decimal) -> Decimal:
        """Quantity still worth working; 0 when enough has filled or the rest is below what the venue takes."""
        if filled >= root.quantity * ENOUGH:
            return ZERO
        rules = self._instruments.get(root.symbol)
        if rules is None:
            return ZERO
        rest = floor_to(root.quantity - filled, rules.step_size)
        mark = self._books.marks.get(root.symbol, ZERO)
        return ZERO if rest < rules.min_quantity or rest * mark < rules.min_notional else rest

    async def _wait_for_spacing(self, root: Proposal) -> None:
        in_force = self._policy.current()
        last = self._books.last_entry_at.get(root.symbol)
        if in_force is not None and last is not None:
            spacing = timedelta(milliseconds=in_force.limits.entry_spacing_milliseconds.value)
            await self._clocks.market.sleep_until(last + spacing)

    def _end(self, root: Proposal, order: TrackedOrder, filled: Decimal, refusal: Refusal | None) -> None:
        """Say how a proposal ended, unless it filled as asked."""
        if filled >= root.quantity:
            return
        if filled == ZERO and refusal is not None:
            self._refuse(root, refusal)
            return
        why = f": {refusal.text}" if refusal else ""
        self._outbox.put(
            OrderFailed(
                client_order_id=order.client_id,
                proposal_id=ProposalId(root.proposal_id),
                symbol=root.symbol,
                role=root.role,
                status=OrderStatus.EXPIRED,
                code="PARTIALLY_FILLED" if filled else "UNFILLED",
                text=f"{plain(filled)} of {plain(root.quantity)} {root.symbol} filled within the limit price{why}",
                counts_as_error=False,
            )
        )

    def _refuse(self, proposal: Proposal, refusal: Refusal) -> None:
        self.refused += 1
        log.info("order refused", proposal_id=proposal.proposal_id, code=refusal.code, text=refusal.text)
        self._outbox.put(
            OrderRefused(
                by="gate",
                symbol=proposal.symbol,
                role=proposal.role,
                refusal=refusal,
                proposal_id=proposal.proposal_id,
            )
        )

    # ------------------------------------------------------------------------------------------------ resting entries

    async def _expire(self, order: TrackedOrder) -> None:
        """A post-only entry rests at the latest until its signal expires."""
        if order.proposal.expires_at is not None:
            await self._clocks.market.sleep_until(order.proposal.expires_at)
        if not order.state.terminal:
            await self.cancel(order)
        await self._fills.ensure(order)
        self._end(order.proposal, order, order.executed, None)

    async def cancel_resting(self) -> None:
        """The gate closed: entries that rest at the venue are taken back."""
        for order in self._books.working(None, OrderRole.ENTRY):
            if order.state.resting:
                await self.cancel(order)

    async def sweep(self, *, gate_open: bool) -> None:
        """Resting entries that nobody watches any more (after a restart, or found late), or that gate or policy forbid."""
        now = self._clocks.market.now()
        in_force = self._policy.current()
        symbols = in_force.policy.symbols if in_force else ()
        for order in self._books.working(None, OrderRole.ENTRY):
            expires_at = order.proposal.expires_at
            expired = expires_at is not None and expires_at <= now
            if order.state.resting and (not gate_open or expired or order.symbol not in symbols):
                await self.cancel(order)

    async def cancel(self, order: TrackedOrder) -> bool:
        """Cancel one plain order by id. False: not certain yet; reconciliation looks it up."""
        result = await self._calls.cancel_plain(order.symbol, order.client_id)
        if result.value is not None:
            order.take_plain(result.value)
        elif absent(result):
            found = await self._calls.find_plain(order)  # it ended by itself: how?
            if found.value is not None:
                order.take_plain(found.value)
            elif absent(found):
                order.presume(OrderState.CANCELED)
        await self._journal.append_or_log(records.Outcome(order.client_id, order.state, order.executed, order.venue_id))
        return order.state.terminal
