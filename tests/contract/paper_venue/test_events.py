"""Each event of the streams, read by unmodified ccxt.pro and by the models of the exchange's own SDK."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from binance_sdk_derivatives_trading_usds_futures.websocket_streams import models as sdk_models
from tests.contract.paper_venue.endpoints import BTC

from breakwater.paper_venue.channels import OF_ALL, group_of
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Now

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class MarketRow:
    """An event of a market stream. `model` is the SDK's; None with a reason."""

    event: str
    stream: str
    watch: Callable[[Any], Awaitable[Any]] | None
    model: Any
    unsent: frozenset[str] = frozenset()
    why_no_model: str = ""


@dataclass(frozen=True)
class UserRow:
    """An event of the user stream. `act` brings it about; `watch` is None where ccxt.pro does nothing with it."""

    event: str
    act: Callable[[Any], Awaitable[Any]]
    watch: Callable[[Any], Awaitable[Any]] | None
    unsent: frozenset[str] = frozenset()
    why_unwatched: str = ""


MARKET = (
    MarketRow(
        "kline",
        "btcusdt@kline_5m",
        lambda x: x.watch_ohlcv(BTC, "5m"),
        sdk_models.KlineCandlestickStreamsResponse,
    ),
    MarketRow(
        "markPriceUpdate",
        "btcusdt@markPrice@1s",
        lambda x: x.watch_mark_price(BTC),
        sdk_models.MarkPriceStreamResponse,
    ),
    MarketRow(
        "bookTicker",
        "btcusdt@bookTicker",
        lambda x: x.watch_bids_asks([BTC]),
        sdk_models.IndividualSymbolBookTickerStreamsResponse,
    ),
    MarketRow(
        "24hrMiniTicker",
        "btcusdt@miniTicker",
        lambda x: x.watch_ticker(BTC),
        sdk_models.IndividualSymbolMiniTickerStreamResponse,
    ),
    MarketRow(
        "24hrTicker",
        "btcusdt@ticker",
        lambda x: x.watch_ticker(BTC, {"name": "ticker"}),
        sdk_models.IndividualSymbolTickerStreamsResponse,
    ),
    MarketRow(
        "aggTrade",
        "btcusdt@aggTrade",
        lambda x: x.watch_trades(BTC, params={"name": "aggTrade"}),
        sdk_models.AggregateTradeStreamsResponse,
    ),
    MarketRow(
        "depthUpdate",
        "btcusdt@depth",
        lambda x: x.watch_order_book(BTC),
        sdk_models.DiffBookDepthStreamsResponse,
    ),
    MarketRow(
        "depthUpdate",
        "btcusdt@depth20@100ms",
        None,
        sdk_models.PartialBookDepthStreamsResponse,
    ),
    MarketRow(
        "trade",
        "btcusdt@trade",
        lambda x: x.watch_trades(BTC),
        None,
        why_no_model="the SDK has no model for single trades",
    ),
)
USER = (
    UserRow(
        "ORDER_TRADE_UPDATE",
        lambda x: x.create_order(BTC, "market", "buy", 0.01),
        lambda x: x.watch_orders(BTC),
        frozenset({"M"}),
    ),
    UserRow(
        "ALGO_UPDATE",
        lambda x: x.create_order(BTC, "market", "buy", 0.01, None, {"triggerPrice": 61_000}),
        lambda x: x.watch_orders(BTC),
        frozenset({"act", "ap", "aq", "ia", "rm"}),
    ),
    UserRow(
        "ACCOUNT_UPDATE",
        lambda x: x.create_order(BTC, "market", "buy", 0.01),
        lambda x: x.watch_balance(),
        frozenset({"S"}),
    ),
    UserRow(
        "ACCOUNT_CONFIG_UPDATE",
        lambda x: x.set_leverage(7, BTC),
        None,
        frozenset({"ai"}),
        why_unwatched="ccxt.pro drops it; execution reads the account's settings every minute",
    ),
    UserRow(
        "listenKeyExpired",
        lambda x: x.fetch_time(),
        None,
        why_unwatched="ccxt.pro drops it; the desk's own keeper acts on it",
    ),
)
PROMISED = {"ORDER_TRADE_UPDATE", "ALGO_UPDATE", "ACCOUNT_UPDATE", "kline", "markPriceUpdate", "bookTicker"}
PROMISED |= {"listenKeyExpired"}


