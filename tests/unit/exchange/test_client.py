"""The ccxt client goes where we point it, signs with our clock, and hides nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Any
from urllib.parse import urlencode

import pytest

from breakwater.exchange.client import Credentials, Endpoint, make_client
from breakwater.exchange.parse import parse_order
from breakwater.runtime.clocks import WallInfraClock
from breakwater.simulation.transport import MEMORY_ENDPOINT

ORDER = {
    "orderId": 7,
    "clientOrderId": "bw-1",
    "symbol": "BTCUSDT",
    "status": "FILLED",
    "type": "MARKET",
    "side": "BUY",
    "price": "0",
    "avgPrice": "112345.10000",
    "origQty": "0.123",
    "executedQty": "0.123",
    "cumQuote": "13818.44730",
    "timeInForce": "GTC",
    "reduceOnly": False,
    "positionSide": "BOTH",
    "stopPrice": "0",
    "updateTime": 1760126400000,
}


def _leaves(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [leaf for value in node.values() for leaf in _leaves(value)]
    return [str(node)]


async def test_every_url_of_a_pointed_client_is_at_the_endpoint() -> None:
    client = make_client(MEMORY_ENDPOINT, None, WallInfraClock())
    urls = _leaves(client.urls["api"])
    assert len(urls) > 20
    assert {url for url in urls if not url.startswith(("http://venue.memory/", "ws://venue.memory/"))} == set()
    assert not {"test", "demo"} & set(client.urls)
    assert client.urls["api"]["ws"]["linear"].endswith("/ws")


async def test_client_for_binance_keeps_its_urls() -> None:
    client = make_client(None, None, WallInfraClock())
    assert client.urls["api"]["fapiPrivate"] == "https://fapi.binance.com/fapi/v1"


@pytest.mark.parametrize(
    ("http_base", "ws_base"),
    [("127.0.0.1:9000", "ws://a"), ("http://a/fapi", "ws://a"), ("http://a", "http://a"), ("ws://a", "ws://a")],
)
def test_malformed_endpoint_is_refused_naming_the_field(http_base: str, ws_base: str) -> None:
    with pytest.raises(ValueError, match=r"(http|ws)_base .* no path"):
        Endpoint(http_base, ws_base)


def test_secret_does_not_show() -> None:
    assert "hush" not in repr(Credentials("key", "hush"))


def test_loading_markets_with_a_key_asks_for_exchange_info_only(play: Any) -> None:
    async def scene(bench: Any) -> list[str]:
        return [seen.path for seen in bench.venue.seen]

    assert play(scene) == ["/fapi/v1/exchangeInfo"]


def test_order_is_signed_with_virtual_time_and_carries_exact_numbers(play: Any) -> None:
    async def scene(bench: Any) -> tuple[Any, Any]:
        bench.venue.script["POST", "/fapi/v1/order"] = bench.canned(ORDER)
        await asyncio.sleep(3600)
        reply = await bench.client.create_order(
            "BTCUSDT", "limit", "buy", "0.123", "112345.1", {"newClientOrderId": "bw-1", "timeInForce": "IOC"}
        )
        return parse_order(reply), bench.venue.seen[-1]

    order, seen = play(scene)
    assert seen.params["timestamp"] == str(1760126400000 + 3_600_000)
    assert seen.now.wall_ms == 1760126400000 + 3_600_000
    unsigned = {name: value for name, value in seen.params.items() if name != "signature"}
    expected = hmac.new(b"secret", urlencode(unsigned).encode(), hashlib.sha256).hexdigest()
    assert seen.params["signature"] == expected
    assert (seen.params["quantity"], seen.params["price"]) == ("0.123", "112345.1")
    assert seen.params["newClientOrderId"] == "bw-1"
    assert str(order.average_price) == "112345.10000"


def test_request_to_another_host_raises(play: Any) -> None:
    async def scene(bench: Any) -> None:
        bench.client.urls["api"]["fapiPublic"] = "https://fapi.binance.com/fapi/v1"
        await bench.client.fetch_time()

    with pytest.raises(RuntimeError, match="nothing may leave"):
        play(scene)


def test_user_stream_delivers_to_ccxt_and_to_the_tap(play: Any) -> None:
    update = {
        "e": "ORDER_TRADE_UPDATE", "E": 1760126400100, "T": 1760126400099,
        "o": {
            "s": "BTCUSDT", "c": "bw-1", "S": "BUY", "o": "MARKET", "f": "GTC", "q": "0.123", "p": "0",
            "ap": "112345.1", "sp": "0", "x": "TRADE", "X": "FILLED", "i": 7, "l": "0.123", "z": "0.123",
            "L": "112345.1", "N": "USDT", "n": "5.5", "T": 1760126400099, "t": 99, "m": False, "R": False,
            "ps": "BOTH", "rp": "0",
        },
    }  # fmt: skip

    async def scene(bench: Any) -> tuple[Any, list[str], str, bool]:
        tapped: list[str] = []
        bench.client.tap = lambda message: tapped.append(message.get("e", ""))
        watch = asyncio.create_task(bench.client.watch_orders("BTCUSDT"))
        await asyncio.sleep(1)
        stream = bench.venue.streams[0]
        stream.say({"e": "listenKeyExpired", "E": 1760126400000, "listenKey": "key-1"})
        stream.say(update)
        orders = await watch
        await bench.client.close()
        await asyncio.sleep(1)
        return orders, tapped, stream.path, stream.closed

    orders, tapped, path, closed = play(scene)
    assert path == "/private/ws?listenKey=key-1"
    assert tapped == ["listenKeyExpired", "ORDER_TRADE_UPDATE"]
    assert orders[0]["clientOrderId"] == "bw-1"
    assert closed


def test_market_stream_subscribes_and_survives_a_cut(play: Any) -> None:
    def book(bid: str) -> dict[str, Any]:
        return {
            "e": "bookTicker", "u": 1, "s": "BTCUSDT", "b": bid, "B": "1", "a": "101", "A": "1",
            "T": 1760126400000, "E": 1760126400000,
        }  # fmt: skip

    async def scene(bench: Any) -> tuple[Any, Any, Any]:
        first = asyncio.create_task(bench.client.watch_bids_asks(["BTC/USDT:USDT"]))
        await asyncio.sleep(1)
        bench.venue.streams[0].say(book("99"))
        await first
        second = asyncio.create_task(bench.client.watch_bids_asks(["BTC/USDT:USDT"]))
        await asyncio.sleep(1)
        assert bench.session.drop_streams() == 1
        error: object = (await asyncio.gather(second, return_exceptions=True))[0]
        third = asyncio.create_task(bench.client.watch_bids_asks(["BTC/USDT:USDT"]))
        await asyncio.sleep(1)
        bench.venue.streams[1].say(book("98"))
        return bench.venue.streams[0].heard[0], error, await third

    heard, error, ticker = play(scene)
    assert (heard["method"], heard["params"]) == ("SUBSCRIBE", ["btcusdt@bookTicker"])
    assert type(error).__name__ == "NetworkError"
    assert ticker["BTC/USDT:USDT"]["bid"] == 98
