"""Orders on a book of limited depth: what takers get, when resting orders trade, what everybody is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.paper_venue.config import AccountConfig, Fills, VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Now, Tick, VenueState

D = Decimal
THIN = replace(spec_for("BTCUSDT"), liquidity=D(100_000))
"""About 0.055 BTC on each level, one every 2 USDT."""


def levels(client: Any, side: str, count: int = 5) -> list[tuple[Decimal, Decimal]]:
    """From `GET /fapi/v1/depth`."""
    rows = client.ok("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=100)["bids" if side == "BUY" else "asks"]
    return [(D(price), D(quantity)) for price, quantity in rows[:count]]


def trades(client: Any) -> list[tuple[Decimal, Decimal]]:
    return [
        (D(row["price"]), D(row["qty"]))
        for row in client.ok("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", limit=1000)
    ]


def tick(client: Any, price: str, volume: str = "0", seconds: int = 1) -> None:
    client.market_ms += seconds * 1000
    client.venue.on_tick(Tick("BTCUSDT", client.market_ms, D(price), D(volume)), client.now)


@pytest.fixture
def thin(make_client: Callable[..., Any]) -> Any:
    return make_client(symbols=(THIN, spec_for("ETHUSDT")), fills=Fills.BOOK, balance=D(10_000_000))


@pytest.fixture
def desks(client: Any) -> tuple[Any, Any]:
    """Two accounts on one thin book at 60,000, each with a client of its own."""
    accounts = tuple(AccountConfig(name, f"{name}-key", f"{name}-secret", D(100_000)) for name in ("one", "two"))
    venue = PaperVenue(VenueConfig(symbols=(THIN,), accounts=accounts, fills=Fills.BOOK))
    one, two = (type(client)(venue, f"{name}-key", f"{name}-secret") for name in ("one", "two"))
    tick(one, "60000")
    two.market_ms = one.market_ms
    return one, two


# -- takers ----------------------------------------------------------------------------------------------------


def test_market_order_above_the_top_level_is_filled_in_parts_at_worsening_prices(thin: Any) -> None:
    shown = levels(thin, "SELL")
    wanted = shown[0][1] + shown[1][1] + D("0.010")
    order = thin.order("BUY", str(wanted))
    assert (order["status"], D(order["executedQty"])) == ("FILLED", wanted)
    assert trades(thin) == [shown[0], shown[1], (shown[2][0], D("0.010"))]
    rows = thin.ok("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    assert len({row["id"] for row in rows}) == 3
    assert {row["orderId"] for row in rows} == {order["orderId"]}
    assert D(order["cumQuote"]) == sum(price * quantity for price, quantity in trades(thin))


def test_every_part_of_a_fill_is_told_on_the_stream(thin: Any) -> None:
    events = thin.listen()
    thin.order("SELL", "0.150")
    told = [e["o"] for e in events if e["e"] == "ORDER_TRADE_UPDATE"]
    assert [o["x"] for o in told] == ["NEW"] + ["TRADE"] * (len(told) - 1)
    assert len(told) > 2
    assert [o["X"] for o in told[1:]] == ["PARTIALLY_FILLED"] * (len(told) - 2) + ["FILLED"]
    assert [(D(o["L"]), D(o["l"])) for o in told[1:]] == trades(thin)


def test_ioc_takes_what_its_limit_allows_and_the_rest_expires(thin: Any) -> None:
    shown = levels(thin, "SELL")
    order = thin.order("BUY", "0.500", price=str(shown[1][0]), timeInForce="IOC")
    assert order["status"] == "EXPIRED"
    assert trades(thin) == shown[:2]


def test_fok_that_does_not_fit_is_refused_and_takes_nothing(thin: Any) -> None:
    shown = levels(thin, "SELL")
    both = shown[0][1] + shown[1][1]
    params = thin.order_params("BUY", str(both + D("0.001")), price=str(shown[1][0]), timeInForce="FOK")
    assert thin.code("POST", "/fapi/v1/order", **params) == -5021
    assert levels(thin, "SELL") == shown
    order = thin.order("BUY", str(both), price=str(shown[1][0]), timeInForce="FOK")
    assert order["status"] == "FILLED"


def test_limit_order_takes_first_and_rests_with_what_is_left(thin: Any) -> None:
    shown = levels(thin, "SELL")
    order = thin.order("BUY", "0.200", price=str(shown[0][0]))
    assert (order["status"], D(order["executedQty"])) == ("PARTIALLY_FILLED", shown[0][1])
    (resting,) = thin.ok("GET", "/fapi/v1/openOrders")
    assert D(resting["origQty"]) - D(resting["executedQty"]) == D("0.200") - shown[0][1]


def test_market_order_beyond_the_percent_price_ends_there_and_the_rest_expires(thin: Any) -> None:
    thin.venue.change_symbol("BTCUSDT", multiplier_up=D("1.0002"))
    order = thin.order("BUY", "5")
    assert order["status"] == "EXPIRED"
    assert trades(thin)[-1][0] == D("60012")
    assert D(order["executedQty"]) == sum(quantity for _, quantity in trades(thin))


def test_market_order_whose_best_price_is_beyond_the_percent_price_is_refused(thin: Any) -> None:
    thin.venue.change_symbol("BTCUSDT", multiplier_up=D("1.00001"))
    params = thin.order_params("BUY", "0.010")
    assert thin.code("POST", "/fapi/v1/order", **params) == -4131
    thin.order("SELL", "0.010")


def test_market_order_is_held_to_the_margin_of_the_prices_it_would_pay(make_client: Callable[..., Any]) -> None:
    client = make_client(symbols=(THIN, spec_for("ETHUSDT")), fills=Fills.BOOK, balance=D(1_000))
    client.ok("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=100)
    # 1.666 BTC at 60,000 fit into 1,000 USDT at 100x; down the book they do not.
    assert client.code("POST", "/fapi/v1/order", **client.order_params("BUY", "1.666")) == -2019


def test_taken_quantity_is_gone_and_comes_back_with_time(thin: Any) -> None:
    shown = levels(thin, "SELL")
    thin.order("BUY", str(shown[0][1]))
    assert levels(thin, "SELL", 4) == shown[1:]
    thin.market_ms += 5_000
    half = levels(thin, "SELL", 1)
    assert half[0][0] == shown[0][0]
    assert shown[0][1] / 2 - D("0.001") <= half[0][1] <= shown[0][1] / 2
    thin.market_ms += 5_000
    assert levels(thin, "SELL") == shown


def test_level_that_the_price_has_passed_is_drawn_anew(thin: Any) -> None:
    shown = levels(thin, "SELL")
    thin.order("BUY", str(shown[0][1]))
    tick(thin, "60003")
    tick(thin, "60000")
    assert levels(thin, "SELL") == shown


# -- who rests -------------------------------------------------------------------------------------------------


def test_post_only_is_refused_where_it_would_cross_the_book_and_rests_inside_the_spread(thin: Any) -> None:
    best = levels(thin, "SELL", 1)[0][0]
    crossing = thin.order_params("BUY", "0.010", price=str(best), timeInForce="GTX")
    assert thin.code("POST", "/fapi/v1/order", **crossing) == -5022
    assert thin.order("BUY", "0.010", price=str(best - D("0.1")), timeInForce="GTX")["status"] == "NEW"


def test_resting_order_waits_for_the_queue_at_its_price(thin: Any) -> None:
    (price, ahead), *_ = levels(thin, "BUY")
    thin.order("BUY", "0.100", price=str(price))
    tick(thin, str(price))
    assert trades(thin) == []  # a tick that tells no volume fills nobody at its very price
    tick(thin, str(price), str(ahead - D("0.010")))
    assert trades(thin) == []
    tick(thin, str(price), "0.040")
    assert trades(thin) == [(price, D("0.030"))]
    tick(thin, str(price), "1")
    assert sum(quantity for _, quantity in trades(thin)) == D("0.100")
    assert thin.ok("GET", "/fapi/v1/openOrders") == []


def test_amended_order_goes_to_the_back_of_the_queue(thin: Any) -> None:
    (price, ahead), *_ = levels(thin, "BUY")
    order = thin.order("BUY", "0.100", price=str(price))
    tick(thin, str(price), str(ahead))
    tick(thin, "60000")
    thin.ok(
        "PUT", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", orderId=order["orderId"], quantity="0.090", price=price
    )
    tick(thin, str(price), str(ahead - D("0.010")))
    assert trades(thin) == []


def test_tick_through_a_resting_order_fills_as_much_as_passes_it(thin: Any) -> None:
    thin.order("BUY", "1.000", price="59990")
    tick(thin, "59987")
    passing = D("0")
    for price, quantity in trades(thin):
        assert price == D("59990")
        passing += quantity
    assert D("0.050") < passing < D("0.200")
    (resting,) = thin.ok("GET", "/fapi/v1/openOrders")
    assert (resting["status"], D(resting["executedQty"])) == ("PARTIALLY_FILLED", passing)
    # What passed is gone: a taker finds the book above the order's price only.
    assert levels(thin, "SELL", 1)[0][0] > D("59990")
    tick(thin, "59900")
    assert thin.ok("GET", "/fapi/v1/openOrders") == []


def test_price_that_went_through_leaves_nobody_ahead(thin: Any) -> None:
    (price, ahead), *_ = levels(thin, "BUY")
    thin.order("BUY", "1.000", price=str(price))
    tick(thin, str(price - 4))
    passed = thin.position()
    assert 0 < passed < 1
    tick(thin, str(price), "0.010")
    assert ahead > D("0.010")
    assert thin.position() == passed + D("0.010")


def test_better_price_is_served_before_the_older_order(desks: tuple[Any, Any]) -> None:
    one, two = desks
    one.order("BUY", "1.000", price="59989")
    two.order("BUY", "1.000", price="59990")
    tick(one, "59985")
    # Three levels pass the better price, two of them the other as well: the first in line takes them all.
    assert (trades(one), len(trades(two))) == ([], 1)


def test_volume_of_a_tick_is_shared_by_those_who_wait(desks: tuple[Any, Any]) -> None:
    one, two = desks
    one.order("BUY", "0.100", price="59999")
    two.order("BUY", "0.100", price="59999")
    tick(one, "59999", "0.150")
    assert (one.position(), two.position()) == (D("0.100"), D("0.050"))


def test_stop_market_in_a_thin_book_is_filled_in_parts_and_finished(thin: Any) -> None:
    thin.order("BUY", "0.300")
    thin.stop("SELL", "0.300", "59000", reduceOnly=True)
    tick(thin, "58990")
    assert thin.position() == 0
    (algo,) = thin.ok("GET", "/fapi/v1/allAlgoOrders", symbol="BTCUSDT")
    child = thin.ok("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=algo["actualOrderId"])
    assert (algo["algoStatus"], child["status"]) == ("FINISHED", "FILLED")
    parts = [price for price, _ in trades(thin) if price < D(59000)]
    assert len(parts) > 2
    assert parts == sorted(parts, reverse=True)


def test_stop_that_finds_nobody_within_the_percent_price_is_rejected(thin: Any) -> None:
    thin.order("BUY", "0.100")
    thin.stop("SELL", "0.100", "59000", reduceOnly=True)
    thin.venue.change_symbol("BTCUSDT", multiplier_down=D("0.99999"))
    tick(thin, "58990")
    (algo,) = thin.ok("GET", "/fapi/v1/allAlgoOrders", symbol="BTCUSDT")
    assert algo["algoStatus"] == "REJECTED"
    assert thin.position() == D("0.100")


# -- what is shown, and to whom ----------------------------------------------------------------------------------


def test_book_ticker_and_depth_show_the_levels_that_fills_are_made_from(thin: Any) -> None:
    seen: list[dict[str, Any]] = []
    session = thin.venue.open_stream("/public/ws/1", thin.now, lambda text: seen.append(json.loads(text)))
    session.receive('{"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 1}')
    tick(thin, "60000")
    ticker = thin.ok("GET", "/fapi/v1/ticker/bookTicker", symbol="BTCUSDT")
    best_bid, best_ask = levels(thin, "BUY", 1)[0], levels(thin, "SELL", 1)[0]
    assert (D(ticker["bidPrice"]), D(ticker["bidQty"])) == best_bid
    assert (D(ticker["askPrice"]), D(ticker["askQty"])) == best_ask
    assert [(D(e["b"]), D(e["B"]), D(e["a"]), D(e["A"])) for e in seen if e.get("e") == "bookTicker"] == [
        (*best_bid, *best_ask)
    ]
    assert thin.venue.levels("BTCUSDT", "SELL", 5) == levels(thin, "SELL")
    thin.order("SELL", str(best_bid[1]))
    assert trades(thin) == [best_bid]


def test_two_accounts_trade_on_one_book_and_see_only_their_own(desks: tuple[Any, Any]) -> None:
    one, two = desks
    shown = levels(one, "SELL")
    one.order("BUY", str(shown[0][1] + D("0.010")))
    two.order("BUY", "0.020")
    assert trades(one) == [shown[0], (shown[1][0], D("0.010"))]
    assert trades(two) == [(shown[1][0], D("0.020"))]
    two.order("BUY", "0.010", price="59000")
    assert one.ok("GET", "/fapi/v1/openOrders") == []
    assert len(two.ok("GET", "/fapi/v1/openOrders")) == 1


def test_restart_keeps_everything_but_the_place_in_the_queue(
    thin: Any, continue_as: Callable[[PaperVenue, Any], Any]
) -> None:
    (price, ahead), *_ = levels(thin, "BUY")
    thin.order("BUY", "0.200", price=str(price))
    tick(thin, str(price), str(ahead + D("0.050")))
    done = trades(thin)
    assert done == [(price, D("0.050"))]
    saved = msgspec.json.decode(msgspec.json.encode(thin.venue.to_state()), type=VenueState)
    again = continue_as(PaperVenue.from_state(thin.venue.config, saved), thin)
    assert trades(again) == done
    assert again.venue.account_report("k").wallet == thin.venue.account_report("k").wallet
    (resting,) = again.ok("GET", "/fapi/v1/openOrders")
    assert D(resting["executedQty"]) == D("0.050")
    tick(again, str(price), "0.010")
    assert trades(again) == done
    tick(again, "59900")
    assert again.position() == D("0.200")


def test_price_far_away_from_where_the_book_was_drawn_has_a_book_too(thin: Any) -> None:
    for price in ("60000", "20000", "100000", "9"):
        tick(thin, price)
        (bid, _), (ask, _) = levels(thin, "BUY", 1)[0], levels(thin, "SELL", 1)[0]
        assert bid < D(price) < ask
        assert ask - bid <= max(D("0.2"), D(price) * D("0.0001"))


def test_market_that_has_not_spoken_has_no_book() -> None:
    venue = PaperVenue(VenueConfig(fills=Fills.BOOK))
    reply = venue.handle("GET", "/fapi/v1/depth", "symbol=BTCUSDT", {}, b"", Now(1, 1))
    assert reply.status != 200


# -- accounts meet -----------------------------------------------------------------------------------------------


def test_order_resting_inside_the_spread_is_shown_and_hit_by_another_account(desks: tuple[Any, Any]) -> None:
    one, two = desks
    one.order("BUY", "0.030", price="59999")
    assert levels(two, "BUY", 1) == [(D("59999"), D("0.030"))]
    (below, _) = levels(two, "BUY", 2)[1]
    order = two.order("SELL", "0.040")
    assert order["status"] == "FILLED"
    assert trades(two) == [(D("59999"), D("0.030")), (below, D("0.010"))]
    assert trades(one) == [(D("59999"), D("0.030"))]
    ours, theirs = (client.venue.to_state().trades[0] for client in (one, two))
    assert (ours.maker, theirs.account) == (True, "one")
    assert one.ok("GET", "/fapi/v1/openOrders") == []


def test_order_in_the_queue_of_a_level_is_hit_after_what_was_there_before(desks: tuple[Any, Any]) -> None:
    one, two = desks
    (price, ahead), *_ = levels(one, "BUY")
    one.order("BUY", "0.030", price=str(price))
    two.order("SELL", str(ahead - D("0.010")))
    assert trades(one) == []
    # What comes back to the level meanwhile stands behind the order.
    one.market_ms = two.market_ms = two.market_ms + 10_000
    two.order("SELL", "0.030")
    assert trades(one) == [(price, D("0.020"))]
    two.order("SELL", "0.020")
    assert sum(quantity for _, quantity in trades(one)) == D("0.030")
    assert trades(two)[-1] == (price, D("0.010"))


def test_post_only_order_is_refused_where_it_would_meet_another_account(desks: tuple[Any, Any]) -> None:
    one, two = desks
    one.order("BUY", "0.030", price="59999")
    params = two.order_params("SELL", "0.010", price="59999", timeInForce="GTX")
    assert two.code("POST", "/fapi/v1/order", **params) == -5022
    fok = two.order_params("SELL", "0.031", price="59999", timeInForce="FOK")
    assert two.code("POST", "/fapi/v1/order", **fok) == -5021
    assert two.order("SELL", "0.030", price="59999", timeInForce="FOK")["status"] == "FILLED"


@pytest.mark.parametrize(
    ("mode", "maker", "taker", "held"),
    [
        ("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "FILLED", "-0.010"),
        ("EXPIRE_TAKER", "NEW", "EXPIRED_IN_MATCH", "0"),
        ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH", "0"),
        ("NONE", "PARTIALLY_FILLED", "FILLED", "0"),
    ],
)
def test_account_that_would_trade_with_itself_is_prevented_as_it_asked(
    thin: Any, mode: str, maker: str, taker: str, held: str
) -> None:
    events = thin.listen()
    rests = thin.order("BUY", "0.030", price="59999")
    order = thin.order("SELL", "0.010", selfTradePreventionMode=mode)
    after = thin.ok("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=rests["orderId"])
    assert (after["status"], order["status"]) == (maker, taker)
    expired = [e["o"]["x"] for e in events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["X"] == "EXPIRED_IN_MATCH"]
    assert expired == ["EXPIRED"] * [maker, taker].count("EXPIRED_IN_MATCH")
    assert sum(t.qty if t.side == "BUY" else -t.qty for t in thin.venue.to_state().trades) == D(held)