def listen(venue: PaperVenue, path: str) -> list[dict[str, Any]]:
    """All messages of a connection from now on."""
    seen: list[dict[str, Any]] = []
    market_ms = venue.to_state().market_ms
    venue.open_stream(path, Now(market_ms, round(time.time() * 1000)), lambda text: seen.append(json.loads(text)))
    return seen


def unsent(model: Any, raw: dict[str, Any]) -> set[str]:
    """Fields that an SDK model knows and a message does not have, at any depth of plain objects."""
    missing = set()
    for name, field in type(model).model_fields.items():
        if name == "additional_properties":
            continue
        wire = field.alias or name
        value = getattr(model, name)
        if wire not in raw:
            missing.add(wire)
        elif isinstance(raw[wire], dict) and hasattr(type(value), "model_fields"):
            missing |= unsent(value, raw[wire])
    return missing


def test_every_promised_event_is_in_the_tables() -> None:
    assert {row.event for row in (*MARKET, *USER)} >= PROMISED
    assert [row.event for row in MARKET if (row.model is None) != bool(row.why_no_model)] == []
    assert [row.event for row in USER if (row.watch is None) != bool(row.why_unwatched)] == []


@pytest.mark.parametrize("row", [row for row in MARKET if row.model], ids=lambda row: row.stream)
def test_sdk_models_accept_the_market_event(
    row: MarketRow, venue: PaperVenue, move: Callable[[str, str, int], None]
) -> None:
    group = group_of(row.stream.partition("@")[2])
    assert group is not None
    seen = listen(venue, f"/{group}/ws/{row.stream}")
    move("BTCUSDT", "60100", 5)
    (raw,) = seen
    assert raw["e"] == row.event
    assert unsent(row.model.from_dict(raw), raw) == row.unsent


@pytest.mark.parametrize("row", [row for row in MARKET if row.watch], ids=lambda row: row.stream)
async def test_ccxt_reads_the_market_event(
    row: MarketRow, exchange: Any, venue: PaperVenue, move: Callable[[str, str, int], None]
) -> None:
    assert row.watch is not None
    task = asyncio.ensure_future(row.watch(exchange))
    async with asyncio.timeout(10):
        while not venue.streams.wants(row.stream) and not task.done():  # noqa: ASYNC110 - another program's subscription
            await asyncio.sleep(0.01)
        move("BTCUSDT", "60100", 5)
        parsed = await task
    assert "60100" in json.dumps(parsed) or "60099" in json.dumps(parsed)


@pytest.mark.parametrize("row", USER, ids=lambda row: row.event)
async def test_sdk_models_accept_the_user_event(row: UserRow, exchange: Any, venue: PaperVenue) -> None:
    key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
    seen = listen(venue, f"/private/ws?listenKey={key}")
    if row.event == "listenKeyExpired":
        state = venue.to_state().accounts["desk"]
        state.listen_key_expires_wall -= 2 * HOUR_MS
    await row.act(exchange)
    raw = next(message for message in seen if message["e"] == row.event)
    routed = sdk_models.UserDataStreamEventsResponse.model_validate(raw).actual_instance
    assert type(routed).__name__.lower() == row.event.replace("_", "").lower()
    assert unsent(routed, raw) == row.unsent


@pytest.mark.parametrize("row", [row for row in USER if row.watch], ids=lambda row: row.event)
async def test_ccxt_reads_the_user_event(row: UserRow, exchange: Any, venue: PaperVenue) -> None:
    assert row.watch is not None
    task = asyncio.ensure_future(row.watch(exchange))
    async with asyncio.timeout(10):
        while not venue.streams.user_connections and not task.done():  # noqa: ASYNC110 - another program's subscription
            await asyncio.sleep(0.01)
        await row.act(exchange)
        assert await task


