"""The bus on a real server: order, outages, crashes, fencing, dead letters, state."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.domain.ids import DeskId, Symbol
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import CandleClosed, Event, Heartbeat, MarkPrice, decode_event
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.ports import DiskError
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.redis_client import RedisClient
from breakwater.runtime.redis_publisher import ProducerFenced
from breakwater.runtime.valkey_server import EmbeddedServer

NOW = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
Publish = Callable[[RedisBus, int], Awaitable[Event]]
Eventually = Callable[..., Awaitable[None]]


async def kill_9(server: EmbeddedServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


async def test_events_published_arrive_in_order_with_rising_sequences(
    make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    writer = await make_bus("writer")
    sent = await asyncio.gather(*(publish(writer, n) for n in range(300)))
    await eventually(lambda: len(recorder.numbers) == 300)
    assert recorder.numbers == list(range(300))
    assert recorder.events == list(sent)
    assert [event.sequence for event in sent] == list(range(1, 301))
    assert writer.connected


async def test_group_started_late_reads_from_the_beginning_and_live_reader_only_what_follows(
    make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    writer = await make_bus("writer")
    for n in range(5):
        await publish(writer, n)
    live = type(recorder)()
    await make_bus("grouped", reads="writer", group="grouped", handler=recorder)
    await make_bus("live", reads="writer", handler=live)
    await publish(writer, 5)
    await eventually(lambda: recorder.numbers == list(range(6)) and live.numbers == [5])


async def test_producer_that_starts_while_a_live_reader_waits_is_heard_from_its_first_event(
    make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    # A new producer claims its stream by adding and removing an entry: Redis 7.0 wakes waiting readers with nothing.
    reader = await make_bus("live", reads="writer", handler=recorder)
    for start in range(3):
        await asyncio.sleep(0.1)
        writer = await make_bus("writer")
        await publish(writer, start)
    await eventually(lambda: recorder.numbers == [0, 1, 2])
    assert not reader.failed.done()


async def test_server_killed_while_publishing_with_spool_loses_nothing_and_repeats_nothing(
    server: EmbeddedServer, make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually, disk: FileDisk
) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    writer = await make_bus("writer", disk=disk)

    for n in range(600):
        await publish(writer, n)  # never raises: the spool takes what Redis does not
        if n in (150, 400):
            await kill_9(server)
        if n in (300, 550):
            await eventually(lambda: writer.connected)
    await eventually(lambda: len(recorder.numbers) >= 600)
    await asyncio.sleep(0.3)
    assert recorder.numbers == list(range(600))
    assert server.restarts == 2
    kept = b"".join(disk.read(name) or b"" for name in disk.names() if name.endswith(".jsonl"))
    assert kept.count(b"\n") >= 100, "the buffer was not needed"
    assert recorder.events[-1].epoch == writer.epoch


async def test_acked_events_lost_by_the_server_are_sent_again(
    server: EmbeddedServer, client: RedisClient, make_bus: Any, publish: Publish
) -> None:
    writer = await make_bus("writer")
    for n in range(20):
        await publish(writer, n)
    # What a kill within the fsync window does: the tail is gone, the connection may be a new one.
    await client.run("FLUSHALL")
    await publish(writer, 20)
    assert await client.run("XLEN", "bw:{test}:writer") == 21


async def test_redis_away_without_disk_raises_soon_and_sends_later_in_order(
    server: EmbeddedServer, make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    writer = await make_bus("writer")
    await publish(writer, 0)
    os.kill(server.pid or 0, signal.SIGSTOP)
    began = asyncio.get_running_loop().time()
    try:
        with pytest.raises(BusUnavailable, match="kept in memory"):
            await publish(writer, 1)
        with pytest.raises(BusUnavailable):
            await publish(writer, 2)
        with pytest.raises(BusUnavailable):
            await writer.set_state(Heartbeat("writer", NOW, 1, {}), time=NOW)
        assert not writer.connected
        with pytest.raises(BusUnavailable, match="dropped"):
            await writer.publish(MarkPrice(Symbol("BTCUSDT"), Decimal(1), NOW), time=NOW)
        assert asyncio.get_running_loop().time() - began < 3
    finally:
        os.kill(server.pid or 0, signal.SIGCONT)
    await eventually(lambda: recorder.numbers == [0, 1, 2])
    await eventually(lambda: writer.connected)


async def test_process_that_dies_with_a_full_spool_leaves_it_to_the_next(
    server: EmbeddedServer, make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually, tmp_path: Path
) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    volume = FileDisk(tmp_path / "own")
    first = RedisBus(server.url, DeskId("test"), "writer", WallInfraClock(), disk=volume)
    await first.start()
    await publish(first, 0)
    os.kill(server.pid or 0, signal.SIGSTOP)
    for n in (1, 2, 3):
        await publish(first, n)
    await first.stop()
    volume.close()
    os.kill(server.pid or 0, signal.SIGCONT)
    volume = FileDisk(tmp_path / "own")
    second = await make_bus("writer", disk=volume)
    await publish(second, 4)
    await eventually(lambda: len(recorder.numbers) >= 5)
    await asyncio.sleep(0.2)
    assert recorder.numbers == [0, 1, 2, 3, 4]
    volume.close()


async def test_server_and_publisher_that_die_one_after_the_other_lose_nothing_that_was_acknowledged(
    server: EmbeddedServer, client: RedisClient, publish: Publish, eventually: Eventually, tmp_path: Path
) -> None:
    volume = FileDisk(tmp_path / "own")
    first = RedisBus(server.url, DeskId("test"), "writer", WallInfraClock(), disk=volume)
    await first.start()
    for n in range(3):
        await publish(first, n)  # acknowledged by Redis, and on no disk of ours
    os.kill(server.pid or 0, signal.SIGSTOP)
    await publish(first, 3)
    await first.stop()
    volume.close()
    os.kill(server.pid or 0, signal.SIGCONT)
    await client.run("FLUSHALL")  # it comes back without its last seconds
    volume = FileDisk(tmp_path / "own")
    second = RedisBus(server.url, DeskId("test"), "writer", WallInfraClock(), disk=volume)
    await second.start()
    await publish(second, 4)
    stored = await client.run("XRANGE", "bw:{test}:writer", "-", "+")
    candles: list[Any] = [decode_event(fields[b"e"]).payload for _, fields in stored]
    assert [candle.open for candle in candles] == [Decimal(n) for n in range(5)]
    await second.stop()
    volume.close()


async def test_start_while_redis_is_away_spools_and_numbers_nothing_twice(
    server: EmbeddedServer, make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually, tmp_path: Path
) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    os.kill(server.pid or 0, signal.SIGSTOP)
    try:
        volume = FileDisk(tmp_path / "own")
        bus = RedisBus(server.url, DeskId("test"), "writer", WallInfraClock(), disk=volume, start_timeout=0.3)
        await bus.start()
        await publish(bus, 0)
        await publish(bus, 1)
        lone = RedisBus(server.url, DeskId("test"), "other", WallInfraClock(), start_timeout=0.3)
        with pytest.raises(BusUnavailable, match="REDIS_URL"):
            await lone.start()
    finally:
        os.kill(server.pid or 0, signal.SIGCONT)
    await eventually(lambda: recorder.numbers == [0, 1])
    await publish(bus, 2)
    await eventually(lambda: recorder.numbers == [0, 1, 2])
    assert [event.sequence for event in recorder.events] == [1, 2, 3]
    await bus.stop()
    volume.close()


async def test_consumer_stopped_before_acknowledging_gets_the_event_again(
    make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    entered = asyncio.Event()

    async def hang(event: Event) -> None:
        entered.set()
        await asyncio.Event().wait()

    writer = await make_bus("writer")
    crashing = await make_bus("reader", reads="writer", group="reader", handler=hang)
    await publish(writer, 0)
    await publish(writer, 1)
    await entered.wait()
    await crashing.stop()
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await publish(writer, 2)
    await eventually(lambda: len(recorder.numbers) >= 3)
    assert recorder.numbers == [0, 1, 2]


async def test_acknowledgements_that_the_server_forgot_while_nobody_read_are_repeated(
    client: RedisClient, make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    stream, group = "bw:{test}:writer", "reader"
    release = asyncio.Event()
    release.set()

    async def handle(event: Event) -> None:
        await release.wait()
        await recorder(event)

    async def pending() -> int:
        count: int = (await client.run("XPENDING", stream, group))["pending"]
        return count

    await make_bus("reader", reads="writer", group=group, handler=handle)
    writer = await make_bus("writer")
    early = await publish(writer, 0)
    await eventually(lambda: recorder.numbers == [0])
    while await pending():  # noqa: ASYNC110 - a server has nobody to tell us
        await asyncio.sleep(0.01)
    release.clear()
    await asyncio.gather(*(publish(writer, n) for n in range(1, 1400)))
    while await pending() < 1024:  # noqa: ASYNC110 - likewise
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # enough is in hand: it does not read
    await client.run("XCLAIM", stream, group, "reader", 0, f"{early.epoch}-{early.sequence}", "FORCE")
    await client.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    release.set()
    await eventually(lambda: len(recorder.numbers) == 1400)
    async with asyncio.timeout(5):
        while await pending():  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
    assert recorder.numbers == list(range(1400))


async def test_all_handled_events_are_acknowledged(
    make_bus: Any, client: RedisClient, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    writer = await make_bus("writer")
    for n in range(100):
        await publish(writer, n)
    await eventually(lambda: len(recorder.numbers) == 100)
    for _ in range(100):
        pending = await client.run("XPENDING", "bw:{test}:writer", "reader")
        if pending["pending"] == 0:
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"still pending: {pending}")


async def test_older_process_is_fenced_from_the_moment_a_newer_one_starts(
    make_bus: Any, client: RedisClient, publish: Publish
) -> None:
    old = await make_bus("writer")
    event = await publish(old, 0)
    new = await make_bus("writer")
    assert new.epoch > old.epoch
    with pytest.raises(ProducerFenced, match="another process is writer"):
        await publish(old, 1)
    with pytest.raises(BusUnavailable):
        await old.set_state(Heartbeat("writer", NOW, 1, {}), time=NOW)
    assert isinstance(await old.failed, ProducerFenced)
    assert not old.connected
    # Not only the script: the server itself refuses the older epoch's ids.
    with pytest.raises(Exception, match="equal or smaller"):
        await client.run("XADD", "bw:{test}:writer", f"{event.epoch}-99", "e", b"zombie")
    await publish(new, 1)
    assert await client.run("XLEN", "bw:{test}:writer") == 2


async def test_handler_that_keeps_failing_sets_the_event_aside_and_goes_on(
    make_bus: Any, client: RedisClient, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    attempts: list[int] = []

    def fail(number: int) -> None:
        attempts.append(number)
        if number == 1:
            raise ValueError("cannot apply this")

    recorder.fail = fail
    bus = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    writer = await make_bus("writer")
    for n in range(3):
        await publish(writer, n)
    await eventually(lambda: recorder.numbers == [0, 2])
    assert attempts.count(1) == 5
    assert bus.counters.dead_letters == 1
    assert bus.counters.handler_failures["market.candle"] == 5
    ((_, fields),) = await client.run("XRANGE", "bw:{test}:dead", "-", "+")
    assert b"cannot apply this" in fields[b"reason"]
    assert fields[b"stream"] == b"bw:{test}:writer"
    assert b'"type":"market.candle"' in fields[b"e"]


async def test_handler_whose_disk_is_full_is_waited_for_and_nothing_is_set_aside(
    make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    left = 7

    def fail(number: int) -> None:
        nonlocal left
        left -= 1
        if left > 0:
            raise DiskError("no space")

    recorder.fail = fail
    bus = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await publish(await make_bus("writer"), 0)
    await eventually(lambda: recorder.numbers == [0])
    assert bus.counters.dead_letters == 0


async def test_unknown_event_is_set_aside_and_the_next_one_arrives(
    make_bus: Any, client: RedisClient, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    await client.run("XADD", "bw:{test}:writer", "1-1", "e", b"not json")
    await client.run("XADD", "bw:{test}:writer", "1-2", "e", b'{"desk":"test","producer":"writer","epoch":1,"sequence":2,'
                     b'"time":"2025-10-10T20:00:00Z","type":"order.teleported","payload":{}}')  # fmt: skip
    await client.run("XADD", "bw:{test}:writer", "1-3", "e", b'{"desk":"\xff"}')
    bus = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await publish(await make_bus("writer"), 7)
    await eventually(lambda: recorder.numbers == [7])
    reasons = [fields[b"reason"] for _, fields in await client.run("XRANGE", "bw:{test}:dead", "-", "+")]
    assert b"not an event" in reasons[0]
    assert b"order.teleported" in reasons[1]
    assert b"utf-8" in reasons[2]
    assert bus.counters.rejected == 3


async def test_slow_producer_lane_does_not_hold_up_another(
    make_bus: Any, server: EmbeddedServer, publish: Publish, recorder: Any, eventually: Eventually
) -> None:
    release = asyncio.Event()

    async def handle(event: Event) -> None:
        if event.producer == "slow":
            await release.wait()
        await recorder(event)

    bus = RedisBus(server.url, DeskId("test"), "reader", WallInfraClock())
    bus.subscribe(handle, producers=["slow", "quick"], types=[CandleClosed], group="reader")
    await bus.start()
    await publish(await make_bus("slow"), 1)
    await publish(await make_bus("quick"), 2)
    await eventually(lambda: recorder.numbers == [2])
    release.set()
    await eventually(lambda: recorder.numbers == [2, 1])
    await bus.stop()


async def test_state_watcher_gets_the_latest_of_each_producer_then_each_new_one(
    make_bus: Any, server: EmbeddedServer, eventually: Eventually
) -> None:
    one, two = await make_bus("one"), await make_bus("two")
    for n in range(1, 4):
        await one.set_state(Heartbeat("one", NOW, n, {}), time=NOW)
    await two.set_state(Heartbeat("two", NOW, 9, {}), time=NOW)
    seen: list[tuple[str, int]] = []

    async def watch(event: Event) -> None:
        assert isinstance(event.payload, Heartbeat)
        seen.append((event.payload.component, event.payload.progress))

    watcher = RedisBus(server.url, DeskId("test"), "watcher", WallInfraClock())
    watcher.watch_state(watch, types=[Heartbeat])
    await watcher.start()
    await eventually(lambda: sorted(seen) == [("one", 3), ("two", 9)])
    await one.set_state(Heartbeat("one", NOW, 4, {}), time=NOW)
    await eventually(lambda: seen[-1] == ("one", 4))
    # A restarted server: the watcher finds its way back by itself.
    await kill_9(server)
    await eventually(lambda: server.restarts == 1 and one.connected and watcher.connected)
    await one.set_state(Heartbeat("one", NOW, 5, {}), time=NOW)
    await eventually(lambda: seen[-1] == ("one", 5))
    await watcher.stop()


async def test_idle_bus_asks_the_server_little(make_bus: Any, client: RedisClient, recorder: Any) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await asyncio.sleep(0.2)
    before = int((await client.run("INFO", "stats"))["total_commands_processed"])
    await asyncio.sleep(3)
    after = int((await client.run("INFO", "stats"))["total_commands_processed"])
    # Per second half a blocking read and one check of the claim (whose script counts its own commands).
    assert after - before < 40
