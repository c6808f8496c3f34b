"""Lanes: one queue and one worker per producer, so that a slow or failing event holds up its own producer's events only."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from breakwater.runtime.bus import BusUnavailable, Handler
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.events import Event, EventError, Payload, decode_event
from breakwater.runtime.ports import DiskError, StoreUnavailable
from breakwater.runtime.redis_client import LOST
from breakwater.runtime.redis_publisher import ProducerFenced

log = structlog.get_logger(__name__)

StreamId = tuple[int, int]

ATTEMPTS = 5
"""Times an event is given to a failing handler before it is set aside."""
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


@dataclass(frozen=True)
class Subscription:
    handler: Handler
    producers: frozenset[str]
    types: tuple[type[Payload], ...]
    group: str | None


@dataclass
class BusCounters:
    """What happened on the consuming side since the start."""

    handler_failures: collections.Counter[str] = field(default_factory=collections.Counter)
    """Failed attempts, by event type."""
    dead_letters: int = 0
    gaps: int = 0
    """Times a stream's sequence skipped: events that were trimmed or lost before they were read."""
    rejected: int = 0
    """Entries that are not an event this version knows."""


class Lane:
    """Handles the entries of one stream one by one, in order.

    Durable lanes retry a failing handler, set aside what keeps failing and acknowledge afterwards; others go on at once.
    """

    def __init__(
        self,
        producer: str,
        subscriptions: Sequence[Subscription],
        infra: InfraClock,
        counters: BusCounters,
        *,
        acknowledge: Callable[[list[StreamId]], Awaitable[None]] | None = None,
        set_aside: Callable[[StreamId, bytes, str], Awaitable[None]] | None = None,
    ) -> None:
        self.producer = producer
        self._subscriptions = [item for item in subscriptions if producer in item.producers]
        self._infra = infra
        self._counters = counters
        self._acknowledge = acknowledge
        self._set_aside = set_aside
        self._queue: collections.deque[tuple[StreamId, bytes | None]] = collections.deque()
        self._handled: list[StreamId] = []  # not acknowledged yet
        self._arrived = asyncio.Event()
        self.drained = asyncio.Event()
        self.last: StreamId | None = None

    @property
    def backlog(self) -> int:
        return len(self._queue)

    def accept(self, entry: StreamId, data: bytes | None) -> None:
        """Take an entry in, unless it was taken in before."""
        if self.last is not None and entry <= self.last:
            # Seen before: its acknowledgement, or the server's memory of it, got lost.
            if entry not in self._handled and all(entry != queued for queued, _ in self._queue):
                self._handled.append(entry)
                self._arrived.set()
            return
        if self.last is not None and entry[0] == self.last[0] and entry[1] > self.last[1] + 1:
            self._counters.gaps += 1
            log.error("events are missing from a stream", producer=self.producer, after=self.last, before=entry)
        self.last = entry if self.last is None else max(self.last, entry)
        self._queue.append((entry, data))
        self._arrived.set()

    async def run(self) -> None:
        """Handle what arrives, for ever. Raises ProducerFenced."""
        while True:
            while not self._queue:
                self._arrived.clear()  # before the acknowledgement, during which more may arrive
                await self._acknowledge_handled()
                if not self._queue:
                    self.drained.set()
                    await self._arrived.wait()
            entry, data = self._queue[0]
            await self._handle(entry, data)
            self._queue.popleft()
            self._handled.append(entry)
            if len(self._handled) >= 64:
                await self._acknowledge_handled()

    async def _acknowledge_handled(self) -> None:
        if self._acknowledge is None:
            self._handled.clear()
            return
        if not self._handled:
            return
        batch = list(self._handled)
        try:
            await self._acknowledge(batch)
        except LOST as error:
            log.debug("not acknowledged yet", producer=self.producer, error=str(error))
            return  # the reader notices as well, and brings the entries back once it is connected
        del self._handled[: len(batch)]

    async def _handle(self, entry: StreamId, data: bytes | None) -> None:
        if data is None:
            self._counters.gaps += 1
            log.error("an event was trimmed before it was handled", producer=self.producer, entry=entry)
            return
        try:
            event = decode_event(data)
            if event.producer != self.producer:
                raise EventError(f"it says it is from {event.producer!r}")
        except EventError as error:
            self._counters.rejected += 1
            await self._give_up(entry, data, str(error))
            return
        for subscription in self._subscriptions:
            if isinstance(event.payload, subscription.types):
                await self._deliver(subscription.handler, event, entry, data)

    async def _deliver(self, handler: Handler, event: Event, entry: StreamId, data: bytes) -> None:
        failures = 0
        pause = FIRST_PAUSE
        while True:
            try:
                await handler(event)
                return
            except ProducerFenced:
                raise
            except (BusUnavailable, StoreUnavailable, DiskError) as error:
                # Not the event's fault: wait until what the handler needs is back.
                log.warning("event waits", event_id=event.id, type=event.type, error=str(error))
                if self._set_aside is None:
                    return
            except Exception as error:  # a handler may raise anything; it must not stop the others
                failures += 1
                self._counters.handler_failures[event.type] += 1
                log.exception("handler failed", event_id=event.id, type=event.type, attempt=failures)
                if failures >= ATTEMPTS or self._set_aside is None:
                    await self._give_up(entry, data, f"handler failed {failures} times: {error!r}")
                    return
            await self._infra.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _give_up(self, entry: StreamId, data: bytes, reason: str) -> None:
        log.error("event set aside", producer=self.producer, entry=entry, reason=reason)
        if self._set_aside is None:
            return
        self._counters.dead_letters += 1
        pause = FIRST_PAUSE
        while True:
            try:
                await self._set_aside(entry, data, reason)
                return
            except LOST as error:
                log.warning("waiting to set an event aside", error=str(error))
            await self._infra.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


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
