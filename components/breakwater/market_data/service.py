"""Brings the market in: the venue's trading rules, history, then every mark price and closed candle."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from datetime import datetime
from typing import Literal

import structlog

from breakwater.domain.ids import Symbol
from breakwater.domain.liquidity import LiquidityReading
from breakwater.domain.money import ZERO
from breakwater.exchange.client import UsdmClient
from breakwater.market_data.feed import Feed, FeedError
from breakwater.market_data.liquidity import LiquidityWatch
from breakwater.market_data.parse import HISTORY_CANDLES
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import CandleClosed, Event, MarketLiquidity, MarkPrice, PortfolioUpdated
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.lifecycle import Check, Service

log = structlog.get_logger(__name__)

NAME = "market_data"
SUPERVISE_SECONDS = 1.0
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 15.0
MOST_WAITING = 10_000
"""Events waiting for the bus; beyond it the oldest mark prices are dropped and counted."""


class MarketData(Service):
    """Follows the policy's symbols and those of open positions, without a restart. The client is this component's own.

    A symbol without a mark for ``stale_seconds`` of infrastructure time is not ready and gets new connections: streams
    are judged by progress, not by whether a socket is open.
    """

    name = NAME

    def __init__(
        self,
        context: ComponentContext,
        client: UsdmClient,
        instruments: InstrumentBook,
        *,
        stale_seconds: float = 15.0,
        history_candles: int = HISTORY_CANDLES,
    ) -> None:
        super().__init__()
        self._context = context
        self._clocks = context.clocks
        self._instruments = instruments
        self._stale_seconds = stale_seconds
        self._history_candles = history_candles
        self._client = client
        self._feed = Feed(client, self._receive, self._reject)
        self._liquidity = LiquidityWatch(self._feed, self._clocks, lambda: self._followed, self._publish_liquidity)
        self._queue: deque[MarkPrice | CandleClosed] = deque()
        self._queued = asyncio.Event()
        self._held: frozenset[Symbol] = frozenset()
        self._followed: dict[Symbol, list[asyncio.Task[None]]] = {}
        self._unknown: set[Symbol] = set()
        self._last_mark: dict[Symbol, MarkPrice] = {}
        self._heard_at: dict[Symbol, float] = {}
        self._reconnect_s: dict[Symbol, float] = {}
        self._last_candle: dict[Symbol, datetime] = {}
        self._loaded = False
        self._load_error = ""
        self.progress = 0
        """Events published."""
        self.dropped: dict[str, int] = {}
        """Messages not published, by reason: ``senseless``, ``out_of_order``, ``overflow``, ``bus``."""
        context.bus.subscribe(self._on_snapshot, producers=("portfolio",), types=(PortfolioUpdated,), group=None)

    async def start(self) -> None:
        """Begins loading; what the venue does not answer yet is asked again until it does."""
        self.spawn(self._publish_queue(), "publish")
        self.spawn(self._supervise(), "supervise")
        self.spawn(self._liquidity.run(), "liquidity")
        self.spawn(self._client.return_home(), "return-home")

    async def stop(self) -> None:
        await super().stop()
        for tasks in self._followed.values():
            for task in tasks:
                task.cancel()
        self._followed.clear()

    def readiness(self) -> dict[str, Check]:
        silent = self._silent()
        missing = sorted(self._unknown)
        return super().readiness() | {
            "instruments": Check(self._loaded, self._load_error),
            "symbols": Check(not missing, f"not listed by the venue: {', '.join(missing)}" if missing else ""),
            "marks": Check(
                bool(self._followed) and not silent,
                f"no mark price for {self._stale_seconds:.0f} s: {', '.join(silent)}" if silent else "",
            ),
        }

    # ------------------------------------------------------------------------------------------------ following

    async def _on_snapshot(self, event: Event) -> None:
        assert isinstance(event.payload, PortfolioUpdated)
        snapshot = event.payload.snapshot
        held = {position.symbol for position in snapshot.positions if position.quantity != ZERO}
        self._held = frozenset(held | set(snapshot.marks_missing))

    async def _supervise(self) -> None:
        await self._load()
        while True:
            await self._follow(self._wanted())
            for symbol in self._silent():
                await self._reconnect(symbol)
            await self._clocks.infra.sleep(SUPERVISE_SECONDS)

    async def _load(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                self._instruments.update(await self._feed.load_instruments())
            except FeedError as error:
                self._load_error = str(error)
                log.warning("instruments not loaded", error=str(error), again_in_s=backoff_s)
                await self._clocks.infra.sleep(backoff_s)
                backoff_s = min(LAST_BACKOFF_S, backoff_s * 2)
            else:
                self._loaded, self._load_error = True, ""
                return

    def _wanted(self) -> frozenset[Symbol]:
        in_force = self._context.policy.current()
        named = frozenset(in_force.policy.symbols) if in_force else frozenset(self._followed)
        wanted = named | self._held  # a symbol taken off the policy still needs marks while its position is open
        self._unknown = {symbol for symbol in wanted if not self._feed.knows(symbol)}
        return wanted - self._unknown

    async def _follow(self, wanted: frozenset[Symbol]) -> None:
        for symbol in sorted(self._followed.keys() - wanted):
            log.info("symbol no longer followed", symbol=symbol)
            for task in self._followed.pop(symbol):
                task.cancel()
            self._heard_at.pop(symbol, None)
            self._last_candle.pop(symbol, None)
            await self._feed.drop(symbol)
        for symbol in sorted(wanted - self._followed.keys()):
            self._heard_at[symbol] = self._clocks.infra.monotonic()
            self._followed[symbol] = [
                self.spawn(self._watch(symbol, "mark"), f"mark.{symbol}"),
                self.spawn(self._candles(symbol), f"kline.{symbol}"),
            ]

    async def _candles(self, symbol: Symbol) -> None:
        await self._backfill(symbol)
        await self._watch(symbol, "kline")

    async def _watch(self, symbol: Symbol, stream: Literal["mark", "kline"]) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                await self._feed.watch(symbol, stream)
                backoff_s = FIRST_BACKOFF_S
            except FeedError as error:
                jitter = 1 + self._context.random.random() / 4
                log.warning("stream broke", symbol=symbol, stream=stream, error=str(error), again_in_s=backoff_s)
                await self._clocks.infra.sleep(backoff_s * jitter)
                backoff_s = min(LAST_BACKOFF_S, backoff_s * 2)
                if stream == "kline":
                    await self._backfill(symbol)  # candles that closed meanwhile

    def _silent(self) -> list[Symbol]:
        now = self._clocks.infra.monotonic()
        return sorted(symbol for symbol in self._followed if now - self._heard_at[symbol] > self._stale_seconds)

    async def _reconnect(self, symbol: Symbol) -> None:
        """At most each ``stale_seconds``, then less and less often: a halted symbol is silent for good reasons."""
        now = self._clocks.infra.monotonic()
        quiet_s = now - self._heard_at[symbol]
        due_s = self._reconnect_s.get(symbol, self._stale_seconds)
        if quiet_s < due_s:
            return
        self._reconnect_s[symbol] = due_s * 2
        log.warning("no mark price: connecting again", symbol=symbol, seconds=round(quiet_s, 1))
        await self._feed.drop(symbol)

    # ------------------------------------------------------------------------------------------------ candles

    async def _backfill(self, symbol: Symbol) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                candles = await self._feed.history(symbol, self._history_candles, self._clocks.market.now())
            except FeedError as error:
                log.warning("history not loaded", symbol=symbol, error=str(error), again_in_s=backoff_s)
                await self._clocks.infra.sleep(backoff_s)
                backoff_s = min(LAST_BACKOFF_S, backoff_s * 2)
                continue
            for candle in candles:
                self._take_candle(candle)
            return

    def _take_candle(self, candle: CandleClosed) -> None:
        last = self._last_candle.get(candle.symbol)
        if last is not None and candle.open_time <= last:
            return
        self._last_candle[candle.symbol] = candle.open_time
        self._enqueue(candle)

    # ------------------------------------------------------------------------------------------------ in and out

    def _receive(self, message: MarkPrice | CandleClosed) -> None:
        """Called for each stream message, in the order of arrival."""
        symbol = message.symbol
        if symbol not in self._followed:
            return
        if isinstance(message, CandleClosed):
            last = self._last_candle.get(symbol)
            if last is not None and message.open_time > last + message.interval:
                self.spawn(self._backfill(symbol), f"gap.{symbol}")  # brings this candle, too
            elif last is not None:
                self._take_candle(message)
            return
        last_mark = self._last_mark.get(symbol)
        if last_mark is not None and message.time < last_mark.time:
            self._drop("out_of_order")
            return
        self._last_mark[symbol] = message
        self._heard_at[symbol] = self._clocks.infra.monotonic()
        self._reconnect_s.pop(symbol, None)
        self._enqueue(message)

    def _reject(self, problem: str) -> None:
        self._drop("senseless")
        log.error("venue message makes no sense", problem=problem)

    def _enqueue(self, message: MarkPrice | CandleClosed) -> None:
        if len(self._queue) >= MOST_WAITING:
            self._queue.popleft()
            self._drop("overflow")
        self._queue.append(message)
        self._queued.set()

    async def _publish_queue(self) -> None:
        while True:
            await self._queued.wait()
            self._queued.clear()
            while self._queue:
                await self._publish(self._queue.popleft())

    async def _publish(self, message: MarkPrice | CandleClosed) -> None:
        try:
            await self._context.bus.publish(message, time=self._clocks.market.now())
        except BusUnavailable:
            self._drop("bus")
            if isinstance(message, CandleClosed) and message.symbol in self._last_candle:
                # The next closed candle then shows a gap, and history is read again. Of prices only the newest matters.
                before = message.open_time - message.interval
                self._last_candle[message.symbol] = min(before, self._last_candle[message.symbol])
            return
        self.progress += 1

    async def _publish_liquidity(self, readings: tuple[LiquidityReading, ...]) -> None:
        # Not counted when the bus does not take it: the next one says more.
        with contextlib.suppress(BusUnavailable):
            await self._context.bus.set_state(MarketLiquidity(readings), time=self._clocks.market.now())

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
