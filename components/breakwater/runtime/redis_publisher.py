"""The producing half of the Redis bus: an outbox in memory, a spool on disk, and a sender that stores each event exactly once.

An event gets its id (``epoch-sequence``) before it is sent and keeps it however often it is sent again. Events are held for
some seconds after Redis took them, because a server with ``appendfsync everysec`` that is killed may lose its last
two; whatever is missing after that is sent again.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import os
import secrets
import socket
from collections.abc import Callable
from datetime import datetime

import structlog
from redis.exceptions import ResponseError

from breakwater.domain.ids import DeskId
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.disk_buffer.buffer import DiskBuffer, Level
from breakwater.runtime.disk_buffer.classes import KEEPING, Keeping
from breakwater.runtime.disk_buffer.segments import Entry
from breakwater.runtime.events import EVENT_NAMES, Event, EventError, Payload, decode_event, encode_event
from breakwater.runtime.ports import DiskError, Volume
from breakwater.runtime.redis_client import LOST, RedisClient, key_of
from breakwater.runtime.redis_scripts import CLAIM, LEFTOVERS, STATE
from breakwater.runtime.redis_sender import Sender, Waiting

log = structlog.get_logger(__name__)

PERISHABLE = frozenset({"market.mark"})
"""Not worth keeping while Redis is away: the next one says more."""

_WAITED_OUT: tuple[type[Exception], ...] = (*LOST, DiskError)
_BATCH = 128
_KEEP_SECONDS = 5.0
"""How long an event is held after Redis took it."""
_MOST_KEPT_ON_DISK = 10_000
"""Of those, the newest so many go to the disk when Redis goes away: it may have taken its last two seconds with it."""
_CAPACITY = 100_000
"""Events that wait for Redis; beyond that publish refuses."""
_FIRST_PAUSE = 0.05
_MAX_LENGTH = 1_000_000
_MAX_LENGTHS = {"market_data": 20_000}
"""Streams are trimmed by length for now; trimming by what every group has handled comes later."""


class ProducerFenced(BusUnavailable):
    """Another process took over as this producer. This one must stop: nothing it publishes is taken any more."""


class Publisher:
    """``run`` and ``run_spool`` are its two tasks; ``report(None | error)`` is told whether the server answers."""

    def __init__(
        self,
        client: RedisClient,
        desk: DeskId,
        producer: str,
        infra: InfraClock,
        disk: Volume | None,
        report: Callable[[Exception | None], None],
        *,
        durable: bool = False,
    ) -> None:
        self._client = client
        self._desk = desk
        self._producer = producer
        self._infra = infra
        self._spool = DiskBuffer(disk, desk=desk, producer=producer) if disk is not None else None
        self._durable = durable and disk is not None
        """Every event goes to the disk first, not only while Redis is away."""
        self._unspooled: list[Waiting] = []
        """In that mode: not on the disk yet, in order."""
        self._released: tuple[int, int] = (0, 0)
        self._safe: tuple[int, int] = (0, 0)
        """Stored in Redis, and has been for long enough: all up to here."""
        self._report = report
        self._keys = [key_of(desk, producer, "owner"), key_of(desk, producer)]
        self._who = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self.epoch = 0
        self._sequence = 0
        self._state_sequence = 0
        self._claimed = False
        self._up = False
        self._fenced: ProducerFenced | None = None
        self._waiting: collections.deque[Waiting] = collections.deque()
        self._kept: collections.deque[tuple[float, Waiting]] = collections.deque()
        self._confirmed = 0  # last sequence of this epoch known to be stored
        self._leftovers: list[Entry] = []
        self._spool_stored_at = 0.0
        self._sender = Sender(
            client, self._keys, self._who, _MAX_LENGTHS.get(producer, _MAX_LENGTH), self._waiting, self._on_stored
        )
        self._pause = _FIRST_PAUSE
        self._spool_wake = asyncio.Event()
        self._spool_outdated = False
        self._spool_lock = asyncio.Lock()
        self.ready = asyncio.Event()
        self.refused: collections.Counter[Keeping] = collections.Counter()
        """Events refused because the buffer fills, by what they are."""

    async def restore(self) -> None:
        """Take up what an earlier process left in the spool. Raises DiskError."""
        if self._spool is not None:
            self._leftovers = await self._spool.load()
            if self._leftovers:
                log.info("events left over from an earlier run", producer=self._producer, count=len(self._leftovers))
        newest = max((entry.epoch for entry in self._leftovers), default=0)
        # Seconds of wall time: above any epoch before, also when the server lost its counter.
        self.epoch = max(newest + 1, int(self._infra.utc_now().timestamp()))

    @property
    def has_spool(self) -> bool:
        return self._spool is not None

    async def publish(self, payload: Payload, time: datetime) -> Event:
        name = EVENT_NAMES[type(payload)]
        if not self.epoch:
            raise RuntimeError("start the bus before publishing")
        if self._fenced is not None:
            raise self._fenced
        if name in PERISHABLE and not self._up:
            raise BusUnavailable(f"{name} dropped: Redis is away, and the next one will say more")
        self._refuse_for_room(name)
        self._sequence += 1
        event = Event(self._desk, self._producer, self.epoch, self._sequence, time, name, payload)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            data = encode_event(event)
        except EventError:
            self._sequence -= 1  # a number that is never stored would look like a lost event
            raise
        waiting = Waiting(Entry(self.epoch, self._sequence, data), done, perishable=name in PERISHABLE)
        self._waiting.append(waiting)
        self._sender.wake()
        if self._durable:
            self._unspooled.append(waiting)
        if not self._up or self._durable:
            self._park()
        await done  # a caller that gives up takes nothing back: the event is on its way
        return event

    def _refuse_for_room(self, name: str) -> None:
        """As the buffer fills, what can be given up goes first; money, safety and audit are never refused for room."""
        keeping = KEEPING[name]
        if keeping is Keeping.ALWAYS:
            return
        full = len(self._waiting) >= _CAPACITY or (not self._up and self.buffer_level is Level.FULL)
        if full or (keeping is Keeping.DROPPABLE and self._filling):
            self.refused[keeping] += 1
            why = self.trouble or f"{len(self._waiting)} events already wait for Redis; bring it back"
            raise BusUnavailable(f"{name} refused: {why}")

    @property
    def buffer(self) -> DiskBuffer | None:
        return self._spool

    @property
    def buffer_level(self) -> Level:
        return self._spool.level if self._spool is not None else Level.OK

    @property
    def trouble(self) -> str:
        """Why what is published next may not be kept, a sentence; empty while there is no reason to fear."""
        return self._spool.trouble if self._spool is not None else ""

    @property
    def _filling(self) -> bool:
        return not self._up and (len(self._waiting) >= _CAPACITY // 2 or self.buffer_level is Level.FILLING)

    async def set_state(self, payload: Payload, time: datetime) -> None:
        name = EVENT_NAMES[type(payload)]
        if self._fenced is not None:
            raise self._fenced
        if not self._up:
            raise BusUnavailable(f"{name} not sent: Redis is away")
        self._state_sequence += 1
        event = Event(self._desk, self._producer, self.epoch, self._state_sequence, time, name, payload)
        keys = [self._keys[0], *state_keys(self._desk, name)]
        order: list[str | int | bytes] = [name, event.sequence]
        try:
            answer = await STATE.run(
                self._client, keys, [self._who, self.epoch, self._producer, encode_event(event), *order]
            )
        except LOST as error:
            raise BusUnavailable(f"{name} not sent: {error}") from error
        if answer[0] == 3:
            return  # a newer one is out already: this one would be a step back
        if answer[0] != 0:
            self._sender.doubt()  # the sender finds out why
            raise BusUnavailable(f"{name} not sent: this producer's claim is being checked")

    async def run(self) -> None:
        """Store what waits, for ever. Raises ProducerFenced when another process took over."""
        while True:
            try:
                await self._claim()
                self._set_up()
                await self._send()
            except ProducerFenced as error:
                self._fenced = error
                self._up = False
                for waiting in self._waiting:
                    waiting.resolve(error)
                raise
            except _WAITED_OUT as error:
                self._set_down(error)
                pause, self._pause = self._pause, min(self._pause * 2, 1.0)
                await self._infra.sleep(pause)

    async def run_spool(self) -> None:
        """While Redis is away, make durable on disk what waits. One sync for all that came meanwhile."""
        assert self._spool is not None
        while True:
            await self._spool_wake.wait()
            self._spool_wake.clear()
            async with self._spool_lock:
                fresh = self._to_spool()
                if not fresh:
                    continue
                try:
                    await self._spool.append([waiting.entry for waiting in fresh])
                except DiskError as error:
                    if self._up:
                        log.error("events go to Redis without having been on the disk", error=str(error))
                        self._without_disk(fresh)
                        continue
                    lost = BusUnavailable(f"Redis is away and the buffer cannot be written: {error}")
                    self._take_back(lost)
                    for waiting in fresh:
                        waiting.resolve(lost)
                    continue
                for waiting in fresh:
                    waiting.spooled = True
                    waiting.resolve()

    def _to_spool(self) -> list[Waiting]:
        """What has to go to the disk now, oldest first."""
        if self._durable:
            fresh, self._unspooled = self._unspooled, []
            return [waiting for waiting in fresh if not waiting.settled]
        if self._up:
            return []
        fresh = []
        for waiting in reversed(self._waiting):
            if waiting.spooled:
                break
            fresh.append(waiting)
        # What Redis acknowledged last, it may not have when it comes back; and we may not be there any more to send it again.
        for _, waiting in itertools.islice(reversed(self._kept), _MOST_KEPT_ON_DISK):
            if waiting.spooled:
                break
            if not waiting.perishable:
                fresh.append(waiting)
        fresh.reverse()
        return fresh

    def _without_disk(self, fresh: list[Waiting]) -> None:
        """The disk refused while Redis is there: that it is stored there is what counts then."""
        on_their_way = set(map(id, self._waiting))
        for waiting in fresh:
            if id(waiting) in on_their_way:
                waiting.direct = True
            else:
                waiting.resolve()

    def _take_back(self, error: BusUnavailable) -> None:
        """Forget what was neither sent nor spooled: it is refused, so it must not be stored later, beside its second try."""
        while self._waiting and not (self._waiting[-1].spooled or self._waiting[-1].attempted):
            self._waiting.pop().resolve(error)
            self._sequence -= 1

    async def flush(self, patience: float) -> None:
        """Wait until all that was published is stored or spooled; at most ``patience`` seconds."""
        futures = [waiting.done for waiting in self._waiting if waiting.done is not None and not waiting.done.done()]
        if futures:
            await asyncio.wait(futures, timeout=patience)

    def _set_up(self) -> None:
        self._up = True
        self._report(None)
        self.ready.set()

    def _set_down(self, error: Exception) -> None:
        self._up = False
        self._report(error)
        self._park()

    def _park(self) -> None:
        """Redis is away: settle those who wait, on disk or with an error."""
        if self._spool is not None:
            self._spool_wake.set()
            return
        lost = BusUnavailable(
            "Redis is away; the event is kept in memory and goes out when Redis is back. Do not publish it again"
        )
        for waiting in reversed(self._waiting):
            if waiting.settled:
                break
            waiting.resolve(lost)

    async def _claim(self) -> None:
        """Own the stream, and put back in line whatever the server does not have."""
        missing = await self._store_leftovers()
        answer = await CLAIM.run(self._client, self._keys, [self._who, self.epoch, "0" if self._claimed else "1"])
        if answer[0] == 0:
            raise ProducerFenced(
                f"another process is {self._producer} of desk {self._desk} now (epoch {answer[1]}, ours {self.epoch}); "
                "this one stops. Run one of each component per desk"
            )
        first, self._claimed = not self._claimed, True
        if missing or int(answer[1]) != self.epoch:
            await self._number_again(int(answer[1]), missing, all_waiting=first)
        await self._update_spool()
        if first:
            log.info("producing", producer=self._producer, desk=self._desk, epoch=self.epoch)
            return
        self._spool_stored_at = (
            self._infra.monotonic()
        )  # the server that came back may go again, with what it was given
        last = (int(answer[2]), int(answer[3]))
        again = [item for item in self._kept if item[1].entry.epoch == self.epoch and item[1].entry.id > last]
        if again:
            log.warning("the server lost events it had taken; sending them again", count=len(again))
        for item in reversed(again):
            self._kept.remove(item)
            self._waiting.appendleft(item[1])
        stored = last[1] if last[0] == self.epoch else 0
        oldest = self._waiting[0].entry.sequence if self._waiting else self._sequence + 1
        if oldest > stored + 1:
            log.error("events lost for good by the server", after=stored, before=oldest, producer=self._producer)
        self._confirmed = stored

    async def _store_leftovers(self) -> list[Entry]:
        """Store what earlier runs spooled under its own ids; returns what is not there and no longer can be."""
        missing: list[Entry] = []
        for start in range(0, len(self._leftovers), _BATCH):
            batch = self._leftovers[start : start + _BATCH]
            behind: list[str | int | bytes] = ["1" if missing else "0"]
            answer = await LEFTOVERS.run(self._client, self._keys[1:], behind + _arguments(batch))
            if answer[0]:
                raise ResponseError(answer[0].decode())
            missing += [batch[int(index)] for index in answer[1:]]
        if self._leftovers:
            self._spool_stored_at = self._infra.monotonic()
        return missing

    async def _number_again(self, epoch: int, missing: list[Entry], *, all_waiting: bool) -> None:
        """Give entries that were never stored ids of the epoch we got.

        With ``all_waiting`` (nothing of this run was sent yet) the missing ones go first, in the order they came in.
        """
        async with self._spool_lock:
            gone = {entry.id for entry in missing}
            self._leftovers = [entry for entry in self._leftovers if entry.id not in gone]
            self.epoch = epoch
            line = [Waiting(entry, spooled=True) for entry in missing]
            if all_waiting:
                line += self._waiting
                self._waiting.clear()
                self._sequence = 0
            for waiting in line:
                self._sequence += 1
                waiting.entry = _renumbered(waiting.entry, epoch, self._sequence)
            self._waiting.extend(line)
            self._spool_outdated = self._spool is not None

    async def _update_spool(self) -> None:
        """Have the disk know the new ids before anything is sent under them: a crash after that would double it.

        Raises DiskError; nothing is sent until the disk takes it.
        """
        async with self._spool_lock:
            if self._spool is not None and self._spool_outdated:
                line = itertools.chain((waiting for _, waiting in self._kept), self._waiting)
                spooled = [waiting.entry for waiting in line if waiting.spooled]
                await self._spool.rewrite(self._leftovers + spooled)
                self._spool_outdated = False

    async def _send(self) -> None:
        """Store what comes, until the claim has to be checked. Raises what is in LOST, DiskError."""
        await self._sender.run(self.epoch, self._confirmed, self._tidy)

    def _on_stored(self, batch: list[Waiting]) -> None:
        now = self._infra.monotonic()
        self._pause = _FIRST_PAUSE
        for waiting in batch:
            self._kept.append((now, waiting))
            if waiting.spooled or self._durable:
                self._spool_stored_at = now
            if waiting.spooled or waiting.direct or not self._durable:
                waiting.resolve()
        if batch:
            self._confirmed = max(self._confirmed, batch[-1].entry.sequence)
        while self._kept and now - self._kept[0][0] > _KEEP_SECONDS:
            self._safe = self._kept.popleft()[1].entry.id

    async def _tidy(self) -> None:
        """Empty the spool once all of it is stored, and has been for long enough; see whether a disk that failed is well."""
        if self._spool is None:
            return
        if self._spool.level is Level.FAILING:
            await self._spool.heal()
        if not self._spool.count:
            return
        if self._durable and self._safe > self._released and not self._leftovers:
            self._released = self._safe
            async with self._spool_lock:
                try:
                    await self._spool.release(self._safe)
                except DiskError as error:
                    log.warning("a stored part of the spool cannot be removed yet", error=str(error))
        recent = self._infra.monotonic() - self._spool_stored_at <= _KEEP_SECONDS
        if recent or any(waiting.spooled for waiting in self._waiting):
            return
        async with self._spool_lock:
            try:
                await self._spool.clear()
            except DiskError as error:
                log.warning(
                    "the spool cannot be emptied; its events are sent again at the next start", error=str(error)
                )
                self._spool_stored_at = self._infra.monotonic()
                return
        self._leftovers = []


def state_keys(desk: DeskId, name: str) -> list[str]:
    """Stream of a state channel, and hash of its latest value by producer."""
    return [key_of(desk, "state", name), key_of(desk, "state", name, "latest")]


def _arguments(entries: list[Entry]) -> list[str | int | bytes]:
    return [part for entry in entries for part in (f"{entry.epoch}-{entry.sequence}", entry.data)]


def _renumbered(entry: Entry, epoch: int, sequence: int) -> Entry:
    event = decode_event(entry.data)
    changed = Event(event.desk, event.producer, epoch, sequence, event.time, event.type, event.payload)
    return Entry(epoch, sequence, encode_event(changed))
