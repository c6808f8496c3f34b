"""Everything we ask of the venue's market data, through the unmodified ccxt client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

import ccxt

from breakwater.domain.ids import Symbol
from breakwater.domain.instruments import Instrument
from breakwater.exchange.client import UsdmClient, hang_up
from breakwater.exchange.parse import parse_instrument, parse_leverage_brackets
from breakwater.exchange.reader import Reader, VenueReplyError, readers
from breakwater.market_data.parse import (
    INTERVAL,
    INTERVALS,
    DayVolume,
    Quote,
    parse_day_volume,
    parse_klines,
    parse_market_message,
    parse_quote,
)
from breakwater.runtime.events import CandleClosed, MarkPrice

MOST_KLINES = 1000
MOST_SINGLE_QUOTES = 2
"""Quotes asked for one by one (weight 2 each); from one more on, all symbols of the venue at once weigh less (5)."""

T = TypeVar("T")


class FeedError(Exception):
    """The venue did not answer, or not sensibly; try again later."""


class Feed:
    """Market data of one client, which must be this feed's own: it takes the client's message tap.

    ``deliver`` gets every single mark price and closed candle: ccxt itself hands out only the newest of messages that
    arrive together. ``reject`` gets a sentence about each message that makes no sense. Neither may raise.
    """

    def __init__(
        self,
        client: UsdmClient,
        deliver: Callable[[MarkPrice | CandleClosed], None],
        reject: Callable[[str], None],
    ) -> None:
        self._client = client
        self._deliver = deliver
        self._reject = reject
        client.tap = self._on_message

    async def load_instruments(self) -> list[Instrument]:
        """Trading rules of every symbol; leverage brackets too when the client has a key. Raises FeedError."""
        await self._call(self._client.load_markets())
        brackets = {}
        if self._client.apiKey:
            brackets = parse_leverage_brackets(await self._call(self._client.fapiPrivateGetLeverageBracket()))
        instruments = []
        for market in self._client.markets.values():
            if not (market["swap"] and market["linear"]):
                continue
            try:
                symbol = Symbol(market["id"])
                instruments.append(parse_instrument(market, brackets.get(symbol, ())))
            except VenueReplyError as error:
                self._reject(str(error))
        return instruments

    async def history(self, symbol: Symbol, count: int, now: datetime) -> list[CandleClosed]:
        """The last ``count`` closed candles before ``now``, oldest first. Raises FeedError."""
        params = {"symbol": symbol, "interval": INTERVAL, "limit": min(count + 1, MOST_KLINES)}
        reply = await self._call(self._client.fapiPublicGetKlines(params))
        try:
            return parse_klines(reply, symbol, INTERVALS[INTERVAL], now)[-count:]
        except VenueReplyError as error:
            raise FeedError(str(error)) from error

    async def quotes(self, symbols: Collection[Symbol]) -> list[Quote]:
        """Best bid and ask of each of ``symbols`` now. One that makes no sense is rejected and left out. Raises FeedError."""
        if len(symbols) > MOST_SINGLE_QUOTES:
            rows = await self._call(self._client.fapiPublicGetTickerBookTicker())
        else:
            rows = [
                await self._call(self._client.fapiPublicGetTickerBookTicker({"symbol": symbol})) for symbol in symbols
            ]
        return self._sensible(rows, symbols, parse_quote)

    async def day_volumes(self, symbols: Collection[Symbol]) -> list[DayVolume]:
        """What was traded of each of ``symbols`` in the last 24 h, as `quotes`."""
        rows = [await self._call(self._client.fapiPublicGetTicker24hr({"symbol": symbol})) for symbol in symbols]
        return self._sensible(rows, symbols, parse_day_volume)

    def _sensible(self, rows: object, symbols: Collection[Symbol], parse: Callable[[Reader], T]) -> list[T]:
        found = []
        try:
            for row in readers(rows, "ticker"):
                if row.raw.get("symbol") in symbols:
                    try:
                        found.append(parse(row))
                    except VenueReplyError as error:
                        self._reject(str(error))
        except VenueReplyError as error:
            raise FeedError(str(error)) from error
        return found

    def knows(self, symbol: Symbol) -> bool:
        """Whether the venue lists ``symbol``."""
        return symbol in (self._client.markets_by_id or {})

    async def watch(self, symbol: Symbol, stream: str) -> None:
        """Keep one stream of ``symbol`` (``mark`` or ``kline``) subscribed until the next message. Raises FeedError."""
        unified = self._unified(symbol)
        if stream == "mark":
            await self._call(self._client.watch_mark_price(unified))
        else:
            await self._call(self._client.watch_ohlcv(unified, INTERVAL))

    async def drop(self, symbol: Symbol) -> None:
        """Close the connections that carry ``symbol``, so that the next `watch` connects anew."""
        unified = self._unified(symbol)
        for url, connection in list((self._client.clients or {}).items()):
            if any(unified in str(subscription) for subscription in connection.subscriptions):
                self._client.clients.pop(url, None)
                # Without an error ccxt would take this for the server's doing and forget the connection that follows.
                connection.error = connection.error or ccxt.NetworkError("closed by us")
                await hang_up(connection)

    def _unified(self, symbol: Symbol) -> str:
        if not self.knows(symbol):
            raise FeedError(f"the venue does not list {symbol}: correct spec.symbols of the policy")
        return str(self._client.markets_by_id[symbol][0]["symbol"])

    def _on_message(self, message: Any) -> None:
        try:
            parsed = parse_market_message(message)
        except VenueReplyError as error:
            self._reject(str(error))
            return
        if parsed is not None:
            self._deliver(parsed)

    @staticmethod
    async def _call(work: Any) -> Any:
        try:
            return await work
        except (ccxt.BaseError, VenueReplyError, OSError, TimeoutError) as error:
            raise FeedError(f"{type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            # ccxt cancels what waits on a connection that is being closed; that is not our own cancellation.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise FeedError("the connection was closed") from None
