"""JSON shapes of orders, trades and account records, key for key as the exchange sends them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import (
    AccountMargin,
    PositionMargin,
    account_margin,
    liquidation_price,
    max_notional,
    position_margin,
)
from breakwater.paper_venue.model import Account, AlgoOrder, Income, Order, Position, Trade
from breakwater.paper_venue.money import ZERO, money, plain

Json = dict[str, Any]


def entry_text(price: Decimal) -> str:
    """An average price: divided, so it may not end; 10 decimals, like the exchange's own display."""
    return plain(price.quantize(Decimal("0.0000000001")).normalize() + 0) if price else "0.0"


def order_json(order: Order) -> Json:
    """GET/DELETE order, openOrders, allOrders, and the RESULT reply of POST order."""
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": order.status,
        "clientOrderId": order.client_order_id,
        "price": plain(order.price),
        "avgPrice": entry_text(order.average_price) if order.executed_qty else "0.00",
        "origQty": plain(order.orig_qty),
        "executedQty": plain(order.executed_qty),
        "cumQty": plain(order.executed_qty),
        "cumQuote": plain(order.cum_quote),
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side,
        "positionSide": "BOTH",
        "stopPrice": plain(order.stop_price),
        "workingType": order.working_type,
        "priceProtect": order.price_protect,
        "origType": order.orig_type,
        "priceMatch": order.price_match,
        "selfTradePreventionMode": order.self_trade_prevention,
        "goodTillDate": order.good_till_date,
        "time": order.time,
        "updateTime": order.update_time,
    }


def algo_json(algo: AlgoOrder) -> Json:
    """Every algo endpoint's order. The actual* fields are empty until the trigger fires."""
    return {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_algo_id,
        "algoType": "CONDITIONAL",
        "orderType": algo.order_type,
        "symbol": algo.symbol,
        "side": algo.side,
        "positionSide": "BOTH",
        "timeInForce": algo.time_in_force,
        "quantity": plain(algo.quantity),
        "algoStatus": algo.status,
        "actualOrderId": str(algo.actual_order_id) if algo.actual_order_id else "",
        "actualPrice": entry_text(algo.actual_price) if algo.actual_price else "0.00000",
        "actualType": algo.actual_type,
        "actualQty": plain(algo.actual_qty),
        "triggerPrice": plain(algo.trigger_price),
        "price": plain(algo.price),
        "icebergQuantity": None,
        "tpTriggerPrice": "0.000",
        "tpPrice": "0.000",
        "slTriggerPrice": "0.000",
        "slPrice": "0.000",
        "tpOrderType": "",
        "selfTradePreventionMode": algo.self_trade_prevention,
        "workingType": algo.working_type,
        "priceMatch": algo.price_match,
        "closePosition": algo.close_position,
        "priceProtect": algo.price_protect,
        "reduceOnly": algo.reduce_only,
        "createTime": algo.create_time,
        "updateTime": algo.update_time,
        "triggerTime": algo.trigger_time,
        "goodTillDate": algo.good_till_date,
        "failReason": algo.reject_reason,
    }


