"""Events handled several at the same time: each is acknowledged when its own handler has returned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.integration.runtime.conftest import DESK

from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import CandleClosed, Event
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.valkey_server import EmbeddedServer

Publish = Callable[[RedisBus, int], Awaitable[Event]]
Eventually = Callable[..., Awaitable[None]]


class Holding:
    """Handles at once, except the numbers in ``held``, which wait."""

    def __init__(self, *held: int) -> None:
        self.held = {number: asyncio.Event() for number in held}
        self.began: list[int] = []
        self.done: list[int] = []

    async def __call__(self, event: Event) -> None:
        assert isinstance(event.payload, CandleClosed)
        number = int(event.payload.close)
        self.began.append(number)
        if number in self.held:
            await self.held[number].wait()
        self.done.append(number)


async def reading(server: EmbeddedServer, handler: Holding, at_once: int) -> RedisBus:
    bus = RedisBus(server.url, DESK, "reader", WallInfraClock())
    bus.subscribe(handler, producers=["writer"], types=[CandleClosed], group="reader", at_once=at_once)
    await bus.start()
    return bus


async def test_slow_event_holds_up_none_of_those_behind_it_up_to_the_bound(
    server: EmbeddedServer, make_bus: Any, publish: Publish, eventually: Eventually
) -> None:
    handler = Holding(0, 1, 2)
    reader = await reading(server, handler, 3)
    writer = await make_bus("writer")
    for number in range(6):
        await publish(writer, number)
    await eventually(lambda: handler.began == [0, 1, 2])
    await asyncio.sleep(0.1)
    assert handler.began == [0, 1, 2]
    handler.held[1].set()
    await eventually(lambda: handler.done == [1, 3, 4, 5])
    handler.held[0].set()
    handler.held[2].set()
    await eventually(lambda: sorted(handler.done) == list(range(6)))
    await reader.stop()


async def test_killed_reader_gets_again_exactly_what_it_had_not_finished(
    server: EmbeddedServer, make_bus: Any, publish: Publish, eventually: Eventually, client: Any
) -> None:
    handler = Holding(1, 4)
    reader = await reading(server, handler, 8)
    writer = await make_bus("writer")
    for number in range(6):
        await publish(writer, number)
    await eventually(lambda: handler.done == [0, 2, 3, 5])
    groups = "XINFO", "GROUPS", f"bw:{{{DESK}}}:writer"
    while (await client.run(*groups))[0][b"pending"] != 2:  # noqa: ASYNC110 - the server has nobody to tell us
        await asyncio.sleep(0.02)
    await reader.stop()
    again = Holding()
    reader = await reading(server, again, 8)
    await eventually(lambda: sorted(again.done) == [1, 4])
    await publish(writer, 6)
    await eventually(lambda: sorted(again.done) == [1, 4, 6])
    await reader.stop()
