from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

ORDER = "/fapi/v1/order"
Make = Callable[..., Any]


def test_taker_price_is_rounded_against_the_taker(client: Any) -> None:
    client.tick("60000.1")
    assert client.order("BUY", "0.01")["avgPrice"] == "60030.2"  # 60030.10005 up
    assert client.order("SELL", "0.01")["avgPrice"] == "59970"  # 59970.09995 down


def test_ack_reply_shows_the_order_before_its_fill(client: Any) -> None:
    reply = client.order("BUY", "0.01", newOrderRespType="ACK")
    assert (reply["status"], reply["executedQty"]) == ("NEW", "0")
    assert client.position() == Decimal("0.01")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"price": "59000.05"}, -4014),
        ({"price": "0"}, -4001),
        ({"price": "1e4"}, -1100),
        ({"price": "63500"}, -4016),
        ({"quantity": "0.0001"}, -1111),
        ({"quantity": "0"}, -4003),
        ({"quantity": "121"}, -4005),
        ({"quantity": "-1"}, -1100),
        ({"quantity": "NaN"}, -1100),
        ({"quantity": ""}, -1102),
        ({"quantity": "0.001"}, -4164),
        ({"symbol": "NOPEUSDT"}, -1121),
        ({"symbol": ""}, -1102),
        ({"side": "LONG"}, -1117),
        ({"type": "TWAP"}, -1116),
        ({"type": "STOP_MARKET"}, -4120),
        ({"type": "TRAILING_STOP_MARKET"}, -4120),
        ({"price": "59000", "timeInForce": "DAY"}, -1115),
        ({"newClientOrderId": "x" * 37}, -4015),
        ({"newClientOrderId": "späte order"}, -1100),
        ({"reduceOnly": "maybe"}, -1102),
        ({"reduceOnly": True}, -2022),
        ({"quantity": "5"}, -2019),
        ({"positionSide": "LONG"}, -4061),
        ({"symbol": "SOLUSDT", "quantity": "1"}, -4031),
    ],
)
def test_bad_order_is_refused_with_its_code_and_changes_nothing(
    client: Any, params: dict[str, object], code: int
) -> None:
    request = client.order_params("BUY", "0.01") | params
    if "price" in params:
        request |= {"type": "LIMIT", "timeInForce": params.get("timeInForce", "GTC")}
    assert client.code("POST", ORDER, **request) == code
    report = client.venue.account_report("k")
    assert (report.wallet, report.open_orders, report.fills) == (Decimal(14000), (), 0)
    assert len(client.venue.audit) == 0


