"""Staging: every order goes through the venue's explicit test endpoint, which checks it like a real one and places nothing."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.money import ZERO, plain
from breakwater.domain.orders import OrderRole, OrderType, Proposal
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.exchange.client import UsdmClient
from breakwater.exchange.errors import Attempt, Outcome
from breakwater.exchange.parse import anything
from breakwater.execution.gateway import Fence, FenceClosedError, Placed, VenueGateway
from breakwater.execution.venue_calls import VenueCalls
from breakwater.runtime.clocks import MarketClock
from breakwater.runtime.instrument_book import InstrumentBook

KEPT = 100


class Rehearsed(msgspec.Struct, frozen=True):
    """An order that would have been sent. ``verdict`` is what the venue, or for a conditional order we, said of it."""

    time: datetime
    symbol: Symbol
    role: OrderRole
    text: str
    verdict: str


class StagingGateway(VenueGateway):
    """Takes approvals like the real one. What passes comes back as refused with STAGING_TESTED: the position stays flat."""

    def __init__(
        self,
        client: UsdmClient,
        calls: VenueCalls,
        fence: Fence,
        instruments: InstrumentBook,
        clock: MarketClock,
        desk: DeskId,
    ) -> None:
        super().__init__(desk, client, calls, fence)
        self._instruments = instruments
        self._clock = clock
        self.rehearsed: deque[Rehearsed] = deque(maxlen=KEPT)

    async def prepare(self, symbol: Symbol, leverage: int) -> Attempt[Any]:
        """Leverage and margin mode would be real changes of the account: left as they are."""
        return Attempt(Outcome.ACCEPTED)

    async def _send(self, proposal: Proposal) -> Attempt[Placed]:
        if proposal.order_type is OrderType.STOP_MARKET:
            assert proposal.trigger_price is not None
            problem = self._stop_problem(proposal.symbol, proposal.trigger_price, proposal.quantity)
            if problem:
                self._keep(proposal, _described(proposal), problem)
                return Attempt(Outcome.REJECTED, message=problem)
            refusal = self._fence(proposal)
            verdict = "checked here: the venue has no test for conditional orders"
        else:
            # Never ccxt's `test` parameter: on linear markets it drops it and sends a real order.
            request = self._client.create_order_request(*self.order_arguments(proposal))
            tested = await self._in_time(lambda: self._client.fapiPrivatePostOrderTest(request), anything)
            if not tested.accepted:
                if not isinstance(tested.error, FenceClosedError):
                    self._keep(proposal, _described(proposal), f"{tested.outcome} {tested.code or ''} {tested.message}")
                # Nothing was placed whatever became of the question.
                outcome = Outcome.NOT_SENT if tested.outcome is Outcome.UNKNOWN else tested.outcome
                return Attempt(outcome, code=tested.code, message=tested.message, error=tested.error)
            refusal = None
            verdict = "accepted by the venue's test endpoint"
        if refusal is None:
            self._keep(proposal, _described(proposal), verdict)
            self._rehearse_protection(proposal)
            text = f"{_described(proposal)} would have been sent ({verdict}); Staging places nothing"
            refusal = Refusal(RefusalCode.STAGING_TESTED, text)
        return Attempt(Outcome.NOT_SENT, message=refusal.text, error=FenceClosedError(refusal))

    def _rehearse_protection(self, entry: Proposal) -> None:
        if entry.protection is None:
            return
        side = "SELL" if entry.side.sign > 0 else "BUY"
        stop = entry.protection.stop_price
        problem = self._stop_problem(entry.symbol, stop, entry.quantity)
        text = f"STOP_MARKET {side} {plain(entry.quantity)} {entry.symbol} at {plain(stop)}, reduce-only"
        verdict = problem or "checked here: the venue has no test for conditional orders"
        self.rehearsed.append(Rehearsed(self._clock.now(), entry.symbol, OrderRole.STOP, text, verdict))

    def _stop_problem(self, symbol: Symbol, trigger: Decimal, quantity: Decimal) -> str:
        rules = self._instruments.get(symbol)
        if rules is None:
            return f"the venue's rules for {symbol} are not known"
        if trigger <= ZERO:
            return f"trigger price {plain(trigger)} must be positive"
        if quantity % rules.step_size or not rules.min_quantity <= quantity <= rules.max_quantity:
            return f"quantity {plain(quantity)} is not one the venue takes (step {plain(rules.step_size)})"
        return ""

    def _keep(self, proposal: Proposal, text: str, verdict: str) -> None:
        self.rehearsed.append(Rehearsed(self._clock.now(), proposal.symbol, proposal.role, text, verdict.strip()))


def _described(proposal: Proposal) -> str:
    price = proposal.price if proposal.price is not None else proposal.trigger_price
    at = f" at {plain(price)}" if price is not None else ""
    only = ", reduce-only" if proposal.reduce_only else ""
    kind = f"{proposal.order_type.value} {proposal.side.value}"
    return f"{kind} {plain(proposal.quantity)} {proposal.symbol}{at}{only}"
