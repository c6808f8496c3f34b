"""Recorded Binance messages parse exactly; replies that make no sense are refused, naming the field."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.ids import Symbol
from breakwater.domain.orders import OrderStatus, Side
from breakwater.exchange.messages import (
    AccountUpdate,
    AlgoStatus,
    AlgoUpdate,
    ForcedBy,
    ListenKeyExpired,
    OrderUpdate,
)
from breakwater.exchange.parse import (
    list_of,
    parse_account,
    parse_algo_cancel,
    parse_algo_order,
    parse_instrument,
    parse_leverage_brackets,
    parse_order,
    parse_position,
    parse_trade,
)
from breakwater.exchange.reader import VenueReplyError, time_from_ms
from breakwater.exchange.stream import parse_user_event

ORDER = {
    "orderId": 7, "clientOrderId": "bw-1", "symbol": "BTCUSDT", "status": "PARTIALLY_FILLED", "type": "LIMIT",
    "side": "BUY", "price": "100000.10", "avgPrice": "99999.95", "origQty": "0.100", "executedQty": "0.030",
    "reduceOnly": True, "positionSide": "BOTH", "updateTime": 1760126400001,
}  # fmt: skip
ALGO = {
    "algoId": 3000000123, "clientAlgoId": "bw-s", "algoType": "CONDITIONAL", "orderType": "STOP_MARKET",
    "symbol": "BTCUSDT", "side": "SELL", "positionSide": "BOTH", "timeInForce": "GTC", "quantity": "0.100",
    "algoStatus": "NEW", "triggerPrice": "98000.00", "price": "0.00", "closePosition": False, "reduceOnly": True,
    "actualOrderId": "", "createTime": 1760126400000, "updateTime": 1760126400001,
}  # fmt: skip
ACCOUNT = {
    "totalInitialMargin": "1400.00", "totalMaintMargin": "56.10", "totalWalletBalance": "14000.12345678",
    "totalUnrealizedProfit": "-12.00000001", "totalMarginBalance": "13988.12345677", "availableBalance": "12588.1",
    "assets": [], "positions": [],
}  # fmt: skip
ACCOUNT_UPDATE: dict[str, Any] = {
    "e": "ACCOUNT_UPDATE", "E": 1760126400002, "T": 1760126400001,
    "a": {
        "m": "FUNDING_FEE",
        "B": [{"a": "USDT", "wb": "13999.5", "cw": "13999.5", "bc": "-0.62345678"}],
        "P": [{"s": "BTCUSDT", "pa": "-0.1", "ep": "100000", "cr": "0", "up": "1.5", "mt": "isolated", "iw": "1", "ps": "BOTH"}],
    },
}  # fmt: skip


def test_recorded_order_parses(recorded: Any) -> None:
    (order,) = list_of(parse_order)(recorded("rest/http_futures_account_orders.json"))
    assert (order.order_id, order.client_order_id, order.order_type) == (
        "1917641",
        "abc",
        "TRAILING_STOP_MARKET",
    )
    assert (order.status, order.side, order.quantity) == (OrderStatus.NEW, Side.BUY, D("0.40"))
    assert (order.average_price, order.price, order.position_side) == (None, None, "SHORT")
    assert order.update_time == time_from_ms(1579276756075)


def test_recorded_trades_parse(recorded: Any) -> None:
    first, second = list_of(parse_trade)(recorded("rest/http_futures_account_trades.json"))
    assert (first.trade_id, first.side, first.commission) == ("82357626", Side.SELL, D("0.00555670"))
    assert (second.realised_pnl, second.price, second.maker) == (D("-0.00325000"), D("2779"), False)


def test_recorded_positions_parse(recorded: Any) -> None:
    (flat,) = list_of(parse_position)(recorded("rest/http_futures_account_positions_one_way.json"))
    assert (flat.quantity, flat.liquidation_price, flat.position_side) == (D("0.000"), None, "BOTH")
    long, short = list_of(parse_position)(recorded("rest/http_futures_account_positions_hedge.json"))
    assert (long.quantity, long.unrealised_pnl, long.leverage) == (D("20.000"), D("2316.83423560"), 10)
    assert (short.quantity, short.isolated, short.position_side) == (D("-10.000"), True, "SHORT")


def test_recorded_exchange_info_parses(recorded: Any) -> None:
    rows = recorded("rest/http_futures_market_exchange_info.json")["symbols"]
    btc = parse_instrument(rows[0])
    assert (btc.tick_size, btc.step_size, btc.min_notional) == (D("0.10"), D("0.001"), D(10))
    assert (btc.max_quantity, btc.max_market_quantity, btc.trading) == (D(1000), D(1000), True)


@pytest.mark.parametrize(
    ("name", "status", "actual"),
    [
        ("triggering", AlgoStatus.TRIGGERING, None),
        ("triggered", AlgoStatus.TRIGGERED, "88937381063"),
        ("finished", AlgoStatus.FINISHED, "88937381063"),
        ("finished_canceled", AlgoStatus.FINISHED, "88937381064"),
    ],
)
def test_recorded_algo_updates_parse(recorded: Any, name: str, status: AlgoStatus, actual: str | None) -> None:
    update = parse_user_event(recorded(f"ws/ws_futures_algo_update_{name}.json"))
    assert isinstance(update, AlgoUpdate)
    assert (update.order.status, update.order.actual_order_id) == (status, actual)
    assert (update.order.trigger_price, update.order.quantity) == (D("0.13855"), D("38"))


@pytest.mark.parametrize(
    ("name", "fill", "forced"),
    [
        ("adl", D("1.000"), ForcedBy.ADL),
        ("adl_filled", D("1.000"), ForcedBy.ADL),
        ("liquidation", D("0.100"), ForcedBy.LIQUIDATION),
        ("liquidation_zero_qty", None, ForcedBy.LIQUIDATION),
        ("settlement", D("0.050"), ForcedBy.SETTLEMENT),
        ("new_price_match", None, None),
        ("new_limit_if_touched_price_match", None, None),
        ("new_stop_limit_price_match", None, None),
        ("new_reduce_only_qty", None, None),
        ("trade_reduce_only_qty", D("1.000"), None),
    ],
)
def test_recorded_order_updates_parse(recorded: Any, name: str, fill: D | None, forced: ForcedBy | None) -> None:
    update = parse_user_event(recorded(f"ws/ws_futures_order_update_{name}.json"))
    assert isinstance(update, OrderUpdate)
    assert (update.fill and update.fill.quantity) == fill
    assert update.forced_by is forced
    assert update.order.reduce_only is ("reduce_only" in name)


def test_recorded_market_messages_are_not_user_events(recorded: Any) -> None:
    for name in ("book_ticker", "ticker_24hr", "depth_update", "trade_lite"):
        assert parse_user_event(recorded(f"ws/ws_futures_{name}.json")) is None


def test_order_from_ccxt_structure_is_read_from_its_info() -> None:
    order = parse_order({"id": "7", "average": 99999.95, "info": ORDER})
    assert (order.average_price, order.executed_quantity) == (D("99999.95"), D("0.030"))


def test_account_parses_exactly() -> None:
    account = parse_account({"info": ACCOUNT, "USDT": {"total": 13988.12}})
    assert account.wallet_balance + account.unrealised_pnl == account.margin_balance


def test_algo_order_parses_and_its_cancel_reply_too() -> None:
    order = parse_algo_order(ALGO)
    assert (order.algo_id, order.status, order.trigger_price) == ("3000000123", AlgoStatus.NEW, D("98000.00"))
    assert (order.actual_order_id, order.status.resting) == (None, True)
    whole = parse_algo_order(ALGO | {"quantity": "", "closePosition": True})
    assert (whole.quantity, whole.close_position) == (None, True)
    cancel = parse_algo_cancel({"algoId": 3000000123, "clientAlgoId": "bw-s", "code": "200", "msg": "success"})
    assert (cancel.algo_id, cancel.client_algo_id) == ("3000000123", "bw-s")


def test_leverage_brackets_parse_in_order() -> None:
    brackets = parse_leverage_brackets(
        [
            {
                "symbol": "BTCUSDT",
                "brackets": [
                    {"bracket": 2, "initialLeverage": 100, "notionalCap": 600000, "maintMarginRatio": 0.005},
                    {"bracket": 1, "initialLeverage": 125, "notionalCap": 50000, "maintMarginRatio": 0.004},
                ],
            }
        ]
    )
    assert list(brackets) == ["BTCUSDT"]
    assert [(b.notional_cap, b.max_leverage, b.maintenance_margin_rate) for b in brackets[Symbol("BTCUSDT")]] == [
        (D(50000), 125, D("0.004")),
        (D(600000), 100, D("0.005")),
    ]


def test_account_update_and_expired_listen_key_parse() -> None:
    update = parse_user_event(ACCOUNT_UPDATE)
    assert isinstance(update, AccountUpdate)
    assert (update.reason, update.wallets, update.changes) == (
        "FUNDING_FEE",
        {"USDT": D("13999.5")},
        {"USDT": D("-0.62345678")},
    )
    assert update.positions[0].quantity == D("-0.1")
    expired = parse_user_event({"e": "listenKeyExpired", "E": 1760126400002, "listenKey": "k"})
    assert expired == ListenKeyExpired(time_from_ms(1760126400002))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"orderId": None}, "orderId"),
        ({"clientOrderId": ""}, "clientOrderId"),
        ({"side": "LONG"}, "side"),
        ({"status": "DONE"}, "status"),
        ({"origQty": "NaN"}, "origQty"),
        ({"origQty": "-1"}, "origQty"),
        ({"origQty": 0.1}, "origQty"),
        ({"origQty": [1]}, "origQty"),
        ({"executedQty": "0.2"}, "executedQty"),
        ({"status": "FILLED"}, "status"),
        ({"avgPrice": "1e999999999"}, "avgPrice"),
        ({"reduceOnly": "perhaps"}, "reduceOnly"),
        ({"positionSide": "UP"}, "positionSide"),
        ({"updateTime": "yesterday"}, "updateTime"),
        ({"updateTime": 10**18}, "updateTime"),
        ({"updateTime": True}, "updateTime"),
    ],
)
def test_senseless_order_is_refused_naming_the_field(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(VenueReplyError) as caught:
        parse_order(ORDER | changed)
    assert caught.value.field == field
    assert field in str(caught.value)


@pytest.mark.parametrize("reply", [None, "", "<html>", [], 7, {"info": None}, {}])
@pytest.mark.parametrize(
    "parser",
    [
        parse_order, parse_algo_order, parse_algo_cancel, parse_position, parse_account, parse_trade,
        parse_instrument,
    ],
)  # fmt: skip
def test_reply_of_another_shape_is_refused(parser: Any, reply: Any) -> None:
    with pytest.raises(VenueReplyError):
        parser(reply)


def test_instrument_without_a_filter_or_grid_is_refused() -> None:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
    ]
    row = {"symbol": "BTCUSDT", "status": "SETTLING", "filters": filters}
    assert parse_instrument(row).trading is False
    assert parse_instrument(row).multiplier_up is None
    band = {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500"}
    banded = parse_instrument(row | {"filters": [*filters, band]})
    assert (banded.multiplier_up, banded.multiplier_down) == (D("1.05"), D("0.95"))
    with pytest.raises(VenueReplyError, match="MIN_NOTIONAL"):
        parse_instrument(row | {"filters": filters[:3]})
    with pytest.raises(VenueReplyError, match="tickSize"):
        parse_instrument(row | {"filters": [filters[0] | {"tickSize": "0"}, *filters[1:]]})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(field=st.sampled_from(sorted(ORDER)), value=json_values)
def test_whatever_stands_in_a_field_the_order_parses_or_is_refused(field: str, value: Any) -> None:
    try:
        order = parse_order(ORDER | {field: value})
    except VenueReplyError:
        return
    assert order.executed_quantity <= order.quantity


@given(field=st.sampled_from(sorted(ACCOUNT_UPDATE["a"])), value=json_values)
def test_whatever_stands_in_an_account_update_it_parses_or_is_refused(field: str, value: Any) -> None:
    account = ACCOUNT_UPDATE["a"] | {field: value}
    try:
        update = parse_user_event(ACCOUNT_UPDATE | {"a": account})
    except VenueReplyError:
        return
    assert isinstance(update, AccountUpdate)
