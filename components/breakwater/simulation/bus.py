"""The event bus in memory: same promises as on Redis Streams, delivered by wake-up instead of polling.

A MemoryBroker is the server: it outlives the connections, so a component can be stopped and started again on it. Events
are stored encoded, so what cannot travel fails here as it would there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from breakwater.domain.ids import DeskId
from breakwater.runtime.bus import BusUnavailable, Handler
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.events import EVENT_NAMES, EVENT_TYPES, Event, Payload, decode_event, encode_event

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0

StreamKey = tuple[DeskId, str]
"""Desk and producer."""

_Wakers = dict["_Reader", None]


@dataclass(frozen=True)
class HandlerFailure:
    """A handler raised on an event; the event was offered again."""

    event_id: str
    type: str
    consumer: str
    error: BaseException


class _Stored:
    """An event as the server holds it: encoded. Decoded once for all who read it: events are immutable."""

    __slots__ = ("_data", "_event", "type")

    def __init__(self, event: Event) -> None:
        self.type = event.type
        self._data = encode_event(event)
        self._event: Event | None = None

    @property
    def event(self) -> Event:
        if self._event is None:
            self._event = decode_event(self._data)
        return self._event


@dataclass
class _Stream:
    epoch: int = 0
    events: list[_Stored] = field(default_factory=list)
    wakers: _Wakers = field(default_factory=dict)


@dataclass
class _States:
    values: dict[str, dict[str, _Stored]] = field(default_factory=dict)
    """By type name, then producer."""
    wakers: dict[str, _Wakers] = field(default_factory=dict)
    """By type name: a heartbeat does not wake who waits for a lease."""
    changes: int = 0
    """How many values were set so far."""


class MemoryBroker:
    """The server side: streams, cursors of consumer groups, last values."""

    def __init__(self) -> None:
        self._streams: dict[StreamKey, _Stream] = {}
        self._cursors: dict[tuple[DeskId, str, str, str], int] = {}
        self._owners: dict[tuple[DeskId, str, str, str], object] = {}
        self._states: dict[DeskId, _States] = {}
        self._up = True
        self.failures: list[HandlerFailure] = []
        """Everything handlers raised, in order: simulations assert on it."""

    @property
    def up(self) -> bool:
        """False: unreachable; nothing is taken or delivered, nothing stored is lost."""
        return self._up

    @up.setter
    def up(self, up: bool) -> None:
        self._up = up
        for stream in self._streams.values():
            _wake(stream.wakers)
        for states in self._states.values():
            for wakers in states.wakers.values():
                _wake(wakers)

    def stream(self, desk: DeskId, producer: str) -> tuple[Event, ...]:
        """All events a producer published, for checkers."""
        return tuple(stored.event for stored in self._stream((desk, producer)).events)

    def backlog(self, desk: DeskId, producer: str, group: str, consumer: str) -> int:
        """Events of ``producer`` that ``group`` of component ``consumer`` has not handled yet, whatever their type."""
        done = self._cursors.get((desk, producer, consumer, group), 0)
        return len(self._stream((desk, producer)).events) - done

    def _stream(self, key: StreamKey) -> _Stream:
        return self._streams.setdefault(key, _Stream())

    def _desk_states(self, desk: DeskId) -> _States:
        return self._states.setdefault(desk, _States())


def _wake(readers: _Wakers) -> None:
    for reader in readers:
        reader.wake.set()


class MemoryBus:
    """One component's connection to a MemoryBroker; implements ``runtime.bus.Bus``.

    Each ``start`` is a new epoch of the producer's stream and fences earlier connections of the same producer.
    """

    def __init__(self, broker: MemoryBroker, desk: DeskId, producer: str, infra: InfraClock) -> None:
        self.desk = desk
        self.producer = producer
        self._broker = broker
        self._infra = infra
        self._epoch = 0
        self._sequence = 0
        self._subscriptions: list[_Subscription] = []
        self._watches: list[_Watch] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def publish(self, payload: Payload, *, time: datetime) -> Event:
        stream = self._open_stream()
        self._sequence += 1
        event = self._event(payload, time)
        stream.events.append(_Stored(event))
        _wake(stream.wakers)
        await asyncio.sleep(0)
        return event

    async def set_state(self, payload: Payload, *, time: datetime) -> None:
        self._open_stream()
        event = self._event(payload, time)
        states = self._broker._desk_states(self.desk)
        states.values.setdefault(event.type, {})[self.producer] = _Stored(event)
        states.changes += 1
        _wake(states.wakers.get(event.type, {}))
        await asyncio.sleep(0)

    def subscribe(
        self,
        handler: Handler,
        *,
        producers: Collection[str],
        types: Collection[type[Payload]],
        group: str | None,
        at_once: int = 1,
    ) -> None:
        self._must_not_run("subscribe")
        names = _names(types)
        self._subscriptions += [
            _Subscription(self._broker, self.desk, producer, self.producer, group, names, handler, self._infra, at_once)
            for producer in dict.fromkeys(producers)
        ]

    def watch_state(self, handler: Handler, *, types: Collection[type[Payload]]) -> None:
        self._must_not_run("watch_state")
        self._watches.append(_Watch(self._broker, self.desk, self.producer, _names(types), handler))

    def watch_gaps(self, listener: Callable[[str], None], *, producers: Collection[str]) -> None:
        """Nothing is ever missing here."""
        self._must_not_run("watch_gaps")

    async def start(self) -> None:
        self._must_not_run("start")
        stream = self._broker._stream((self.desk, self.producer))
        stream.epoch += 1
        self._epoch, self._sequence = stream.epoch, 0
        loop = asyncio.get_running_loop()
        for reader in (*self._subscriptions, *self._watches):
            reader.begin()
            self._tasks.append(loop.create_task(reader.run(), name=f"bus.{reader.name}"))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    @property
    def trouble(self) -> str:
        return ""

    @property
    def dead_letters(self) -> int:
        return 0

    @property
    def connected(self) -> bool:
        return self._broker.up

    def _open_stream(self) -> _Stream:
        if self._epoch == 0:
            raise RuntimeError(f"bus of {self.producer}: start it before publishing")
        if not self._broker.up:
            raise BusUnavailable("the bus does not answer")
        stream = self._broker._stream((self.desk, self.producer))
        if stream.epoch != self._epoch:
            raise BusUnavailable(f"{self.producer} epoch {self._epoch} is fenced: epoch {stream.epoch} has taken over")
        return stream

    def _event(self, payload: Payload, time: datetime) -> Event:
        name = EVENT_NAMES[type(payload)]
        return Event(self.desk, self.producer, self._epoch, self._sequence, time, name, payload)

    def _must_not_run(self, what: str) -> None:
        if self._tasks:
            raise RuntimeError(f"bus of {self.producer}: {what} comes after start")


class _Reader:
    """Common to both kinds of delivery: sleeps until woken, one event at a time."""

    def __init__(self, broker: MemoryBroker, name: str, wakers: Iterable[_Wakers]) -> None:
        self.name = name
        self.wake = asyncio.Event()
        self._broker = broker
        self._wakers = tuple(wakers)

    def begin(self) -> None:
        """Take the starting position, before the first event can arrive."""

    async def run(self) -> None:
        for wakers in self._wakers:
            wakers[self] = None
        try:
            while True:
                self.wake.clear()
                await self._drain()
                await self.wake.wait()
        finally:
            for wakers in self._wakers:
                wakers.pop(self, None)

    async def _drain(self) -> None:
        raise NotImplementedError

    async def _offer(self, handler: Handler, event: Event) -> bool:
        """Whether the handler took it."""
        try:
            await handler(event)
        except Exception as error:  # noqa: BLE001  a handler's failure is recorded and retried, never passed on
            self._broker.failures.append(HandlerFailure(event.id, event.type, self.name, error))
            log.warning("event handler failed", consumer=self.name, event_id=event.id, error=repr(error))
            return False
        return True


class _Subscription(_Reader):
    """One producer's stream to one handler, in order."""

    def __init__(
        self,
        broker: MemoryBroker,
        desk: DeskId,
        producer: str,
        consumer: str,
        group: str | None,
        names: frozenset[str],
        handler: Handler,
        infra: InfraClock,
        at_once: int,
    ) -> None:
        self._stream = broker._stream((desk, producer))
        super().__init__(broker, f"{consumer}.{group or 'live'}<{producer}", (self._stream.wakers,))
        self._key = (desk, producer, consumer, group) if group is not None else None
        self._names = names
        self._handler = handler
        self._infra = infra
        self._at_once = at_once
        self._in_hand: set[int] = set()
        self._handling: asyncio.TaskGroup | None = None
        self._next = 0

    def begin(self) -> None:
        if self._key is None:
            self._next = len(self._stream.events)
            return
        self._next = self._broker._cursors.setdefault(self._key, 0)
        self._broker._owners[self._key] = self  # an earlier reader of this group has lost it

    async def run(self) -> None:
        if self._at_once == 1:
            await super().run()
        async with asyncio.TaskGroup() as handling:
            self._handling = handling
            await super().run()

    async def _drain(self) -> None:
        if self._at_once > 1:
            await self._drain_at_once()
            return
        retry_s = FIRST_RETRY_S
        while self._may_read():
            stored = self._stream.events[self._next]
            if stored.type in self._names and not await self._offer(self._handler, stored.event):
                await self._infra.sleep(retry_s)
                retry_s = min(LAST_RETRY_S, retry_s * 2)
                continue
            retry_s = FIRST_RETRY_S
            self._next += 1
            if self._key is not None and self._mine():
                self._broker._cursors[self._key] = self._next

    async def _drain_at_once(self) -> None:
        assert self._handling is not None
        while self._may_read() and len(self._in_hand) < self._at_once:
            if self._stream.events[self._next].type in self._names:
                self._in_hand.add(self._next)
                self._handling.create_task(self._handle(self._next), name=f"{self.name}.{self._next}")
            self._next += 1
        self._settle()

    async def _handle(self, index: int) -> None:
        retry_s = FIRST_RETRY_S
        while self._mine() and not await self._offer(self._handler, self._stream.events[index].event):
            await self._infra.sleep(retry_s)
            retry_s = min(LAST_RETRY_S, retry_s * 2)
        self._in_hand.discard(index)
        self._settle()
        self.wake.set()

    def _settle(self) -> None:
        """What comes before the first event that is still in hand has been handled."""
        if self._key is not None and self._mine():
            self._broker._cursors[self._key] = min(self._in_hand, default=self._next)

    def _may_read(self) -> bool:
        return self._broker.up and self._mine() and self._next < len(self._stream.events)

    def _mine(self) -> bool:
        return self._key is None or self._broker._owners.get(self._key) is self


