"""The only way an order leaves: `VenueGateway.send` takes an Approval, and nothing else can make it send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from breakwater.domain.gate import Approval
from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.money import plain
from breakwater.domain.orders import OrderType, Proposal, TimeInForce
from breakwater.domain.refusals import Refusal
from breakwater.exchange.client import UsdmClient
from breakwater.exchange.errors import Attempt, Outcome
from breakwater.exchange.messages import AlgoOrderReport, OrderReport
from breakwater.exchange.parse import anything, parse_algo_order, parse_order
from breakwater.exchange.reader import Reader, VenueReplyError
from breakwater.exchange.wire import before_wire
from breakwater.execution.client_ids import client_order_id
from breakwater.execution.venue_calls import OUTSIDE_RECEIVE_WINDOW, VenueCalls

T = TypeVar("T")

MARGIN_MODE_ALREADY_SET = -4046

Placed = OrderReport | AlgoOrderReport
Fence = Callable[[Proposal], Refusal | None]
"""The last look, after which nothing is awaited before the wire: a refusal keeps the order here; None lets it go."""


class FenceClosedError(Exception):
    """The gate no longer allows an order that it had approved; it was not sent."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class VenueGateway:
    """Sends approved orders through ccxt, and sets leverage and isolated margin before the first entry on a symbol."""

    def __init__(self, desk: DeskId, client: UsdmClient, calls: VenueCalls, fence: Fence) -> None:
        self._desk = desk
        self._client = client
        self._calls = calls
        self._fence = fence
        self._isolated: set[Symbol] = set()
        self._leverage: dict[Symbol, int] = {}

    async def send(self, approval: Approval) -> Attempt[Placed]:
        """Send once. NOT_SENT with a FenceClosedError when the gate closed since the approval.

        Raises TypeError for anything but an Approval.
        """
        if type(approval) is not Approval:
            raise TypeError(f"only an Approval can be sent, not {type(approval).__name__}: ask the gate with decide()")
        proposal = approval.proposal

        def check() -> None:
            refusal = self._fence(proposal)
            if refusal is not None:
                raise FenceClosedError(refusal)

        token = before_wire.set(check)
        try:
            return await self._send(proposal)
        finally:
            before_wire.reset(token)

    async def _send(self, proposal: Proposal) -> Attempt[Placed]:
        return await self._in_time(
            lambda: self._client.create_order(*self.order_arguments(proposal)), self._parser_of(proposal)
        )

    async def _in_time(self, request: Callable[[], Any], parse: Callable[[Any], T]) -> Attempt[T]:
        """A request refused for its time was certainly not done: measured again, it goes once more at once. Otherwise a
        position would stay bare until the clock is measured by itself.
        """
        done = await self._calls.call(request(), parse)
        if done.code == OUTSIDE_RECEIVE_WINDOW and await self._calls.measure():
            done = await self._calls.call(request(), parse)
        return done

    async def prepare(self, symbol: Symbol, leverage: int) -> Attempt[Any]:
        """Isolated margin and ``leverage`` on ``symbol``, as verified by the venue's reply; remembered, so mostly free."""
        done: Attempt[Any] = Attempt(Outcome.ACCEPTED)
        if symbol not in self._isolated:
            isolated = {"symbol": symbol, "marginType": "ISOLATED"}
            done = await self._in_time(lambda: self._client.fapiPrivatePostMarginType(isolated), anything)
            if not done.accepted and done.code != MARGIN_MODE_ALREADY_SET:
                return done
            self._isolated.add(symbol)
        if self._leverage.get(symbol) == leverage:
            return Attempt(Outcome.ACCEPTED)
        self._leverage.pop(symbol, None)
        query = {"symbol": symbol, "leverage": str(leverage)}

        def verify(reply: object) -> int:
            got = Reader(reply, "leverage").integer("leverage")
            if got != leverage:
                raise VenueReplyError("leverage", "leverage", f"is {got} after setting {leverage}")
            return got

        done = await self._in_time(lambda: self._client.fapiPrivatePostLeverage(query), verify)
        if done.accepted:
            self._leverage[symbol] = leverage
        return done

    def order_arguments(self, proposal: Proposal) -> tuple[str, str, str, str, str | None, dict[str, Any]]:
        """What ccxt makes an order of: symbol, type, side, amount, price and parameters."""
        client_id = client_order_id(self._desk, proposal.proposal_id, proposal.role)
        # The name ccxt uses for the contract of this id; unknown ones raise in create_order, before anything is sent.
        symbol = self._client.safe_symbol(proposal.symbol, None, None, "swap")
        params: dict[str, Any] = {"clientOrderId": client_id}
        if proposal.reduce_only:
            params["reduceOnly"] = True
        price: str | None = None
        kind = "market"
        if proposal.order_type is OrderType.LIMIT:
            assert proposal.price is not None  # the gate refuses a LIMIT order without a price
            kind, price = "limit", plain(proposal.price)
            if proposal.time_in_force is TimeInForce.GTX:
                params["postOnly"] = True
            else:
                params["timeInForce"] = (proposal.time_in_force or TimeInForce.GTC).value
        elif proposal.order_type is OrderType.STOP_MARKET:
            assert proposal.trigger_price is not None
            params |= {
                "stopLossPrice": plain(proposal.trigger_price),
                "workingType": "MARK_PRICE",
                # Price protection keeps a stop from triggering when mark and last price part: then it is needed most.
                "priceProtect": False,
            }
        return symbol, kind, proposal.side.value.lower(), plain(proposal.quantity), price, params

    def _parser_of(self, proposal: Proposal) -> Callable[[object], Placed]:
        sent = client_order_id(self._desk, proposal.proposal_id, proposal.role)
        client_parse: Callable[[object], Placed] = (
            parse_algo_order if proposal.order_type is OrderType.STOP_MARKET else parse_order
        )

        def parse(reply: object) -> Placed:
            placed = client_parse(reply)
            answered = placed.client_algo_id if isinstance(placed, AlgoOrderReport) else placed.client_order_id
            if (answered, placed.symbol, placed.side) != (sent, proposal.symbol, proposal.side):
                raise VenueReplyError(
                    "order",
                    "clientOrderId",
                    f"is {placed.side} {placed.symbol} {answered}, sent was {proposal.side} {proposal.symbol} {sent}",
                )
            return placed

        return parse
