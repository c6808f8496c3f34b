"""Streams are trimmed behind the slowest group, gaps are seen, and what another process of our name had taken is not lost."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import encode_event
from breakwater.runtime.redis_client import RedisClient
from breakwater.runtime.redis_lanes import BusCounters
from breakwater.runtime.redis_trimming import GroupPlace, Trimmer, trim_point

from .conftest import DESK, Recorder

STREAM = "bw:{test}:writer"
ids = st.tuples(st.integers(1, 3), st.integers(1, 50))


@given(st.lists(st.tuples(ids, st.none() | ids), max_size=5), ids, st.integers(1, 20))
def test_trim_point_is_never_above_what_a_group_wants_or_the_history(
    places: list[tuple[Any, Any]], last: tuple[int, int], history: int
) -> None:
    groups = [GroupPlace("g", delivered, oldest) for delivered, oldest in places]
    below = trim_point(groups, last, history)
    if below is not None:
        assert all(below <= group.needed for group in groups)
        assert below[0] < last[0] or below[1] <= last[1] - history + 1
    elif groups:
        assert last[1] <= history


async def filled(client: RedisClient, count: int) -> None:
    for number in range(1, count + 1):
        await client.run("XADD", STREAM, f"7-{number}", "e", str(number))


def trimmer(client: RedisClient, counters: BusCounters) -> Trimmer:
    return Trimmer(client, DESK, "writer", WallInfraClock(), counters, history=100)


async def taken(client: RedisClient, group: str, count: int) -> None:
    await client.run("XREADGROUP", "GROUP", group, "c", "COUNT", count, "STREAMS", STREAM, ">")


async def acknowledged(client: RedisClient, group: str, first: int, last: int) -> None:
    await client.run("XACK", STREAM, group, *(f"7-{number}" for number in range(first, last + 1)))


async def test_nothing_is_removed_that_the_slowest_group_has_not_acknowledged(client: RedisClient) -> None:
    await client.run("CONFIG", "SET", "stream-node-max-entries", "10")
    await filled(client, 500)
    for group in ("fast", "slow"):
        await client.run("XGROUP", "CREATE", STREAM, group, "0")
        await taken(client, group, 450)
    await acknowledged(client, "fast", 1, 450)
    await acknowledged(client, "slow", 1, 200)
    counters = BusCounters()
    assert 180 <= await trimmer(client, counters).trim() <= 200
    ((first, _),) = await client.run("XRANGE", STREAM, "-", "+", "COUNT", 1)
    assert int(first.split(b"-")[1]) <= 201
    await acknowledged(client, "slow", 201, 450)
    await trimmer(client, counters).trim()
    assert 100 <= await client.run("XLEN", STREAM) < 120  # the history stays
    assert counters.unread_trimmed == 0


async def test_stream_without_a_group_keeps_everything(client: RedisClient) -> None:
    await filled(client, 300)
    assert await trimmer(client, BusCounters()).trim() == 0


async def test_bound_that_took_unread_events_is_counted_once_for_the_group(client: RedisClient) -> None:
    await filled(client, 50)
    await client.run("XGROUP", "CREATE", STREAM, "gone", "0")
    await taken(client, "gone", 10)
    await acknowledged(client, "gone", 1, 10)
    await client.run("XTRIM", STREAM, "MAXLEN", 20)
    counters = BusCounters()
    keeper = trimmer(client, counters)
    await keeper.trim()
    await keeper.trim()
    assert counters.unread_trimmed == 1


async def test_events_removed_while_the_component_was_away_are_a_gap_when_it_is_back(
    make_bus: Any, client: RedisClient, publish: Any, recorder: Recorder, eventually: Any
) -> None:
    reader = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    writer = await make_bus("writer")
    await publish(writer, 0)
    await eventually(lambda: recorder.numbers == [0])
    await reader.stop()
    for number in range(1, 6):
        await publish(writer, number)
    await client.run("XTRIM", STREAM, "MAXLEN", 2)
    again = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await eventually(lambda: recorder.numbers == [0, 4, 5])
    assert again.counters.gaps == 1


async def test_restart_without_a_loss_is_no_gap(
    make_bus: Any, publish: Any, recorder: Recorder, eventually: Any
) -> None:
    reader = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    writer = await make_bus("writer")
    for number in range(3):
        await publish(writer, number)
    await eventually(lambda: recorder.numbers == [0, 1, 2])
    await reader.stop()
    again = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await writer.stop()
    for number in range(3, 6):
        await publish(writer := await make_bus("writer"), number)
        await writer.stop()
    await eventually(lambda: recorder.numbers == [0, 1, 2, 3, 4, 5])
    assert again.counters.gaps == 0


async def test_event_that_a_second_process_of_our_name_took_and_dropped_reaches_us(
    make_bus: Any, client: RedisClient, publish: Any, recorder: Recorder, candle: Any, eventually: Any
) -> None:
    bus = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    told: list[str] = []
    bus.watch_gaps(told.append, producers=["writer"])
    first = await publish(await make_bus("writer"), 1)
    await eventually(lambda: recorder.numbers == [1])

    def data(number: int) -> bytes:
        return encode_event(msgspec.structs.replace(first, sequence=number, payload=candle(number)))

    # In one step, as if the other process had been quicker than our blocked read.
    await client.run(
        "EVAL",
        "redis.call('XADD', KEYS[1], ARGV[1], 'e', ARGV[2]) "
        "redis.call('XREADGROUP', 'GROUP', 'reader', 'reader', 'STREAMS', KEYS[1], '>')",
        1, STREAM, f"{first.epoch}-2", data(2),
    )  # fmt: skip
    await client.run("XADD", STREAM, f"{first.epoch}-3", "e", data(3))
    await eventually(lambda: sorted(recorder.numbers) == [1, 2, 3])
    assert told == ["writer"]
