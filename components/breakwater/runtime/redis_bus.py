"""The event bus on Redis Streams.

A producer's events are the stream ``bw:{desk}:<producer>``, with ids ``epoch-sequence``: the epoch is claimed at the start, so
a process that was replaced is refused by the server (``failed`` resolves with ProducerFenced and the process should end).

What ``publish`` promises:

* With a ``disk``: on return the event is stored in Redis, or synced to the spool on that disk while Redis is away (noticed within
  about 1 s), from where it goes to Redis in order when it is back, by this process or the next. BusUnavailable then means
  that neither worked (full disk, too many waiting). It is not delivered later, so publish it again; only of what was on its
  way when Redis went is the outcome unknown.
* With a disk and ``durable``: on return it is synced to the disk, always, and on its way to Redis. It survives that Redis and this
  process are killed in the same instant, for the price of a sync in each publish.
* Without a disk: BusUnavailable while Redis is away. The event is kept in memory and still goes out in order, so publishing
  it again would make it two; it is lost if the process dies first. Components whose events matter have a disk.
* ``market.mark`` is never kept while Redis is away: BusUnavailable at once.
* Stored once: an event keeps its id however often it is sent, and is sent again if the server lost it in the seconds after.

``set_state`` keeps nothing: BusUnavailable while Redis is away, within about 1 s.

What a subscriber with a group may rely on: every event of the stream at least once, in order per producer, acknowledged after its
handler returned; an event is seen again only after a crash between the two. A handler that raises is tried five times, then the event goes to
``bw:{desk}:dead`` (dead_letters) with the reason, and the next one follows; so does an event of a type this version does not know
and one that is too large. What is missing from a stream is counted, logged and told to ``counters.gap_listeners``.
BusUnavailable, StoreUnavailable and DiskError from a handler are waited out instead. Different producers never wait for each other.
Live subscribers (no group) see an event once; a handler that raises is logged and counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

import structlog

from breakwater.domain.ids import DeskId
from breakwater.runtime.bus import BusUnavailable, Handler
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.disk_buffer.buffer import DiskBuffer
from breakwater.runtime.disk_buffer.classes import Keeping
from breakwater.runtime.events import EVENT_NAMES, Event, Payload
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.ports import Volume
from breakwater.runtime.redis_client import RedisClient
from breakwater.runtime.redis_lanes import BusCounters, Subscription
from breakwater.runtime.redis_publisher import Publisher
from breakwater.runtime.redis_readers import SOCKET_TIMEOUT, GroupReader, LiveReader
from breakwater.runtime.redis_trimming import Trimmer

log = structlog.get_logger(__name__)

_NOT_YET = "not connected yet"
DURABLE_PRODUCERS = frozenset({"execution", "emergency_stop"})
"""Whose events are on disk before ``publish`` returns, always: money moved, or a stop decided (docs/decisions/0013)."""
COMMAND_TIMEOUT = 1.0
"""Seconds after which a server that does not answer counts as away."""


class RedisBus(Service):
    """Bus of one component (``producer``) of one desk on the server at ``url``. Whoever runs it awaits ``failed``."""

    def __init__(
        self,
        url: str,
        desk: DeskId,
        producer: str,
        infra: InfraClock,
        *,
        disk: Volume | None = None,
        start_timeout: float = 10.0,
        durable: bool = False,
    ) -> None:
        super().__init__()
        self.name = f"bus.{producer}"
        self.desk = desk
        self.producer = producer
        self.counters = BusCounters()
        self._infra = infra
        self._start_timeout = start_timeout
        self._commands = RedisClient(url, socket_timeout=COMMAND_TIMEOUT)
        self._reads = RedisClient(url, socket_timeout=SOCKET_TIMEOUT)
        self._down: dict[str, str] = {}
        self._subscriptions: list[Subscription] = []
        self._states: list[Subscription] = []
        self._publisher = Publisher(
            self._commands, desk, producer, infra, disk, self._reporter("publisher"), durable=durable
        )
        self._started = False

    @property
    def connected(self) -> bool:
        return self._started and not self._down and not self._stopping and not self.failed.done()

    @property
    def trouble(self) -> str:
        """Why an event published next may not be kept (its buffer is full, or its disk fails); empty while there is none."""
        return self._publisher.trouble

    @property
    def dead_letters(self) -> int:
        """Events of the desk that were set aside and wait for a person, when last looked."""
        return self.counters.letters_kept

    @property
    def refused(self) -> Counter[Keeping]:
        """Events refused because the buffer fills, by what they are."""
        return self._publisher.refused

    @property
    def buffer(self) -> DiskBuffer | None:
        """Where events wait on the disk while Redis is away, for those who watch it."""
        return self._publisher.buffer

    @property
    def epoch(self) -> int:
        """This process' term as producer."""
        return self._publisher.epoch

    def readiness(self) -> dict[str, Check]:
        return super().readiness() | {
            "bus": Check(self.connected, "; ".join(self._down.values()) or "connected"),
            "buffer": Check(not self.trouble, self.trouble),
        }

    async def publish(self, payload: Payload, *, time: datetime) -> Event:
        self._refuse_stopped()
        return await self._publisher.publish(payload, time)

    async def set_state(self, payload: Payload, *, time: datetime) -> None:
        self._refuse_stopped()
        await self._publisher.set_state(payload, time)

    def subscribe(
        self,
        handler: Handler,
        *,
        producers: Collection[str],
        types: Collection[type[Payload]],
        group: str | None,
        at_once: int = 1,
    ) -> None:
        if not producers or not types:
            raise ValueError("subscribe: name at least one producer and one type")
        self._subscriptions.append(self._subscription(handler, producers, types, group, at_once))

    def watch_state(self, handler: Handler, *, types: Collection[type[Payload]]) -> None:
        self._states.append(self._subscription(handler, (), types, None))

    def watch_gaps(self, listener: Callable[[str], None], *, producers: Collection[str]) -> None:
        self.counters.gap_listeners.append(lambda producer: listener(producer) if producer in producers else None)

    async def start(self) -> None:
        """Claim the stream and take up reading. When Redis is away: go on without it if there is a disk to spool to.

        Raises BusUnavailable otherwise, DiskError.
        """
        await self._publisher.restore()
        self.spawn(self._publisher.run(), "publisher")
        if self._publisher.has_spool:
            self.spawn(self._publisher.run_spool(), "spool")
        trimmer = Trimmer(self._commands, self.desk, self.producer, self._infra, self.counters)
        self.spawn(trimmer.run(), "trimmer")
        ready = [self._publisher.ready, *(reader.ready for reader in self._make_readers())]
        self._started = True
        try:
            async with asyncio.timeout(self._start_timeout):
                for event in ready:
                    await self._ready_or_failed(event)
        except TimeoutError:
            reason = "; ".join(self._down.values())
            if not self._publisher.has_spool:
                await self.stop()
                raise BusUnavailable(
                    f"Redis does not answer after {self._start_timeout:.0f} s ({reason}): start it, or correct REDIS_URL"
                ) from None
            log.warning("Redis is away at the start; events go to disk until it is back", reason=reason)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._started and not self._stopping:
            await self._publisher.flush(2.0)
        await super().stop()
        await self._commands.close()
        await self._reads.close()

    def _make_readers(self) -> list[GroupReader | LiveReader]:
        readers: list[GroupReader | LiveReader] = []
        for group in sorted({item.group for item in self._subscriptions if item.group is not None}):
            members = [item for item in self._subscriptions if item.group == group]
            name = f"group {group}"
            readers.append(
                GroupReader(
                    self._reads,
                    self._commands,
                    self.desk,
                    self.producer,
                    group,
                    members,
                    self._infra,
                    self.counters,
                    self._reporter(name),
                )
            )
        live = [item for item in self._subscriptions if item.group is None]
        if live or self._states:
            readers.append(
                LiveReader(
                    self._reads, self.desk, live, self._states, self._infra, self.counters, self._reporter("live")
                )
            )
        for index, reader in enumerate(readers):
            self.spawn(reader.run(), f"reader-{index}")
            for lane in reader.lanes.values():
                self.spawn(lane.run(), f"lane-{index}-{lane.producer}")
            if isinstance(reader, GroupReader):
                self.spawn(reader.retries.run(), f"retries-{index}")
            if isinstance(reader, LiveReader):
                for key, state_lane in reader.state_lanes.items():
                    self.spawn(state_lane.run(), f"state-{key}")
        return readers

    async def _ready_or_failed(self, ready: asyncio.Event) -> None:
        waiting: asyncio.Future[Any] = asyncio.ensure_future(ready.wait())
        failed: asyncio.Future[Any] = self.failed
        try:
            await asyncio.wait([waiting, failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self.failed.done():
            raise self.failed.result()

    def _reporter(self, part: str) -> Callable[[Exception | None], None]:
        self._down[part] = _NOT_YET

        def report(error: Exception | None) -> None:
            if error is None:
                if self._down.pop(part, None) is not None:
                    log.info("connected", bus=self.producer, part=part)
                return
            if self._down.get(part) in (None, _NOT_YET):
                log.warning("Redis is away", bus=self.producer, part=part, error=str(error))
            self._down[part] = f"{part}: {error}"

        return report

    def _refuse_stopped(self) -> None:
        if self._stopping:
            raise BusUnavailable(f"the bus of {self.producer} is stopped")

    @staticmethod
    def _subscription(
        handler: Handler,
        producers: Collection[str],
        types: Collection[type[Payload]],
        group: str | None,
        at_once: int = 1,
    ) -> Subscription:
        unknown = [kind.__name__ for kind in types if kind not in EVENT_NAMES]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not a type of event with a name on the bus")
        return Subscription(handler, frozenset(producers), tuple(types), group, at_once)
