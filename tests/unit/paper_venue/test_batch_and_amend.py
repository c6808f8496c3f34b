from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

BATCH = "/fapi/v1/batchOrders"
ORDER = "/fapi/v1/order"
Make = Callable[..., Any]


def _limit(client: Any, price: str, quantity: str = "0.01", side: str = "BUY", **more: object) -> Any:
    return client.order(side, quantity, price=price, **more)


def _amend(client: Any, order: Any, quantity: str, price: str, **more: object) -> dict[str, object]:
    base = {"symbol": "BTCUSDT", "side": order["side"], "orderId": order["orderId"]}
    return {**base, "quantity": quantity, "price": price, **more}


def _legs(client: Any, *legs: dict[str, object]) -> str:
    return json.dumps([client.order_params("BUY", "0.01") | leg for leg in legs])


# -- several in one request ------------------------------------------------------------------------------------------------


def test_batch_does_what_it_can_and_says_for_each_leg_what_became_of_it(client: Any) -> None:
    legs = _legs(
        client,
        {"newClientOrderId": "a"},
        {"type": "LIMIT", "price": 58000, "timeInForce": "GTC", "newClientOrderId": "b"},
        {"type": "LIMIT", "price": 58000.05, "timeInForce": "GTC"},
        {"symbol": "NOPEUSDT"},
        {"quantity": 0.02, "reduceOnly": True, "side": "SELL"},
    )
    done = client.ok("POST", BATCH, batchOrders=legs)
    assert [leg.get("status", leg.get("code")) for leg in done] == ["FILLED", "NEW", -4014, -1121, "FILLED"]
    assert [leg["clientOrderId"] for leg in done[:2]] == ["a", "b"]
    assert done[4]["executedQty"] == "0.01"  # clipped to the position of the first leg


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", -1102),
        ("[]", -4082),
        ("{}", -1130),
        ("[1]", -1130),
        ("[{]", -1130),
        ('[{"symbol": ["BTCUSDT"]}]', -1130),
        ("[" * 5000, -1130),
        (json.dumps([{}] * 6), -4082),
    ],
)
def test_batch_that_makes_no_sense_is_refused_as_a_whole(client: Any, text: str, code: int) -> None:
    assert client.code("POST", BATCH, batchOrders=text) == code
    assert client.code("PUT", BATCH, batchOrders=text) == code


def test_amounts_written_as_json_numbers_never_pass_through_a_float(client: Any) -> None:
    legs = '[{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","timeInForce":"GTC","quantity":0.010,"price":58000.10}]'
    (order,) = client.ok("POST", BATCH, batchOrders=legs)
    assert (order["price"], order["origQty"]) == ("58000.10", "0.010")


def test_batch_costs_five_weight_five_orders_of_ten_seconds_and_one_of_a_minute(client: Any) -> None:
    before = client.call("GET", ORDER, symbol="BTCUSDT", orderId=1)
    reply = client.call("POST", BATCH, batchOrders=_legs(client, {}))
    weights = [int(r.headers["X-MBX-USED-WEIGHT-1M"]) for r in (before, reply)]
    assert weights[1] - weights[0] == 5
    assert (reply.headers["X-MBX-ORDER-COUNT-10S"], reply.headers["X-MBX-ORDER-COUNT-1M"]) == ("5", "1")
    assert "X-MBX-ORDER-COUNT-10S" not in before.headers


@pytest.mark.parametrize("names", [("orderIdList", "origClientOrderIdList"), ("orderidlist", "origclientorderidlist")])
def test_batch_cancel_takes_ids_of_both_kinds_in_both_spellings(client: Any, names: tuple[str, str]) -> None:
    first, second = _limit(client, "58000"), _limit(client, "57000", newClientOrderId="mine")
    by_id = client.ok("DELETE", BATCH, symbol="BTCUSDT", **{names[0]: f"[{first['orderId']},77]"})
    assert [leg.get("status", leg.get("code")) for leg in by_id] == ["CANCELED", -2011]
    (by_name,) = client.ok("DELETE", BATCH, symbol="BTCUSDT", **{names[1]: '["mine"]'})
    assert (by_name["orderId"], by_name["status"]) == (second["orderId"], "CANCELED")
    assert client.code("DELETE", BATCH, symbol="BTCUSDT") == -1102


def test_batch_amend_changes_what_it_can(client: Any) -> None:
    first, second = _limit(client, "58000"), _limit(client, "57000")
    legs = [_amend(client, first, "0.02", "58100"), _amend(client, second, "0.01", "57000")]
    done = client.ok("PUT", BATCH, batchOrders=json.dumps(legs))
    assert (done[0]["origQty"], done[0]["price"]) == ("0.02", "58100")
    assert done[1]["code"] == -5027


# -- changing one order ----------------------------------------------------------------------------------------------------


def test_amended_order_keeps_its_ids_loses_its_place_and_is_announced(client: Any) -> None:
    events = client.listen()
    first, second = _limit(client, "58000", newClientOrderId="first"), _limit(client, "58000")
    reply = client.ok("PUT", ORDER, **_amend(client, first, "0.02", "58000", modifyId=7))
    assert (reply["orderId"], reply["clientOrderId"], reply["status"]) == (first["orderId"], "first", "NEW")
    assert (reply["origQty"], reply["pair"], reply["modifyId"]) == ("0.02", "BTCUSDT", 7)
    assert (events[-1]["o"]["x"], events[-1]["o"]["X"], events[-1]["o"]["q"]) == ("AMENDMENT", "NEW", "0.02")
    assert events[-1]["o"]["M"] == "7"
    client.tick("57900")
    filled = [e["o"]["i"] for e in events if e.get("o", {}).get("x") == "TRADE"]
    assert filled == [second["orderId"], first["orderId"]]


