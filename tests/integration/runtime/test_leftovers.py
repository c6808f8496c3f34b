"""What a producer finds on its disk when it starts again, in the cases that the fault matrix found."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from breakwater.domain.ids import DeskId
from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import Event
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.ports import DiskError
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.redis_client import RedisClient, key_of
from breakwater.runtime.valkey_server import EmbeddedServer

DESK = DeskId("test")
Publish = Callable[[RedisBus, int], Awaitable[Event]]
Eventually = Callable[..., Awaitable[None]]


class StoppedClock(WallInfraClock):
    """The same instant for ever: of two starts within one tick, or a clock that was set back."""

    def __init__(self) -> None:
        self._now = super().utc_now()

    def utc_now(self) -> datetime:
        return self._now


async def test_two_starts_at_the_same_instant_while_redis_is_away_lose_no_event(
    server: EmbeddedServer, make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually, tmp_path: Path
) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    clock = StoppedClock()
    first = RedisBus(server.url, DESK, "writer", clock)
    await first.start()
    await publish(first, 0)
    await publish(first, 1)
    await first.stop()
    os.kill(server.pid or 0, signal.SIGSTOP)
    volume = FileDisk(tmp_path / "own")
    second = RedisBus(server.url, DESK, "writer", clock, disk=volume, start_timeout=0.2)
    await second.start()
    await publish(second, 2)
    await publish(second, 3)
    await second.stop()
    volume.close()
    os.kill(server.pid or 0, signal.SIGCONT)
    volume = FileDisk(tmp_path / "own")
    third = await make_bus("writer", disk=volume)
    await publish(third, 4)
    await eventually(lambda: len(recorder.numbers) >= 5)
    assert recorder.numbers == [0, 1, 2, 3, 4]
    volume.close()


class ClosedDisk(FileDisk):
    """Takes nothing more while ``full``."""

    full = False

    async def replace(self, name: str, data: bytes) -> None:
        self._refuse()
        await super().replace(name, data)

    async def append(self, name: str, data: bytes) -> None:
        self._refuse()
        await super().append(name, data)

    def _refuse(self) -> None:
        if self.full:
            raise DiskError("no space left")


async def test_events_that_need_other_ids_wait_for_the_disk_and_are_not_doubled_by_a_crash(
    server: EmbeddedServer, make_bus: Any, publish: Publish, recorder: Any, eventually: Eventually, tmp_path: Path
) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    clock = StoppedClock()
    first = RedisBus(server.url, DESK, "writer", clock)
    await first.start()
    await publish(first, 0)
    await first.stop()
    os.kill(server.pid or 0, signal.SIGSTOP)
    volume = ClosedDisk(tmp_path / "own")
    second = RedisBus(server.url, DESK, "writer", clock, disk=volume, start_timeout=0.2)
    await second.start()
    await publish(second, 1)
    await publish(second, 2)
    volume.full = True
    os.kill(server.pid or 0, signal.SIGCONT)
    # It could send them now, but under new ids, which the disk does not know.
    await eventually(lambda: "no space left" in str(second.readiness()["bus"]))
    await second.stop()
    volume.close()
    volume = ClosedDisk(tmp_path / "own")
    third = await make_bus("writer", disk=volume)
    await publish(third, 3)
    await eventually(lambda: 3 in recorder.numbers)
    assert recorder.numbers == [0, 1, 2, 3]
    volume.close()


async def test_events_stored_and_already_trimmed_are_not_published_again(
    server: EmbeddedServer,
    client: RedisClient,
    make_bus: Any,
    publish: Publish,
    recorder: Any,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    volume = FileDisk(tmp_path / "own")
    first = RedisBus(server.url, DESK, "writer", WallInfraClock(), disk=volume)
    await first.start()
    os.kill(server.pid or 0, signal.SIGSTOP)
    for number in (0, 1, 2):
        await publish(first, number)
    os.kill(server.pid or 0, signal.SIGCONT)
    await eventually(lambda: len(recorder.numbers) == 3)
    await first.stop()  # before the events have been in Redis for long enough to leave the disk
    volume.close()
    await client.run("XTRIM", key_of(DESK, "writer"), "MAXLEN", "=", "1")
    volume = FileDisk(tmp_path / "own")
    second = await make_bus("writer", disk=volume)
    await publish(second, 3)
    await eventually(lambda: 3 in recorder.numbers)
    assert recorder.numbers == [0, 1, 2, 3]
    volume.close()
