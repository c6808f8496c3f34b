"""One order from proposal to final outcome: gate, journal, pace, gate again, send, and look up what is not known."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from breakwater.domain.gate import Approval, decide, gate_state
from breakwater.domain.money import ZERO, plain
from breakwater.domain.orders import OrderRole, OrderStatus, Proposal
from breakwater.domain.rate_budget import Lane
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.exchange.errors import Attempt, Outcome
from breakwater.exchange.governor import Governor, in_lane
from breakwater.exchange.messages import AlgoOrderReport, OrderReport
from breakwater.execution import journal as records
from breakwater.execution.books import Books
from breakwater.execution.client_ids import client_order_id, root_id
from breakwater.execution.facts import FactFinder, note_entry
from breakwater.execution.fills import FillKeeper
from breakwater.execution.gateway import FenceClosedError, Placed, VenueGateway
from breakwater.execution.journal import ExecutionJournal
from breakwater.execution.lookup import Found, Lookup
from breakwater.execution.orders import OrderState, TrackedOrder
from breakwater.execution.outbox import Outbox
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import OrderFailed
from breakwater.runtime.ports import DiskError

log = structlog.get_logger(__name__)

RETRY_S = (1.0, 2.0, 4.0)
ENTRY_PATIENCE_S = 30.0
REDUCTION_PATIENCE_S = 1.0
REDUCTION_TIMEOUT_S = 2.0
LONGEST_PAUSE_S = 60.0
"""Between two tries of an entry, however long the venue wants to be left alone."""
LANES = {
    OrderRole.ENTRY: Lane.ENTRIES,
    OrderRole.STOP: Lane.PROTECTION,
    OrderRole.TARGET: Lane.PROTECTION,
    OrderRole.EXIT: Lane.EXITS,
}
JOURNAL_PATIENCE_S = 0.5
DUPLICATE_CLIENT_ID = -4116
POST_ONLY_WOULD_TAKE = -5022
NOTHING_TO_REDUCE = -2022
WOULD_TRIGGER = -2021
NO_ERROR_CODES = frozenset({POST_ONLY_WOULD_TAKE, NOTHING_TO_REDUCE, WOULD_TRIGGER})
"""Refusals that say something about the market or the position, not about how well we execute."""


@dataclass(frozen=True)
class Sent:
    """How one order ended up. Exactly one of: refused by the gate, accepted by the venue, failed."""

    order: TrackedOrder | None
    refusal: Refusal | None = None
    accepted: bool = False
    outcome: Outcome = Outcome.NOT_SENT
    code: int | None = None
    text: str = ""
    journal_failed: bool = False


class OrderSender:
    """Entries are retried after 1, 2 and 4 s once it is certain that they were not done; reductions are left to their owner."""

    def __init__(
        self,
        books: Books,
        facts: FactFinder,
        gateway: VenueGateway,
        lookup: Lookup,
        journal: ExecutionJournal,
        governor: Governor,
        fills: FillKeeper,
        outbox: Outbox,
        clocks: Clocks,
    ) -> None:
        self._books = books
        self._facts = facts
        self._gateway = gateway
        self._lookup = lookup
        self._journal = journal
        self._governor = governor
        self._fills = fills
        self._outbox = outbox
        self._clocks = clocks
        self._writing: set[asyncio.Future[bool]] = set()
        """Journal records of reductions that may have gone ahead of them."""

    async def execute(self, proposal: Proposal) -> Sent:
        """All of it. Publishes OrderSubmitted or OrderFailed; a refusal is the caller's to report."""
        begun = await self.begin(proposal)
        return begun if isinstance(begun, Sent) else await self.deliver(begun)

    async def begin(self, proposal: Proposal) -> TrackedOrder | Sent:
        """Decide and journal. From the decision on the order counts as in flight."""
        verdict = self._beyond_parent(proposal) or decide(proposal, self._facts.for_proposal(proposal, first=True))
        if isinstance(verdict, Refusal):
            return Sent(None, refusal=verdict)
        order = self._books.open(proposal)
        try:
            await self._journaled(records.Intent(order.client_id, proposal), proposal)
        except DiskError as error:
            log.error("an entry could not be journaled", client_id=order.client_id, error=str(error))
            order.move(OrderState.NOT_SENT)
            self.fail(order, "DISK", f"not sent: the journal cannot be written ({error})", counts=True)
            return Sent(order, text=str(error), journal_failed=True)
        return order

    async def deliver(self, order: TrackedOrder) -> Sent:
        """Send what was journaled, until its outcome is known."""
        reduction = not order.adds_risk
        retries = iter(() if reduction else RETRY_S)
        while True:
            tried = await self._try_once(order)
            if isinstance(tried, Refusal):
                order.move(OrderState.NOT_SENT)
                await self._note(order)
                return Sent(order, refusal=tried)
            if tried.outcome is Outcome.UNKNOWN or tried.code == DUPLICATE_CLIENT_ID:
                patience = REDUCTION_PATIENCE_S if reduction else ENTRY_PATIENCE_S
                found = await self._lookup.resolve(order, patience_s=patience)
                if found is Found.UNRESOLVED:
                    return await self._give_up(order, tried)
                if found is Found.FOUND:
                    tried = Attempt(Outcome.ACCEPTED)
            if tried.accepted:
                return await self._accepted(order, tried)
            pause = None if tried.outcome is Outcome.REJECTED else next(retries, None)
            if pause is None:
                return await self._failed(order, tried)
            order.retry()
            log.info("order not done, trying again", client_id=order.client_id, pause_s=pause, why=tried.message)
            if not self._governor.ban():  # the gate refuses then; else wait as long as the venue asks for
                await self._clocks.infra.sleep(max(pause, min(self._governor.pause_s(), LONGEST_PAUSE_S)))

    def closed(self) -> Refusal | None:
        """Why nothing may be opened now, if so."""
        return gate_state(self._facts.for_desk())[1]

    def still_allowed(self, proposal: Proposal) -> Refusal | None:
        """The gate's answer now, for an order that counts as an entry of its symbol already."""
        facts = msgspec.structs.replace(self._facts.for_proposal(proposal, first=False), last_entry_at=None)
        verdict = decide(proposal, facts)
        return verdict if isinstance(verdict, Refusal) else None

    def last_look(self, proposal: Proposal) -> Refusal | None:
        """The fence: called with nothing awaited before the wire, and again when a connection had to be waited for.

        A refusal keeps the order here.
        """
        order = self._books.orders.get(client_order_id(self._books.desk, proposal.proposal_id, proposal.role))
        if proposal.role is OrderRole.ENTRY:  # a reduction that passed before is never held back here
            if order is not None and order.state is OrderState.SENT:
                refusal = self.still_allowed(proposal)
            else:
                verdict = decide(proposal, self._facts.for_proposal(proposal, first=False))
                refusal = verdict if isinstance(verdict, Refusal) else None
            if refusal is not None:
                return refusal
        again = False
        if order is not None:
            again = order.state is OrderState.SENT
            order.move(OrderState.SENT)
            order.sent_at = self._clocks.infra.monotonic()
        if proposal.role is OrderRole.ENTRY:
            self._books.last_entry_at[proposal.symbol] = self._clocks.market.now()
            if root_id(proposal.proposal_id) == proposal.proposal_id and not again:
                note_entry(self._books, proposal)
        return None

    def fail(self, order: TrackedOrder, code: str, text: str, *, counts: bool) -> None:
        """Publish that a command came to nothing."""
        log.warning("order failed", client_id=order.client_id, symbol=order.symbol, code=code, text=text, counts=counts)
        status = OrderStatus.REJECTED
        if order.state.value in OrderStatus.__members__:
            status = OrderStatus(order.state.value)
        self._outbox.put(
            OrderFailed(
                client_order_id=order.client_id,
                proposal_id=root_id(order.proposal.proposal_id),
                symbol=order.symbol,
                role=order.role,
                status=status,
                code=code,
                text=text,
                counts_as_error=counts,
            )
        )

    # ------------------------------------------------------------------------------------------------ steps

    def _beyond_parent(self, child: Proposal) -> Refusal | None:
        """Whatever works a proposal, all orders made of it may fill together no more than was proposed."""
        root = root_id(child.proposal_id)
        if child.role is not OrderRole.ENTRY or root == child.proposal_id:
            return None
        family = [o for o in self._books.orders.values() if o.adds_risk and root_id(o.proposal.proposal_id) == root]
        most = next((o.proposal.quantity for o in family if o.proposal.proposal_id == root), ZERO)
        used = sum((o.executed if o.state.terminal else o.proposal.quantity for o in family), ZERO)
        if used + child.quantity <= most:
            return None
        return Refusal(
            RefusalCode.CHILD_EXCEEDS_PARENT,
            f"{plain(child.quantity)} {child.symbol} on top of {plain(used)} filled or on its way is more than the "
            f"{plain(most)} of proposal {root}",
            {"quantity": plain(child.quantity), "used": plain(used), "limit": plain(most)},
        )

    async def _try_once(self, order: TrackedOrder) -> Attempt[Any] | Refusal:
        proposal = order.proposal
        if proposal.role is OrderRole.ENTRY:
            with in_lane(Lane.ENTRIES):
                ready = await self._gateway.prepare(proposal.symbol, proposal.leverage or 1)
            if not ready.accepted:
                # No order went out, whatever became of the setting: certain enough to try again.
                outcome = Outcome.NOT_SENT if ready.outcome is Outcome.UNKNOWN else ready.outcome
                return Attempt(outcome, code=ready.code, message=f"leverage or margin mode: {ready.message}")
        verdict = decide(proposal, self._facts.for_proposal(proposal, first=False))
        if not isinstance(verdict, Approval):
            return verdict
        try:
            # A venue that keeps silent must not keep the next attempt to get out from being made.
            async with asyncio.timeout(None if order.adds_risk else REDUCTION_TIMEOUT_S):
                with in_lane(LANES[proposal.role]):
                    sent = await self._gateway.send(verdict)
        except TimeoutError:
            return Attempt(Outcome.UNKNOWN, message=f"no reply within {REDUCTION_TIMEOUT_S:.0f} s")
        if isinstance(sent.error, FenceClosedError):
            return sent.error.refusal
        return sent

    async def _journaled(self, record: records.Intent, proposal: Proposal) -> None:
        """Durable on return; for a reduction at the latest after a moment, durable or not. Raises DiskError."""
        if proposal.role is OrderRole.ENTRY:
            await self._journal.append(record)
            return
        writing = asyncio.ensure_future(self._journal.append_or_log(record))
        self._writing.add(writing)
        writing.add_done_callback(self._written)
        done, _ = await asyncio.wait({writing}, timeout=JOURNAL_PATIENCE_S)
        if not done:
            log.error("the disk does not answer; a reduction goes without being journaled", client_id=record.client_id)

    def _written(self, writing: asyncio.Future[bool]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled() and (error := writing.exception()) is not None:
            log.error("journal not written", error=repr(error))

    async def _accepted(self, order: TrackedOrder, sent: Attempt[Placed]) -> Sent:
        match sent.value:
            case OrderReport() as plain:
                order.take_plain(plain)
            case AlgoOrderReport() as algo:
                order.take_algo(algo)
        self._fills.announce(order)
        await self._note(order)
        return Sent(order, accepted=True, outcome=Outcome.ACCEPTED)

    async def _failed(self, order: TrackedOrder, tried: Attempt[Any]) -> Sent:
        order.code = tried.code
        order.move(OrderState.REJECTED if tried.outcome is Outcome.REJECTED else OrderState.NOT_SENT)
        await self._note(order)
        # Whoever reduces goes on trying and reports when it gives up; only a definite no counts here.
        final = order.adds_risk or tried.outcome is Outcome.REJECTED
        counts = final and tried.outcome is not Outcome.RATE_LIMITED and tried.code not in NO_ERROR_CODES
        code = str(tried.code) if tried.code is not None else tried.outcome.value
        self.fail(order, code, tried.message or "the venue did not take it", counts=counts)
        return Sent(order, outcome=tried.outcome, code=tried.code, text=tried.message)

    async def _give_up(self, order: TrackedOrder, tried: Attempt[Any]) -> Sent:
        """Its outcome stays unknown: the symbol opens nothing until reconciliation has found it out."""
        await self._note(order)
        if order.adds_risk:
            self.fail(order, "UNKNOWN", f"outcome still unknown: {tried.message}", counts=True)
        return Sent(order, outcome=Outcome.UNKNOWN, text=tried.message)

    async def _note(self, order: TrackedOrder) -> None:
        await self._journal.append_or_log(records.Outcome(order.client_id, order.state, order.executed, order.venue_id))
