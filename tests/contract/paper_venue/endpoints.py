"""Every endpoint of the paper venue, and how unmodified ccxt and the exchange's own SDK call it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from binance_sdk_derivatives_trading_usds_futures.rest_api import models as sdk_models

BTC, ETH, SOL = "BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"
S = "BTCUSDT"
Key = tuple[str, str]

REST, STOP, OTHER_REST, OTHER_STOP = "rest-1", "stop-1", "rest-2", "stop-2"
"""Client ids of the orders that are open when a call is made."""

TRAILING = frozenset({"activatePrice", "priceRate"})
"""Fields of trailing stops, which the venue does not have."""
ICEBERG = frozenset({"icebergQuantity"})
"""Always null on the exchange."""
COIN_M = frozenset({"cumBase", "pair"})
"""Fields of coin-margined contracts."""

BUY = sdk_models.NewOrderSideEnum.BUY


def anything(reply: Any) -> bool:
    return True


def with_id(reply: Any) -> bool:
    return bool(reply["id"])


def with_ids(reply: Any) -> bool:
    return bool(reply) and all(order["id"] for order in reply)


@dataclass(frozen=True)
class Row:
    """One endpoint. `ccxt` and `sdk` make the call; `ccxt_parsed` says whether ccxt made sense of the reply.

    `unsent` are fields that the SDK's models know and the venue does not send. `flat`: needs an account that holds nothing.
    """

    method: str
    path: str
    ccxt: Callable[[Any], Awaitable[Any]]
    sdk: Callable[[Any], Any] | None
    ccxt_parsed: Callable[[Any], bool] = bool
    unsent: frozenset[str] = field(default_factory=frozenset)
    flat: bool = False
    why_no_sdk: str = ""

    @property
    def key(self) -> Key:
        return self.method, self.path


def _leg(**fields: Any) -> Any:
    return sdk_models.PlaceMultipleOrdersBatchOrdersParameterInner(
        symbol=S, side="BUY", type="LIMIT", time_in_force="GTC", **fields
    )


async def _edit(exchange: Any) -> Any:
    order = await exchange.fetch_order(None, BTC, {"clientOrderId": REST})
    return await exchange.edit_order(order["id"], BTC, "limit", "buy", 0.01, 58100)


async def _edit_both(exchange: Any) -> Any:
    orders = await exchange.fetch_open_orders(BTC)
    changes = [
        {"id": o["id"], "symbol": BTC, "type": "limit", "side": "buy", "amount": 0.01, "price": 58100} for o in orders
    ]
    return await exchange.edit_orders(changes)


async def _cancel_by_number(exchange: Any) -> Any:
    order = await exchange.fetch_order(None, BTC, {"clientOrderId": REST})
    return await exchange.cancel_orders([order["id"]], BTC)


async def _find_open(exchange: Any) -> Any:
    # Without a number ccxt would send orderId=None.
    order = await exchange.fetch_order(None, BTC, {"clientOrderId": REST})
    return await exchange.fetch_open_order(order["id"], BTC)


def _sdk_edit_both(sdk: Any) -> Any:
    legs = [
        sdk_models.ModifyMultipleOrdersBatchOrdersParameterInner(
            orig_client_order_id=name, symbol=S, side="BUY", quantity=0.01, price=58100
        )
        for name in (REST, OTHER_REST)
    ]
    return sdk.modify_multiple_orders(legs)


ROWS = (
    # -- market ---------------------------------------------------------------------------------------------------------------
    Row("GET", "/fapi/v1/ping", lambda x: x.fapiPublicGetPing(), lambda s: s.test_connectivity(), anything),
    Row("GET", "/fapi/v1/time", lambda x: x.fetch_time(), lambda s: s.check_server_time()),
    Row(
        "GET",
        "/fapi/v1/exchangeInfo",
        lambda x: x.load_markets(True),
        lambda s: s.exchange_information(),
        unsent=frozenset({"settlePlan"}),
    ),
    Row(
        "GET",
        "/fapi/v1/klines",
        lambda x: x.fetch_ohlcv(BTC, "5m", limit=10),
        lambda s: s.kline_candlestick_data(S, "5m", limit=10),
    ),
    Row(
        "GET",
        "/fapi/v1/markPriceKlines",
        lambda x: x.fetch_ohlcv(BTC, "5m", limit=10, params={"price": "mark"}),
        lambda s: s.mark_price_kline_candlestick_data(S, "5m", limit=10),
    ),
    Row("GET", "/fapi/v1/depth", lambda x: x.fetch_order_book(BTC, 10), lambda s: s.order_book(S, 10)),
    Row(
        "GET",
        "/fapi/v1/ticker/24hr",
        lambda x: x.fetch_ticker(BTC),
        lambda s: s.ticker24hr_price_change_statistics(S),
    ),
    Row("GET", "/fapi/v1/ticker/price", lambda x: x.fapiPublicGetTickerPrice(), lambda s: s.symbol_price_ticker(S)),
    Row("GET", "/fapi/v2/ticker/price", lambda x: x.fetch_last_prices(), lambda s: s.symbol_price_ticker_v2(S)),
    Row(
        "GET",
        "/fapi/v1/ticker/bookTicker",
        lambda x: x.fetch_bids_asks([BTC]),
        lambda s: s.symbol_order_book_ticker(S),
    ),
    Row("GET", "/fapi/v1/premiumIndex", lambda x: x.fetch_mark_price(BTC), lambda s: s.mark_price(S)),
    Row(
        "GET",
        "/fapi/v1/aggTrades",
        lambda x: x.fetch_trades(BTC),
        lambda s: s.compressed_aggregate_trades_list(S),
    ),
    Row(
        "GET",
        "/fapi/v1/fundingRate",
        lambda x: x.fetch_funding_rate_history(BTC),
        lambda s: s.get_funding_rate_history(S),
    ),
    Row(
        "GET",
        "/fapi/v1/fundingInfo",
        lambda x: x.fetch_funding_intervals(),
        lambda s: s.get_funding_rate_info(),
    ),
    # -- account --------------------------------------------------------------------------------------------------------------
    Row(
        "GET",
        "/sapi/v1/account/apiRestrictions",
        lambda x: x.sapiGetAccountApiRestrictions(),
        None,
        why_no_sdk="it belongs to the wallet's SDK: the exchange serves it on its spot host",
    ),
    Row(
        "GET",
        "/fapi/v2/account",
        lambda x: x.fetch_balance({"useV2": True}),
        lambda s: s.account_information_v2(),
    ),
    Row("GET", "/fapi/v3/account", lambda x: x.fetch_balance(), lambda s: s.account_information_v3()),
    Row("GET", "/fapi/v2/balance", lambda x: x.fapiPrivateV2GetBalance(), lambda s: s.futures_account_balance_v2()),
    Row("GET", "/fapi/v3/balance", lambda x: x.fapiPrivateV3GetBalance(), lambda s: s.futures_account_balance_v3()),
    Row(
        "GET",
        "/fapi/v2/positionRisk",
        lambda x: x.fetch_positions([BTC], {"useV2": True}),
        lambda s: s.position_information_v2(),
    ),
    Row("GET", "/fapi/v3/positionRisk", lambda x: x.fetch_positions(), lambda s: s.position_information_v3()),
    Row(
        "GET",
        "/fapi/v1/leverageBracket",
        lambda x: x.fetch_leverage_tiers(),
        lambda s: s.notional_and_leverage_brackets(),
    ),
    Row("POST", "/fapi/v1/leverage", lambda x: x.set_leverage(10, BTC), lambda s: s.change_initial_leverage(S, 10)),
    Row(
        "POST",
        "/fapi/v1/marginType",
        lambda x: x.set_margin_mode("isolated", ETH),
        lambda s: s.change_margin_type("ETHUSDT", sdk_models.ChangeMarginTypeMarginTypeEnum.ISOLATED),
    ),
    Row(
        "POST",
        "/fapi/v1/positionMargin",
        lambda x: x.add_margin(SOL, 10),
        lambda s: s.modify_isolated_position_margin("SOLUSDT", 10, 1),
    ),
    Row(
        "GET",
        "/fapi/v1/adlQuantile",
        lambda x: x.fetch_positions_adl_rank(),
        lambda s: s.position_adl_quantile_estimation(),
        unsent=frozenset({"HEDGE"}),
    ),
    Row(
        "GET",
        "/fapi/v1/forceOrders",
        lambda x: x.fetch_my_liquidations(BTC, params={"autoCloseType": "ADL"}),
        lambda s: s.users_force_orders(),
        unsent=frozenset({"cumBase"}),
    ),
    Row(
        "GET",
        "/fapi/v1/positionSide/dual",
        lambda x: x.fetch_position_mode(),
        lambda s: s.get_current_position_mode(),
    ),
    Row(
        "POST",
        "/fapi/v1/positionSide/dual",
        lambda x: x.set_position_mode(True),
        lambda s: s.change_position_mode("true"),
        flat=True,
    ),
    Row(
        "GET",
        "/fapi/v1/multiAssetsMargin",
        lambda x: x.fapiPrivateGetMultiAssetsMargin(),
        lambda s: s.get_current_multi_assets_mode(),
    ),
    Row("GET", "/fapi/v1/symbolConfig", lambda x: x.fetch_leverages(), lambda s: s.symbol_configuration()),
    Row(
        "GET",
        "/fapi/v1/accountConfig",
        lambda x: x.fapiPrivateGetAccountConfig(),
        lambda s: s.futures_account_configuration(),
    ),
    Row(
        "GET",
        "/fapi/v1/commissionRate",
        lambda x: x.fetch_trading_fee(BTC),
        lambda s: s.user_commission_rate(S),
    ),
    Row("GET", "/fapi/v1/feeBurn", lambda x: x.fapiPrivateGetFeeBurn(), lambda s: s.get_bnb_burn_status()),
    Row(
        "GET",
        "/fapi/v1/userTrades",
        lambda x: x.fetch_my_trades(BTC),
        lambda s: s.account_trade_list(S),
        unsent=frozenset({"baseQty", "pair"}),
    ),
    Row("GET", "/fapi/v1/income", lambda x: x.fetch_ledger(), lambda s: s.get_income_history()),
    # -- orders ---------------------------------------------------------------------------------------------------------------
    Row(
        "POST",
        "/fapi/v1/order",
        lambda x: x.create_order(BTC, "limit", "buy", 0.01, 57000),
        lambda s: s.new_order(S, BUY, sdk_models.NewOrderTypeEnum.MARKET, quantity=0.01),
        with_id,
    ),
    Row(
        "POST",
        "/fapi/v1/order/test",
        lambda x: x.fapiPrivatePostOrderTest({"symbol": S, "side": "BUY", "type": "MARKET", "quantity": "0.01"}),
        lambda s: s.test_order(S, sdk_models.TestOrderSideEnum.BUY, sdk_models.TestOrderTypeEnum.MARKET, quantity=0.01),
        anything,
    ),
    Row(
        "PUT",
        "/fapi/v1/order",
        _edit,
        lambda s: s.modify_order(
            S, sdk_models.ModifyOrderSideEnum.BUY, 0.01, 58100, orig_client_order_id=REST, modify_id=5
        ),
        with_id,
    ),
    Row(
        "GET",
        "/fapi/v1/order",
        lambda x: x.fetch_order(None, BTC, {"clientOrderId": REST}),
        lambda s: s.query_order(S, orig_client_order_id=REST),
        with_id,
        unsent=TRAILING,
    ),
    Row(
        "DELETE",
        "/fapi/v1/order",
        lambda x: x.cancel_order(None, BTC, {"clientOrderId": REST}),
        lambda s: s.cancel_order(S, orig_client_order_id=REST),
        with_id,
        unsent=TRAILING,
    ),
    Row(
        "GET",
        "/fapi/v1/openOrder",
        _find_open,
        lambda s: s.query_current_open_order(S, orig_client_order_id=REST),
        with_id,
        unsent=TRAILING,
    ),
    Row(
        "GET",
        "/fapi/v1/openOrders",
        lambda x: x.fetch_open_orders(BTC),
        lambda s: s.current_all_open_orders(),
        with_ids,
        unsent=TRAILING,
    ),
    Row(
        "GET",
        "/fapi/v1/allOrders",
        lambda x: x.fetch_orders(BTC),
        lambda s: s.all_orders(S),
        with_ids,
        unsent=TRAILING | COIN_M,
    ),
    Row(
        "DELETE",
        "/fapi/v1/allOpenOrders",
        lambda x: x.cancel_all_orders(BTC),
        lambda s: s.cancel_all_open_orders(S),
    ),
    Row(
        "POST",
        "/fapi/v1/countdownCancelAll",
        lambda x: x.fapiPrivatePostCountdownCancelAll({"symbol": S, "countdownTime": 60_000}),
        lambda s: s.auto_cancel_all_open_orders(S, 60_000),
    ),
    Row(
        "POST",
        "/fapi/v1/batchOrders",
        lambda x: x.create_orders(
            [{"symbol": BTC, "type": "limit", "side": "buy", "amount": 0.01, "price": p} for p in (57_000, 56_000)]
        ),
        lambda s: s.place_multiple_orders([_leg(quantity=0.01, price=57_000), _leg(quantity=0.00001, price=56_000)]),
        with_ids,
    ),
    Row(
        "PUT",
        "/fapi/v1/batchOrders",
        _edit_both,
        _sdk_edit_both,
        with_ids,
        unsent=frozenset({"code", "modifyId", "msg"}),
    ),
    Row(
        "DELETE",
        "/fapi/v1/batchOrders",
        _cancel_by_number,
        lambda s: s.cancel_multiple_orders(S, orig_client_order_id_list=[REST, "nobody"]),
        with_ids,
        unsent=TRAILING,
    ),
    # -- conditional orders -----------------------------------------------------------------------------------------------------
    Row(
        "POST",
        "/fapi/v1/algoOrder",
        lambda x: x.create_order(BTC, "market", "sell", 0.01, None, {"stopLossPrice": 58_000, "reduceOnly": True}),
        lambda s: s.new_algo_order(
            sdk_models.NewAlgoOrderAlgoTypeEnum.CONDITIONAL,
            S,
            sdk_models.NewAlgoOrderSideEnum.SELL,
            sdk_models.NewAlgoOrderTypeEnum.STOP_MARKET,
            trigger_price=58_000,
            close_position=sdk_models.NewAlgoOrderClosePositionEnum.TRUE,
        ),
        with_id,
        unsent=ICEBERG | {"activatePrice", "callbackRate"},
    ),
    Row(
        "GET",
        "/fapi/v1/algoOrder",
        lambda x: x.fetch_order(None, BTC, {"trigger": True, "clientOrderId": STOP}),
        lambda s: s.query_algo_order(client_algo_id=STOP),
        with_id,
        unsent=ICEBERG,
    ),
    Row(
        "DELETE",
        "/fapi/v1/algoOrder",
        lambda x: x.cancel_order(None, BTC, {"trigger": True, "clientOrderId": STOP}),
        lambda s: s.cancel_algo_order(client_algo_id=STOP),
        with_id,
    ),
    Row(
        "GET",
        "/fapi/v1/openAlgoOrders",
        lambda x: x.fetch_open_orders(BTC, params={"trigger": True}),
        lambda s: s.current_all_algo_open_orders(),
        with_ids,
        unsent=ICEBERG,
    ),
    Row(
        "GET",
        "/fapi/v1/allAlgoOrders",
        lambda x: x.fetch_orders(BTC, params={"trigger": True}),
        lambda s: s.query_all_algo_orders(S),
        with_ids,
        unsent=ICEBERG,
    ),
    Row(
        "DELETE",
        "/fapi/v1/algoOpenOrders",
        lambda x: x.cancel_all_orders(BTC, {"trigger": True}),
        lambda s: s.cancel_all_algo_open_orders(S),
    ),
    # -- user stream ------------------------------------------------------------------------------------------------------------
    Row("POST", "/fapi/v1/listenKey", lambda x: x.fapiPrivatePostListenKey(), lambda s: s.start_user_data_stream()),
    Row("PUT", "/fapi/v1/listenKey", lambda x: x.fapiPrivatePutListenKey(), lambda s: s.keepalive_user_data_stream()),
    Row(
        "DELETE",
        "/fapi/v1/listenKey",
        lambda x: x.fapiPrivateDeleteListenKey(),
        lambda s: s.close_user_data_stream(),
        anything,
    ),
)

PROMISED: frozenset[Key] = frozenset(
    (method, f"/fapi/{path}")
    for method, path in (
        ("GET", "v1/exchangeInfo"),
        ("GET", "v1/time"),
        ("GET", "v1/klines"),
        ("GET", "v1/ticker/24hr"),
        ("GET", "v1/ticker/price"),
        ("GET", "v2/ticker/price"),
        ("GET", "v1/ticker/bookTicker"),
        ("GET", "v1/premiumIndex"),
        ("GET", "v1/depth"),
        ("GET", "v2/account"),
        ("GET", "v3/account"),
        ("GET", "v2/positionRisk"),
        ("GET", "v3/positionRisk"),
        ("GET", "v2/balance"),
        ("GET", "v3/balance"),
        ("POST", "v1/leverage"),
        ("POST", "v1/marginType"),
        ("GET", "v1/leverageBracket"),
        ("GET", "v1/positionSide/dual"),
        ("POST", "v1/positionSide/dual"),
        ("POST", "v1/order"),
        ("GET", "v1/order"),
        ("PUT", "v1/order"),
        ("DELETE", "v1/order"),
        ("POST", "v1/order/test"),
        ("POST", "v1/batchOrders"),
        ("PUT", "v1/batchOrders"),
        ("DELETE", "v1/batchOrders"),
        ("POST", "v1/algoOrder"),
        ("GET", "v1/algoOrder"),
        ("DELETE", "v1/algoOrder"),
        ("GET", "v1/openOrders"),
        ("GET", "v1/openAlgoOrders"),
        ("DELETE", "v1/allOpenOrders"),
        ("DELETE", "v1/algoOpenOrders"),
        ("GET", "v1/userTrades"),
        ("GET", "v1/income"),
        ("POST", "v1/countdownCancelAll"),
        ("POST", "v1/listenKey"),
        ("PUT", "v1/listenKey"),
        ("DELETE", "v1/listenKey"),
    )
)
"""What the venue has to serve, whatever else it serves."""
