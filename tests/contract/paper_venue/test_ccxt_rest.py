"""Unmodified ccxt trading over HTTP: what the venue answers is what ccxt expects of Binance."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from breakwater.paper_venue.core import PaperVenue

BTC = "BTC/USDT:USDT"
ETH = "ETH/USDT:USDT"
Move = Callable[[str, str, int], None]


async def test_load_markets_shows_filters_and_order_types(exchange: Any) -> None:
    market = exchange.markets[BTC]
    assert market["linear"]
    assert market["swap"]
    assert market["precision"]["price"] == 0.1
    assert market["precision"]["amount"] == 0.001
    assert market["limits"]["cost"]["min"] == 100
    assert "STOP_MARKET" in market["info"]["orderTypes"]


async def test_market_order_fills_with_slippage_and_fee(exchange: Any, venue: PaperVenue) -> None:
    order = await exchange.create_order(BTC, "market", "buy", 0.01)
    assert order["status"] == "closed"
    assert order["filled"] == 0.01
    assert order["average"] == 60030.0
    (trade,) = await exchange.fetch_my_trades(BTC)
    assert trade["price"] == 60030.0
    assert trade["fee"]["currency"] == "USDT"
    assert Decimal(trade["info"]["commission"]) == Decimal("0.30015")
    assert trade["takerOrMaker"] == "taker"
    assert venue.account_report("desk-key").wallet == Decimal("14000") - Decimal("0.30015")


async def test_ioc_limit_inside_slippage_fills_and_outside_expires(exchange: Any) -> None:
    filled = await exchange.create_order(BTC, "limit", "buy", 0.01, 60100, {"timeInForce": "IOC"})
    missed = await exchange.create_order(BTC, "limit", "buy", 0.01, 60001, {"timeInForce": "IOC"})
    assert (filled["status"], filled["filled"], filled["average"]) == ("closed", 0.01, 60030.0)
    assert (missed["status"], missed["filled"]) == ("expired", 0.0)


async def test_reduce_only_is_clipped_to_the_position_and_refused_without_one(exchange: Any) -> None:
    with pytest.raises(ccxt.InvalidOrder, match="-2022"):
        await exchange.create_order(BTC, "market", "sell", 0.01, None, {"reduceOnly": True})
    await exchange.create_order(BTC, "market", "buy", 0.01)
    order = await exchange.create_order(BTC, "market", "sell", 0.05, None, {"reduceOnly": True})
    assert order["filled"] == 0.01
    assert await exchange.fetch_positions([BTC]) == []


async def test_stop_market_lives_in_the_algo_service_and_fires(exchange: Any, move: Move) -> None:
    await exchange.create_order(BTC, "market", "buy", 0.01)
    params = {"stopLossPrice": 59000, "reduceOnly": True, "clientOrderId": "stop-1"}
    stop = await exchange.create_order(BTC, "market", "sell", 0.01, None, params)
    assert stop["info"]["algoStatus"] == "NEW"
    assert stop["clientOrderId"] == "stop-1"
    assert await exchange.fetch_open_orders(BTC) == []
    (listed,) = await exchange.fetch_open_orders(BTC, params={"trigger": True})
    assert listed["id"] == stop["id"]
    assert listed["triggerPrice"] == 59000
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.fetch_order(stop["id"], BTC)

    move("BTCUSDT", "58990", 5)

    assert await exchange.fetch_open_orders(BTC, params={"trigger": True}) == []
    fired = await exchange.fetch_order(stop["id"], BTC, {"trigger": True})
    assert fired["info"]["algoStatus"] == "FINISHED"
    child = await exchange.fetch_order(fired["info"]["actualOrderId"], BTC)
    assert child["status"] == "closed"
    # 58990 * 0.9995 = 58960.505, rounded down to the tick against the seller.
    assert child["average"] == 58960.5
    assert await exchange.fetch_positions([BTC]) == []


async def test_stop_on_the_old_endpoint_is_refused(exchange: Any) -> None:
    request = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "quantity": "0.01", "stopPrice": "59000"}
    with pytest.raises(ccxt.InvalidOrder, match="-4120"):
        await exchange.fapiPrivatePostOrder(request)


async def test_cancelling_plain_and_algo_orders_are_separate_worlds(exchange: Any) -> None:
    limit = await exchange.create_order(BTC, "limit", "buy", 0.01, 58000)
    stop = await exchange.create_order(BTC, "market", "buy", 0.01, None, {"triggerPrice": 61000})
    await exchange.cancel_all_orders(BTC)
    assert (await exchange.fetch_order(limit["id"], BTC))["status"] == "canceled"
    assert len(await exchange.fetch_open_orders(BTC, params={"trigger": True})) == 1
    await exchange.cancel_order(stop["id"], BTC, {"trigger": True})
    assert await exchange.fetch_open_orders(BTC, params={"trigger": True}) == []
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await exchange.cancel_order(limit["id"], BTC)


async def test_resting_limit_is_filled_by_the_tick_that_reaches_it(exchange: Any, move: Move) -> None:
    order = await exchange.create_order(BTC, "limit", "buy", 0.01, 59500, {"clientOrderId": "rest-1"})
    assert order["status"] == "open"
    (open_order,) = await exchange.fetch_open_orders(BTC)
    assert open_order["clientOrderId"] == "rest-1"
    move("BTCUSDT", "59400", 5)
    done = await exchange.fetch_order(None, BTC, {"clientOrderId": "rest-1"})
    assert (done["status"], done["average"]) == ("closed", 59500.0)


async def test_positions_and_balance_agree_with_the_venue(exchange: Any, venue: PaperVenue, move: Move) -> None:
    await exchange.set_leverage(10, BTC)
    await exchange.set_margin_mode("isolated", BTC)
    with pytest.raises(ccxt.MarginModeAlreadySet):
        await exchange.set_margin_mode("isolated", BTC)
    await exchange.create_order(BTC, "market", "buy", 0.1)
    await exchange.create_order(ETH, "market", "sell", 1)
    move("BTCUSDT", "61000", 5)
    positions = {p["symbol"]: p for p in await exchange.fetch_positions()}
    btc = positions[BTC]
    assert (btc["side"], btc["contracts"], btc["entryPrice"]) == ("long", 0.1, 60030.0)
    assert btc["unrealizedPnl"] == pytest.approx(97.0)
    assert btc["marginMode"] == "isolated"
    assert btc["initialMargin"] == pytest.approx(610.0)
    assert btc["liquidationPrice"] < 60030
    assert positions[ETH]["side"] == "short"
    assert positions[ETH]["marginMode"] == "cross"
    report = venue.account_report("desk-key")
    balance = await exchange.fetch_balance()
    assert balance["USDT"]["total"] == pytest.approx(float(report.equity))
    assert balance["USDT"]["free"] == pytest.approx(float(report.available))
    older = await exchange.fetch_balance({"useV2": True})
    assert older["USDT"]["total"] == balance["USDT"]["total"]


async def test_market_data_calls_parse(exchange: Any) -> None:
    candles = await exchange.fetch_ohlcv(BTC, "5m", limit=100)
    assert len(candles) == 100
    assert all(after[0] - before[0] == 300_000 for before, after in itertools.pairwise(candles))
    assert len(await exchange.fetch_ohlcv(BTC, "1h", limit=24)) == 24
    ticker = await exchange.fetch_ticker(BTC)
    assert ticker["last"] == 60000
    assert ticker["quoteVolume"] > 0
    assert len(await exchange.fetch_tickers()) == 3
    mark = await exchange.fetch_mark_price(BTC)
    assert mark["markPrice"] == 60000
    book = await exchange.fetch_order_book(BTC, 10)
    assert book["bids"][0][0] < 60000 < book["asks"][0][0]
    best = (await exchange.fetch_bids_asks([BTC]))[BTC]
    assert best["bid"] < best["ask"]
    assert (await exchange.fetch_last_prices([BTC]))[BTC]["price"] == 60000
    assert (await exchange.fetch_funding_rate(BTC))["fundingRate"] == 0.0001
    assert await exchange.fetch_time() > 0


async def test_account_settings_calls_parse(exchange: Any) -> None:
    assert (await exchange.fetch_position_mode())["hedged"] is False
    assert (await exchange.fetch_trading_fee(BTC))["taker"] == 0.0005
    assert (await exchange.fetch_leverage(BTC))["longLeverage"] == 20
    tiers = await exchange.fetch_market_leverage_tiers(BTC)
    assert tiers[0]["maxLeverage"] == 125
    with pytest.raises(ccxt.OperationRejected, match="-4059"):
        await exchange.set_position_mode(False)
    assert (await exchange.fapiPrivateGetMultiAssetsMargin())["multiAssetsMargin"] is False
    ledger = await exchange.fetch_ledger("USDT")
    assert ledger == []


@pytest.mark.parametrize(
    ("symbol", "kind", "amount", "price", "params", "error", "code"),
    [
        (BTC, "market", 5, None, {}, ccxt.InsufficientFunds, "-2019"),
        (BTC, "limit", 0.001, 59000, {}, ccxt.InvalidOrder, "-4164"),
        (BTC, "limit", 0.01, 70000, {}, ccxt.ExchangeError, "-4016"),
        (BTC, "limit", 0.01, 60100, {"postOnly": True}, ccxt.ExchangeError, "-5022"),
        (BTC, "limit", 0.01, 60001, {"timeInForce": "FOK"}, ccxt.ExchangeError, "-5021"),
        (BTC, "market", 0.01, None, {"triggerPrice": 60000}, ccxt.OrderImmediatelyFillable, "-2021"),
        (BTC, "market", 0.01, None, {"positionSide": "LONG"}, ccxt.OperationRejected, "-4061"),
        (BTC, "market", 0.01, None, {"clientOrderId": "bad id!"}, ccxt.BadRequest, "-1100"),
    ],
)
async def test_refused_order_maps_to_the_right_ccxt_error(
    exchange: Any,
    symbol: str,
    kind: str,
    amount: float,
    price: float | None,
    params: dict[str, object],
    error: type[Exception],
    code: str,
) -> None:
    with pytest.raises(error, match=code):
        await exchange.create_order(symbol, kind, "buy", amount, price, params)


async def test_insufficient_margin_is_insufficient_funds(connect: Callable[..., Any]) -> None:
    poor = connect("other-key", "other-secret")
    await poor.load_markets()
    with pytest.raises(ccxt.InsufficientFunds, match="-2019"):
        await poor.create_order(BTC, "market", "buy", 0.5)


async def test_client_id_is_unique_among_open_orders_only(exchange: Any) -> None:
    await exchange.create_order(BTC, "limit", "buy", 0.01, 58000, {"clientOrderId": "same"})
    with pytest.raises(ccxt.InvalidOrder, match="-4116"):
        await exchange.create_order(BTC, "limit", "buy", 0.01, 58000, {"clientOrderId": "same"})
    await exchange.cancel_order(None, BTC, {"clientOrderId": "same"})
    again = await exchange.create_order(BTC, "limit", "buy", 0.01, 58000, {"clientOrderId": "same"})
    assert again["status"] == "open"


async def test_wrong_secret_unknown_key_and_old_timestamp_are_refused(connect: Callable[..., Any]) -> None:
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        await connect("desk-key", "wrong").fetch_balance()
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        await connect("nobody", "wrong").fetch_balance()
    late = connect()
    late.options["timeDifference"] = 120_000
    with pytest.raises(ccxt.InvalidNonce, match="-1021"):
        await late.fetch_balance()


async def test_unknown_path_answers_404_with_code(exchange: Any) -> None:
    with pytest.raises(ccxt.BaseError, match="-5000"):
        await exchange.fapiPrivateGetApiTradingStatus()


async def test_weight_and_order_count_headers_are_sent(exchange: Any) -> None:
    await exchange.create_order(BTC, "market", "buy", 0.01)
    headers = {name.lower(): value for name, value in exchange.last_response_headers.items()}
    assert int(headers["x-mbx-used-weight-1m"]) >= 1
    assert headers["x-mbx-order-count-10s"] == "1"
    assert headers["x-mbx-order-count-1m"] == "1"


async def test_over_the_weight_limit_answers_429_with_retry_after(exchange: Any) -> None:
    async def ask_too_often() -> None:
        for _ in range(62):
            await exchange.fapiPublicGetTicker24hr()

    with pytest.raises(ccxt.DDoSProtection):
        await ask_too_often()
    headers = {name.lower(): value for name, value in exchange.last_response_headers.items()}
    assert 1 <= int(headers["retry-after"]) <= 60


async def test_accounts_are_kept_apart(exchange: Any, connect: Callable[..., Any]) -> None:
    await exchange.create_order(BTC, "market", "buy", 0.01)
    other = connect("other-key", "other-secret")
    await other.load_markets()
    assert await other.fetch_positions() == []
    assert (await other.fetch_balance())["USDT"]["total"] == 500
    assert await other.fetch_my_trades(BTC) == []
