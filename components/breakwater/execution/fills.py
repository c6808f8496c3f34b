"""Fills: booked once each, published in the order they were booked, journaled once published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

import structlog

from breakwater.domain.ids import ClientOrderId, Symbol
from breakwater.domain.money import ZERO
from breakwater.domain.movements import SETTLEMENT_ASSET
from breakwater.domain.orders import OrderRole
from breakwater.exchange.messages import ForcedBy, TradeReport
from breakwater.execution.books import Books
from breakwater.execution.client_ids import root_id
from breakwater.execution.journal import Booked, ExecutionJournal
from breakwater.execution.orders import TrackedOrder
from breakwater.execution.outbox import Outbox
from breakwater.execution.venue_calls import TRADES_PER_PAGE, VenueCalls, absent
from breakwater.execution.waiting import wait_for_event
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.events import OrderFilled, OrderSubmitted

log = structlog.get_logger(__name__)

STREAM_GRACE_S = 0.3
"""How long the stream may take to bring a fill that a reply already told of, before it is fetched."""
OWNER_PATIENCE_S = 1.0
FORCED_CLOSES = {
    ForcedBy.LIQUIDATION: "the exchange liquidated a position: its margin ran out before its stop held; find out why",
    ForcedBy.ADL: "the exchange closed a position, or a part of it, by auto-deleveraging: nothing to do but to know of it",
    ForcedBy.SETTLEMENT: "the exchange settled a contract and closed its position: take the symbol off the policy",
}


class FillKeeper:
    """Takes fills from the stream and from userTrades alike; (symbol, trade id) makes them one."""

    def __init__(
        self, books: Books, calls: VenueCalls, journal: ExecutionJournal, outbox: Outbox, clock: InfraClock
    ) -> None:
        self._books = books
        self._calls = calls
        self._journal = journal
        self._outbox = outbox
        self._clock = clock
        self._lock = asyncio.Lock()
        self._changed: dict[ClientOrderId, asyncio.Event] = {}
        self.on_fill: Callable[[Symbol], None] = lambda _: None
        self.from_rest = 0
        """Fills that the stream did not bring in time."""
        self.foreign_fee = ""
        """Set while fees are charged in an asset that the ledger does not count: what to change at the venue."""

    async def take(self, trade: TradeReport, *, forced: ForcedBy | None = None) -> bool:
        """Book one fill and queue its event. False: known already."""
        async with self._lock:
            return await self._take(trade, forced)

    async def pull(self, symbol: Symbol) -> int | None:
        """Fetch and book every trade of ``symbol`` since the last verified one. How many were new; None: not answered.

        Without a verified one nothing is fetched: the account's whole past would count as ours.
        """
        after = self._books.verified_trade.get(symbol)
        new = 0
        while after is not None:
            # Nothing is held meanwhile: a slow answer must not keep the stream's fills from being booked.
            page = await self._calls.trades(symbol, after)
            if page.value is None:
                return None
            async with self._lock:
                for trade in page.value:
                    if await self._take(trade):
                        new += 1
                        self.from_rest += 1
            if len(page.value) < TRADES_PER_PAGE:
                break
            after = page.value[-1].trade_id
        return new

    async def ensure(self, order: TrackedOrder) -> bool:
        """Wait until every executed part of ``order`` is booked. False: the venue does not tell yet; reconciliation will."""
        if order.executed > order.booked:
            changed = self._changed.setdefault(order.client_id, asyncio.Event())
            await wait_for_event(changed, STREAM_GRACE_S)
            self._changed.pop(order.client_id, None)
        for delay in (0.0, 0.2, 0.5):
            if order.executed <= order.booked:
                return True
            await self._clock.sleep(delay)
            await self.pull(order.symbol)
        return order.executed <= order.booked

    async def ask_about_fees(self) -> None:
        """Whether fees are still charged in another asset, once one was."""
        if self.foreign_fee:
            answer = await self._calls.fees_in_another_asset()
            if answer.value is False:
                log.info("fees are charged in USDT again")
                self.foreign_fee = ""

    def announce(self, order: TrackedOrder) -> None:
        """Publish that the venue has accepted ``order``, once."""
        if order.announced:
            return
        order.announced = True
        proposal = order.proposal
        self._outbox.put(
            OrderSubmitted(
                client_order_id=order.client_id,
                venue_order_id=order.venue_id,
                proposal_id=root_id(proposal.proposal_id),
                symbol=proposal.symbol,
                role=proposal.role,
                side=proposal.side,
                order_type=proposal.order_type,
                quantity=proposal.quantity,
                price=proposal.price,
                trigger_price=proposal.trigger_price,
                reduce_only=proposal.reduce_only,
                leverage=proposal.leverage,
            )
        )

    async def _take(self, trade: TradeReport, forced: ForcedBy | None = None) -> bool:
        order, client_id = await self._owner(trade)
        before = self._books.positions.get(trade.symbol, ZERO)
        # A fill that was fetched says nothing of who made it but its order's id.
        forced = forced or ForcedBy.of(client_id)
        if not self._books.book(trade, order, forced=forced is not None):
            return False
        if order is not None:
            self.announce(order)
        self._look_at_fee(trade)
        if forced is not None:
            log.error(
                FORCED_CLOSES[forced],
                symbol=trade.symbol,
                quantity=str(trade.quantity),
                price=str(trade.price),
                left=str(self._books.positions.get(trade.symbol, ZERO)),
            )
        role = order.role if order else _role_by_effect(before * trade.side.sign)
        self._outbox.put(
            OrderFilled(
                trade_id=trade.trade_id,
                client_order_id=client_id,
                venue_order_id=trade.order_id,
                symbol=trade.symbol,
                role=role,
                side=trade.side,
                quantity=trade.quantity,
                price=trade.price,
                commission=trade.commission,
                venue_realised_pnl=trade.realised_pnl,
                time=trade.time,
                leverage=self._books.leverage.get(trade.symbol, 1),
                liquidation=forced is not None,
                forced_by=forced.value if forced else "",
                commission_asset=trade.commission_asset or SETTLEMENT_ASSET,
            ),
            after=lambda: self._journal.append_or_log(
                Booked(
                    trade.symbol,
                    trade.trade_id,
                    trade.quantity * trade.side.sign,
                    order.client_id if order else None,
                )
            ),
        )
        if order is not None and (changed := self._changed.get(order.client_id)) and order.booked >= order.executed:
            changed.set()
        self.on_fill(trade.symbol)
        return True

    def _look_at_fee(self, trade: TradeReport) -> None:
        """A fee in another asset is a cost that the ledger cannot express; one in USDT shows that it is over."""
        if trade.commission == ZERO:
            return
        if trade.commission_asset in {"", SETTLEMENT_ASSET}:
            self.foreign_fee = ""
            return
        self.foreign_fee = (
            f"fees are charged in {trade.commission_asset}, which the ledger cannot count: turn off paying fees in "
            f"{trade.commission_asset} at the venue"
        )
        log.error(self.foreign_fee, symbol=trade.symbol, trade_id=trade.trade_id, fee=str(trade.commission))

    async def _owner(self, trade: TradeReport) -> tuple[TrackedOrder | None, ClientOrderId]:
        """The order of ours that ``trade`` filled, and the client id to report."""
        client_id = trade.client_order_id
        if client_id is not None and ForcedBy.of(client_id) is not None:
            return None, client_id  # the venue's own: there is nobody to ask for
        order = self._books.orders.get(client_id) if client_id else None
        order = order or self._books.by_venue_id(trade.order_id)
        if order is not None:
            return order, order.client_id
        try:
            async with asyncio.timeout(OWNER_PATIENCE_S):  # fills of other orders wait behind this one
                return await self._ask_for_owner(trade)
        except TimeoutError:
            log.warning("owner of a fill was not told in time", symbol=trade.symbol, order_id=trade.order_id)
        return None, client_id or ClientOrderId(f"venue-{trade.order_id}")

    async def _ask_for_owner(self, trade: TradeReport) -> tuple[TrackedOrder | None, ClientOrderId]:
        client_id = trade.client_order_id
        # A stop becomes an order of another id when it triggers: ask the stops that may have.
        for stop in self._books.live(trade.symbol, OrderRole.STOP):
            found = await self._calls.find_algo(stop)
            if found.value is not None:
                stop.take_algo(found.value)
                if stop.venue_id == trade.order_id:
                    return stop, stop.client_id
        if client_id is None:
            found_plain = await self._calls.order_by_id(trade.symbol, trade.order_id)
            if found_plain.value is not None:
                client_id = found_plain.value.client_order_id
                order = self._books.orders.get(client_id)
                if order is not None:
                    order.venue_id = trade.order_id
                    return order, order.client_id
            elif not absent(found_plain):
                log.warning("owner of a fill is not known", symbol=trade.symbol, order_id=trade.order_id)
        return None, client_id or ClientOrderId(f"venue-{trade.order_id}")


def _role_by_effect(position_times_side: Decimal) -> OrderRole:
    """What a fill that is not of our making amounts to."""
    return OrderRole.EXIT if position_times_side < ZERO else OrderRole.ENTRY
