"""What went in at the producers and came out at the consumer groups, by the events' own ids: the judge of a drill about the bus."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from breakwater.drills.report import EventsReport
from breakwater.runtime.bus import BusUnavailable, Handler
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import Event, HealthUpdated, Payload
from breakwater.runtime.redis_bus import RedisBus

Id = tuple[str, int, int]
"""Producer, epoch, sequence."""
PRODUCER = "drill_load"
_BURSTS = 20
"""Bursts a second in which the load comes."""


@dataclass(frozen=True)
class _Group:
    """A durable subscription: who reads what."""

    name: str
    producers: frozenset[str]
    types: tuple[type[Payload], ...]


@dataclass
class Deliveries:
    """Filled by the buses of one desk, all in one process."""

    published: dict[Id, type[Payload]] = field(default_factory=dict)
    """Taken by the bus: ``publish`` returned."""
    refused: int = 0
    """``publish`` said that it did not take the event; its publisher knows."""
    out_of_order: int = 0
    _groups: dict[str, _Group] = field(default_factory=dict)
    _handled: dict[str, Counter[Id]] = field(default_factory=dict)
    _begun: dict[str, set[Id]] = field(default_factory=dict)
    _last: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def group(self, reader: str, producers: Collection[str], types: Collection[type[Payload]]) -> str:
        """Name of one more group's subscription."""
        name = f"{reader} {len(self._groups)}"
        self._groups[name] = _Group(name, frozenset(producers), tuple(types))
        self._handled[name] = Counter()
        self._begun[name] = set()
        return name

    def begun(self, name: str, event: Event) -> None:
        """A group's handler is given an event; again, when it failed before."""
        place, last = (event.epoch, event.sequence), self._last.get((name, event.producer), (0, 0))
        if _id(event) not in self._begun[name] and place < last:
            self.out_of_order += 1
        self._begun[name].add(_id(event))
        self._last[name, event.producer] = max(place, last)

    def handled(self, name: str, event: Event) -> None:
        """A group's handler returned."""
        self._handled[name][_id(event)] += 1

    def missing(self, among: Collection[Id]) -> set[Id]:
        """Which of ``among`` some group that wants them was not given yet. A handler may take its time with one it has."""
        return {each for each in among for group in self._wanting(each) if each not in self._begun[group.name]}

    def wanted(self) -> set[Id]:
        """Everything published so far that at least one group wants."""
        return {each for each in self.published if self._wanting(each)}

    def report(self, among: Collection[Id]) -> EventsReport:
        """How ``among`` fared; duplicates are counted over everything."""
        lost = len(self.missing(among))
        repeated = sum(times - 1 for handled in self._handled.values() for times in handled.values())
        return EventsReport(len(among), len(among) - lost, repeated, lost)

    def _wanting(self, each: Id) -> list[_Group]:
        kind = self.published[each]
        return [
            group for group in self._groups.values() if each[0] in group.producers and issubclass(kind, group.types)
        ]


class CountedBus(RedisBus):
    """The bus as it is; what goes through is written down in ``deliveries``, which is set before anything is subscribed."""

    deliveries: Deliveries

    async def publish(self, payload: Payload, *, time: datetime) -> Event:
        try:
            event = await super().publish(payload, time=time)
        except BusUnavailable:
            self.deliveries.refused += 1
            raise
        self.deliveries.published[_id(event)] = type(payload)
        return event

    def subscribe(
        self,
        handler: Handler,
        *,
        producers: Collection[str],
        types: Collection[type[Payload]],
        group: str | None,
        at_once: int = 1,
    ) -> None:
        subscribe = partial(super().subscribe, producers=producers, types=types, group=group, at_once=at_once)
        if group is None:
            subscribe(handler)
            return
        name = self.deliveries.group(group, producers, types)

        async def counted(event: Event) -> None:
            self.deliveries.begun(name, event)
            await handler(event)
            self.deliveries.handled(name, event)

        subscribe(counted)


class Load:
    """Events as fast as asked for, from a producer of its own to a durable group: a quiet desk alone would prove little."""

    def __init__(self, bus: Callable[[str], CountedBus], clocks: Clocks, per_second: int) -> None:
        self._clocks, self._per_second = clocks, per_second
        self._out, self._in = bus(PRODUCER), bus("drill_reader")
        self._in.subscribe(_take, producers=(PRODUCER,), types=(HealthUpdated,), group="drill_reader")
        self._sending: set[asyncio.Task[None]] = set()
        self._number = 0

    async def start(self) -> None:
        await self._in.start()
        await self._out.start()

    async def stop(self) -> None:
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._out.stop()
        await self._in.stop()

    async def run(self) -> None:
        """Publish until cancelled; what is on its way then is seen through by `stop`."""
        every = max(1, self._per_second // _BURSTS)
        while True:
            for _ in range(every):
                self._number += 1
                task = asyncio.get_running_loop().create_task(self._one(self._number))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
            await self._clocks.infra.sleep(1 / _BURSTS)

    async def _one(self, number: int) -> None:
        now = self._clocks.market.now()
        with contextlib.suppress(BusUnavailable):  # counted as refused
            await self._out.publish(HealthUpdated(now, "ok", {"drill": str(number)}), time=now)


async def _take(event: Event) -> None:
    """Nothing is done with it: that it came is what counts."""


def _id(event: Event) -> Id:
    return (event.producer, event.epoch, event.sequence)