def test_amended_order_that_crosses_the_market_fills_as_taker(client: Any) -> None:
    order = _limit(client, "58000")
    reply = client.ok("PUT", ORDER, **_amend(client, order, "0.01", "60500"))
    assert (reply["status"], reply["avgPrice"]) == ("FILLED", "60030")


def test_post_only_order_amended_through_the_market_is_cancelled(client: Any) -> None:
    order = _limit(client, "58000", timeInForce="GTX")
    assert client.ok("PUT", ORDER, **_amend(client, order, "0.01", "60500"))["status"] == "CANCELED"
    assert client.position() == 0


def test_order_amended_to_less_than_it_has_filled_is_cancelled(client: Any) -> None:
    order = _limit(client, "58000", quantity="0.02")
    known = client.venue.ledger.state.orders[order["orderId"]]
    known.executed_qty, known.cum_quote, known.status = Decimal("0.01"), Decimal(580), "PARTIALLY_FILLED"
    reply = client.ok("PUT", ORDER, **_amend(client, order, "0.01", "58100"))
    assert (reply["status"], reply["executedQty"]) == ("CANCELED", "0.01")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quantity": "0.01", "price": "58000"}, -5027),
        ({"quantity": ""}, -1102),
        ({"price": ""}, -1102),
        ({"price": "58000.05"}, -4014),
        ({"price": "63500"}, -4016),
        ({"quantity": "0.0001"}, -1111),
        ({"quantity": "0.001"}, -4164),
        ({"quantity": "9"}, -2019),
        ({"side": "SELL"}, -1130),
        ({"side": "LONG"}, -1117),
        ({"priceMatch": "QUEUE"}, -1130),
        ({"reduceOnly": "true"}, -5047),
        ({"orderId": "77"}, -2013),
        ({"orderId": ""}, -1102),
    ],
)
def test_refused_amendment_leaves_the_order_as_it_was(client: Any, change: dict[str, object], code: int) -> None:
    order = _limit(client, "58000")
    assert client.code("PUT", ORDER, **(_amend(client, order, "0.02", "58100") | change)) == code
    assert client.ok("GET", ORDER, symbol="BTCUSDT", orderId=order["orderId"]) == order


def test_order_can_be_amended_ten_thousand_times(client: Any) -> None:
    order = _limit(client, "58000")
    client.venue.ledger.state.orders[order["orderId"]].edits = 9_999
    client.ok("PUT", ORDER, **_amend(client, order, "0.02", "58000"))
    assert client.code("PUT", ORDER, **_amend(client, order, "0.01", "58000")) == -5026


def test_reduce_only_order_may_be_amended_below_the_least_notional_and_never_beyond_the_position(client: Any) -> None:
    client.order("BUY", "0.01")
    order = _limit(client, "61000", side="SELL", reduceOnly=True)
    small = client.ok("PUT", ORDER, **_amend(client, order, "0.001", "61000", reduceOnly=True))
    assert small["origQty"] == "0.001"
    assert client.ok("PUT", ORDER, **_amend(client, order, "5", "61000", reduceOnly=True))["origQty"] == "0.01"


def test_order_that_has_ended_cannot_be_amended(client: Any) -> None:
    order = client.order("BUY", "0.01")
    assert client.code("PUT", ORDER, **_amend(client, order, "0.02", "58000")) == -2013


def test_growing_an_order_counts_as_new_risk_in_the_audit(client: Any) -> None:
    client.order("SELL", "0.01")
    order = _limit(client, "58000")
    (record,) = [r for r in client.venue.audit if r.order_id == order["orderId"]]
    assert not record.risk_increasing
    client.ok("PUT", ORDER, **_amend(client, order, "0.02", "58000"))
    assert record.risk_increasing


# -- what the exchange forgets -------------------------------------------------------------------------------------------------


def test_unfilled_orders_that_ended_are_forgotten_after_three_days_and_the_others_after_ninety(client: Any) -> None:
    day = 24 * 3600
    gone, kept = _limit(client, "58000"), client.order("BUY", "0.01")
    stop = client.stop("SELL", "0.01", "59000")
    client.ok("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    client.ok("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")
    resting = _limit(client, "57000")

    def known() -> list[bool]:
        asked = [client.call("GET", ORDER, symbol="BTCUSDT", orderId=o["orderId"]) for o in (gone, kept, resting)]
        asked.append(client.call("GET", "/fapi/v1/algoOrder", algoId=stop["algoId"]))
        assert all(reply.status == 200 or reply.json()["code"] == -2013 for reply in asked)
        return [reply.status == 200 for reply in asked]

    client.tick("60000", seconds=3 * day - 60)
    assert known() == [True, True, True, True]
    client.tick("60000", seconds=120)
    assert known() == [False, True, True, False]
    listed = client.ok("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")
    assert [order["orderId"] for order in listed] == [kept["orderId"], resting["orderId"]]
    assert client.ok("GET", "/fapi/v1/allAlgoOrders", symbol="BTCUSDT") == []
    client.tick("60000", seconds=90 * day)
    assert known() == [False, False, True, False]
