"""The two processes under test: one publishes numbered events through a real bus, one applies them. Both write down what they did."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.faults import planted
from tests.faults.ledger import Kind, Ledger, read

from breakwater.domain.ids import ClientOrderId, DeskId, ProposalId, Symbol, VenueOrderId
from breakwater.domain.orders import OrderRole, OrderType, Side
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.runtime import redis_bus
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import Event, OrderRefused, OrderSubmitted, Payload, ThrottleEnabled
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.ports import DiskError
from breakwater.runtime.redis_bus import RedisBus

DESK = DeskId("faults")
PRODUCER = "execution"
GROUP = "portfolio"
NOW = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
BTC = Symbol("BTCUSDT")

ENDED = 0
FAILED = 4
"""The bus said that it cannot go on: another process took over, or so it seems."""
NO_START = 5
"""The disk or the server did not let it start. Started again, as a supervisor does."""
BURST_AWAITERS = 256
AFTER_REFUSAL = 0.03
"""Seconds a component waits before it tries the next event."""
DURABLE_OPTION = "durable"


def knows_durable() -> bool:
    """Whether this bus has a mode in which events are on disk before they are on their way."""
    return DURABLE_OPTION in inspect.signature(RedisBus.__init__).parameters


def payload(number: int, padding: int) -> Payload:
    """Event number ``number``, of one of three types."""
    reason = "x" * padding
    match number % 3:
        case 0:
            return OrderRefused(f"{number}", BTC, OrderRole.ENTRY, Refusal(RefusalCode.EXPOSURE, reason))
        case 1:
            return ThrottleEnabled(BTC, NOW, "faults", reason, f"{number}")
        case _:
            size = Decimal("0.001")
            return OrderSubmitted(
                ClientOrderId(f"{number}"), VenueOrderId(reason), ProposalId("p"), BTC, OrderRole.ENTRY, Side.BUY,
                OrderType.LIMIT, size, Decimal(60_000), None, False,
            )  # fmt: skip


def number_of(event: Payload) -> int:
    match event:
        case OrderRefused():
            return int(event.by)
        case ThrottleEnabled():
            return int(event.request_id)
        case OrderSubmitted():
            return int(event.client_order_id)
    raise ValueError(f"{event!r}: not an event of the matrix")


class Publishing:
    """Numbers from ``next`` to ``target``, by some awaiters at a time."""

    def __init__(self, bus: RedisBus, ledger: Ledger, arguments: dict[str, Any]) -> None:
        self._bus = bus
        self._ledger = ledger
        self._next: int = arguments["first"]
        self._target: int = arguments["target"]
        self._burst: bool = arguments["burst"]
        self._body: int = arguments["body"]
        self._pause: float = arguments["pause"]
        self._awaiters: int = arguments["awaiters"]
        self._rng = random.Random(arguments["first"])
        self._at_work: set[asyncio.Task[None]] = set()
        self._begun = asyncio.Event()
        self._told: bool = arguments["told"]

    def burst(self, count: int) -> None:
        """``count`` more, as fast as it goes."""
        self._target += count
        self._burst = True
        self._begin(BURST_AWAITERS)

    def finish(self) -> None:
        """Begin nothing new."""
        self._told = True
        self._target = self._next - 1
        self._begun.set()

    async def run(self) -> None:
        self._begin(BURST_AWAITERS if self._burst else self._awaiters)
        while True:
            while self._at_work:
                done, _ = await asyncio.wait(self._at_work)
                for task in done:
                    task.result()
            self._begun.clear()
            self._ledger.write(Kind.FINISHED, self._target, int(self._told))
            await self._begun.wait()

    def _begin(self, count: int) -> None:
        for _ in range(count):
            task = asyncio.ensure_future(self._awaiter())
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)
        self._begun.set()

    async def _awaiter(self) -> None:
        while self._next <= self._target:
            number, self._next = self._next, self._next + 1
            event = payload(number, self._rng.randint(0, self._body))
            self._ledger.write(Kind.BEGUN, number)
            try:
                stored = await self._bus.publish(event, time=NOW)
            except BusUnavailable:
                self._ledger.write(Kind.REFUSED, number)
                await asyncio.sleep(AFTER_REFUSAL)
            else:
                self._ledger.write(Kind.ACKNOWLEDGED, number, stored.epoch, stored.sequence)
            if not self._burst:
                await asyncio.sleep(self._pause)


async def publisher(arguments: dict[str, Any]) -> int:
    prepare(arguments)
    ledger = Ledger(Path(arguments["ledger"]), arguments["incarnation"])
    try:
        disk = FileDisk(Path(arguments["disk"]), owner="the fault matrix")
        options = {DURABLE_OPTION: arguments["durable"]} if knows_durable() else {}
        bus = RedisBus(arguments["url"], DESK, PRODUCER, WallInfraClock(), disk=disk, start_timeout=0.5, **options)
        await bus.start()
    except (DiskError, BusUnavailable) as error:
        sys.stderr.write(f"no start: {error}\n")
        return NO_START
    work = Publishing(bus, ledger, arguments)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, work.burst, arguments["burst_events"])
    loop.add_signal_handler(signal.SIGUSR2, work.finish)
    return await until_told(bus, work.run())


async def consumer(arguments: dict[str, Any]) -> int:
    prepare(arguments)
    path = Path(arguments["ledger"])
    ledger = Ledger(path, arguments["incarnation"])
    seen = {(record.epoch, record.sequence) for record in read(path)}
    gaps = 0
    rng = random.Random(arguments["incarnation"])

    async def handler(event: Event) -> None:
        nonlocal gaps
        if rng.random() < 0.02:
            await asyncio.sleep(rng.uniform(0, 0.005))
        if bus.counters.gaps != gaps:
            gaps = bus.counters.gaps
            ledger.write(Kind.GAP, gaps)
        entry = (event.epoch, event.sequence)
        kind = Kind.REPEATED if entry in seen else Kind.APPLIED
        seen.add(entry)
        ledger.write(kind, number_of(event.payload), *entry)

    bus = RedisBus(arguments["url"], DESK, GROUP, WallInfraClock(), start_timeout=60)
    types: list[type[Payload]] = [OrderRefused, ThrottleEnabled, OrderSubmitted]
    bus.subscribe(handler, producers=[PRODUCER], types=types, group=GROUP)
    try:
        await bus.start()
    except BusUnavailable as error:
        sys.stderr.write(f"no start: {error}\n")
        return NO_START
    return await until_told(bus, asyncio.Event().wait())


async def until_told(bus: RedisBus, work: Awaitable[Any]) -> int:
    """Work until SIGTERM, then stop in good order; or until the bus fails."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    working = asyncio.ensure_future(work)
    ends: list[asyncio.Future[Any]] = [working, asyncio.ensure_future(told.wait()), asyncio.ensure_future(bus.failed)]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        working.result()
    failed = bus.failed.done() and not told.is_set()
    if failed:
        sys.stderr.write(f"failed: {bus.failed.result()!r}\n")
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    await bus.stop()
    return FAILED if failed else ENDED


def prepare(arguments: dict[str, Any]) -> None:
    """Notice a silent server sooner than in production, so that a run stays short; and plant a bug if asked to."""
    planted.adjust(redis_bus, SOCKET_TIMEOUT=1.0)
    planted.adjust(sys.modules["breakwater.runtime.redis_readers"], BLOCK_MS=300)
    if arguments["plant"]:
        planted.PLANTS[arguments["plant"]].plant()
    os.umask(0o077)


ROLES: dict[str, Callable[[dict[str, Any]], Coroutine[Any, Any, int]]] = {"publisher": publisher, "consumer": consumer}
