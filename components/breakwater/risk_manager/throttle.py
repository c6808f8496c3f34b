"""The repeated-order throttle: too many identical entries in a row close a symbol, and only a person opens it again.

It is closed and opened on disk first. Execution's gate counts for itself what it let through; it hears of a person's
word on the bus, and starts over, too.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from breakwater.domain.ids import Symbol
from breakwater.domain.orders import Proposal
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.risk_manager.journal import Closed, Enabling, Journal
from breakwater.runtime.bus import Bus, BusUnavailable
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import ThrottleClosed, ThrottleEnabled
from breakwater.runtime.ports import DiskError

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


class Throttle:
    """Which symbols are closed. Not safe for concurrent use: the risk manager decides one thing at a time."""

    def __init__(self, journal: Journal, bus: Bus, clocks: Clocks) -> None:
        self._journal = journal
        self._bus = bus
        self._clocks = clocks
        self._to_announce = asyncio.Event()
        self._to_announce.set()

    def closed_since(self, symbol: Symbol) -> datetime | None:
        """Market time since when no entries are made on ``symbol``; None: it is open."""
        closed = self._journal.closed().get(symbol)
        return closed.time if closed else None

    async def check(self, proposal: Proposal, most: int, now: datetime) -> Refusal | None:
        """Count ``proposal`` against ``most`` identical ones in a row; closes its symbol when there are that many already."""
        repeats, symbol = self._journal.repeats(proposal), proposal.symbol
        if repeats < most:
            return None
        await self._close(Closed(symbol, now, repeats, most))
        return Refusal(
            RefusalCode.REPEATED_ORDER,
            f"{repeats} identical entries in a row on {symbol} (limits.maxRepeatedOrders is {most}): no more until a person "
            f"has looked; then: breakwater throttle enable {symbol}",
            {"repeats": str(repeats), "limit": str(most)},
        )

    async def gate_refused(self, symbol: Symbol, time: datetime) -> None:
        """Execution's gate counted too many at market time ``time``: closed here as well, where a person sees and opens it."""
        enabled = [each.time for each in self._journal.answers() if each.accepted and each.symbol == symbol]
        if self.closed_since(symbol) is None and all(time > moment for moment in enabled):
            await self._close(Closed(symbol, time))

    async def enable(self, symbol: Symbol, request_id: str, who: str, reason: str) -> Enabling:
        """A person has looked: answered once, durable before it holds. The same id again gets the same answer. Raises DiskError."""
        known = self._journal.answered(request_id)
        if known is not None:
            return known
        accepted = self.closed_since(symbol) is not None
        answer = Enabling(symbol, self._clocks.market.now(), who, reason, request_id, accepted)
        await self._journal.answer(answer)
        log.warning(
            "asked to enable entries", symbol=symbol, who=who, reason=reason, request=request_id, accepted=accepted
        )
        if accepted:
            await self._announce()
        return answer

    async def run(self) -> None:
        """Tell the others what they have not heard yet, an earlier run's answers included. For ever."""
        while True:
            await self._to_announce.wait()
            self._to_announce.clear()
            await self._announce()
            if self._to_announce.is_set():
                await self._clocks.infra.sleep(RETRY_SECONDS)

    async def _close(self, closed: Closed) -> None:
        await self._journal.close(closed)
        log.error("repeated-order throttle closed a symbol", symbol=closed.symbol, repeats=closed.repeats)
        await self._bus.publish(
            ThrottleClosed(closed.symbol, closed.time, closed.repeats, closed.limit), time=self._clocks.market.now()
        )

    async def _announce(self) -> None:
        for each in self._journal.unannounced():
            payload = ThrottleEnabled(each.symbol, each.time, each.who, each.reason, each.request_id)
            try:
                await self._bus.publish(payload, time=self._clocks.market.now())
                await self._journal.announced(each.request_id)
            except (BusUnavailable, DiskError):
                self._to_announce.set()  # said twice does no harm
                return
