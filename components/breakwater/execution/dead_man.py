"""The venue cancels resting entries by itself when nothing is heard of us: its countdown, renewed while execution is healthy.

Whether the countdown also takes conditional orders is not documented. It is armed only while an entry may rest, and a stop
that went with it is missed by the stream or the next comparison and placed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import structlog

from breakwater.domain.ids import Symbol
from breakwater.domain.orders import OrderRole, TimeInForce
from breakwater.exchange.client import UsdmClient
from breakwater.exchange.reader import Reader, VenueReplyError
from breakwater.execution.books import Books
from breakwater.execution.venue_calls import VenueCalls
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

COUNTDOWN_S = 30.0
RENEWALS_PER_COUNTDOWN = 3
LOOK_S = 1.0
RETRY_S = 3.0
"""Between two tries for a symbol (request weight 10 each)."""


class DeadManSwitch:
    """``on_pause`` is called when this process stood still for longer than a countdown: anything may be gone."""

    def __init__(
        self,
        client: UsdmClient,
        calls: VenueCalls,
        books: Books,
        clock: InfraClock,
        *,
        countdown_s: float = COUNTDOWN_S,
    ) -> None:
        self._client = client
        self._calls = calls
        self._books = books
        self._clock = clock
        self._countdown_s = countdown_s
        self._renewed: dict[Symbol, float] = {}
        """Symbols whose countdown runs at the venue, with the infrastructure time of its last renewal."""
        self._tried: dict[Symbol, float] = {}
        self.on_pause: Callable[[], None] = lambda: None
        self.pauses = 0

    @property
    def armed(self) -> tuple[Symbol, ...]:
        return tuple(sorted(self._renewed))

    async def run(self) -> NoReturn:
        """Look at the books every second, until cancelled."""
        look_s = min(LOOK_S, self._countdown_s / (2 * RENEWALS_PER_COUNTDOWN))
        looked = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            if now - looked > self._countdown_s:
                self.pauses += 1
                log.warning("execution stood still for longer than its dead-man switch", seconds=round(now - looked, 1))
                self.on_pause()
            looked = now
            await self.look()
            await self._clock.sleep(look_s)

    async def look(self) -> None:
        """Arm or renew where an entry may rest, disarm where none does. An account nobody can compare is not renewed."""
        resting = {
            order.symbol
            for order in self._books.working(None, OrderRole.ENTRY)
            if order.proposal.time_in_force is not TimeInForce.IOC
        }
        now = self._clock.monotonic()
        due_s = self._countdown_s / RENEWALS_PER_COUNTDOWN
        for symbol in sorted(resting):
            renewed = self._renewed.get(symbol)
            if renewed is not None and (now - renewed < due_s or not self._books.reconciled):
                continue
            if await self._set(symbol, self._countdown_s):
                self._renewed[symbol] = now
        for symbol in sorted(self._renewed.keys() - resting):
            if await self._set(symbol, 0):
                del self._renewed[symbol]

    async def _set(self, symbol: Symbol, seconds: float) -> bool:
        wanted = round(seconds * 1000)
        now = self._clock.monotonic()
        if now - self._tried.get(symbol, -RETRY_S) < min(RETRY_S, self._countdown_s / RENEWALS_PER_COUNTDOWN):
            return False

        def verify(reply: object) -> int:
            got = Reader(reply, "countdownCancelAll").integer("countdownTime")
            if got != wanted:
                raise VenueReplyError("countdownCancelAll", "countdownTime", f"is {got} after setting {wanted}")
            return got

        query = {"symbol": symbol, "countdownTime": str(wanted)}
        done = await self._calls.call(self._client.fapiPrivatePostCountdownCancelAll(query), verify)
        if done.accepted:
            self._tried.pop(symbol, None)
        else:
            self._tried[symbol] = now
            log.warning("dead-man switch not set", symbol=symbol, outcome=done.outcome, message=done.message)
        return done.accepted
