from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

DUAL = "/fapi/v1/positionSide/dual"
MARGIN = "/fapi/v1/positionMargin"


def _isolated(client: Any) -> Any:
    client.ok("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    client.order("BUY", "0.1")
    return client


def _held(client: Any) -> dict[str, Any]:
    (row,) = client.ok("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")
    found: dict[str, Any] = row
    return found


# -- position mode ---------------------------------------------------------------------------------------------------------


def test_hedge_mode_is_told_and_trades_nothing_here(client: Any) -> None:
    assert client.code("POST", DUAL, dualSidePosition=False) == -4059
    client.ok("POST", DUAL, dualSidePosition=True)
    assert client.ok("GET", DUAL) == {"dualSidePosition": True}
    assert client.ok("GET", "/fapi/v1/accountConfig")["dualSidePosition"] is True
    assert client.code("POST", DUAL, dualSidePosition=True) == -4059
    order = client.order_params("BUY", "0.01")
    assert client.code("POST", "/fapi/v1/order", **order) == -4061
    assert client.code("POST", "/fapi/v1/order", **order, positionSide="LONG") == -1130
    client.ok("POST", DUAL, dualSidePosition=False)
    client.order("BUY", "0.01")


def test_position_mode_stays_while_there_are_orders_of_any_kind_or_a_position(client: Any) -> None:
    order = client.order("BUY", "0.01", price="58000")
    assert client.code("POST", DUAL, dualSidePosition=True) == -4067
    client.ok("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=order["orderId"])
    client.stop("BUY", "0.01", "61000")
    assert client.code("POST", DUAL, dualSidePosition=True) == -4067
    client.ok("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")
    client.order("BUY", "0.01")
    assert client.code("POST", DUAL, dualSidePosition=True) == -4068


def test_margin_type_stays_while_there_is_an_order_or_a_position(client: Any) -> None:
    change = {"symbol": "BTCUSDT", "marginType": "ISOLATED"}
    assert client.code("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="CROSSED") == -4046
    order = client.order("BUY", "0.01", price="58000")
    assert client.code("POST", "/fapi/v1/marginType", **change) == -4047
    client.ok("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=order["orderId"])
    client.order("BUY", "0.01")
    assert client.code("POST", "/fapi/v1/marginType", **change) == -4048


@pytest.mark.parametrize("leverage", ["0", "126", "-5"])
def test_leverage_outside_the_symbols_range_is_refused(client: Any, leverage: str) -> None:
    assert client.code("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=leverage) == -4028


# -- isolated margin -------------------------------------------------------------------------------------------------------


def test_margin_moves_between_the_wallet_and_an_isolated_position_and_is_announced(client: Any) -> None:
    _isolated(client)
    before, far = Decimal(_held(client)["isolatedWallet"]), Decimal(_held(client)["liquidationPrice"])
    events = client.listen()
    reply = client.ok("POST", MARGIN, symbol="BTCUSDT", amount="100", type=1)
    assert reply == {"amount": 100.0, "code": 200, "msg": "Successfully modify position margin.", "type": 1}
    assert Decimal(_held(client)["isolatedWallet"]) == before + 100
    assert Decimal(_held(client)["liquidationPrice"]) < far
    assert events[-1]["a"]["m"] == "MARGIN_TRANSFER"
    assert Decimal(events[-1]["a"]["P"][0]["iw"]) == before + 100
    client.ok("POST", MARGIN, symbol="BTCUSDT", amount="90", type=2)
    assert Decimal(_held(client)["isolatedWallet"]) == before + 10


def test_wallet_is_the_same_whatever_margin_was_moved(client: Any) -> None:
    _isolated(client)
    wallet = client.venue.account_report("k").wallet
    client.ok("POST", MARGIN, symbol="BTCUSDT", amount="100", type=1)
    assert client.venue.account_report("k").wallet == wallet


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"amount": "0"}, -4055),
        ({"amount": "99999"}, -4050),
        ({"amount": "1", "type": 2}, -4051),
        ({"type": 3}, -1130),
        ({"type": ""}, -1102),
        ({"amount": ""}, -1102),
        ({"symbol": "ETHUSDT"}, -1130),
    ],
)
def test_margin_that_cannot_be_moved_is_refused(client: Any, params: dict[str, object], code: int) -> None:
    _isolated(client)
    before = _held(client)["isolatedWallet"]
    assert client.code("POST", MARGIN, **({"symbol": "BTCUSDT", "amount": "1", "type": 1} | params)) == code
    assert _held(client)["isolatedWallet"] == before


def test_margin_of_an_isolated_symbol_without_position_cannot_be_moved(client: Any) -> None:
    client.ok("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    assert client.code("POST", MARGIN, symbol="BTCUSDT", amount="1", type=1) == -4054


# -- forced orders and the past ---------------------------------------------------------------------------------------------


def test_forced_orders_are_listed_by_kind(make_client: Callable[..., Any]) -> None:
    client = make_client(balance=Decimal(300))
    client.order("BUY", "0.05")
    client.venue.deleverage("desk", "BTCUSDT", client.now, quantity=Decimal("0.01"))
    assert client.ok("GET", "/fapi/v1/adlQuantile")[0]["symbol"] == "BTCUSDT"
    client.tick("52000")
    assert client.position() == 0
    assert [o["clientOrderId"][:8] for o in client.ok("GET", "/fapi/v1/forceOrders")] == ["adl_auto", "autoclos"]
    (liquidated,) = client.ok("GET", "/fapi/v1/forceOrders", autoCloseType="LIQUIDATION")
    assert (liquidated["pair"], liquidated["executedQty"]) == ("BTCUSDT", "0.04")
    assert client.ok("GET", "/fapi/v1/forceOrders", symbol="ETHUSDT") == []
    assert client.code("GET", "/fapi/v1/forceOrders", autoCloseType="SETTLEMENT") == -1130
    assert client.ok("GET", "/fapi/v1/adlQuantile") == []


def test_aggregated_trades_page_on_from_an_id_and_never_lie_in_the_future(client: Any) -> None:
    for price in ("60010", "59990", "60005"):
        client.tick(price, seconds=60)
    trades = client.ok("GET", "/fapi/v1/aggTrades", symbol="BTCUSDT")
    assert [t["a"] for t in trades] == sorted({t["a"] for t in trades})
    assert all(t["T"] <= client.market_ms for t in trades)
    assert {"59990", "60010"} <= {t["p"] for t in trades}
    assert client.ok("GET", "/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=trades[2]["a"], limit=2) == trades[2:4]


def test_funding_history_has_the_instants_that_have_passed(client: Any) -> None:
    for _ in range(10):
        client.tick("61000", seconds=3600)
    rows = client.ok("GET", "/fapi/v1/fundingRate", symbol="BTCUSDT")
    instant = 1_760_025_600_000  # 16:00 UTC, the first after the start
    (row,) = rows
    assert (row["fundingTime"], row["fundingRate"], row["markPrice"]) == (instant, "0.00010000", "61000")
    assert client.ok("GET", "/fapi/v1/fundingRate", symbol="BTCUSDT", startTime=instant + 1) == []
    assert client.ok("GET", "/fapi/v1/fundingInfo")[0]["fundingIntervalHours"] == 8
