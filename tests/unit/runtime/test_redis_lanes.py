from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

from redis.exceptions import ConnectionError as RedisConnectionError

from breakwater.domain.ids import DeskId, Symbol
from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import Event, MarkPrice, encode_event
from breakwater.runtime.redis_lanes import BusCounters, Lane, StreamId, Subscription

NOW = datetime(2025, 10, 10, tzinfo=UTC)


def encoded(sequence: int) -> bytes:
    mark = MarkPrice(Symbol("BTCUSDT"), Decimal(sequence), NOW)
    return encode_event(Event(DeskId("main"), "writer", 1, sequence, NOW, "market.mark", mark))


async def test_entry_that_arrives_while_the_last_is_acknowledged_is_handled_and_repeats_are_not() -> None:
    handled: list[int] = []
    acknowledged: list[StreamId] = []
    third = asyncio.Event()
    counters = BusCounters()

    async def handle(event: Event) -> None:
        handled.append(event.sequence)

    async def acknowledge(entries: list[StreamId]) -> None:
        if not acknowledged:
            lane.accept((1, 2), encoded(2))
        acknowledged.extend(entries)
        if (1, 5) in entries:
            third.set()

    async def set_aside(entry: StreamId, data: bytes, reason: str, attempts: int) -> bool:
        raise AssertionError(reason)

    subscription = Subscription(handle, frozenset({"writer"}), (MarkPrice,), "group")
    lane = Lane(
        "writer", [subscription], WallInfraClock(), counters, acknowledge=acknowledge, set_aside=set_aside
    )  # fmt: skip
    worker = asyncio.ensure_future(lane.run())
    lane.accept((1, 1), encoded(1))
    async with asyncio.timeout(2):
        while (1, 2) not in acknowledged:  # noqa: ASYNC110 - the lane tells nobody
            await asyncio.sleep(0)
    lane.accept((1, 1), encoded(1))  # the server forgot that we had it: acknowledged again, not handled again
    lane.accept((1, 5), encoded(5))
    await asyncio.wait_for(third.wait(), 2)
    assert handled == [1, 2, 5]
    assert acknowledged.count((1, 1)) == 2
    assert counters.gaps == 1
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


async def test_acknowledgement_that_failed_is_repeated_though_nothing_new_arrives() -> None:
    tries: list[StreamId] = []
    acknowledged = asyncio.Event()

    async def handle(event: Event) -> None:
        pass

    async def acknowledge(entries: list[StreamId]) -> None:
        tries.extend(entries)
        if len(tries) == 1:
            raise RedisConnectionError("the server is away")
        acknowledged.set()

    async def set_aside(entry: StreamId, data: bytes, reason: str, attempts: int) -> bool:
        raise AssertionError(reason)

    subscription = Subscription(handle, frozenset({"writer"}), (MarkPrice,), "group")
    lane = Lane("writer", [subscription], WallInfraClock(), BusCounters(), acknowledge=acknowledge, set_aside=set_aside)
    worker = asyncio.ensure_future(lane.run())
    lane.accept((1, 1), encoded(1))
    async with asyncio.timeout(2):
        while not tries:  # noqa: ASYNC110 - the lane tells nobody
            await asyncio.sleep(0)
    lane.accept((1, 1), encoded(1))  # it is still pending: the server gives it once more
    await asyncio.wait_for(acknowledged.wait(), 2)
    assert tries == [(1, 1), (1, 1)]
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