def trade_json(trade: Trade) -> Json:
    """A row of userTrades. realizedPnl and commission are the exact amounts the wallet moved by."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": trade.side,
        "price": plain(trade.price),
        "qty": plain(trade.qty),
        "realizedPnl": money(trade.realized_pnl),
        "marginAsset": "USDT",
        "quoteQty": plain(trade.quote_qty),
        "commission": money(trade.commission),
        "commissionAsset": "USDT",
        "time": trade.time,
        "positionSide": "BOTH",
        "buyer": trade.side == "BUY",
        "maker": trade.maker,
    }


def income_json(income: Income) -> Json:
    return {
        "symbol": income.symbol,
        "incomeType": income.income_type,
        "income": money(income.income),
        "asset": "USDT",
        "info": income.info or income.income_type,
        "time": income.time,
        "tranId": income.tran_id,
        "tradeId": str(income.trade_id) if income.trade_id else "",
    }


def _last(ledger: Ledger, symbol: str) -> Decimal:
    last = ledger.state.prices.get(symbol)
    return last.price if last else ZERO


def position_risk_v3(ledger: Ledger, account: Account, position: Position) -> Json:
    """A row of /fapi/v3/positionRisk: no leverage, unlike v2. Isolated positions show their margin + profit."""
    margin = position_margin(ledger, account, position)
    liquidation = liquidation_price(ledger, account, position)
    isolated = position.isolated_wallet + margin.unrealized if position.isolated else ZERO
    return {
        "symbol": position.symbol,
        "positionSide": "BOTH",
        "positionAmt": plain(position.qty),
        "entryPrice": entry_text(position.entry_price),
        "breakEvenPrice": entry_text(position.entry_price),
        "markPrice": plain(_last(ledger, position.symbol)),
        "unRealizedProfit": money(margin.unrealized),
        "liquidationPrice": plain(liquidation),
        "isolatedMargin": money(isolated) if isolated else "0",
        "notional": money(margin.notional) if margin.notional else "0",
        "marginAsset": "USDT",
        "isolatedWallet": money(position.isolated_wallet) if position.isolated else "0",
        "initialMargin": money(margin.position_initial + margin.order_initial),
        "maintMargin": money(margin.maintenance),
        "positionInitialMargin": money(margin.position_initial),
        "openOrderInitialMargin": money(margin.order_initial),
        "adl": 1,
        "bidNotional": money(margin.bid_notional) if margin.bid_notional else "0",
        "askNotional": money(margin.ask_notional) if margin.ask_notional else "0",
        "updateTime": position.update_time,
    }


def position_risk_v2(ledger: Ledger, account: Account, position: Position) -> Json:
    """A row of /fapi/v2/positionRisk, which lists every symbol, flat ones too."""
    row = position_risk_v3(ledger, account, position)
    spec = ledger.specs[position.symbol]
    keep = [
        "symbol",
        "positionSide",
        "positionAmt",
        "entryPrice",
        "breakEvenPrice",
        "markPrice",
        "unRealizedProfit",
        "liquidationPrice",
        "isolatedMargin",
        "notional",
        "isolatedWallet",
        "updateTime",
    ]
    return {key: row[key] for key in keep} | {
        "leverage": str(position.leverage),
        "maxNotionalValue": plain(max_notional(spec, position.leverage)),
        "marginType": "isolated" if position.isolated else "cross",
        "isAutoAddMargin": "false",
    }


def _asset(account: Account, total: AccountMargin, update_time: int) -> Json:
    return {
        "asset": "USDT",
        "walletBalance": money(account.wallet),
        "unrealizedProfit": money(total.unrealized),
        "marginBalance": money(total.equity),
        "maintMargin": money(total.maintenance),
        "initialMargin": money(total.position_initial + total.order_initial),
        "positionInitialMargin": money(total.position_initial),
        "openOrderInitialMargin": money(total.order_initial),
        "crossWalletBalance": money(total.cross_wallet),
        "crossUnPnl": money(total.cross_unrealized),
        "availableBalance": money(total.available),
        "maxWithdrawAmount": money(total.available),
        "updateTime": update_time,
    }


def _account_position(position: Position, margin: PositionMargin) -> Json:
    return {
        "symbol": position.symbol,
        "positionSide": "BOTH",
        "positionAmt": plain(position.qty),
        "unrealizedProfit": money(margin.unrealized),
        "isolatedMargin": money(position.isolated_wallet + margin.unrealized) if position.isolated else "0",
        "notional": money(margin.notional),
        "isolatedWallet": money(position.isolated_wallet) if position.isolated else "0",
        "initialMargin": money(margin.position_initial + margin.order_initial),
        "maintMargin": money(margin.maintenance),
        "updateTime": position.update_time,
    }


def account_json(ledger: Ledger, account: Account, version: int, now_ms: int) -> Json:
    """/fapi/v3/account (active positions) or v2 (every symbol, with leverage).

    An untouched asset has the present as updateTime, because clients skip assets whose updateTime is 0.
    """
    total = account_margin(ledger, account)
    assets = [_asset(account, total, account.update_time or now_ms)]
    body: Json = {
        "totalInitialMargin": money(total.position_initial + total.order_initial),
        "totalMaintMargin": money(total.maintenance),
        "totalWalletBalance": money(account.wallet),
        "totalUnrealizedProfit": money(total.unrealized),
        "totalMarginBalance": money(total.equity),
        "totalPositionInitialMargin": money(total.position_initial),
        "totalOpenOrderInitialMargin": money(total.order_initial),
        "totalCrossWalletBalance": money(total.cross_wallet),
        "totalCrossUnPnl": money(total.cross_unrealized),
        "availableBalance": money(total.available),
        "maxWithdrawAmount": money(total.available),
        "assets": assets,
    }
    rows = []
    for symbol, spec in ledger.specs.items():
        position = account.positions.get(symbol)
        if version == 3:
            if position is not None and (position.qty or total.positions[symbol].order_initial):
                rows.append(_account_position(position, total.positions[symbol]))
            continue
        position = position or Position(symbol=symbol, leverage=ledger.config.default_leverage)
        margin = total.positions.get(symbol) or position_margin(ledger, account, position)
        rows.append(
            _account_position(position, margin)
            | {
                "positionInitialMargin": money(margin.position_initial),
                "openOrderInitialMargin": money(margin.order_initial),
                "leverage": str(position.leverage),
                "isolated": position.isolated,
                "entryPrice": entry_text(position.entry_price),
                "maxNotional": plain(max_notional(spec, position.leverage)),
                "bidNotional": money(margin.bid_notional),
                "askNotional": money(margin.ask_notional),
            }
        )
    body["positions"] = rows
    if version == 2:
        flags: Json = {"feeTier": 0, "feeBurn": False, "canTrade": True, "canDeposit": True, "canWithdraw": True}
        body = flags | {"updateTime": 0, "multiAssetsMargin": False, "tradeGroupId": -1} | body
        body["assets"] = [asset | {"marginAvailable": True} for asset in assets]
    return body


def balance_json(ledger: Ledger, account: Account, now_ms: int) -> list[Json]:
    total = account_margin(ledger, account)
    return [
        {
            "accountAlias": account.name,
            "asset": "USDT",
            "balance": money(account.wallet),
            "crossWalletBalance": money(total.cross_wallet),
            "crossUnPnl": money(total.cross_unrealized),
            "availableBalance": money(total.available),
            "maxWithdrawAmount": money(total.available),
            "marginAvailable": True,
            "updateTime": account.update_time or now_ms,
        }
    ]
