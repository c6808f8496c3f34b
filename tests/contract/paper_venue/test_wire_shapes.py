"""Keys of what the venue sends, compared with recorded and documented messages of the real exchange."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.paper_venue import events, wire
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import AlgoOrder, Now, Order, Trade

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "binance-futures"
pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"recorded messages are not at {FIXTURES}")


def _load(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


ORDER = Order(
    order_id=1,
    account="a",
    symbol="BTCUSDT",
    client_order_id="c",
    side="BUY",
    type="LIMIT",
    orig_type="LIMIT",
    time_in_force="GTC",
    price=Decimal(1),
    orig_qty=Decimal(1),
    reduce_only=False,
    time=1,
    update_time=1,
)
TRADE = Trade(
    trade_id=1,
    order_id=1,
    account="a",
    symbol="BTCUSDT",
    side="BUY",
    price=Decimal(1),
    qty=Decimal(1),
    quote_qty=Decimal(1),
    realized_pnl=Decimal(0),
    commission=Decimal(0),
    time=1,
    maker=False,
)


@pytest.mark.parametrize(
    "name", ["trade_reduce_only_qty", "new_reduce_only_qty", "liquidation", "settlement", "adl_filled"]
)
def test_order_trade_update_has_every_recorded_key(name: str) -> None:
    recorded = _load(f"ws/ws_futures_order_update_{name}.json")["data"]
    ours = events.order_trade_update(ORDER, "TRADE", 1, TRADE)
    assert recorded.keys() <= ours.keys()
    assert set(recorded["o"]) <= set(ours["o"])
    for key, value in recorded["o"].items():
        if value is not None and ours["o"][key] is not None:
            assert type(ours["o"][key]) is type(value), key


@pytest.mark.parametrize("name", ["triggering", "triggered", "finished", "finished_canceled"])
def test_algo_update_has_exactly_the_recorded_keys(name: str) -> None:
    recorded = _load(f"ws/ws_futures_algo_update_{name}.json")["data"]
    algo = AlgoOrder(
        algo_id=1,
        account="a",
        symbol="DOGEUSDT",
        client_algo_id="c",
        side="BUY",
        order_type="STOP_MARKET",
        time_in_force="GTC",
        quantity=Decimal(38),
        price=Decimal(0),
        trigger_price=Decimal("0.13855"),
        reduce_only=False,
        close_position=False,
        create_time=1,
        update_time=1,
        status=recorded["o"]["X"],
        actual_order_id=int(recorded["o"]["ai"] or 0),
        actual_type="MARKET",
    )
    ours = events.algo_update(algo, 1)
    assert ours.keys() == recorded.keys()
    assert set(ours["o"]) == set(recorded["o"])
    for key, value in recorded["o"].items():
        assert type(ours["o"][key]) is type(value), key


def test_trade_row_has_exactly_the_recorded_keys() -> None:
    (recorded, *_) = _load("rest/http_futures_account_trades.json")
    assert wire.trade_json(TRADE).keys() == recorded.keys()


@pytest.mark.parametrize(
    ("path", "query", "name"),
    [
        ("/fapi/v1/ticker/bookTicker", "symbol=BTCUSDT", "book_ticker"),
        ("/fapi/v1/premiumIndex", "symbol=BTCUSDT", "premium_index"),
        ("/fapi/v1/ticker/24hr", "symbol=BTCUSDT", "ticker_24hr"),
        ("/fapi/v1/ticker/price", "symbol=BTCUSDT", "ticker_price"),
        ("/fapi/v1/exchangeInfo", "", "exchange_info"),
    ],
)
def test_market_reply_has_every_recorded_key(venue: PaperVenue, path: str, query: str, name: str) -> None:
    reply = venue.handle("GET", path, query, {}, b"", Now(2, 2)).json()
    recorded = _load(f"rest/http_futures_market_{name}.json")
    assert recorded.keys() <= reply.keys()
    if name == "exchange_info":
        missing = set(recorded["symbols"][0]) - set(reply["symbols"][0])
        assert missing <= {"settlePlan"}
        recorded_filters = {f["filterType"]: set(f) for f in recorded["symbols"][0]["filters"]}
        ours = {f["filterType"]: set(f) for f in reply["symbols"][0]["filters"]}
        assert recorded_filters == ours


def test_kline_row_has_as_many_fields_as_recorded(venue: PaperVenue) -> None:
    reply = venue.handle("GET", "/fapi/v1/klines", "symbol=BTCUSDT&interval=5m&limit=1", {}, b"", Now(2, 2)).json()
    (recorded,) = _load("rest/http_futures_market_klines.json")
    assert [type(x) for x in reply[0]] == [type(x) for x in recorded]