def test_position_above_the_bracket_of_the_leverage_is_refused(make_client: Make) -> None:
    client = make_client(balance=Decimal(1_000_000))
    client.ok("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=125)
    assert client.code("POST", ORDER, **client.order_params("BUY", "6")) == -2027


def test_limit_fills_at_its_price_when_a_tick_touches_it(client: Any) -> None:
    order = client.order("BUY", "0.01", price="59500")
    client.tick("59500.1")
    assert client.ok("GET", ORDER, symbol="BTCUSDT", orderId=order["orderId"])["status"] == "NEW"
    client.tick("59500")
    done = client.ok("GET", ORDER, symbol="BTCUSDT", orderId=order["orderId"])
    assert (done["status"], done["avgPrice"]) == ("FILLED", "59500")
    (trade,) = client.ok("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    assert trade["maker"] is True
    assert Decimal(trade["commission"]) == Decimal("59500") * Decimal("0.01") * Decimal("0.0002")


def test_post_only_and_fill_or_kill_refusals_leave_no_order(client: Any) -> None:
    for time_in_force, price, code in (("GTX", "60010", -5022), ("FOK", "60010", -5021)):
        params = client.order_params("BUY", "0.01", price=price, timeInForce=time_in_force)
        assert client.code("POST", ORDER, **params) == code
    assert client.ok("GET", "/fapi/v1/allOrders", symbol="BTCUSDT") == []
    assert client.order("BUY", "0.01", price="59990", timeInForce="GTX")["status"] == "NEW"
    assert client.order("BUY", "0.01", price="60030", timeInForce="FOK")["status"] == "FILLED"


def test_reduce_only_limit_expires_when_the_position_is_gone(client: Any) -> None:
    client.order("BUY", "0.02")
    resting = client.order("SELL", "0.02", price="62000", reduceOnly=True)
    client.order("SELL", "0.02", reduceOnly=True)
    after = client.ok("GET", ORDER, symbol="BTCUSDT", orderId=resting["orderId"])
    assert after["status"] == "EXPIRED"


def test_reduce_only_never_flips_the_position(client: Any) -> None:
    client.order("BUY", "0.02")
    client.order("SELL", "0.02", price="62000", reduceOnly=True)
    client.order("SELL", "0.01", price="61000", reduceOnly=True)
    client.tick("63000")
    assert client.position() == 0


def test_flip_realises_the_old_position_and_opens_the_rest(client: Any) -> None:
    client.order("BUY", "0.01")
    client.order("SELL", "0.03")
    assert client.position() == Decimal("-0.02")
    report = client.venue.account_report("k")
    assert report.realized_total == Decimal("0.01") * (Decimal("59970") - Decimal("60030"))
    assert report.positions[0].entry_price == Decimal("59970")


def test_working_orders_lock_margin(client: Any) -> None:
    client.ok("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=10)
    client.order("BUY", "1", price="59000")
    account = client.ok("GET", "/fapi/v3/account")
    assert Decimal(account["totalOpenOrderInitialMargin"]) == Decimal(5900)
    assert Decimal(account["availableBalance"]) == Decimal(8100)
    params = client.order_params("BUY", "1.5", price="59000")
    assert client.code("POST", ORDER, **params) == -2019
    # The other side needs nothing more until it is the larger one.
    client.order("SELL", "0.9", price="61000")


def test_audit_tells_risk_increasing_orders_from_reducing_ones(client: Any) -> None:
    client.order("BUY", "0.02")
    client.order("SELL", "0.01")
    client.order("SELL", "0.01", reduceOnly=True)
    trip = client.market_ms + 1
    client.market_ms = trip
    client.order("SELL", "0.01", price="62000")
    client.stop("SELL", "0.01", "59000", reduceOnly=True)
    everything = list(client.venue.audit)
    assert [r.risk_increasing for r in everything] == [True, False, False, True, False]
    assert everything[0].filled_qty == Decimal("0.02")
    assert [r.kind for r in client.venue.audit.accepted_orders(trip)] == ["order", "algo"]
    assert len(client.venue.audit.risk_increasing_since(trip)) == 1


def test_order_test_endpoint_checks_and_records_nothing(client: Any) -> None:
    assert client.ok("POST", "/fapi/v1/order/test", **client.order_params("BUY", "0.01")) == {}
    assert client.code("POST", "/fapi/v1/order/test", **client.order_params("BUY", "9")) == -2019
    assert client.position() == 0


def test_dead_man_switch_cancels_plain_orders_and_optionally_stops(make_client: Make) -> None:
    for cancels, left in ((False, 1), (True, 0)):
        client = make_client(countdown_cancels_algo_orders=cancels)
        client.order("BUY", "0.01", price="59000")
        client.stop("BUY", "0.01", "61000")
        client.ok("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=1000)
        client.tick("60000", seconds=5)
        assert len(client.ok("GET", "/fapi/v1/openOrders")) == 1
        client.tick("60000", seconds=10)
        assert client.ok("GET", "/fapi/v1/openOrders") == []
        assert len(client.ok("GET", "/fapi/v1/openAlgoOrders")) == left


def test_partial_fill_model_leaves_the_rest_as_the_time_in_force_says() -> None:
    from breakwater.paper_venue.config import AccountConfig, VenueConfig
    from breakwater.paper_venue.core import PaperVenue
    from breakwater.paper_venue.matching import FullFill
    from breakwater.paper_venue.model import Now, Tick
    from breakwater.paper_venue.orders import NewOrder

    class Half(FullFill):
        def offered(self, spec: Any, side: str, quantity: Decimal, limit: Any, present: Any) -> Any:
            return super().offered(spec, side, min(quantity, Decimal("0.005")), limit, present)

    config = VenueConfig(accounts=(AccountConfig("desk", "k", "s"),))
    venue = PaperVenue(config, fill_model=Half(config))
    venue.on_tick(Tick("BTCUSDT", 1, Decimal(60000)), Now(1, 1))
    account = venue.ledger.account("desk")
    request = NewOrder("BTCUSDT", "BUY", "LIMIT", Decimal("0.01"), Decimal(60100), "IOC")
    _, ioc = venue._orders.place(account, request, Now(2, 2))
    assert (ioc.status, ioc.executed_qty) == ("EXPIRED", Decimal("0.005"))
    request = NewOrder("BTCUSDT", "BUY", "LIMIT", Decimal("0.01"), Decimal(60100), "GTC")
    _, gtc = venue._orders.place(account, request, Now(3, 3))
    assert (gtc.status, gtc.executed_qty) == ("PARTIALLY_FILLED", Decimal("0.005"))
    venue.on_tick(Tick("BTCUSDT", 4, Decimal(60000)), Now(4, 4))
    assert gtc.status == "FILLED"
