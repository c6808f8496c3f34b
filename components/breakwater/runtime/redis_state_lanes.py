"""State broadcasts as a reader handles them: the newest of each producer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from breakwater.runtime.events import Event, EventError, Payload, decode_event
from breakwater.runtime.redis_lanes import BusCounters, StreamId, Subscription
from breakwater.runtime.redis_publisher import ProducerFenced

log = structlog.get_logger(__name__)


class StateLane:
    """Handles state broadcasts of one type: of each producer the newest only, in order; older ones are skipped."""

    def __init__(self, subscriptions: Sequence[Subscription], kind: type[Payload], counters: BusCounters) -> None:
        self._handlers = [item.handler for item in subscriptions if kind in item.types]
        self._counters = counters
        self._newest: dict[str, Event] = {}
        self._last: dict[str, StreamId] = {}
        self._arrived = asyncio.Event()

    def accept(self, data: bytes) -> None:
        try:
            event = decode_event(data)
        except EventError as error:
            self._counters.rejected += 1
            log.error("state not understood", reason=str(error))
            return
        if (event.epoch, event.sequence) <= self._last.get(event.producer, (0, 0)):
            return
        self._last[event.producer] = (event.epoch, event.sequence)
        self._newest[event.producer] = event
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._newest:
                event = self._newest.pop(next(iter(self._newest)))
                for handler in self._handlers:
                    try:
                        await handler(event)
                    except ProducerFenced:
                        raise
                    except Exception:  # the next state is on its way; one that fails must not stop it
                        self._counters.handler_failures[event.type] += 1
                        log.exception("state handler failed", event_id=event.id, type=event.type)
