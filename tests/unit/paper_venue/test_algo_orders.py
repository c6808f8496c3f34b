from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

ALGO = "/fapi/v1/algoOrder"


def _algo(client: Any, algo_id: int) -> Any:
    return client.ok("GET", ALGO, algoId=algo_id)


def test_sell_stop_fills_at_the_first_tick_through_its_trigger_with_slippage(client: Any) -> None:
    client.order("BUY", "0.01")
    stop = client.stop("SELL", "0.01", "59000", reduceOnly=True)
    client.tick("59000.1")
    assert _algo(client, stop["algoId"])["algoStatus"] == "NEW"
    client.tick("58500")
    done = _algo(client, stop["algoId"])
    assert done["algoStatus"] == "FINISHED"
    assert done["actualPrice"] == "58470.7"  # 58500 * 0.9995 = 58470.75, down
    assert client.position() == 0


def test_buy_stop_and_take_profit_trigger_on_their_own_sides(client: Any) -> None:
    up = client.stop("BUY", "0.01", "61000")
    profit = client.stop("BUY", "0.01", "59000", type="TAKE_PROFIT_MARKET")
    client.tick("61000")
    assert _algo(client, up["algoId"])["algoStatus"] == "FINISHED"
    assert _algo(client, profit["algoId"])["algoStatus"] == "NEW"
    client.tick("58999")
    assert _algo(client, profit["algoId"])["algoStatus"] == "FINISHED"
    assert client.position() == Decimal("0.02")


def test_reduce_only_stop_without_position_is_rejected_at_its_trigger(client: Any) -> None:
    events = client.listen()
    stop = client.stop("SELL", "0.01", "59000", reduceOnly=True)
    client.tick("58000")
    after = _algo(client, stop["algoId"])
    assert (after["algoStatus"], after["actualOrderId"]) == ("REJECTED", "")
    assert [e["o"]["X"] for e in events] == ["NEW", "TRIGGERING", "REJECTED"]
    assert "ReduceOnly" in events[-1]["o"]["rm"]
    assert client.position() == 0


def test_reduce_only_stop_larger_than_the_position_closes_just_the_position(client: Any) -> None:
    client.order("BUY", "0.01")
    stop = client.stop("SELL", "0.05", "59000", reduceOnly=True)
    client.tick("58000")
    assert Decimal(_algo(client, stop["algoId"])["actualQty"]) == Decimal("0.01")
    assert client.position() == 0


def test_close_position_stop_closes_all_and_a_second_one_is_refused(client: Any) -> None:
    client.order("BUY", "0.03")
    client.stop("SELL", "", "59000", closePosition=True)
    again = client.stop_params("SELL", "", "58000", closePosition=True)
    assert client.code("POST", ALGO, **again) == -4130
    client.tick("58900")
    assert client.position() == 0


def test_stop_limit_becomes_a_resting_limit_and_finishes_when_that_does(client: Any) -> None:
    stop = client.stop("BUY", "0.01", "61000", type="STOP", price="60900")
    client.tick("61100")
    triggered = _algo(client, stop["algoId"])
    assert triggered["algoStatus"] == "TRIGGERED"
    (resting,) = client.ok("GET", "/fapi/v1/openOrders")
    assert str(resting["orderId"]) == triggered["actualOrderId"]
    client.tick("60900")
    assert _algo(client, stop["algoId"])["algoStatus"] == "FINISHED"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"triggerPrice": "60000"}, -2021),
        ({"triggerPrice": "61000"}, -2021),
        ({"triggerPrice": "59000.01"}, -4014),
        ({"triggerPrice": ""}, -1102),
        ({"algoType": "VP"}, -1130),
        ({"algoType": ""}, -1102),
        ({"type": "MARKET"}, -1116),
        ({"quantity": "0.0005"}, -1111),
        ({"quantity": ""}, -1102),
        ({"closePosition": True}, -1106),
        ({"price": "59000"}, -1106),
        ({"workingType": "LAST"}, -1130),
        ({"clientAlgoId": "a b"}, -1100),
    ],
)
def test_bad_algo_order_is_refused(client: Any, params: dict[str, object], code: int) -> None:
    assert client.code("POST", ALGO, **(client.stop_params("SELL", "0.01", "59000") | params)) == code
    assert client.ok("GET", "/fapi/v1/openAlgoOrders") == []


