"""The user stream: ccxt.pro keeps the connection, we read every message ourselves and keep its key alive.

ccxt.pro renews the key once only, ignores its expiry, shows a triggered stop as filled and drops liquidation fills from
watch_my_trades; so its own interpretation is not used.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import ccxt
import structlog

from breakwater.exchange.client import UsdmClient, hang_up
from breakwater.exchange.errors import Outcome
from breakwater.exchange.messages import AccountUpdate, AlgoUpdate, ListenKeyExpired, OrderUpdate, UserEvent
from breakwater.exchange.parse import anything
from breakwater.exchange.reader import VenueReplyError
from breakwater.exchange.stream import parse_user_event
from breakwater.execution import journal as records
from breakwater.execution.books import Books
from breakwater.execution.fills import FillKeeper
from breakwater.execution.journal import ExecutionJournal
from breakwater.execution.venue_calls import VenueCalls
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

KEEP_ALIVE_S = 20 * 60.0
RENEW_AGAIN_S = 30.0
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0
QUIET_ACCOUNT_REASONS = frozenset({"ORDER"})
"""Reasons of ACCOUNT_UPDATE that the orders' own events tell about."""


class UserStream:
    """``on_gap`` is called when events may have been missed, ``on_moved`` when the account changed for another reason than an
    order, ``on_order`` when an order of ours changed.
    """

    def __init__(
        self,
        client: UsdmClient,
        books: Books,
        fills: FillKeeper,
        calls: VenueCalls,
        journal: ExecutionJournal,
        clock: InfraClock,
    ) -> None:
        self._client = client
        self._books = books
        self._fills = fills
        self._calls = calls
        self._journal = journal
        self._clock = clock
        self._inbox: deque[UserEvent] = deque()
        self._arrived = asyncio.Event()
        self.on_gap: Callable[[], None] = lambda: None
        self.on_moved: Callable[[], None] = lambda: None
        self.on_order: Callable[[str], None] = lambda _: None
        self.events = 0
        self.reconnects = 0
        self.nonsense = 0
        self._fetched_before = 0
        self._events_before = 0

    # ------------------------------------------------------------------------------------------------ connection

    async def watch(self) -> None:
        """Hold the stream open until cancelled; after every interruption say that there is a gap."""
        self._client.tap = self._tap
        delay = FIRST_RETRY_S
        try:
            while True:
                began = self._clock.monotonic()
                try:
                    # Ends with the connection: what it brings comes through the tap, and ccxt need not make orders of it.
                    await self._client.watch_orders()
                except (ccxt.BaseError, OSError, TimeoutError, asyncio.CancelledError) as error:
                    # ccxt cancels what waits on a connection that it closes; that is not our own cancellation.
                    task = asyncio.current_task()
                    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                        raise
                    if self._clock.monotonic() - began > LAST_RETRY_S:
                        delay = FIRST_RETRY_S
                    log.warning("user stream interrupted", error=f"{type(error).__name__}: {error}")
                    self.reconnects += 1
                    self._forget_key()
                    self.on_gap()
                    await self._clock.sleep(delay)
                    delay = min(LAST_RETRY_S, delay * 2)
                    self.on_gap()
        finally:
            self._client.tap = None

    async def keep_alive(self) -> None:
        """Renew the listen key every 20 minutes, and get a new one when it is gone."""
        pause = KEEP_ALIVE_S
        while True:
            await self._clock.sleep(pause)
            renewed = await self._calls.call(self._client.fapiPrivatePutListenKey(), anything)
            # Asked at a bad moment, the key is as good as before: it has another 40 minutes.
            again = renewed.outcome in (Outcome.RATE_LIMITED, Outcome.BANNED, Outcome.NOT_SENT)
            pause = max(RENEW_AGAIN_S, renewed.retry_after_s or 0.0) if again else KEEP_ALIVE_S
            if not renewed.accepted and not again:
                log.warning("listen key not renewed", outcome=renewed.outcome, message=renewed.message)
                await self.restart()

    async def restart(self) -> None:
        """Drop the connection; `watch` opens a new one with a new key."""
        self._forget_key()
        await self._drop()

    def lags_behind(self, fetched_fills: int) -> bool:
        """Whether fills had to be fetched since the last call and nothing at all came through here: connected or not, it is dead."""
        fetched, came = fetched_fills - self._fetched_before, self.events - self._events_before
        self._fetched_before, self._events_before = fetched_fills, self.events
        if fetched > 0 and came == 0:
            log.warning("user stream silent while orders filled; connecting anew", fetched=fetched)
            return True
        return False

    async def close(self) -> None:
        """Drop the connection for good."""
        self._client.tap = None
        await self._drop()

    async def _drop(self) -> None:
        for url, socket in list(self._client.clients.items()):
            if "listenKey=" in url:
                self._client.clients.pop(url, None)
                # Without an error ccxt would take the end for the server's doing and forget the connection that follows.
                socket.error = socket.error or ccxt.NetworkError("user stream dropped")
                socket.reject(socket.error)
                await hang_up(socket)

    def _forget_key(self) -> None:
        self._client.options["linear"] = {
            **(self._client.options.get("linear") or {}),
            "lastAuthenticatedTime": 0,
        }

    # ------------------------------------------------------------------------------------------------ messages

    def _tap(self, message: Mapping[str, Any]) -> bool:
        """Whether it was an event of the account."""
        try:
            event = parse_user_event(message)
        except VenueReplyError as error:
            self.nonsense += 1
            log.error("stream message makes no sense; the account is compared instead", error=str(error))
            self.on_gap()
            return True
        if event is not None:
            self._inbox.append(event)
            self._arrived.set()
        return event is not None

    async def apply(self) -> None:
        """Take in events, one after the other, until cancelled."""
        while True:
            await self._arrived.wait()
            while self._inbox:
                event = self._inbox.popleft()
                self.events += 1
                await self._apply(event)
            self._arrived.clear()

    async def _apply(self, event: UserEvent) -> None:
        match event:
            case OrderUpdate():
                await self._apply_order(event)
            case AlgoUpdate(order=report):
                order = self._books.orders.get(report.client_algo_id)
                if order is not None and order.take_algo(report):
                    await self._note_end(order.client_id)
                elif order is None:
                    self.on_gap()
                self.on_order(report.symbol)
            case AccountUpdate(reason=reason):
                if reason not in QUIET_ACCOUNT_REASONS:
                    self.on_moved()
            case ListenKeyExpired():
                log.warning("listen key expired")
                self.on_gap()
                await self.restart()

    async def _apply_order(self, event: OrderUpdate) -> None:
        report = event.order
        order = self._books.orders.get(report.client_order_id) or self._books.by_venue_id(report.order_id)
        if event.fill is not None:
            taken = await self._fills.take(event.fill, forced=event.forced_by)
            if event.forced_by is not None and not taken:
                self.on_gap()  # an id that is known already, or none: the list of trades says which
        if order is not None:
            if order.take_plain(report):
                await self._note_end(order.client_id)
        elif event.fill is None:
            self.on_gap()  # an order that is not ours
        self.on_order(report.symbol)

    async def _note_end(self, client_id: str) -> None:
        order = next((o for key, o in self._books.orders.items() if key == client_id), None)
        if order is not None and order.state.terminal:
            await self._journal.append_or_log(
                records.Outcome(order.client_id, order.state, order.executed, order.venue_id)
            )
