"""Plain orders: acceptance, filling, resting, cancelling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from breakwater.paper_venue import errors, events, filters
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.fills import book_fill
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import account_margin, margin_needed, max_notional
from breakwater.paper_venue.matcher import Matcher
from breakwater.paper_venue.matching import (
    FillModel,
    is_risk_increasing,
    reducible,
    trades_through,
)
from breakwater.paper_venue.model import AcceptedOrder, Account, Level, Now, Order, Position
from breakwater.paper_venue.money import ZERO, plain, round8
from breakwater.paper_venue.wire import Json

Emit = Callable[[str, Json], None]
"""Sends an event to the streams of the account named first."""

FORCED = ("liquidation", "adl")
"""Kinds of orders that the venue places by itself; they only ever close."""
REDUCE_ONLY_REASON = 6
"""ORDER_TRADE_UPDATE `er`: a reduce-only order with nothing left to reduce."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A parsed order request, not yet checked against the market."""

    symbol: str
    side: str
    type: str
    quantity: Decimal
    price: Decimal = ZERO
    time_in_force: str = "GTC"
    reduce_only: bool = False
    client_order_id: str | None = None
    self_trade_prevention: str = "EXPIRE_MAKER"
    good_till_date: int = 0


class OrderBookKeeper:
    """Accepts, fills and cancels plain orders of all accounts."""

    def __init__(self, ledger: Ledger, fill_model: FillModel, emit: Emit) -> None:
        self._ledger = ledger
        self._fills = fill_model
        self._matcher = Matcher(ledger, fill_model, self)
        self._emit = emit
        self._audit_of: dict[int, AcceptedOrder] = {
            record.order_id: record for record in ledger.state.audit if record.kind != "algo"
        }
        self.on_done: Callable[[Order, Now], None] | None = None
        """Told when an order is filled, cancelled or expired."""

    # -- acceptance ----------------------------------------------------------------------------------------

    def check(self, account: Account, request: NewOrder) -> NewOrder:
        """Everything that can refuse an order. Returns it with a reduce-only quantity clipped to the position."""
        ledger = self._ledger
        spec = ledger.spec(request.symbol)
        last = ledger.last_price(request.symbol)
        position = ledger.position(account, request.symbol)
        market = request.type == "MARKET"
        filters.check_quantity(spec, request.quantity, market=market)
        if not market:
            filters.check_price(spec, request.price)
            filters.check_percent_price(spec, request.side, request.price, last)
        if request.client_order_id is not None and any(
            order.client_order_id == request.client_order_id for order in ledger.open_orders(account.name)
        ):
            raise VenueError(-4116, "ClientOrderId is duplicated.")
        quantity = request.quantity
        if request.reduce_only:
            quantity = min(quantity, reducible(position.qty, request.side))
            if quantity <= 0:
                raise VenueError(-2022, "ReduceOnly Order is rejected.")
        filters.check_notional(spec, quantity, last if market else request.price, reduce_only=request.reduce_only)
        offered: list[Level] = []
        if market or request.time_in_force == "FOK":
            offered = self._matcher.offered(account, request, quantity)
        if market and not offered:
            raise VenueError(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")
        if not market and request.time_in_force == "GTX" and self.crosses(request.symbol, request.side, request.price):
            raise VenueError(
                -5022,
                "Due to the order could not be executed as maker, the Post Only order will be rejected. "
                "The order will not be recorded in the order history",
            )
        if request.time_in_force == "FOK" and sum(level.quantity for level in offered) < quantity:
            raise VenueError(
                -5021,
                "Due to the order could not be filled immediately, the FOK order has been rejected. "
                "The order will not be recorded in the order history",
            )
        if len(ledger.open_orders(account.name)) >= ledger.config.max_open_orders:
            raise VenueError(-2025, "Reach max open order limit.")
        if not request.reduce_only:
            # A market order is held to the worst price that it would pay.
            price = offered[-1].price if market else request.price
            self._check_margin(account, position, request.side, quantity, price)
        return replace(request, quantity=quantity)

    def _check_margin(self, account: Account, position: Position, side: str, qty: Decimal, price: Decimal) -> None:
        needed, exposure_after = margin_needed(self._ledger, account, position, side, qty, price)
        if needed <= 0:
            return
        if needed > account_margin(self._ledger, account).available:
            raise VenueError(-2019, "Margin is insufficient.")
        largest = max_notional(self._ledger.specs[position.symbol], position.leverage)
        if exposure_after > largest:
            raise VenueError(
                -2027,
                f"Exceeded the maximum allowable position at current leverage: {plain(largest)} USDT at "
                f"{position.leverage}x.",
            )

    def place(self, account: Account, request: NewOrder, now: Now) -> tuple[Order, Order]:
        """Check and accept an order, then fill it as far as it goes.

        Returns the order as accepted (for an ACK reply) and as it stands afterwards.
        """
        return self.accept(account, self.check(account, request), now, kind="order")

    def accept(
        self,
        account: Account,
        request: NewOrder,
        now: Now,
        *,
        kind: str,
        algo_id: int = 0,
        orig_type: str = "",
        stop_price: Decimal = ZERO,
        close_position: bool = False,
    ) -> tuple[Order, Order]:
        """Record a checked order and match it."""
        order = self._record(
            account,
            request,
            now,
            kind=kind,
            algo_id=algo_id,
            orig_type=orig_type,
            stop_price=stop_price,
            close_position=close_position,
        )
        accepted = _copy(order)
        self._match_new(account, order, now)
        return accepted, order

    def accept_forced(self, account: Account, request: NewOrder, now: Now, *, kind: str) -> Order:
        """Record the venue's own closing order (`kind` liquidation or adl); who placed it fills it."""
        return self._record(account, request, now, kind=kind)

    def _record(
        self,
        account: Account,
        request: NewOrder,
        now: Now,
        *,
        kind: str,
        algo_id: int = 0,
        orig_type: str = "",
        stop_price: Decimal = ZERO,
        close_position: bool = False,
    ) -> Order:
        counters = self._ledger.state.counters
        counters.order_id += 1
        order = Order(
            order_id=counters.order_id,
            account=account.name,
            symbol=request.symbol,
            client_order_id=request.client_order_id or f"web_{counters.order_id}",
            side=request.side,
            type=request.type,
            orig_type=orig_type or request.type,
            time_in_force=request.time_in_force,
            price=request.price,
            orig_qty=request.quantity,
            reduce_only=request.reduce_only,
            time=now.market_ms,
            update_time=now.market_ms,
            stop_price=stop_price,
            close_position=close_position,
            self_trade_prevention=request.self_trade_prevention,
            good_till_date=request.good_till_date,
            algo_id=algo_id,
        )
        self._audit(order, account, now, kind)
        self._ledger.put_order(order)
        self._emit(account.name, events.order_trade_update(order, "NEW", now.market_ms))
        return order

    def _audit(self, order: Order, account: Account, now: Now, kind: str) -> None:
        counters = self._ledger.state.counters
        counters.audit_seq += 1
        held = self._ledger.position(account, order.symbol).qty
        record = AcceptedOrder(
            seq=counters.audit_seq,
            kind=kind,
            account=account.name,
            market_ms=now.market_ms,
            wall_ms=now.wall_ms,
            symbol=order.symbol,
            side=order.side,
            type=order.type,
            qty=order.orig_qty,
            reduce_only=order.reduce_only,
            risk_increasing=is_risk_increasing(
                held, order.side, order.orig_qty, reduce_only=order.reduce_only or kind in FORCED
            ),
            position_before=held,
            client_order_id=order.client_order_id,
            order_id=order.order_id,
        )
        self._audit_of[order.order_id] = record
        self._ledger.add_audit(record)

    def amended(self, account: Account, order: Order, now: Now, modify_id: int | None) -> None:
        """Tell of an order that was changed, and match it as if it had just come."""
        record = self._audit_of.get(order.order_id)
        if record is not None:
            held = self._ledger.position(account, order.symbol).qty
            record.qty = order.orig_qty
            record.risk_increasing |= is_risk_increasing(
                held, order.side, order.remaining, reduce_only=order.reduce_only
            )
            self._ledger.touch_audit(record)
        event = events.order_trade_update(order, "AMENDMENT", now.market_ms)
        if modify_id is not None:
            event["o"]["M"] = str(modify_id)
        self._emit(account.name, event)
        self._match_new(account, order, now)

    # -- filling -------------------------------------------------------------------------------------------

    def crosses(self, symbol: str, side: str, price: Decimal) -> bool:
        """Whether a limit order at this price would trade at once."""
        return self._matcher.crosses(symbol, side, price)

    def _match_new(self, account: Account, order: Order, now: Now) -> None:
        spec, present = self._ledger.specs[order.symbol], self._ledger.present(order.symbol)
        if order.time_in_force != "GTX":
            self._matcher.trade(account, order, now)
        if not order.is_open:
            return
        if order.type == "MARKET" or order.time_in_force in ("IOC", "FOK"):
            self.close(order, "EXPIRED", now)
        else:
            self._fills.rest(spec, order, present)

    def fill(
        self,
        account: Account,
        order: Order,
        qty: Decimal,
        price: Decimal,
        now: Now,
        *,
        maker: bool,
        commission: Decimal | None = None,
        execution: str = "TRADE",
    ) -> None:
        """Book one fill, tell the account, and end reduce-only orders that have nothing left to reduce."""
        ledger = self._ledger
        rate = ledger.config.maker_fee if maker else ledger.config.taker_fee
        fee = round8(qty * price * rate) if commission is None else commission
        trade = book_fill(ledger, account, order, qty, price, fee, maker, now.market_ms)
        order.status = "FILLED" if order.remaining <= 0 else "PARTIALLY_FILLED"
        ledger.put_order(order)
        record = self._audit_of.get(order.order_id)
        if record is not None:
            record.filled_qty += qty
            record.filled_quote += qty * price
            ledger.touch_audit(record)
        position = ledger.position(account, order.symbol)
        mark = ledger.last_price(order.symbol)
        self._emit(
            account.name,
            events.account_update(account, position, account.cross_wallet, mark, "ORDER", now.market_ms),
        )
        self._emit(account.name, events.order_trade_update(order, execution, now.market_ms, trade))
        if not order.is_open:
            self._done(order, now)
        self._expire_useless_reducers(account, position, now)

    def _expire_useless_reducers(self, account: Account, position: Position, now: Now) -> None:
        for order in self._ledger.open_orders(account.name, position.symbol):
            if order.reduce_only and reducible(position.qty, order.side) <= 0:
                self.close(order, "EXPIRED", now, expiry_reason=REDUCE_ONLY_REASON)

    def on_price(self, symbol: str, volume: Decimal, now: Now) -> None:
        """Fill resting limit orders that the last price reached, at their own price. `volume` traded on the way."""
        present, spec = self._ledger.present(symbol), self._ledger.specs[symbol]
        self._fills.moved(spec, present, volume)
        for order in self._fills.by_priority(self._ledger.open_orders(symbol=symbol)):
            if not order.is_open:
                continue
            if order.time_in_force == "GTD" and 0 < order.good_till_date <= now.market_ms:
                self.close(order, "EXPIRED", now)
                continue
            if not trades_through(order.side, order.price, present.last):
                continue
            account = self._ledger.account(order.account)
            wanted = order.remaining
            if order.reduce_only:
                held = self._ledger.position(account, symbol).qty
                wanted = min(wanted, reducible(held, order.side))
            got = self._fills.reached(spec, order, wanted, present) if wanted > 0 else ZERO
            if got > 0:
                self.fill(account, order, got, order.price, now, maker=True)

    # -- ending --------------------------------------------------------------------------------------------

    def close(self, order: Order, status: str, now: Now, *, expiry_reason: int = 0) -> None:
        """End an open order as CANCELED, EXPIRED or EXPIRED_IN_MATCH."""
        order.status = status
        order.update_time = now.market_ms
        self._ledger.put_order(order)
        self._emit(
            order.account,
            events.order_trade_update(
                order, status.removesuffix("_IN_MATCH"), now.market_ms, expiry_reason=expiry_reason
            ),
        )
        self._done(order, now)

    def _done(self, order: Order, now: Now) -> None:
        self._fills.leave(order)
        if self.on_done is not None:
            self.on_done(order, now)

    def cancel(self, account: Account, symbol: str, order_id: int | None, client_id: str | None, now: Now) -> Order:
        """Cancel one open order. Raises -2011 when there is none."""
        self._ledger.spec(symbol)
        order = self._ledger.find_order(account.name, symbol, order_id, client_id)
        if order is None or not order.is_open:
            raise errors.unknown_order()
        self.close(order, "CANCELED", now)
        return order

    def cancel_all(self, account: Account, symbol: str, now: Now) -> int:
        """Cancel every open plain order of a symbol. Algo orders live in another world and stay."""
        orders = self._ledger.open_orders(account.name, symbol)
        for order in orders:
            self.close(order, "CANCELED", now)
        return len(orders)


def _copy(order: Order) -> Order:
    return Order(**{name: getattr(order, name) for name in order.__struct_fields__})
