"""What execution asks of the venue besides placing orders: account, orders of both kinds, trades, cancels. Every answer judged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from breakwater.domain.ids import Symbol, TradeId, VenueOrderId
from breakwater.exchange.client import UsdmClient
from breakwater.exchange.errors import Attempt, Outcome, attempt
from breakwater.exchange.incomes import IncomePage, parse_incomes
from breakwater.exchange.messages import (
    AccountReport,
    AlgoCancelReport,
    AlgoOrderReport,
    OrderReport,
    PositionReport,
    TradeReport,
)
from breakwater.exchange.parse import (
    list_of,
    parse_account,
    parse_algo_cancel,
    parse_algo_order,
    parse_order,
    parse_position,
    parse_trade,
)
from breakwater.exchange.reader import Reader, VenueReplyError
from breakwater.execution.limiter import Limiter
from breakwater.execution.orders import TrackedOrder

T = TypeVar("T")

OUTSIDE_RECEIVE_WINDOW = -1021
"""Our clock and the venue's are too far apart, or the request was too long on its way. Nothing was done."""
AGAINST_THE_RULES = frozenset(
    {-1111, -1121, -4001, -4002, -4003, -4004, -4005, -4013, -4014, -4023, -4061, -4108, -4140, -4141, -4164}
)
"""Price or quantity off the grid or out of bounds, notional too small, unknown or halted symbol, position mode."""
NO_SUCH_ORDER = frozenset({-2011, -2013})
TRADES_PER_PAGE = 1000
INCOMES_PER_PAGE = 1000


class VenueCalls:
    """One method per question; each makes one signed request. ``nonsense`` counts replies that could not be read."""

    def __init__(self, client: UsdmClient, limiter: Limiter) -> None:
        self._client = client
        self._limiter = limiter
        self.nonsense = 0
        self.clock_doubted = asyncio.Event()
        """Set when the venue refused a request for its time."""
        self.rules_doubted = asyncio.Event()
        """Set when it refused one as against its trading rules, or the account's mode."""
        self.measure: Callable[[], Awaitable[bool]] = _not_measured
        """Measure the clock's offset now; False: it could not be told."""

    async def call(self, request: Coroutine[Any, Any, Any], parse: Callable[[Any], T]) -> Attempt[T]:
        """Make one request, once the venue wants to hear from us, and judge it."""
        try:
            await self._limiter.stay_away()
        except BaseException:
            request.close()
            raise
        result = await attempt(request, parse)
        if result.code == OUTSIDE_RECEIVE_WINDOW:
            self.clock_doubted.set()
        elif result.code in AGAINST_THE_RULES:
            self.rules_doubted.set()
        self._limiter.note(result)  # type: ignore[arg-type]
        if isinstance(result.error, VenueReplyError):
            self.nonsense += 1
        return result

    def pause_s(self) -> float:
        """Seconds the venue told us to keep away for."""
        return self._limiter.venue_pause_s()

    def reading_pause_s(self) -> float:
        """Seconds to leave between readings of the account, so that they alone never exhaust the request weight."""
        return self._limiter.reading_pause_s()

    async def server_time(self) -> Attempt[datetime]:
        """The venue's clock."""
        return await self.call(self._client.fapiPublicGetTime(), _server_time)

    async def account(self) -> Attempt[AccountReport]:
        return await self.call(self._client.fapiPrivateV3GetAccount(), parse_account)

    async def positions(self) -> Attempt[tuple[PositionReport, ...]]:
        """Every position that is not flat."""
        return await self.call(self._client.fapiPrivateV3GetPositionRisk(), list_of(parse_position))

    async def open_orders(self, symbol: Symbol | None = None) -> Attempt[tuple[OrderReport, ...]]:
        return await self.call(self._client.fapiPrivateGetOpenOrders(_for(symbol)), list_of(parse_order))

    async def open_algo_orders(self, symbol: Symbol | None = None) -> Attempt[tuple[AlgoOrderReport, ...]]:
        return await self.call(self._client.fapiPrivateGetOpenAlgoOrders(_for(symbol)), list_of(parse_algo_order))

    async def trades(self, symbol: Symbol, after: TradeId | None) -> Attempt[tuple[TradeReport, ...]]:
        """Trades with an id above ``after``, oldest first, at most a page; the newest one alone when that is None."""
        query: dict[str, Any] = {"symbol": symbol, "limit": 1 if after is None else TRADES_PER_PAGE}
        if after is not None:
            query["fromId"] = int(after) + 1
        return await self.call(self._client.fapiPrivateGetUserTrades(query), _by_id)

    async def incomes(self, begin: datetime) -> Attempt[IncomePage]:
        """The income list from a time on (UTC, inclusive), at most a page. Request weight 30: ask seldom."""
        query = {"startTime": round(begin.timestamp() * 1000), "limit": INCOMES_PER_PAGE}
        return await self.call(self._client.fapiPrivateGetIncome(query), parse_incomes)

    async def fees_in_another_asset(self) -> Attempt[bool]:
        """Whether the venue takes fees in its own coin while there is some. Request weight 30."""
        return await self.call(self._client.fapiPrivateGetFeeBurn(), _fee_burn)

    async def order_by_id(self, symbol: Symbol, venue_id: VenueOrderId) -> Attempt[OrderReport]:
        return await self.call(self._client.fapiPrivateGetOrder({"symbol": symbol, "orderId": venue_id}), parse_order)

    async def find_plain(self, order: TrackedOrder) -> Attempt[OrderReport]:
        """By client id among plain orders; REJECTED with a code in NO_SUCH_ORDER when it is not there."""
        query = {"symbol": order.symbol, "origClientOrderId": order.client_id}
        return await self.call(self._client.fapiPrivateGetOrder(query), parse_order)

    async def find_algo(self, order: TrackedOrder) -> Attempt[AlgoOrderReport]:
        """By client id in the algo service, a separate id space."""
        query = {"clientAlgoId": order.client_id}
        return await self.call(self._client.fapiPrivateGetAlgoOrder(query), parse_algo_order)

    async def cancel_plain(self, symbol: Symbol, client_id: str) -> Attempt[OrderReport]:
        self._limiter.urgent()
        query = {"symbol": symbol, "origClientOrderId": client_id}
        return await self.call(self._client.fapiPrivateDeleteOrder(query), parse_order)

    async def cancel_algo(self, symbol: Symbol, client_id: str) -> Attempt[AlgoCancelReport]:
        self._limiter.urgent()
        query = {"symbol": symbol, "clientAlgoId": client_id}
        return await self.call(self._client.fapiPrivateDeleteAlgoOrder(query), parse_algo_cancel)


async def _not_measured() -> bool:
    return False


def _server_time(reply: object) -> datetime:
    return Reader(reply, "time").time("serverTime")


def _fee_burn(reply: object) -> bool:
    return Reader(reply, "feeBurn").boolean("feeBurn")


def absent(result: Attempt[Any]) -> bool:
    """Whether the venue said for certain that there is no such order."""
    return result.outcome is Outcome.REJECTED and result.code in NO_SUCH_ORDER


def _for(symbol: Symbol | None) -> dict[str, Any]:
    return {} if symbol is None else {"symbol": symbol}


def _by_id(reply: Any) -> tuple[TradeReport, ...]:
    return tuple(sorted(list_of(parse_trade)(reply), key=lambda trade: int(trade.trade_id)))
