"""Conditional orders, which live in the algo service with ids of their own.

Life: NEW -> TRIGGERING -> TRIGGERED (a real order exists) -> FINISHED; or CANCELED, EXPIRED, REJECTED.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from breakwater.paper_venue import errors, events, filters
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.matching import is_risk_increasing, is_triggered, reducible
from breakwater.paper_venue.model import AcceptedOrder, Account, AlgoOrder, Now, Order
from breakwater.paper_venue.money import ZERO
from breakwater.paper_venue.orders import Emit, NewOrder, OrderBookKeeper

MARKET_TYPES = ("STOP_MARKET", "TAKE_PROFIT_MARKET")
LIMIT_TYPES = ("STOP", "TAKE_PROFIT")
ALGO_TYPES = MARKET_TYPES + LIMIT_TYPES


@dataclass(frozen=True, slots=True)
class NewAlgoOrder:
    """A parsed conditional order. `quantity` is 0 with `close_position`, `price` is 0 for market types."""

    symbol: str
    side: str
    order_type: str
    trigger_price: Decimal
    quantity: Decimal = ZERO
    price: Decimal = ZERO
    time_in_force: str = "GTC"
    reduce_only: bool = False
    close_position: bool = False
    client_algo_id: str | None = None
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    self_trade_prevention: str = "NONE"
    good_till_date: int = 0


class AlgoService:
    """Keeps conditional orders and turns them into real ones when the price comes."""

    def __init__(self, ledger: Ledger, orders: OrderBookKeeper, emit: Emit) -> None:
        self._ledger = ledger
        self._orders = orders
        self._emit = emit
        orders.on_done = self._child_done

    def place(self, account: Account, request: NewAlgoOrder, now: Now) -> AlgoOrder:
        """Accept a conditional order. Margin is checked when it triggers, as on the exchange."""
        ledger = self._ledger
        spec = ledger.spec(request.symbol)
        last = ledger.last_price(request.symbol)
        limit_type = request.order_type in LIMIT_TYPES
        filters.check_price(spec, request.trigger_price, "triggerPrice")
        if request.close_position:
            if any(
                algo.close_position and algo.side == request.side
                for algo in ledger.open_algo_orders(account.name, request.symbol)
                if (algo.order_type in ("STOP", "STOP_MARKET")) == (request.order_type in ("STOP", "STOP_MARKET"))
            ):
                raise VenueError(
                    -4130,
                    "An open stop or take profit order with GTE and closePosition in the direction is existing.",
                )
        else:
            filters.check_quantity(spec, request.quantity, market=not limit_type)
            filters.check_notional(
                spec, request.quantity, request.price or request.trigger_price, reduce_only=request.reduce_only
            )
        if limit_type:
            filters.check_price(spec, request.price)
        open_algos = ledger.open_algo_orders(account.name)
        if request.client_algo_id and any(a.client_algo_id == request.client_algo_id for a in open_algos):
            raise VenueError(-4116, "ClientOrderId is duplicated.")
        if is_triggered(request.order_type, request.side, request.trigger_price, last):
            raise VenueError(-2021, "Order would immediately trigger.")
        if len(open_algos) >= ledger.config.max_open_algo_orders:
            raise VenueError(-4045, "Reach max stop order limit.")
        ledger.state.counters.algo_id += 1
        algo_id = ledger.state.counters.algo_id
        algo = AlgoOrder(
            algo_id=algo_id,
            account=account.name,
            symbol=request.symbol,
            client_algo_id=request.client_algo_id or f"algo_{algo_id}",
            side=request.side,
            order_type=request.order_type,
            time_in_force=request.time_in_force,
            quantity=request.quantity,
            price=request.price,
            trigger_price=request.trigger_price,
            reduce_only=request.reduce_only,
            close_position=request.close_position,
            create_time=now.market_ms,
            update_time=now.market_ms,
            working_type=request.working_type,
            price_protect=request.price_protect,
            self_trade_prevention=request.self_trade_prevention,
            good_till_date=request.good_till_date,
        )
        self._audit(account, algo, now)
        self._set(algo, "NEW", now)
        return algo

    def _audit(self, account: Account, algo: AlgoOrder, now: Now) -> None:
        counters = self._ledger.state.counters
        counters.audit_seq += 1
        held = self._ledger.position(account, algo.symbol).qty
        never_adds = algo.reduce_only or algo.close_position
        self._ledger.add_audit(
            AcceptedOrder(
                seq=counters.audit_seq,
                kind="algo",
                account=account.name,
                market_ms=now.market_ms,
                wall_ms=now.wall_ms,
                symbol=algo.symbol,
                side=algo.side,
                type=algo.order_type,
                qty=algo.quantity,
                reduce_only=never_adds,
                risk_increasing=is_risk_increasing(held, algo.side, algo.quantity, reduce_only=never_adds),
                position_before=held,
                client_order_id=algo.client_algo_id,
                order_id=algo.algo_id,
            )
        )

    def _set(self, algo: AlgoOrder, status: str, now: Now) -> None:
        algo.status = status
        algo.update_time = now.market_ms
        self._ledger.put_algo(algo)
        self._emit(algo.account, events.algo_update(algo, now.market_ms))

    def on_price(self, symbol: str, now: Now) -> None:
        """Expire what was good till now, trigger what the last price reached, oldest first."""
        last = self._ledger.last_price(symbol)
        for algo in self._ledger.open_algo_orders(symbol=symbol):
            if algo.is_open and algo.time_in_force == "GTD" and algo.good_till_date <= now.market_ms:
                self._set(algo, "EXPIRED", now)
            elif algo.is_open and is_triggered(algo.order_type, algo.side, algo.trigger_price, last):
                self._trigger(algo, now)

    def _trigger(self, algo: AlgoOrder, now: Now) -> None:
        account = self._ledger.account(algo.account)
        algo.trigger_time = now.market_ms
        self._set(algo, "TRIGGERING", now)
        held = self._ledger.position(account, algo.symbol).qty
        reduces = algo.reduce_only or algo.close_position
        if algo.close_position and reducible(held, algo.side) <= 0:
            self._set(algo, "EXPIRED", now)
            return
        child_id = algo.client_algo_id
        if any(o.client_order_id == child_id for o in self._ledger.open_orders(account.name)):
            child_id = f"algo_{algo.algo_id}"
        market = algo.order_type in MARKET_TYPES
        request = NewOrder(
            symbol=algo.symbol,
            side=algo.side,
            type="MARKET" if market else "LIMIT",
            quantity=abs(held) if algo.close_position else algo.quantity,
            price=ZERO if market else algo.price,
            time_in_force="GTC" if market else algo.time_in_force,
            reduce_only=reduces,
            client_order_id=child_id,
            self_trade_prevention=algo.self_trade_prevention,
        )
        try:
            request = self._orders.check(account, request)
        except VenueError as refused:
            algo.reject_reason = refused.message
            self._set(algo, "REJECTED", now)
            return
        # The id is known before the child's own events go out, so that TRIGGERED can name it first.
        algo.actual_order_id = self._ledger.state.counters.order_id + 1
        algo.actual_type = request.type
        self._set(algo, "TRIGGERED", now)
        self._orders.accept(
            account,
            request,
            now,
            kind="algo_child",
            algo_id=algo.algo_id,
            orig_type=algo.order_type,
            stop_price=algo.trigger_price,
            close_position=algo.close_position,
        )

    def _child_done(self, order: Order, now: Now) -> None:
        algo = self._ledger.state.algo_orders.get(order.algo_id)
        if algo is not None and algo.status == "TRIGGERED":
            algo.actual_price = order.average_price
            algo.actual_qty = order.executed_qty
            self._set(algo, "FINISHED", now)

    def cancel(self, account: Account, algo_id: int | None, client_id: str | None, now: Now) -> AlgoOrder:
        """Cancel one untriggered order. Raises -2011 when there is none."""
        algo = self._ledger.find_algo(account.name, algo_id, client_id)
        if algo is None or not algo.is_open:
            raise errors.unknown_order()
        self._set(algo, "CANCELED", now)
        return algo

    def cancel_all(self, account: Account, symbol: str, now: Now) -> int:
        algos = self._ledger.open_algo_orders(account.name, symbol)
        for algo in algos:
            self._set(algo, "CANCELED", now)
        return len(algos)
