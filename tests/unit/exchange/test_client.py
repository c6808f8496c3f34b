"""The ccxt client goes where we point it, signs with our clock, and hides nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import ccxt.pro
import pytest
from aiohttp import web

from breakwater.exchange.client import Credentials, make_client
from breakwater.exchange.endpoints import BINANCE, NOWHERE, Endpoint, addresses
from breakwater.exchange.errors import Outcome, attempt
from breakwater.exchange.fence import AddressNotAllowedError, NotAllowedError, WireFence
from breakwater.exchange.parse import anything, parse_order
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


def test_every_url_of_ccxt_is_at_the_endpoint_or_leads_nowhere() -> None:
    client = make_client(MEMORY_ENDPOINT, None, WallInfraClock())
    known = dict(addresses(ccxt.pro.binanceusdm().urls))
    urls = dict(addresses(client.urls))
    assert len(known) > 60
    assert known.keys() - urls.keys() == {name for name in known if name.startswith(("urls.test.", "urls.demo."))}, (
        "an address was left out without being looked at"
    )
    used = {name for name, url in urls.items() if url.startswith(("http://venue.memory/", "ws://venue.memory/"))}
    assert used == {
        "urls.api.fapiPublic", "urls.api.fapiPublicV2", "urls.api.fapiPublicV3", "urls.api.fapiPrivate",
        "urls.api.fapiPrivateV2", "urls.api.fapiPrivateV3", "urls.api.fapiData", "urls.api.ws.linear", "urls.api.sapi",
    }  # fmt: skip
    assert {url for name, url in urls.items() if name not in used and not url.startswith(NOWHERE)} == set()
    assert client.urls["api"]["ws"]["linear"] == "ws://venue.memory/ws"


def test_client_for_binance_reaches_its_futures_and_the_permissions_of_its_key_only() -> None:
    client = make_client(BINANCE, None, WallInfraClock())
    assert client.urls["api"]["fapiPrivate"] == "https://fapi.binance.com/fapi/v1"
    assert client.urls["api"]["ws"]["linear"] == "wss://fstream.binance.com/ws"
    hosts = {urlsplit(url).hostname for _, url in addresses(client.urls)}
    assert hosts == {"fapi.binance.com", "fstream.binance.com", "api.binance.com", "nowhere.invalid"}
    client.fence.check("GET", "https://api.binance.com/sapi/v1/account/apiRestrictions?timestamp=1&signature=x")
    for method, url in (
        ("POST", "https://api.binance.com/sapi/v1/capital/withdraw/apply"),
        ("GET", "https://api.binance.com/sapi/v1/capital/config/getall"),
        ("GET", "https://dapi.binance.com/dapi/v1/time"),
        ("GET", "http://fapi.binance.com/fapi/v1/time"),
        ("GET", "https://fapi.binance.com.example.org/fapi/v1/time"),
        ("GET", "https://fapi.binance.com:8443/fapi/v1/time"),
    ):
        with pytest.raises(NotAllowedError, match="not an address of the configured venue"):
            client.fence.check(method, url)


def test_url_that_a_newer_ccxt_adds_is_refused_by_name() -> None:
    client = make_client(BINANCE, None, WallInfraClock())
    with pytest.raises(
        AddressNotAllowedError, match=r"urls\.api\.newThing of the exchange client is https://elsewhere"
    ):
        client.fence.check_table(
            {**client.urls, "api": {**client.urls["api"], "newThing": "https://elsewhere.example/v1"}}
        )


@pytest.mark.parametrize("handed_in", [False, True])
async def test_request_to_another_host_stops_at_the_socket(handed_in: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the table says and whoever made the session: the listener there never sees a request."""
    seen: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(request.path)
        return web.json_response({"serverTime": 1})

    async with _listening(answer) as elsewhere, _listening(answer) as venue:
        session = aiohttp.ClientSession() if handed_in else None
        client = make_client(Endpoint(venue, venue.replace("http", "ws")), None, WallInfraClock(), session=session)
        try:
            client.urls["api"]["fapiPublic"] = f"{elsewhere}/fapi/v1"
            client.urls["api"]["ws"]["linear"] = f"{elsewhere.replace('http', 'ws')}/ws"
            told = await attempt(client.fapiPublicGetTime(), anything)
            assert (told.outcome, type(told.error)) == (Outcome.NOT_SENT, NotAllowedError)
            monkeypatch.setattr(client.fence, "check", _twice(client.fence.check))  # the first look is the client's own
            late = await attempt(client.fapiPublicGetTime(), anything)
            assert not late.accepted
            assert "not an address of the configured venue" in f"{late.error!r} {late.error.__cause__!r}"  # type: ignore[union-attr]
            with pytest.raises((ccxt.BaseError, NotAllowedError, aiohttp.ClientError)):
                await client.session.ws_connect(f"{elsewhere.replace('http', 'ws')}/ws")
            assert seen == []
            client.urls["api"]["fapiPublic"] = f"{venue}/fapi/v1"
            monkeypatch.undo()
            assert (await attempt(client.fapiPublicGetTime(), anything)).accepted
            assert seen == ["/fapi/v1/time"]
        finally:
            await client.close()
            if session is not None:
                await session.close()


def _twice(check: Any) -> Any:
    calls = iter([False])

    def look(method: str, url: str) -> None:
        if next(calls, True):
            check(method, url)

    return look


@asynccontextmanager
async def _listening(answer: Any) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    await runner.cleanup()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/fapi/v3/account", True),
        ("POST", "/fapi/v1/order/test", True),
        ("PUT", "/fapi/v1/listenKey", True),
        ("POST", "/fapi/v1/order", False),
        ("POST", "/fapi/v1/order/test/../../order", False),
        ("PUT", "/fapi/v1/order", False),
        ("POST", "/fapi/v1/batchOrders", False),
        ("POST", "/fapi/v1/algoOrder", False),
        ("DELETE", "/fapi/v1/allOpenOrders", False),
        ("POST", "/fapi/v1/leverage", False),
        ("POST", "/fapi/v1/countdownCancelAll", False),
    ],
)
def test_fence_for_test_orders_lets_nothing_through_that_changes_anything(
    method: str, path: str, allowed: bool
) -> None:
    fence = WireFence([BINANCE], test_orders_only=True)
    if allowed:
        fence.check(method, f"https://fapi.binance.com{path}?signature=x")
        return
    with pytest.raises(NotAllowedError, match="Staging places, changes and cancels nothing"):
        fence.check(method, f"https://fapi.binance.com{path}?signature=x")


def test_fence_for_test_orders_keeps_the_socket_that_takes_orders_shut() -> None:
    fence = WireFence([Endpoint("http://a", "ws://a")], test_orders_only=True)
    fence.check("GET", "ws://a/private/ws?listenKey=k")
    with pytest.raises(NotAllowedError):
        fence.check("GET", "ws://a/ws-fapi/v1")


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

    with pytest.raises(NotAllowedError, match="not an address of the configured venue"):
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
