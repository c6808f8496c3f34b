"""Many commands under way on one connection, and what the publisher makes of it when the server or the connection fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.redis_client import RedisClient, key_of
from breakwater.runtime.redis_pipeline import Pipeline, pack
from breakwater.runtime.redis_scripts import CLAIM, PUBLISH
from breakwater.runtime.valkey_server import EmbeddedServer

MANY = 3000
STREAM = key_of("test", "writer")
KEYS = [key_of("test", "writer", "owner"), STREAM]
Words = list[str | int | bytes]


async def connected(client: RedisClient, timeout: float = 5.0) -> Pipeline:
    pipeline = Pipeline(await client.endpoint(STREAM), timeout)
    await pipeline.connect()
    return pipeline


def send_all(pipeline: Pipeline, *commands: tuple[str | int | bytes, ...]) -> list[Any]:
    replies: list[Any] = []
    for command in commands:
        pipeline.send(pack(command), replies.append)
    return replies


async def test_replies_of_many_commands_under_way_come_in_their_order(client: RedisClient, eventually: Any) -> None:
    pipeline = await connected(client)
    await pipeline.ask(("SET", "word", "x"))
    replies = send_all(pipeline, ("ECHO", "1"), ("INCR", "word"), *(("ECHO", str(number)) for number in range(1000)))
    await eventually(lambda: len(replies) == 1002)
    assert replies[0] == b"1"
    assert isinstance(replies[1], ResponseError)
    assert replies[2:] == [str(number).encode() for number in range(1000)]
    pipeline.close()


async def test_silence_of_the_server_fails_everything_under_way_and_ends_the_connection(
    client: RedisClient, eventually: Any
) -> None:
    pipeline = await connected(client, timeout=0.2)
    replies = send_all(pipeline, ("ECHO", "in time"), ("BLPOP", "nothing", 2), ("ECHO", "behind it"))
    await eventually(lambda: len(replies) == 3)
    assert replies[0] == b"in time"
    assert [type(reply) for reply in replies[1:]] == [RedisTimeoutError] * 2
    assert not pipeline.is_connected
    assert isinstance(send_all(pipeline, ("PING",))[0], RedisConnectionError)


async def test_command_given_up_while_under_way_ends_the_connection(client: RedisClient) -> None:
    pipeline = await connected(client)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await pipeline.ask(("BLPOP", "nothing", 2))
    assert not pipeline.is_connected  # its reply would be read as the next one's
    await pipeline.connect()
    assert await pipeline.ask(("ECHO", "mine")) == b"mine"
    pipeline.close()


async def test_batch_is_refused_while_the_one_before_it_is_missing(client: RedisClient) -> None:
    _, epoch, _, _ = await CLAIM.run(client, KEYS, ["me", 100, "1"])

    async def store(before: int, *sequences: int) -> Any:
        entries: Words = [part for number in sequences for part in (f"{epoch}-{number}", "x")]
        return await PUBLISH.run(client, KEYS, ["me", epoch, before, 1000, *entries])

    assert (await store(0, 1, 2))[:2] == [0, 2]
    assert (await store(3, 4, 5))[:2] == [2, 0]  # 3 is missing: storing 4 would shut the door on it
    assert (await store(2, 3))[:2] == [0, 1]
    assert (await store(3, 4, 5))[:2] == [0, 2]
    assert (await store(0, 1, 2))[:2] == [0, 2]  # repeated: there already, and not twice
    assert await client.run("XLEN", STREAM) == 5


async def sequences(client: RedisClient) -> list[int]:
    return [int(name.partition(b"-")[2]) for name, _ in await client.run("XRANGE", STREAM, "-", "+")]


async def test_connections_cut_while_batches_are_under_way_lose_and_repeat_nothing(
    make_bus: Any, client: RedisClient, disk: Any, publish: Callable[[RedisBus, int], Awaitable[Any]], eventually: Any
) -> None:
    bus = await make_bus("writer", disk=disk)
    numbers = iter(range(MANY))

    async def awaiter() -> None:
        for number in numbers:
            await publish(bus, number)

    working = asyncio.gather(*(awaiter() for _ in range(128)))
    while not working.done():
        await client.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await client.run("SCRIPT", "FLUSH")
        await asyncio.sleep(0.02)
    await working
    await eventually(lambda: not bus._publisher._waiting)
    assert await sequences(client) == list(range(1, MANY + 1))


async def test_server_killed_while_batches_are_under_way_has_all_that_was_acknowledged_afterwards(
    make_bus: Any, server: EmbeddedServer, client: RedisClient, publish: Any, eventually: Any
) -> None:
    bus = await make_bus("writer")
    acknowledged: list[int] = []

    async def awaiter(first: int) -> None:
        for number in range(first, MANY, 128):
            try:
                acknowledged.append((await publish(bus, number)).sequence)
            except BusUnavailable:
                await asyncio.sleep(0.01)

    working = asyncio.gather(*(awaiter(number) for number in range(128)))
    await eventually(lambda: len(acknowledged) > MANY // 10)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await working
    await eventually(lambda: bus.connected and not bus._publisher._waiting)
    stored = await sequences(client)
    assert stored == sorted(set(stored))
    assert set(acknowledged) <= set(stored)
    assert server.restarts == 1
