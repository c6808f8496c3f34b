"""Lanes: one queue and one worker per producer, so that a slow or failing event holds up its own producer's events only."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from breakwater.runtime.bus import BusUnavailable, Handler
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.events import MOST_EVENT_BYTES, Event, EventError, Payload, decode_event
from breakwater.runtime.ports import DiskError, StoreUnavailable
from breakwater.runtime.redis_client import LOST
from breakwater.runtime.redis_publisher import ProducerFenced

log = structlog.get_logger(__name__)

StreamId = tuple[int, int]

ATTEMPTS = 5
"""Times an event is given to a failing handler before it is set aside."""
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
_MOST_HOLES = 64


@dataclass(frozen=True)
class Subscription:
    handler: Handler
    producers: frozenset[str]
    types: tuple[type[Payload], ...]
    group: str | None
    at_once: int = 1


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
    unread_trimmed: int = 0
    """Times our own stream had reached its hard bound with events on it that a group had not handled: those are gone."""
    letters_kept: int = 0
    """Dead letters of the desk when this process last looked."""
    letters_full: bool = False
    """No more fit; events that fail wait, and with them their producers' later events."""
    gap_listeners: list[Callable[[str], None]] = field(default_factory=list)
    """Told the producer each time events of it are missing: for those whose state is a fold over all of them."""

    def gap(self, producer: str) -> None:
        self.gaps += 1
        for listener in self.gap_listeners:
            listener(producer)


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
        set_aside: Callable[[StreamId, bytes, str, int], Awaitable[bool]] | None = None,
    ) -> None:
        self.producer = producer
        self._subscriptions = [item for item in subscriptions if producer in item.producers]
        self._infra = infra
        self._counters = counters
        self._acknowledge = acknowledge
        self._set_aside = set_aside
        self._queue: collections.deque[tuple[StreamId, bytes | None]] = collections.deque()
        self._at_once = min((item.at_once for item in self._subscriptions), default=1)
        self._in_hand: set[StreamId] = set()  # being handled, out of order
        self._handled: list[StreamId] = []  # not acknowledged yet
        self._arrived = asyncio.Event()
        self.drained = asyncio.Event()
        self.last: StreamId | None = None
        self.resumed_after: StreamId | None = None
        """What the group had been given when this process joined it."""
        self._holes: collections.deque[tuple[StreamId, StreamId]] = collections.deque(maxlen=_MOST_HOLES)
        """Between these ids nothing came; what still comes from there is new."""
        self.skipped = False
        """Something is missing; whoever reads may look whether it is pending."""
        self._turn = asyncio.Lock()

    @property
    def backlog(self) -> int:
        return len(self._queue)

    def accept(self, entry: StreamId, data: bytes | None) -> None:
        """Take an entry in, unless it was taken in before."""
        if self.last is not None and entry <= self.last and not self._fills_hole(entry):
            # Seen before: its acknowledgement, or the server's memory of it, got lost.
            under_way = entry in self._in_hand or any(entry == queued for queued, _ in self._queue)
            if not under_way:
                if entry not in self._handled:
                    self._handled.append(entry)
                self._arrived.set()
            return
        self._look_for_gap(entry)
        self.last = entry if self.last is None else max(self.last, entry)
        self._queue.append((entry, data))
        self._arrived.set()

    def _fills_hole(self, entry: StreamId) -> bool:
        """Whether ``entry`` comes late: another process of this name had taken it."""
        for hole in self._holes:
            after, before = hole
            if after < entry < before:
                self._holes.remove(hole)
                self._holes.extend([(after, entry), (entry, before)])
                return True
        return False

    def _look_for_gap(self, entry: StreamId) -> None:
        known = [each for each in (self.last, self.resumed_after) if each is not None]
        if not known or entry <= max(known):
            return
        after = max(known)
        expected = after[1] + 1 if entry[0] == after[0] else 1
        if entry == (after[0], after[1] + 1):
            return
        self._holes.append((after, entry))
        if entry[1] > expected:
            self.skipped = True
            self._counters.gap(self.producer)
            log.error("events are missing from a stream", producer=self.producer, after=after, before=entry)

    async def run(self) -> None:
        """Handle what arrives, for ever. Raises ProducerFenced."""
        if self._at_once > 1:
            await self._run_at_once()
        while True:
            while not self._queue:
                if self._handled:
                    await asyncio.sleep(0)  # whom the handler woke goes first
                self._arrived.clear()  # before the acknowledgement, during which more may arrive
                await self._acknowledge_handled()
                if not self._queue:
                    self.drained.set()
                    await self._wait_for_work()
            entry, data = self._queue[0]
            async with self._turn:
                await self._handle(entry, data)
            self._queue.popleft()
            self._handled.append(entry)
            if len(self._handled) >= 64:
                await self._acknowledge_handled()

    async def handle_again(self, entry: StreamId, data: bytes, attempts: int) -> None:
        """A dead letter that was requeued: out of order by its nature, but never beside another event of its producer.

        ``attempts``: how often it was tried before.
        """
        async with self._turn:
            await self._handle(entry, data, attempts)

    async def _run_at_once(self) -> NoReturn:
        """Several at the same time, in no order."""
        running: dict[asyncio.Task[None], StreamId] = {}
        try:
            while True:
                self._arrived.clear()
                for task in [task for task in running if task.done()]:
                    entry = running.pop(task)
                    self._in_hand.discard(entry)
                    task.result()
                    self._handled.append(entry)
                while self._queue and len(running) < self._at_once:
                    entry, data = self._queue.popleft()
                    self._in_hand.add(entry)
                    task = asyncio.ensure_future(self._handle(entry, data))
                    task.add_done_callback(lambda _: self._arrived.set())
                    running[task] = entry
                if not self._queue:
                    self.drained.set()
                await self._acknowledge_handled()
                await self._wait_for_work()
        finally:
            for task in running:
                task.cancel()

    async def _wait_for_work(self) -> None:
        """Until something arrives; not for long while an acknowledgement that failed is to be repeated."""
        if not self._handled:
            await self._arrived.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_PAUSE):
                await self._arrived.wait()

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

    async def _handle(self, entry: StreamId, data: bytes | None, attempts: int = 0) -> None:
        if data is None:
            self._counters.gap(self.producer)
            log.error("an event was trimmed before it was handled", producer=self.producer, entry=entry)
            return
        try:
            if len(data) > MOST_EVENT_BYTES:
                raise EventError(f"it has {len(data)} bytes; an event has at most {MOST_EVENT_BYTES}")
            event = decode_event(data)
            if event.producer != self.producer:
                raise EventError(f"it says it is from {event.producer!r}")
        except EventError as error:
            self._counters.rejected += 1
            await self._give_up(entry, data, str(error), attempts)
            return
        for subscription in self._subscriptions:
            if isinstance(event.payload, subscription.types):
                await self._deliver(subscription.handler, event, entry, data, attempts)

    async def _deliver(self, handler: Handler, event: Event, entry: StreamId, data: bytes, attempts: int) -> None:
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
                    reason = f"handler failed {failures} times: {error!r}"
                    await self._give_up(entry, data, reason, attempts + failures)
                    return
            await self._infra.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _give_up(self, entry: StreamId, data: bytes, reason: str, attempts: int) -> None:
        log.error("event set aside", producer=self.producer, entry=entry, reason=reason)
        if self._set_aside is None:
            return
        self._counters.dead_letters += 1
        pause = FIRST_PAUSE
        while True:
            try:
                if await self._set_aside(entry, data, reason, attempts):
                    return
                if pause == FIRST_PAUSE:
                    log.error(
                        "no more dead letters fit: this event and its producer's later ones wait until some are settled "
                        "(breakwater dead-letters list)",
                        producer=self.producer,
                    )
            except LOST as error:
                log.warning("waiting to set an event aside", error=str(error))
            await self._infra.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
