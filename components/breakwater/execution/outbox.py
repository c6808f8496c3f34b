"""Everything execution publishes, in one order: an account report never overtakes the fills it counts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from breakwater.runtime.bus import Bus, BusUnavailable
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import Payload

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 2.0

After = Callable[[], Awaitable[object]]


class Outbox:
    """``put`` never waits; ``run`` publishes one after the other and tries again until the bus takes it.

    What is still in here at a crash is made again after the restart: fills are fetched from the venue beyond the last
    one journaled as published.
    """

    def __init__(self, bus: Bus, clocks: Clocks) -> None:
        self._bus = bus
        self._clocks = clocks
        self._waiting: deque[tuple[Payload, datetime, After | None]] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self.published = 0

    def put(self, payload: Payload, *, after: After | None = None) -> None:
        """Publish ``payload``; once the bus has it, await ``after``."""
        self._waiting.append((payload, self._clocks.market.now(), after))
        self._emptied.clear()
        self._filled.set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def drained(self) -> None:
        """Wait until everything put so far is published."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._filled.wait()
            while self._waiting:
                payload, time, after = self._waiting[0]
                await self._publish(payload, time)
                if after is not None:
                    await after()
                self._waiting.popleft()
                self.published += 1
            self._filled.clear()
            self._emptied.set()

    async def _publish(self, payload: Payload, time: datetime) -> None:
        delay = FIRST_RETRY_S
        while True:
            try:
                await self._bus.publish(payload, time=time)
            except BusUnavailable as error:
                log.warning("not published yet", payload=type(payload).__name__, error=str(error), waiting=len(self))
                await self._clocks.infra.sleep(delay)
                delay = min(LAST_RETRY_S, delay * 2)
            else:
                return
