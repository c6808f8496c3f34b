"""Unmodified ccxt.pro listening over WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.http import VenueServer

BTC = "BTC/USDT:USDT"
Move = Callable[[str, str, int], None]


async def _first(venue: PaperVenue, stream: str, watch: Awaitable[Any], act: Callable[[], None]) -> Any:
    """Start watching, wait until the venue has the subscription, act, and return the first result."""
    task = asyncio.ensure_future(watch)
    async with asyncio.timeout(10):
        while not venue.streams.wants(stream) and not task.done():  # noqa: ASYNC110 - another program's subscription
            await asyncio.sleep(0.01)
        act()
        return await task


async def _user_stream(venue: PaperVenue, watch: Awaitable[Any], act: Callable[[], Awaitable[None]]) -> Any:
    task = asyncio.ensure_future(watch)
    async with asyncio.timeout(10):
        while not venue.streams.user_connections and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await act()
        return await task


async def test_watch_mark_price_delivers_the_tick(exchange: Any, venue: PaperVenue, move: Move) -> None:
    mark = await _first(
        venue, "btcusdt@markPrice@1s", exchange.watch_mark_price(BTC), lambda: move("BTCUSDT", "60123.4", 5)
    )
    assert mark["markPrice"] == 60123.4


async def test_watch_ohlcv_delivers_the_candle(exchange: Any, venue: PaperVenue, move: Move) -> None:
    candles = await _first(
        venue, "btcusdt@kline_5m", exchange.watch_ohlcv(BTC, "5m"), lambda: move("BTCUSDT", "60200", 5)
    )
    assert candles[-1][1:5] == [60000.0, 60200.0, 60000.0, 60200.0]


async def test_watch_ticker_bids_asks_and_trades_parse(exchange: Any, venue: PaperVenue, move: Move) -> None:
    ticker = await _first(venue, "btcusdt@miniTicker", exchange.watch_ticker(BTC), lambda: move("BTCUSDT", "60300", 5))
    assert ticker["last"] == 60300
    best = await _first(
        venue, "btcusdt@bookTicker", exchange.watch_bids_asks([BTC]), lambda: move("BTCUSDT", "60400", 10)
    )
    assert best[BTC]["bid"] == 60399.9
    trades = await _first(venue, "btcusdt@trade", exchange.watch_trades(BTC), lambda: move("BTCUSDT", "60500", 15))
    assert trades[-1]["price"] == 60500


async def test_watch_orders_follows_an_order_to_its_fill(exchange: Any, venue: PaperVenue) -> None:
    async def trade() -> None:
        await exchange.create_order(BTC, "market", "buy", 0.01, None, {"clientOrderId": "seen-1"})

    orders = await _user_stream(venue, exchange.watch_orders(BTC), trade)
    assert orders[-1]["clientOrderId"] == "seen-1"
    async with asyncio.timeout(5):
        while orders[-1]["status"] != "closed":
            orders = await exchange.watch_orders(BTC)
    assert orders[-1]["filled"] == 0.01
    assert orders[-1]["average"] == 60030.0


async def test_watch_my_trades_delivers_the_fill(exchange: Any, venue: PaperVenue) -> None:
    async def trade() -> None:
        await exchange.create_order(BTC, "market", "sell", 0.01)

    trades = await _user_stream(venue, exchange.watch_my_trades(BTC), trade)
    assert (trades[-1]["side"], trades[-1]["price"], trades[-1]["amount"]) == ("sell", 59970.0, 0.01)
    assert trades[-1]["fee"]["cost"] == pytest.approx(0.29985)


async def test_watch_balance_and_positions_parse(exchange: Any, venue: PaperVenue) -> None:
    async def trade() -> None:
        await exchange.create_order(BTC, "market", "buy", 0.01)

    exchange.options["watchPositions"] = {"fetchPositionsSnapshot": False}
    balance = asyncio.ensure_future(exchange.watch_balance())
    positions = await _user_stream(venue, exchange.watch_positions([BTC]), trade)
    assert positions[0]["contracts"] == 0.01
    async with asyncio.timeout(5):
        assert (await balance)["USDT"]["total"] == pytest.approx(14000 - 0.30015)


async def test_algo_order_life_is_reported_in_order(
    exchange: Any, venue: PaperVenue, server: VenueServer, move: Move
) -> None:
    key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
    events: list[dict[str, Any]] = []
    async with aiohttp.ClientSession() as session:
        url = f"{server.url}/private/ws?listenKey={key}".replace("http", "ws")
        async with session.ws_connect(url) as socket:
            await exchange.create_order(BTC, "market", "buy", 0.01)
            await exchange.create_order(
                BTC, "market", "sell", 0.01, None, {"stopLossPrice": 59000, "reduceOnly": True, "clientOrderId": "sl"}
            )
            move("BTCUSDT", "58000", 5)
            async with asyncio.timeout(5):
                while not events or events[-1].get("o", {}).get("X") != "FINISHED":
                    events.append(json.loads((await socket.receive()).data))
    seen = [(e["e"], e["o"]["X"]) if "o" in e else (e["e"],) for e in events]
    assert seen == [
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ACCOUNT_UPDATE",),
        ("ORDER_TRADE_UPDATE", "FILLED"),
        ("ALGO_UPDATE", "NEW"),
        ("ALGO_UPDATE", "TRIGGERING"),
        ("ALGO_UPDATE", "TRIGGERED"),
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ACCOUNT_UPDATE",),
        ("ORDER_TRADE_UPDATE", "FILLED"),
        ("ALGO_UPDATE", "FINISHED"),
    ]
    assert events[-1]["o"]["ai"] == str(events[-2]["o"]["i"])
    assert events[-1]["o"]["aq"] == "0.01"


async def test_bad_stream_messages_get_an_error_and_keep_the_connection(server: VenueServer) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{server.url}/ws".replace("http", "ws")) as socket:
            for text in (
                "not json",
                "[1]",
                '{"method":"SUBSCRIBE","id":1}',
                '{"method":"SUBSCRIBE","params":["dogeusdt@trade"],"id":2}',
            ):
                await socket.send_str(text)
                assert "error" in json.loads((await socket.receive()).data)
            await socket.send_str('{"method":"SUBSCRIBE","params":["btcusdt@markPrice"],"id":3}')
            assert json.loads((await socket.receive()).data) == {"result": None, "id": 3}
            await socket.send_str('{"method":"LIST_SUBSCRIPTIONS","id":4}')
            assert json.loads((await socket.receive()).data)["result"] == ["btcusdt@markPrice"]
        async with session.get(
            f"{server.url}/private/ws?listenKey=nothing",
            headers={
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            },
        ) as refused:
            assert refused.status == 400


async def test_combined_stream_wraps_events(venue: PaperVenue, server: VenueServer, move: Move) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{server.url}/market/stream?streams=btcusdt@kline_1m/ethusdt@markPrice".replace("http", "ws")
        ) as socket,
    ):
        move("BTCUSDT", "60010", 5)
        message = json.loads((await socket.receive()).data)
        assert message["stream"] == "btcusdt@kline_1m"
        assert message["data"]["k"]["c"] == "60010"
