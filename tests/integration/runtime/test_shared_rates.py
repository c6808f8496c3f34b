"""Several processes of one address on a real server: together they keep to the venue's limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from breakwater.domain.rate_budget import Cost, Lane, Resource, VenueLimits
from breakwater.exchange.governor import Governor, PausedError
from breakwater.exchange.wire import Reply
from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.ports import StoreUnavailable
from breakwater.runtime.redis_client import RedisClient
from breakwater.runtime.redis_rate import RedisSharedBudget, rate_key
from breakwater.runtime.valkey_server import EmbeddedServer

ORDER = Cost(command=True, orders=1)
SMALL = VenueLimits(commands=60, window_s=3.0, burst=6, reserve=2)
"""A minute of three seconds."""


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as closing:
        yield closing


def budget(
    server: EmbeddedServer, stack: AsyncExitStack, member: str, address: str = "nat", venue: str = "venue:9100"
) -> RedisSharedBudget:
    made = RedisSharedBudget(server.url, venue=venue, address=address, member=member, limits=SMALL)
    stack.push_async_callback(made.close)
    return made


async def demand(governor: Governor, seconds: float, times: list[float], lane: Lane = Lane.ENTRIES) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            async with asyncio.timeout(max(0.01, end - time.monotonic())):
                await governor.take(ORDER, lane)
        except (TimeoutError, PausedError):
            continue
        times.append(time.monotonic())


def most_in_a_window(times: list[float]) -> int:
    times.sort()
    return max(sum(1 for at in times[n:] if at < begin + SMALL.window_s) for n, begin in enumerate(times))


async def test_two_desks_at_full_demand_keep_to_one_limit(server: EmbeddedServer, stack: AsyncExitStack) -> None:
    clock = WallInfraClock()
    governors = [Governor(clock, limits=SMALL, shared=budget(server, stack, f"desk-{n}")) for n in range(2)]
    times: list[list[float]] = [[], []]
    await asyncio.gather(*(demand(g, 7.0, t) for g, t in zip(governors, times, strict=True) for _ in range(5)))
    together = [*times[0], *times[1]]
    assert most_in_a_window(together) <= SMALL.commands
    assert len(together) > 1.5 * SMALL.commands  # and not far below it
    assert min(map(len, times)) > len(together) / 5  # nobody starves


@pytest.mark.slow
async def test_limit_holds_while_the_server_dies_and_comes_back(server: EmbeddedServer, stack: AsyncExitStack) -> None:
    clock = WallInfraClock()
    governors = [Governor(clock, limits=SMALL, shared=budget(server, stack, f"desk-{n}")) for n in range(2)]
    times: list[float] = []
    exits: list[float] = []

    async def trouble() -> None:
        await asyncio.sleep(2.0)
        await server.stop()
        for governor in governors:
            began = time.monotonic()
            await governor.take(ORDER, Lane.EXITS)
            exits.append(time.monotonic() - began)
        await asyncio.sleep(2.5)
        await server.start()

    await asyncio.gather(trouble(), *(demand(g, 9.0, times) for g in governors for _ in range(3)))
    assert most_in_a_window(times) <= SMALL.commands
    assert max(exits) < 1.0
    assert max(times) > min(times) + 8  # they went on, before, during and after


async def test_other_addresses_and_other_venues_have_limits_of_their_own(
    server: EmbeddedServer, stack: AsyncExitStack
) -> None:
    for address, venue in (("first", "a:1"), ("second", "a:1"), ("first", "b:1")):
        shared = budget(server, stack, "desk", address, venue)
        granted = [await shared.take(Lane.EXITS, ORDER) for _ in range(SMALL.commands)]
        assert all(answer.lack is None for answer in granted)
    full = await shared.take(Lane.EXITS, ORDER)
    assert full.lack is not None
    assert full.lack.resource is Resource.COMMANDS
    assert 0 < full.lack.wait_s <= SMALL.window_s


async def test_weight_and_members_are_counted_together(server: EmbeddedServer, stack: AsyncExitStack) -> None:
    one, other = budget(server, stack, "one"), budget(server, stack, "other")
    left = 60 - time.time() % 60
    if left < 2:
        await asyncio.sleep(left + 0.1)  # not across the end of a minute
    await one.take(Lane.QUERIES, Cost(weight=40))
    seen = await other.take(Lane.QUERIES, Cost(weight=5))
    assert (seen.weight, seen.members) == (45, 2)
    await one.heard(1915, 0.0, banned=False)
    refused = await other.take(Lane.QUERIES, Cost(weight=10))
    assert refused.lack is not None
    assert refused.lack.resource is Resource.WEIGHT
    assert (await other.take(Lane.EXITS, Cost(weight=10))).lack is None


async def test_ban_heard_by_one_holds_for_all(server: EmbeddedServer, stack: AsyncExitStack) -> None:
    clock = WallInfraClock()
    one, other = (Governor(clock, limits=SMALL, shared=budget(server, stack, name)) for name in ("one", "other"))
    await other.take(Cost(weight=1), Lane.QUERIES)
    one.note(Reply(418, {"retry-after": "120"}, '{"code":-1003,"msg":"banned"}'))
    await asyncio.sleep(0.3)
    with pytest.raises(PausedError, match="shut this address out"):
        await other.take(Cost(weight=1), Lane.QUERIES)
    assert other.ban()


async def test_server_that_is_not_there_is_said_as_such(server: EmbeddedServer, stack: AsyncExitStack) -> None:
    shared = budget(server, stack, "desk")
    await server.stop()
    with pytest.raises(StoreUnavailable, match="rate limits"):
        await shared.take(Lane.ENTRIES, ORDER)
    await server.start()


async def test_keys_lie_apart_from_every_desks(server: EmbeddedServer, stack: AsyncExitStack) -> None:
    assert rate_key("fapi.binance.com", "nat", "budget") == "bw:{rate/fapi.binance.com/nat}:budget"


async def test_keys_that_somebody_else_wrote_over_leave_each_process_with_its_part(
    server: EmbeddedServer, stack: AsyncExitStack
) -> None:
    client = RedisClient(server.url, socket_timeout=2)
    stack.push_async_callback(client.close)
    await client.run("SET", rate_key("venue:9100", "nat", "budget"), "nonsense")
    shared = budget(server, stack, "desk")
    with pytest.raises(StoreUnavailable, match="rate limits"):
        await shared.take(Lane.ENTRIES, ORDER)
    governor = Governor(WallInfraClock(), limits=SMALL, shared=shared)
    await governor.take(ORDER, Lane.EXITS)
    async with asyncio.timeout(5):
        await governor.take(ORDER, Lane.ENTRIES)
