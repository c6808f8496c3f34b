"""Closed candles by plain HTTP, for processes that need history but no exchange client (ccxt alone is 85 MiB)."""

from __future__ import annotations

import httpx

from breakwater.domain.ids import Symbol
from breakwater.domain.rate_budget import Lane
from breakwater.domain.request_costs import cost_of
from breakwater.exchange.governor import Governor, PausedError
from breakwater.exchange.reader import VenueReplyError
from breakwater.exchange.wire import Reply
from breakwater.market_data.parse import HISTORY_CANDLES, INTERVAL, INTERVALS, parse_klines
from breakwater.runtime.clocks import MarketClock
from breakwater.runtime.events import CandleClosed

KLINES = "/fapi/v1/klines"


class HistoryError(Exception):
    """The candles could not be had; the sentence says why."""


class PublicHistory:
    """Asks the venue at ``base_url`` for its public candles. ``close`` at the end."""

    def __init__(self, base_url: str, clock: MarketClock, governor: Governor, *, timeout_s: float = 10.0) -> None:
        self._clock = clock
        self._governor = governor
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout_s)

    async def candles(self, symbol: Symbol, count: int = HISTORY_CANDLES) -> list[CandleClosed]:
        """The last ``count`` closed candles, oldest first. Raises HistoryError."""
        query = {"symbol": symbol, "interval": INTERVAL, "limit": str(count + 1)}
        try:
            await self._governor.take(cost_of("GET", KLINES, query), Lane.QUERIES)
            reply = await self._client.get(KLINES, params=query)
            headers = {name.lower(): value for name, value in reply.headers.items()}
            self._governor.note(Reply(reply.status_code, headers, reply.text))
            reply.raise_for_status()
            return parse_klines(reply.json(), symbol, INTERVALS[INTERVAL], self._clock.now())[-count:]
        except (httpx.HTTPError, ValueError, VenueReplyError, PausedError) as error:
            raise HistoryError(f"candles of {symbol}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        await self._client.aclose()
