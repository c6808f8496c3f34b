"""The exchange's own public data as the paper venue's market: candles by REST, trades by stream, no key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import ccxt
import httpx
import structlog

from breakwater.desk.market import LISTED, ChosenMarket, MarketRecord
from breakwater.desk.sources import DeskInputError
from breakwater.desk.venue_endpoints import data_kind, endpoint_of
from breakwater.exchange.endpoints import BINANCE, Endpoint
from breakwater.exchange.reader import Reader, VenueReplyError, readers
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import SymbolSpec, spec_for
from breakwater.paper_venue.markets import INTERVALS, Candle, aggregate
from breakwater.paper_venue.model import Tick
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

KIND = "live"
INTERVAL = "5m"
CANDLES = 1000
TIMEOUT_S = 10.0
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
_INTERVAL_MS = INTERVALS[INTERVAL]


class LiveMarket:
    """Prices of ``endpoint`` as they are traded there. Make it with `open_live`."""

    interval_ms = _INTERVAL_MS

    def __init__(
        self, endpoint: Endpoint, clock: InfraClock, specs: tuple[SymbolSpec, ...], candles: Mapping[str, list[Candle]]
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self.specs = specs
        self._candles = candles
        self.symbols = tuple(spec.symbol for spec in specs)
        self.start_ms = to_ms(clock.utc_now())
        self.connections = 0
        self.unreadable = 0
        """Messages that made no sense; left out."""

    def history(self, symbol: str, interval_ms: int, until_ms: int, limit: int) -> list[Candle]:
        """At most `limit` candles that closed by `until_ms`, as the exchange told them when this market was made."""
        if interval_ms % self.interval_ms or limit < 1:
            return []
        closed = [candle for candle in self._candles[symbol] if candle.close_time_ms < until_ms]
        return [c for c in aggregate(closed, interval_ms) if c.close_time_ms < until_ms][-limit:]

    def ticks(self, after_ms: int | None = None) -> Iterator[Tick]:
        """None: nobody knows them beforehand."""
        del after_ms
        return iter(())

    async def feed(self, deliver: Callable[[Tick], None]) -> None:
        """Hand over every trade, connecting again by itself, until cancelled. While it is away prices stand still."""
        from breakwater.exchange.client import make_client

        delay = FIRST_RETRY_S
        while True:
            client = make_client(self._endpoint, None, self._clock)
            client.tap = lambda message: self._take(message, deliver)
            began = self._clock.monotonic()
            try:
                await client.load_markets()
                symbols = [client.safe_symbol(symbol, None, None, "swap") for symbol in self.symbols]
                self.connections += 1
                # Ends with the connection: trades come through the tap.
                await client.watch_trades_for_symbols(symbols, params={"name": "aggTrade"})
            except (ccxt.BaseError, OSError, TimeoutError, asyncio.CancelledError) as error:
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                    raise
                log.warning("live market interrupted: prices stand still", error=f"{type(error).__name__}: {error}")
            finally:
                client.tap = None
                await client.close()
            if self._clock.monotonic() - began > LAST_RETRY_S:
                delay = FIRST_RETRY_S
            await self._clock.sleep(delay)
            delay = min(LAST_RETRY_S, delay * 2)

    def _take(self, message: Mapping[str, Any], deliver: Callable[[Tick], None]) -> bool:
        data = message.get("data", message)
        if not isinstance(data, Mapping) or data.get("e") != "aggTrade":
            return False
        try:
            trade = Reader(data, "aggTrade")
            symbol = trade.text("s")
            tick = Tick(symbol, trade.integer("T"), trade.positive("p"), trade.positive("q"))
        except VenueReplyError as error:
            self.unreadable += 1
            log.warning("trade of the live market left out", error=str(error))
            return True
        if symbol in self.symbols:
            deliver(tick)
        return True


def is_live(source: str) -> bool:
    return source.partition(":")[0] == KIND


async def open_live(
    source: str, symbols: Collection[str], *, known: MarketRecord | None, clock: InfraClock, speed: float
) -> ChosenMarket:
    """The market ``live`` (the exchange itself) or ``live:URL``. Raises DeskInputError when it cannot be reached.

    Its data are MARKET from the exchange alone: another host may well make up its own.
    """
    if known is not None and known.source != source:
        raise DeskInputError(
            f"this state directory holds a desk on the market {known.source}, not {source}; "
            "choose another with --state-dir, or remove it to start afresh"
        )
    if speed != 1:
        raise DeskInputError(f"market {source} runs at the speed of the wall: leave the speed at 1, not {speed:g}")
    endpoint = _endpoint(source)
    wanted = sorted({*(known.symbols if known else LISTED), *symbols})
    try:
        async with httpx.AsyncClient(base_url=endpoint.http_base, timeout=TIMEOUT_S) as http:
            specs = _specs(await _get(http, "exchangeInfo", {}), wanted)
            candles = {spec.symbol: await _history(http, spec.symbol, clock.utc_now()) for spec in specs}
    except (httpx.HTTPError, ValueError, VenueReplyError) as error:
        raise DeskInputError(
            f"market {source}: {endpoint.http_base} gives no public data ({error or type(error).__name__}); "
            "check the network, or choose synthetic or a recording"
        ) from None
    missing = sorted(set(symbols) - {spec.symbol for spec in specs})
    if missing:
        raise DeskInputError(f"market {source} does not list {', '.join(missing)}: take them out of the policy")
    now = clock.utc_now()
    market = LiveMarket(endpoint, clock, specs, candles)
    record = known or MarketRecord(source, market.symbols, now)
    return ChosenMarket(record, market, data_kind(endpoint), now, specs=specs)


def _endpoint(source: str) -> Endpoint:
    url = source.partition(":")[2].rstrip("/")
    if not url:
        return BINANCE
    if urlsplit(url).scheme not in ("http", "https"):
        raise DeskInputError(f"market {source!r}: write live, or live:https://HOST for another exchange of this kind")
    try:
        return endpoint_of(url)
    except ValueError as error:
        raise DeskInputError(f"market {source!r}: {error}") from None


async def _get(http: httpx.AsyncClient, what: str, query: Mapping[str, str]) -> Any:
    reply = await http.get(f"/fapi/v1/{what}", params=dict(query))
    reply.raise_for_status()
    return reply.json()


def _specs(info: Any, wanted: Collection[str]) -> tuple[SymbolSpec, ...]:
    """The exchange's own rules of the symbols wanted that it trades. Raises VenueReplyError."""
    found = []
    for row in readers(Reader(info, "exchangeInfo").raw.get("symbols"), "symbol"):
        symbol = row.text("symbol")
        if symbol not in wanted or row.text("status") != "TRADING":
            continue
        rules = {one.text("filterType"): one for one in readers(row.raw.get("filters"), f"filter of {symbol}")}
        found.append(
            replace(
                spec_for(symbol),
                tick_size=rules["PRICE_FILTER"].positive("tickSize"),
                step_size=rules["LOT_SIZE"].positive("stepSize"),
                min_notional=rules["MIN_NOTIONAL"].positive("notional"),
            )
        )
    if not found:
        raise VenueReplyError("exchangeInfo", "symbols", f"must list one of {', '.join(wanted)}")
    return tuple(sorted(found, key=lambda spec: spec.symbol))


async def _history(http: httpx.AsyncClient, symbol: str, now: datetime) -> list[Candle]:
    rows = await _get(http, "klines", {"symbol": symbol, "interval": INTERVAL, "limit": str(CANDLES)})
    if not isinstance(rows, list):
        raise VenueReplyError(f"klines of {symbol}", "(whole reply)", "must be a list")
    candles = []
    for row in rows:
        opened, *values = row[:6]
        if int(opened) + _INTERVAL_MS <= to_ms(now):
            candles.append(Candle(symbol, int(opened), _INTERVAL_MS, *(Decimal(str(value)) for value in values)))
    return candles
