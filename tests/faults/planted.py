"""Bugs that the matrix must find: each takes one precaution out of the bus of a child. Never part of the product."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis import exceptions

from breakwater.runtime import redis_publisher, redis_readers
from breakwater.runtime.disk_buffer.buffer import DiskBuffer
from breakwater.runtime.redis_client import LOST, RedisClient


@dataclass(frozen=True)
class Plant:
    what: str
    shows: frozenset[str]
    """How the judge may call what comes of it (see Verdict)."""
    plant: Callable[[], None]


PLANTS: dict[str, Plant] = {}


def adjust(owner: Any, **values: Any) -> None:
    """Set what is there already. AttributeError: the bus has changed, and this must follow."""
    for name, value in values.items():
        if not hasattr(owner, name):
            raise AttributeError(f"{owner.__name__} has no {name} any more: adapt tests/faults")
        setattr(owner, name, value)


def bug(what: str, *shows: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(plant: Callable[[], None]) -> Callable[[], None]:
        PLANTS[plant.__name__] = Plant(what, frozenset(shows), plant)
        return plant

    return register


@bug("the consumer reads only what was never delivered ('>'), not what it did not acknowledge", "lost", "out_of_order")
def only_new() -> None:
    async def nothing(*_: Any) -> None:
        return

    adjust(redis_readers.GroupReader, _read_own_pending=nothing)


@bug("the client repeats a command whose reply was lost, as the library does by default", "lost", "out_of_order")
def library_retries() -> None:
    once = RedisClient.run

    async def run(self: RedisClient, *command: str | int | bytes) -> Any:
        for _ in range(10):
            try:
                return await once(self, *command)
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                await asyncio.sleep(0.05)
        return await once(self, *command)

    adjust(RedisClient, run=run)


@bug("an event is forgotten as soon as the server acknowledged it", "lost", "out_of_order")
def no_keeping() -> None:
    adjust(redis_publisher, _KEEP_SECONDS=-1.0)


@bug("entries are acknowledged when they are delivered, before they are handled", "lost", "out_of_order")
def acknowledged_before_handled() -> None:
    once = RedisClient.run

    async def run(self: RedisClient, *command: str | int | bytes) -> Any:
        if command[0] == "XREADGROUP":
            command = (*command[:4], "NOACK", *command[4:])
        return await once(self, *command)

    adjust(RedisClient, run=run)


@bug(
    "an event that is sent again gets a new id: nobody can tell that it was stored the first time",
    "duplicated",
    "repeated",
    "out_of_order",
)
def new_id_each_time() -> None:
    send = redis_publisher.Publisher._send

    async def renumbering(self: Any) -> None:
        try:
            await send(self)
        except LOST:
            for waiting in self._waiting:
                self._sequence += 1
                waiting.entry = redis_publisher._renumbered(waiting.entry, self.epoch, self._sequence)
            raise

    adjust(redis_publisher.Publisher, _send=renumbering)


@bug("an event counts as safe before it is on the disk", "lost", "out_of_order")
def acknowledged_before_synced() -> None:
    async def nothing(*_: Any) -> None:
        return

    adjust(DiskBuffer, append=nothing)
