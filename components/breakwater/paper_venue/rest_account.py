"""Signed REST endpoints about the account: balances, positions, settings, trades, income."""

from __future__ import annotations

from breakwater.paper_venue import events
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.isolated import move_margin
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import account_margin, max_notional
from breakwater.paper_venue.model import Account, Now, Position
from breakwater.paper_venue.money import ZERO, plain
from breakwater.paper_venue.orders import Emit
from breakwater.paper_venue.params import Params
from breakwater.paper_venue.rest_market import require_known_symbol
from breakwater.paper_venue.wire import (
    Json,
    account_json,
    balance_json,
    income_json,
    order_json,
    position_risk_v2,
    position_risk_v3,
    trade_json,
)

SUCCESS: Json = {"code": 200, "msg": "success"}
FORCED_PREFIXES = {"LIQUIDATION": "autoclose-", "ADL": "adl_autoclose-"}
"""Client ids of the orders that the venue places itself."""
KEY_CREATED_MS = 1_735_689_600_000


class AccountEndpoints:
    """Each method answers one path for an authenticated account."""

    def __init__(self, ledger: Ledger, emit: Emit) -> None:
        self._ledger = ledger
        self._emit = emit
        self._owners = {owner.name: owner for owner in ledger.config.accounts}

    def api_restrictions(self, account: Account, params: Params, now: Now) -> Json:
        """What the key may do. The exchange serves it on its spot host: futures paths have no such endpoint."""
        owner = self._owners[account.name]
        return {
            "ipRestrict": owner.ip_restrict,
            "createTime": KEY_CREATED_MS,
            "enableReading": True,
            "enableWithdrawals": owner.enable_withdrawals,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": owner.enable_futures,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enableSpotAndMarginTrading": False,
            "enablePortfolioMarginTrading": False,
        }

    def account_v2(self, account: Account, params: Params, now: Now) -> Json:
        return account_json(self._ledger, account, 2, now.market_ms)

    def account_v3(self, account: Account, params: Params, now: Now) -> Json:
        return account_json(self._ledger, account, 3, now.market_ms)

    def balance(self, account: Account, params: Params, now: Now) -> list[Json]:
        return balance_json(self._ledger, account, now.market_ms)

    def _positions(self, account: Account, params: Params) -> list[Position]:
        symbol = require_known_symbol(self._ledger, params.text("symbol"))
        default = self._ledger.config.default_leverage
        return [
            account.positions.get(name) or Position(symbol=name, leverage=default)
            for name in self._ledger.specs
            if symbol is None or name == symbol
        ]

    def position_risk_v2(self, account: Account, params: Params, now: Now) -> list[Json]:
        return [position_risk_v2(self._ledger, account, p) for p in self._positions(account, params)]

    def position_risk_v3(self, account: Account, params: Params, now: Now) -> list[Json]:
        """Only symbols with a position or a working order, as v3 does."""
        return [
            position_risk_v3(self._ledger, account, p)
            for p in self._positions(account, params)
            if p.qty or self._ledger.open_orders(account.name, p.symbol)
        ]

    def leverage_bracket(self, account: Account, params: Params, now: Now) -> list[Json]:
        symbol = require_known_symbol(self._ledger, params.text("symbol"))
        rows: list[Json] = []
        for spec in self._ledger.specs.values():
            if symbol is not None and spec.symbol != symbol:
                continue
            brackets: list[Json] = []
            floor = previous = cumulative = ZERO
            for number, bracket in enumerate(spec.brackets, start=1):
                cumulative += floor * (bracket.ratio - previous)
                brackets.append(
                    {
                        "bracket": number,
                        "initialLeverage": bracket.leverage,
                        "notionalCap": int(bracket.cap),
                        "notionalFloor": int(floor),
                        "maintMarginRatio": float(bracket.ratio),
                        "cum": float(cumulative),
                    }
                )
                floor, previous = bracket.cap, bracket.ratio
            rows.append({"symbol": spec.symbol, "notionalCoef": 1.0, "brackets": brackets})
        return rows

    def set_leverage(self, account: Account, params: Params, now: Now) -> Json:
        spec = self._ledger.spec(params.required("symbol"))
        leverage = params.required_integer("leverage")
        if not 1 <= leverage <= spec.brackets[0].leverage:
            raise VenueError(-4028, f"Leverage {leverage} is not valid")
        position = self._ledger.position(account, spec.symbol)
        if position.isolated and position.qty and leverage < position.leverage:
            raise VenueError(-4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions.")
        previous = position.leverage
        position.leverage = leverage
        total = account_margin(self._ledger, account)
        if leverage < previous and total.position_initial + total.order_initial > total.equity:
            position.leverage = previous
            raise VenueError(-2028, "Leverage is smaller than permitted: insufficient margin balance.")
        self._ledger.touch_account(account)
        if leverage != previous:
            self._emit(account.name, events.account_config_update(spec.symbol, leverage, now.market_ms))
        return {
            "leverage": leverage,
            "maxNotionalValue": plain(max_notional(spec, leverage)),
            "symbol": spec.symbol,
        }

    def set_margin_type(self, account: Account, params: Params, now: Now) -> Json:
        spec = self._ledger.spec(params.required("symbol"))
        wanted = params.choice("marginType", ("ISOLATED", "CROSSED"), -4049, "Margin type must be ISOLATED or CROSSED.")
        position = self._ledger.position(account, spec.symbol)
        isolated = wanted == "ISOLATED"
        if position.isolated == isolated:
            raise VenueError(-4046, "No need to change margin type.")
        if self._ledger.open_orders(account.name, spec.symbol):
            raise VenueError(-4047, "Margin type cannot be changed if there exists open orders.")
        if position.qty:
            raise VenueError(-4048, "Margin type cannot be changed if there exists position.")
        position.isolated = isolated
        self._ledger.touch_account(account)
        return SUCCESS

    def position_margin(self, account: Account, params: Params, now: Now) -> Json:
        """Add to (type 1) or take from (type 2) the margin of an isolated position, in USDT."""
        spec = self._ledger.spec(params.required("symbol"))
        amount, kind = params.required_decimal("amount"), params.required_integer("type")
        position = self._ledger.position(account, spec.symbol)
        move_margin(self._ledger, self._emit, account, position, amount, kind, now)
        return {"amount": float(amount), "code": 200, "msg": "Successfully modify position margin.", "type": kind}

    def adl_quantile(self, account: Account, params: Params, now: Now) -> list[Json]:
        """Place in the queue for auto-deleveraging: nobody stands in one here, so it is 0, the safest."""
        return [
            {"symbol": position.symbol, "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 0}}
            for position in self._positions(account, params)
            if position.qty
        ]

    def force_orders(self, account: Account, params: Params, now: Now) -> list[Json]:
        """Orders that the venue placed itself: liquidations and auto-deleveraging, the latest."""
        symbol = require_known_symbol(self._ledger, params.text("symbol"))
        prefixes = tuple(FORCED_PREFIXES.values())
        if params.text("autoCloseType") is not None:
            kind = params.choice("autoCloseType", FORCED_PREFIXES, -1130, "autoCloseType is LIQUIDATION or ADL.")
            prefixes = (FORCED_PREFIXES[kind],)
        start, end = params.window()
        limit = params.limit(50, 100)
        found = [
            order
            for order in self._ledger.state.orders.values()
            if order.account == account.name
            and order.client_order_id.startswith(prefixes)
            and start <= order.time <= end
            and (symbol is None or order.symbol == symbol)
        ]
        return [order_json(order) | {"pair": order.symbol} for order in found[-limit:]]

    def position_mode(self, account: Account, params: Params, now: Now) -> Json:
        return {"dualSidePosition": account.dual_side}

    def set_position_mode(self, account: Account, params: Params, now: Now) -> Json:
        params.required("dualSidePosition")
        wanted = params.boolean("dualSidePosition")
        if wanted == account.dual_side:
            raise VenueError(-4059, "No need to change position side.")
        if self._ledger.open_orders(account.name) or self._ledger.open_algo_orders(account.name):
            raise VenueError(-4067, "Position side cannot be changed if there exists open orders.")
        if any(position.qty for position in account.positions.values()):
            raise VenueError(-4068, "Position side cannot be changed if there exists position.")
        account.dual_side = wanted
        self._ledger.touch_account(account)
        return SUCCESS

    def multi_assets(self, account: Account, params: Params, now: Now) -> Json:
        return {"multiAssetsMargin": False}

    def symbol_config(self, account: Account, params: Params, now: Now) -> list[Json]:
        return [
            {
                "symbol": position.symbol,
                "marginType": "ISOLATED" if position.isolated else "CROSSED",
                "isAutoAddMargin": False,
                "leverage": position.leverage,
                "maxNotionalValue": plain(max_notional(self._ledger.specs[position.symbol], position.leverage)),
            }
            for position in self._positions(account, params)
        ]

    def account_config(self, account: Account, params: Params, now: Now) -> Json:
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "dualSidePosition": account.dual_side,
            "updateTime": 0,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
        }

    def commission_rate(self, account: Account, params: Params, now: Now) -> Json:
        spec = self._ledger.spec(params.required("symbol"))
        config = self._ledger.config
        return {
            "symbol": spec.symbol,
            "makerCommissionRate": plain(config.maker_fee),
            "takerCommissionRate": plain(config.taker_fee),
            "rpiCommissionRate": plain(config.maker_fee),
        }

    def fee_burn(self, account: Account, params: Params, now: Now) -> Json:
        """Whether fees are taken in the exchange's coin: never here."""
        return {"feeBurn": False}

    def user_trades(self, account: Account, params: Params, now: Now) -> list[Json]:
        """Trades of one symbol in market time, oldest first; fromId pages on."""
        spec = self._ledger.spec(params.text("symbol"))
        start, end = params.window()
        order_id, from_id = params.integer("orderId"), params.integer("fromId")
        limit = params.limit(500, 1000)
        found = [
            trade
            for trade in self._ledger.trades_of(account.name)
            if trade.symbol == spec.symbol
            and start <= trade.time <= end
            and (order_id is None or trade.order_id == order_id)
            and (from_id is None or trade.trade_id >= from_id)
        ]
        from_the_start = from_id is not None or params.text("startTime") is not None
        return [trade_json(trade) for trade in (found[:limit] if from_the_start else found[-limit:])]

    def income(self, account: Account, params: Params, now: Now) -> list[Json]:
        symbol = require_known_symbol(self._ledger, params.text("symbol"))
        kind = params.text("incomeType")
        start, end = params.window()
        limit = params.limit(100, 1000)
        found = [
            row
            for row in self._ledger.state.incomes
            if row.account == account.name
            and start <= row.time <= end
            and (symbol is None or row.symbol == symbol)
            and (kind is None or row.income_type == kind)
        ]
        chosen = found[:limit] if params.text("startTime") is not None else found[-limit:]
        return [income_json(row) for row in chosen]
