"""The disk buffer against a sync for each event, and against the seed's own code for PATCH #1, which syncs nothing."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.harness import Bench, higher, lower, quantile

from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.orders import OrderRole
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.runtime.disk_buffer.buffer import DiskBuffer
from breakwater.runtime.disk_buffer.segments import Entry
from breakwater.runtime.events import Event, OrderRefused, encode_event
from breakwater.runtime.file_disk import FileDisk

AWAITERS = 128
EVENTS = AWAITERS * 16
ROUNDS = 5
PAYLOAD = OrderRefused(
    "gate", Symbol("BTCUSDT"), OrderRole.ENTRY, Refusal(RefusalCode.EXPOSURE, "exposure 205 % of equity, limit 200 %")
)
DATA = encode_event(
    Event(DeskId("bench"), "execution", 1, 1, datetime(2025, 10, 10, tzinfo=UTC), "order.refused", PAYLOAD)
)
MESSAGE = json.loads(DATA)


def seed_write(path: Path) -> None:
    """What PATCH #1 of the seed does: open, one JSON line, close; nothing is synced."""
    entry = {"event_type": "order.refused", "message": MESSAGE, "buffered_at": datetime.now(UTC).isoformat()}
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def synced_write(path: Path) -> None:
    with path.open("ab") as file:
        file.write(DATA + b"\n")
        file.flush()
        os.fdatasync(file.fileno())


async def buffered(directory: Path, events: int) -> float:
    """Seconds for ``events`` of AWAITERS who each wait until theirs is durable."""
    disk = FileDisk(directory, owner="bench")
    buffer = DiskBuffer(disk)
    await buffer.load()
    left = iter(range(1, events + 1))

    async def awaiter() -> None:
        for number in left:
            await buffer.append([Entry(1, number, DATA)])

    began = time.perf_counter()
    await asyncio.gather(*(awaiter() for _ in range(AWAITERS)))
    taken = time.perf_counter() - began
    assert buffer.count == events
    disk.close()
    return taken


def repeated(write: Callable[[Path], None], path: Path, events: int) -> float:
    began = time.perf_counter()
    for _ in range(events):
        write(path)
    return time.perf_counter() - began


async def lag_during(work: Callable[[], Awaitable[object]]) -> float:
    """The 99th percentile of how long the loop takes to turn to what another thread asks of it, while ``work`` goes on.

    Asked from a thread: the loop's own timers are rounded up to a whole millisecond, which is more than a sync takes.
    """
    loop = asyncio.get_running_loop()
    ended = threading.Event()
    lags: list[float] = []

    def ask() -> None:
        while not ended.wait(0.001):
            loop.call_soon_threadsafe(note, time.perf_counter())

    def note(asked: float) -> None:
        lags.append(time.perf_counter() - asked)

    asking = threading.Thread(target=ask)
    asking.start()
    await work()
    ended.set()
    asking.join()
    return quantile(lags, 0.99)


def durable() -> dict[str, float]:
    against_sync, against_seed, lags = [], [], []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="breakwater-bench-") as made:
            root = Path(made)
            ours = asyncio.run(buffered(root / "ours", EVENTS)) / EVENTS
            synced = repeated(synced_write, root / "synced", EVENTS // 8) / (EVENTS // 8)
            seed = repeated(seed_write, root / "seed", EVENTS) / EVENTS
            against_sync.append(synced / ours)
            against_seed.append(seed / ours)
            lags.append(asyncio.run(_lags(root, number)))
    return {
        "buffer.durable_against_fsync_each": quantile(against_sync, 0.5),
        "buffer.durable_against_seed": quantile(against_seed, 0.5),
        "buffer.loop_lag_against_fsync_on_loop": quantile(lags, 0.5),
    }


async def _lags(root: Path, number: int) -> float:
    """The same events in the same time both ways: a loop that is busy with eight times as many says nothing about the disk.

    What an idle loop takes, most of it to wake up, counts for neither.
    """
    events = EVENTS // 2

    async def on_loop() -> None:
        for _ in range(events):
            synced_write(root / "on-loop")
            await asyncio.sleep(0)

    began = time.perf_counter()
    theirs = await lag_during(on_loop)
    seconds = time.perf_counter() - began
    ours = await lag_during(lambda: _paced(root / f"lag-{number}", events, seconds))
    idle = await lag_during(lambda: asyncio.sleep(seconds))
    return max(0.0, ours - idle) / (theirs - idle)


async def _paced(directory: Path, events: int, seconds: float) -> None:
    """``events`` made durable in about ``seconds``, as they come: nobody waits for the one before."""
    disk = FileDisk(directory, owner="bench")
    buffer = DiskBuffer(disk)
    await buffer.load()
    began, number = time.perf_counter(), 0
    async with asyncio.TaskGroup() as tasks:
        while number < events:
            due = min(events, round((time.perf_counter() - began) / seconds * events))
            for sequence in range(number + 1, due + 1):
                tasks.create_task(buffer.append([Entry(1, sequence, DATA)]))
            number = due
            await asyncio.sleep(0.0005)
    assert buffer.count == events
    disk.close()


BENCHES = [
    Bench(
        (
            higher("buffer.durable_against_fsync_each", 15, 30, "open, write, fsync, close for each event"),
            higher("buffer.durable_against_seed", 1, 2, "the seed's open, write, close, not durable"),
            lower(
                "buffer.loop_lag_against_fsync_on_loop", 0.5, 0.1, "loop lag p99 with a fsync of each event on the loop"
            ),
        ),
        durable,
    )
]
