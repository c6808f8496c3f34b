"""Signed REST endpoints that trade: plain orders, algo orders, the dead-man switch."""

from __future__ import annotations

from breakwater.paper_venue import errors
from breakwater.paper_venue.algo_orders import ALGO_TYPES, LIMIT_TYPES, AlgoService, NewAlgoOrder
from breakwater.paper_venue.amend import amend
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.model import Account, Now, Order
from breakwater.paper_venue.money import ZERO
from breakwater.paper_venue.orders import NewOrder, OrderBookKeeper
from breakwater.paper_venue.params import Params
from breakwater.paper_venue.rest_market import require_known_symbol
from breakwater.paper_venue.retention import algo_is_known, order_is_known
from breakwater.paper_venue.wire import Json, algo_json, order_json

SIDES = ("BUY", "SELL")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "GTD")
CONDITIONAL = (*ALGO_TYPES, "TRAILING_STOP_MARKET")
SELF_TRADE_PREVENTION = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")
GTD_LEAST_MS = 600_000


class OrderEndpoints:
    """Each method answers one path for an authenticated account."""

    def __init__(self, ledger: Ledger, orders: OrderBookKeeper, algos: AlgoService) -> None:
        self._ledger = ledger
        self._orders = orders
        self._algos = algos

    # -- parsing -------------------------------------------------------------------------------------------

    def _common(self, account: Account, params: Params) -> tuple[str, str]:
        spec = self._ledger.spec(params.text("symbol"))
        if spec.status != "TRADING":
            raise errors.not_trading(spec.symbol)
        symbol = spec.symbol
        side = params.choice("side", SIDES, -1117, "Invalid side.")
        one_way = (params.text("positionSide") or "BOTH") == "BOTH"
        if one_way == account.dual_side:
            raise VenueError(-4061, "Order's position side does not match user's setting.")
        if account.dual_side:
            raise errors.invalid_value("positionSide", "this venue keeps one-way positions; leave hedge mode to trade")
        return symbol, side

    @staticmethod
    def _self_trade_prevention(params: Params, default: str) -> str:
        if params.text("selfTradePreventionMode") is None:
            return default
        return params.choice(
            "selfTradePreventionMode", SELF_TRADE_PREVENTION, -1130, "Invalid selfTradePreventionMode."
        )

    def _time_in_force(self, params: Params, now: Now) -> tuple[str, int]:
        time_in_force = params.choice("timeInForce", TIMES_IN_FORCE, -1115, "Invalid timeInForce.")
        if time_in_force != "GTD":
            return time_in_force, 0
        until = params.required_integer("goodTillDate")
        if until < now.market_ms + GTD_LEAST_MS:
            raise VenueError(-5040, "goodTillDate must be at least 10 minutes from now.")
        return time_in_force, until

    def _parse(self, account: Account, params: Params, now: Now) -> NewOrder:
        symbol, side = self._common(account, params)
        kind = params.required("type")
        if kind in CONDITIONAL:
            raise VenueError(
                -4120,
                "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
            )
        if kind not in ("LIMIT", "MARKET"):
            raise VenueError(-1116, "Invalid orderType.")
        if params.text("newOrderRespType") not in (None, "ACK", "RESULT"):
            raise errors.invalid_value("newOrderRespType", "it is ACK or RESULT")
        if params.boolean("closePosition"):
            raise VenueError(-4136, "closePosition needs a STOP_MARKET or TAKE_PROFIT_MARKET order.")
        if params.text("priceMatch") not in (None, "NONE"):
            raise errors.invalid_value("priceMatch", "this venue sets no prices; send one")
        price, time_in_force, until = ZERO, "GTC", 0
        if kind == "LIMIT":
            price = params.required_decimal("price")
            time_in_force, until = self._time_in_force(params, now)
        else:
            for name in ("price", "timeInForce"):
                if params.text(name) is not None:
                    raise errors.not_required(name)
        return NewOrder(
            symbol=symbol,
            side=side,
            type=kind,
            quantity=params.required_decimal("quantity"),
            price=price,
            time_in_force=time_in_force,
            reduce_only=params.boolean("reduceOnly"),
            client_order_id=params.client_id("newClientOrderId"),
            self_trade_prevention=self._self_trade_prevention(params, "EXPIRE_MAKER"),
            good_till_date=until,
        )

    def _target(self, params: Params) -> tuple[str, int | None, str | None]:
        symbol = self._ledger.spec(params.text("symbol")).symbol
        order_id, client_id = params.integer("orderId"), params.text("origClientOrderId")
        if order_id is None and client_id is None:
            raise VenueError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        return symbol, order_id, client_id

    # -- plain orders --------------------------------------------------------------------------------------

    def new_order(self, account: Account, params: Params, now: Now) -> Json:
        accepted, order = self._orders.place(account, self._parse(account, params, now), now)
        return order_json(order if params.text("newOrderRespType") == "RESULT" else accepted)

    def test_order(self, account: Account, params: Params, now: Now) -> Json:
        """Every check of a real order, and nothing else."""
        self._orders.check(account, self._parse(account, params, now))
        return {}

    def _find(self, account: Account, params: Params, now: Now) -> Order:
        symbol, order_id, client_id = self._target(params)
        order = self._ledger.find_order(account.name, symbol, order_id, client_id)
        if order is None or not order_is_known(order, now.market_ms):
            raise errors.no_such_order()
        return order

    def _find_open(self, account: Account, params: Params, now: Now) -> Order:
        order = self._find(account, params, now)
        if not order.is_open:
            raise errors.no_such_order()
        return order

    def get_order(self, account: Account, params: Params, now: Now) -> Json:
        return order_json(self._find(account, params, now))

    def get_open_order(self, account: Account, params: Params, now: Now) -> Json:
        return order_json(self._find_open(account, params, now))

    def modify_order(self, account: Account, params: Params, now: Now) -> Json:
        """Both quantity and price are needed, the side must be the order's own. `modifyId` comes back as it was sent."""
        order = self._find_open(account, params, now)
        if params.choice("side", SIDES, -1117, "Invalid side.") != order.side:
            raise errors.invalid_value("side", f"the order's side is {order.side}")
        if params.text("priceMatch") not in (None, "NONE"):
            raise errors.invalid_value("priceMatch", "this venue sets no prices; send one")
        quantity, price = params.required_decimal("quantity"), params.required_decimal("price")
        modify_id = params.integer("modifyId")
        amend(
            self._ledger,
            self._orders,
            account,
            order,
            quantity,
            price,
            reduce_only=params.boolean("reduceOnly"),
            modify_id=modify_id,
            now=now,
        )
        reply = order_json(order) | {"pair": order.symbol}
        return reply if modify_id is None else reply | {"modifyId": modify_id}

    def cancel_order(self, account: Account, params: Params, now: Now) -> Json:
        symbol, order_id, client_id = self._target(params)
        return order_json(self._orders.cancel(account, symbol, order_id, client_id, now))

    def open_orders(self, account: Account, params: Params, now: Now) -> list[Json]:
        symbol = require_known_symbol(self._ledger, params.text("symbol"))
        return [order_json(order) for order in self._ledger.open_orders(account.name, symbol)]

    def cancel_all(self, account: Account, params: Params, now: Now) -> Json:
        self._orders.cancel_all(account, self._ledger.spec(params.text("symbol")).symbol, now)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def all_orders(self, account: Account, params: Params, now: Now) -> list[Json]:
        spec = self._ledger.spec(params.text("symbol"))
        start, end = params.window()
        from_id = params.integer("orderId")
        limit = params.limit(500, 1000)
        found = [
            order
            for order in self._ledger.state.orders.values()
            if order.account == account.name
            and order.symbol == spec.symbol
            and start <= order.time <= end
            and (from_id is None or order.order_id >= from_id)
            and order_is_known(order, now.market_ms)
        ]
        return [order_json(order) for order in (found[:limit] if from_id is not None else found[-limit:])]

    def countdown_cancel_all(self, account: Account, params: Params, now: Now) -> Json:
        """Dead-man switch on the wall clock: cancels the symbol's orders unless renewed; 0 disarms."""
        symbol = self._ledger.spec(params.text("symbol")).symbol
        countdown = params.required_integer("countdownTime")
        if countdown < 0:
            raise errors.invalid_value("countdownTime", "it must be 0 or more milliseconds")
        if countdown == 0:
            account.countdown_wall.pop(symbol, None)
        else:
            account.countdown_wall[symbol] = now.wall_ms + countdown
        self._ledger.touch_account(account)
        return {"symbol": symbol, "countdownTime": str(countdown)}

    def expire_countdowns(self, now: Now) -> None:
        """Fire every dead-man switch whose time has come."""
        for account in self._ledger.state.accounts.values():
            due = [symbol for symbol, wall in account.countdown_wall.items() if wall <= now.wall_ms]
            for symbol in due:
                del account.countdown_wall[symbol]
                self._ledger.touch_account(account)
                self._orders.cancel_all(account, symbol, now)
                if self._ledger.config.countdown_cancels_algo_orders:
                    self._algos.cancel_all(account, symbol, now)

    # -- algo orders ---------------------------------------------------------------------------------------

    def new_algo_order(self, account: Account, params: Params, now: Now) -> Json:
        params.choice("algoType", ("CONDITIONAL",), -1130, "algoType must be CONDITIONAL.")
        symbol, side = self._common(account, params)
        kind = params.choice("type", ALGO_TYPES, -1116, "Invalid orderType.")
        close_position = params.boolean("closePosition")
        limit_type = kind in LIMIT_TYPES
        quantity = params.decimal("quantity")
        if close_position:
            if limit_type:
                raise VenueError(-4136, "closePosition needs a STOP_MARKET or TAKE_PROFIT_MARKET order.")
            for name in ("quantity", "reduceOnly"):
                if params.text(name) is not None:
                    raise errors.not_required(name)
        elif quantity is None:
            raise errors.missing("quantity")
        if not limit_type and params.text("price") is not None:
            raise errors.not_required("price")
        time_in_force, until = "GTC", 0
        if params.text("timeInForce") is not None:
            time_in_force, until = self._time_in_force(params, now)
        working_type = params.text("workingType") or "CONTRACT_PRICE"
        if working_type not in ("CONTRACT_PRICE", "MARK_PRICE"):
            raise errors.invalid_value("workingType", "it is CONTRACT_PRICE or MARK_PRICE")
        algo = self._algos.place(
            account,
            NewAlgoOrder(
                symbol=symbol,
                side=side,
                order_type=kind,
                trigger_price=params.required_decimal("triggerPrice"),
                quantity=quantity or ZERO,
                price=params.required_decimal("price") if limit_type else ZERO,
                time_in_force=time_in_force,
                reduce_only=params.boolean("reduceOnly"),
                close_position=close_position,
                client_algo_id=params.client_id("clientAlgoId"),
                working_type=working_type,
                price_protect=params.boolean("priceProtect"),
                self_trade_prevention=self._self_trade_prevention(params, "NONE"),
                good_till_date=until,
            ),
            now,
        )
        return algo_json(algo)

    def _algo_target(self, params: Params) -> tuple[int | None, str | None]:
        algo_id, client_id = params.integer("algoId"), params.text("clientAlgoId")
        if algo_id is None and client_id is None:
            raise VenueError(-1102, "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!")
        return algo_id, client_id

    def get_algo_order(self, account: Account, params: Params, now: Now) -> Json:
        algo = self._ledger.find_algo(account.name, *self._algo_target(params))
        if algo is None or not algo_is_known(algo, now.market_ms):
            raise errors.no_such_order()
        return algo_json(algo)

    def cancel_algo_order(self, account: Account, params: Params, now: Now) -> Json:
        algo = self._algos.cancel(account, *self._algo_target(params), now)
        return {"algoId": algo.algo_id, "clientAlgoId": algo.client_algo_id, "code": "200", "msg": "success"}

    def open_algo_orders(self, account: Account, params: Params, now: Now) -> list[Json]:
        symbol = require_known_symbol(self._ledger, params.text("symbol"))
        algo_id = params.integer("algoId")
        return [
            algo_json(algo)
            for algo in self._ledger.open_algo_orders(account.name, symbol)
            if algo_id is None or algo.algo_id == algo_id
        ]

    def all_algo_orders(self, account: Account, params: Params, now: Now) -> list[Json]:
        spec = self._ledger.spec(params.text("symbol"))
        start, end = params.window()
        from_id = params.integer("algoId")
        limit = params.limit(500, 1000)
        found = [
            algo
            for algo in self._ledger.state.algo_orders.values()
            if algo.account == account.name
            and algo.symbol == spec.symbol
            and start <= algo.create_time <= end
            and (from_id is None or algo.algo_id >= from_id)
            and algo_is_known(algo, now.market_ms)
        ]
        return [algo_json(algo) for algo in found[-limit:]]

    def cancel_all_algo(self, account: Account, params: Params, now: Now) -> Json:
        self._algos.cancel_all(account, self._ledger.spec(params.text("symbol")).symbol, now)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}