def test_client_algo_id_is_unique_among_open_ones_and_finds_the_order(client: Any) -> None:
    client.stop("SELL", "0.01", "59000", clientAlgoId="s1")
    assert client.code("POST", ALGO, **client.stop_params("SELL", "0.01", "58000", clientAlgoId="s1")) == -4116
    assert client.ok("DELETE", ALGO, clientAlgoId="s1")["code"] == "200"
    assert client.code("DELETE", ALGO, clientAlgoId="s1") == -2011
    assert client.code("GET", ALGO, clientAlgoId="nobody") == -2013
    assert client.ok("GET", ALGO, clientAlgoId="s1")["algoStatus"] == "CANCELED"


def test_algo_ids_are_unknown_to_the_order_endpoints(client: Any) -> None:
    stop = client.stop("SELL", "0.01", "59000")
    assert client.code("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=stop["algoId"]) == -2013
    assert client.code("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=stop["algoId"]) == -2011
    client.ok("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    assert len(client.ok("GET", "/fapi/v1/openAlgoOrders", symbol="BTCUSDT")) == 1
    client.ok("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")
    assert client.ok("GET", "/fapi/v1/openAlgoOrders", symbol="BTCUSDT") == []
    (listed,) = client.ok("GET", "/fapi/v1/allAlgoOrders", symbol="BTCUSDT")
    assert listed["algoStatus"] == "CANCELED"


def test_two_stops_hit_by_one_tick_close_the_position_once(client: Any) -> None:
    client.order("BUY", "0.01")
    first = client.stop("SELL", "0.01", "59000", reduceOnly=True)
    second = client.stop("SELL", "0.01", "58900", reduceOnly=True)
    client.tick("58000")
    assert _algo(client, first["algoId"])["algoStatus"] == "FINISHED"
    assert _algo(client, second["algoId"])["algoStatus"] == "REJECTED"
    assert client.position() == 0


def test_every_way_a_conditional_order_ends_is_told_step_by_step(client: Any) -> None:
    events = client.listen()

    def life(algo: Any) -> list[str]:
        return [e["o"]["X"] for e in events if e["e"] == "ALGO_UPDATE" and e["o"]["aid"] == algo["algoId"]]

    until = client.market_ms + 700_000
    cancelled = client.stop("SELL", "0.01", "59000")
    client.ok("DELETE", ALGO, algoId=cancelled["algoId"])
    expired = client.stop("SELL", "0.01", "50000", type="STOP", price="50000", timeInForce="GTD", goodTillDate=until)
    nothing_to_close = client.stop("BUY", "", "61000", closePosition=True)
    rejected = client.stop("BUY", "5", "61000")
    finished = client.stop("BUY", "0.01", "61000")
    client.tick("61000")
    client.tick("61000", seconds=700)
    assert life(cancelled) == ["NEW", "CANCELED"]
    assert life(expired) == ["NEW", "EXPIRED"]
    assert life(nothing_to_close) == ["NEW", "TRIGGERING", "EXPIRED"]
    assert life(rejected) == ["NEW", "TRIGGERING", "REJECTED"]
    assert life(finished) == ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED"]
    why = [e["o"].get("rm") for e in events if e["e"] == "ALGO_UPDATE" and e["o"]["X"] == "REJECTED"]
    assert why == ["Margin is insufficient."]
    assert _algo(client, rejected["algoId"])["failReason"] == "Margin is insufficient."


def test_conditional_orders_are_limited_across_all_symbols_and_plain_ones_are_not_counted(
    make_client: Callable[..., Any],
) -> None:
    client = make_client(max_open_algo_orders=2)
    client.stop("SELL", "0.01", "59000")
    client.stop("SELL", "1", "2900", symbol="ETHUSDT")
    assert client.code("POST", ALGO, **client.stop_params("SELL", "0.01", "58000")) == -4045
    client.order("BUY", "0.01", price="58000")


def test_self_trade_prevention_is_off_for_conditional_orders_and_handed_to_the_order_they_become(client: Any) -> None:
    plain = client.order("BUY", "0.01", price="58000")
    default = client.stop("BUY", "0.01", "61000", type="STOP", price="60900")
    chosen = client.stop("BUY", "0.01", "61000", type="STOP", price="60800", selfTradePreventionMode="EXPIRE_BOTH")
    assert plain["selfTradePreventionMode"] == "EXPIRE_MAKER"
    assert default["selfTradePreventionMode"] == "NONE"
    client.tick("61000")
    child = client.ok(
        "GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=_algo(client, chosen["algoId"])["actualOrderId"]
    )
    assert child["selfTradePreventionMode"] == "EXPIRE_BOTH"
    bad = client.stop_params("SELL", "0.01", "59000", selfTradePreventionMode="SOMETIMES")
    assert client.code("POST", ALGO, **bad) == -1130