class _Watch(_Reader):
    """Last values to one handler: each producer's newest, in the order they were first set."""

    def __init__(
        self, broker: MemoryBroker, desk: DeskId, consumer: str, names: frozenset[str], handler: Handler
    ) -> None:
        states = broker._desk_states(desk)
        kinds = sorted(names)
        super().__init__(
            broker, f"{consumer}.state:{','.join(kinds)}", [states.wakers.setdefault(kind, {}) for kind in kinds]
        )
        self._all = states
        self._changes = -1
        self._states = {kind: states.values.setdefault(kind, {}) for kind in kinds}
        self._handler = handler
        self._seen: dict[tuple[str, str], _Stored] = {}

    async def _drain(self) -> None:
        while self._changes != self._all.changes and self._broker.up:
            self._changes = self._all.changes
            for kind, values in self._states.items():
                for producer, stored in tuple(values.items()):
                    if self._seen.get((kind, producer)) is stored:
                        continue
                    self._seen[kind, producer] = stored
                    await self._offer(self._handler, stored.event)


def _names(types: Collection[type[Payload]]) -> frozenset[str]:
    kinds = tuple(types)
    names = frozenset(name for name, kind in EVENT_TYPES.items() if issubclass(kind, kinds))
    if not names:
        raise ValueError(f"no event type among {kinds}")
    return names