ALL_SYMBOLS = (
    ("!bookTicker", sdk_models.AllBookTickersStreamResponse, lambda x: x.watch_bids_asks()),
    ("!markPrice@arr@1s", sdk_models.MarkPriceStreamForAllMarketResponseInner, lambda x: x.watch_mark_prices()),
    ("!miniTicker@arr", sdk_models.AllMarketMiniTickersStreamResponseInner, lambda x: x.watch_tickers()),
    (
        "!ticker@arr",
        sdk_models.AllMarketTickersStreamsResponseInner,
        lambda x: x.watch_tickers(None, {"name": "ticker"}),
    ),
)


@pytest.mark.parametrize(
    ("stream", "model", "watch"), ALL_SYMBOLS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_stream_of_all_symbols_is_read_by_the_sdk_and_by_ccxt(
    stream: str, model: Any, watch: Any, exchange: Any, venue: PaperVenue, move: Callable[[str, str, int], None]
) -> None:
    seen = listen(venue, f"/{OF_ALL[stream]}/ws/{stream}")
    task = asyncio.ensure_future(watch(exchange)) if watch else None
    async with asyncio.timeout(10):
        while task is not None and venue.streams.listeners(stream) < 2 and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        move("BTCUSDT", "60100", 5)
        parsed = await task if task else {}
    (raw,) = seen
    if isinstance(raw, list):
        assert {row["s"] for row in raw} == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
        assert [unsent(model.from_dict(row), row) for row in raw] == [set()] * 3
    else:
        assert unsent(model.from_dict(raw), raw) == set()
    assert not watch or BTC in parsed


@pytest.mark.parametrize("stream", ["btcusdt@forceOrder", "!forceOrder@arr"])
async def test_liquidation_is_told_to_everybody(
    stream: str, exchange: Any, venue: PaperVenue, move: Callable[[str, str, int], None]
) -> None:
    seen = listen(venue, f"/market/ws/{stream}")
    await exchange.set_leverage(100, BTC)
    await exchange.create_order(BTC, "market", "buy", 10)
    watching = asyncio.ensure_future(exchange.watch_liquidations(BTC))
    async with asyncio.timeout(10):
        while venue.streams.listeners("btcusdt@forceOrder") < (2 if "btc" in stream else 1):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        move("BTCUSDT", "50000", 5)
        (parsed,) = await watching
    model = sdk_models.LiquidationOrderStreamsResponse.from_dict(seen[0])
    assert unsent(model, seen[0]) == set()
    assert (parsed["symbol"], seen[0]["o"]["S"]) == (BTC, "SELL")


async def test_margin_call_is_read_by_the_sdk(
    connect: Callable[..., Any], venue: PaperVenue, move: Callable[[str, str, int], None]
) -> None:
    """ccxt.pro drops it."""
    other = connect("other-key", "other-secret")
    await other.load_markets()
    key = (await other.fapiPrivatePostListenKey())["listenKey"]
    await other.create_order(BTC, "market", "buy", 0.1)
    (position,) = await other.fetch_positions([BTC])
    seen = listen(venue, f"/private/ws?listenKey={key}")
    move("BTCUSDT", str(round(position["liquidationPrice"] + 20, 1)), 5)
    (raw,) = seen
    routed = sdk_models.UserDataStreamEventsResponse.model_validate(raw).actual_instance
    assert type(routed) is sdk_models.MarginCall
    assert unsent(routed, raw) == set()
    assert [unsent(sdk_models.MarginCallPInner.from_dict(row), row) for row in raw["p"]] == [set()]


async def test_order_book_that_ccxt_keeps_from_changes_is_the_venues_own(
    exchange: Any, venue: PaperVenue, move: Callable[[str, str, int], None]
) -> None:
    watching = asyncio.ensure_future(exchange.watch_order_book(BTC))
    async with asyncio.timeout(20):
        await watching
        for seconds in range(1, 20):
            again = asyncio.ensure_future(exchange.watch_order_book(BTC))
            await asyncio.sleep(0.02)
            move("BTCUSDT", str(60_000 + 7 * seconds), seconds)
            book = await again
    shown = await exchange.fapiPublicGetDepth({"symbol": "BTCUSDT", "limit": 1000})
    for side in ("bids", "asks"):
        theirs = [[float(price), float(amount)] for price, amount in shown[side]]
        assert [list(level[:2]) for level in book[side]] == theirs
