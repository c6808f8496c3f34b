"""The event bus and the stop's lease on a real server, against redis-py on the same server in the same run."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hiredis
import redis.asyncio as redis_async
from msgspec.structs import replace
from tests.benchmarks.harness import Bench, higher, lower, quantile
from tests.benchmarks.samples import ARMED, BTC, FACTS, LIMITS, POLICY, STOP_SPEC, snapshot

from breakwater.domain.gate import GateState, gate_state
from breakwater.domain.ids import DeskId
from breakwater.domain.orders import OrderRole
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import DataKind
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.service import EmergencyStopService
from breakwater.execution.stop_lease import StopLeaseBook
from breakwater.runtime.clocks import WallInfraClock, wall_clocks
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import Event, MarkPrice, OrderRefused, PortfolioUpdated, StopLease, encode_event
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.redis_client import key_of
from breakwater.runtime.valkey_server import EmbeddedServer, find_server

DESK = DeskId("bench")
PAYLOAD = OrderRefused(
    "gate", BTC, OrderRole.ENTRY, Refusal(RefusalCode.EXPOSURE, "exposure 205 % of equity, limit 200 %")
)
BATCH = 128
MESSAGES = BATCH * 40
QUIET_SECONDS = 0.001
"""Before each single exchange that is timed: what the one before it left to do (acknowledging, reading on) is not its own."""
GATE_PROCESS = Path(__file__).with_name("gate_process.py")
IN_FORCE: Any = SimpleNamespace(policy=POLICY, stop=STOP_SPEC, limits=LIMITS, stale=False, hold="", version=1)
POLICIES: Any = SimpleNamespace(current=lambda: IN_FORCE)


class Rig:
    """An embedded server, a plain client, and buses."""

    def __init__(self, stack: AsyncExitStack, server: EmbeddedServer, directory: Path) -> None:
        self._stack = stack
        self.directory = directory
        self.url = server.url
        self.server = server
        self.socket = Path(server.url.partition("://")[2].partition("?")[0])
        self.plain = redis_async.Redis.from_url(server.url, protocol=3)
        stack.push_async_callback(self.plain.aclose)

    async def bus(self, producer: str, wire: Callable[[RedisBus], None] = lambda _: None) -> RedisBus:
        bus = RedisBus(self.url, DESK, producer, WallInfraClock())
        wire(bus)
        await bus.start()
        self._stack.push_async_callback(bus.stop)
        return bus

    async def ping(self) -> float:
        began = time.perf_counter()
        await self.plain.ping()
        return time.perf_counter() - began


def on_server(work: Callable[[Rig], Awaitable[dict[str, float]]]) -> dict[str, float]:
    async def main() -> dict[str, float]:
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="breakwater-bench-"))
            server = EmbeddedServer(Path(directory), binary=find_server())
            await server.start()
            stack.push_async_callback(server.stop)
            return await work(Rig(stack, server, Path(directory)))

    return asyncio.run(main())


async def publish(rig: Rig) -> dict[str, float]:
    bus = await rig.bus("risk_manager")
    event = await bus.publish(PAYLOAD, time=datetime.now(UTC))
    body = encode_event(event)

    async def ours() -> None:
        left = iter(range(MESSAGES))

        async def publisher() -> None:
            for _ in left:
                await bus.publish(PAYLOAD, time=event.time)

        await asyncio.gather(*(publisher() for _ in range(BATCH)))

    async def theirs() -> None:
        for _ in range(MESSAGES // BATCH):
            async with rig.plain.pipeline(transaction=False) as pipe:
                for _ in range(BATCH):
                    pipe.xadd("peer", {"e": body})
                await pipe.execute()

    against_library, against_raw = [], []
    for _ in range(5):
        began = time.perf_counter()
        await ours()
        middle = time.perf_counter()
        await theirs()
        ended = time.perf_counter()
        against_library.append((ended - middle) / (middle - began))
        against_raw.append(raw(rig, body) / (middle - began))
    return {
        "bus.publish_against_redis_py_pipeline128": quantile(against_library, 0.5),
        "bus.publish_against_raw_pipeline128": quantile(against_raw, 0.5),
    }


def raw(rig: Rig, body: bytes) -> float:
    """Seconds for MESSAGES XADDs in pipelines of 128: packed before, over a bare socket, replies counted and not looked at."""
    packed = hiredis.pack_command(("XADD", "raw", "*", "e", body)) * BATCH  # type: ignore[arg-type]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(rig.socket))
        began = time.perf_counter()
        for _ in range(MESSAGES // BATCH):
            connection.sendall(packed)
            replies = 0
            while replies < BATCH:
                replies += connection.recv(65_536).count(b"$")
        return time.perf_counter() - began


async def publish_durable(rig: Rig) -> dict[str, float]:
    """With every event on the disk first."""
    disk = FileDisk(rig.directory / "durable", owner="bench")
    bus = RedisBus(rig.url, DESK, "execution", WallInfraClock(), disk=disk, durable=True)
    await bus.start()
    event = await bus.publish(PAYLOAD, time=datetime.now(UTC))
    body = encode_event(event)
    rates = []
    for _ in range(5):
        left = iter(range(MESSAGES))

        async def publisher(left: Iterator[int] = left) -> None:
            for _ in left:
                await bus.publish(PAYLOAD, time=event.time)

        began = time.perf_counter()
        await asyncio.gather(*(publisher() for _ in range(BATCH)))
        ours = time.perf_counter() - began
        rates.append(raw(rig, body) / ours)
    await bus.stop()
    disk.close()
    return {"bus.publish_durable_against_raw_pipeline128": quantile(rates, 0.5)}


async def replay(rig: Rig) -> dict[str, float]:
    """A buffer of 10,000 events and more, written while the server was away, until the server has all of it."""
    disk = FileDisk(rig.directory / "replay", owner="bench")
    bus = RedisBus(rig.url, DESK, "portfolio", WallInfraClock(), disk=disk)
    await bus.start()
    event = await bus.publish(PAYLOAD, time=datetime.now(UTC))
    key = key_of(DESK, "portfolio")
    rates, rounds, count = [], 3, 3 * MESSAGES
    for number in range(1, rounds + 1):
        await rig.server.stop()
        await asyncio.gather(*(bus.publish(PAYLOAD, time=event.time) for _ in range(count)))
        await rig.server.start()
        stored_before = (number - 1) * count + 1
        while (first := await rig.plain.xlen(key)) <= stored_before:  # noqa: ASYNC110 - a server has nobody to tell us
            await asyncio.sleep(0.001)  # it dials again after a pause, which is not what is measured
        began = time.perf_counter()
        while (length := await rig.plain.xlen(key)) < number * count + 1:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.001)
        ours = (time.perf_counter() - began) / (length - first) if length > first else 0.0
        if ours:
            rates.append(raw(rig, encode_event(event)) / MESSAGES / ours)
    await bus.stop()
    disk.close()
    return {"bus.replay_against_raw_pipeline128": quantile(rates, 0.5)}


async def publish_to_consumed(rig: Rig) -> dict[str, float]:
    """From the call of ``publish`` until the consumer's handler is called with the event; both in this process, on one loop."""
    seen = asyncio.Event()
    consumed = 0.0

    async def handler(event: Event) -> None:
        nonlocal consumed
        consumed = time.perf_counter()
        seen.set()

    await rig.bus(
        "portfolio",
        lambda bus: bus.subscribe(handler, producers=["market_data"], types=[MarkPrice], group="portfolio"),
    )
    bus = await rig.bus("market_data")
    ours, pings = [], []
    for number in range(400):
        now = datetime.now(UTC)
        seen.clear()
        began = time.perf_counter()
        publishing = asyncio.ensure_future(bus.publish(MarkPrice(BTC, Decimal(number + 1), now), time=now))
        await seen.wait()
        ours.append(consumed - began)
        await publishing
        await asyncio.sleep(QUIET_SECONDS)
        pings.append(await rig.ping())
        await asyncio.sleep(QUIET_SECONDS)
    ping = quantile(pings, 0.5)
    return {
        "bus.publish_to_consumed_p50_against_ping": quantile(ours, 0.5) / ping,
        "bus.publish_to_consumed_p99_against_ping": quantile(ours, 0.99) / ping,
    }


async def lease_to_gate(rig: Rig) -> dict[str, float]:
    """From the emergency stop's ``set_state`` to the gate closed in execution's books, over the server."""
    book = StopLeaseBook(WallInfraClock())
    closed = asyncio.Event()

    async def handler(event: Event) -> None:
        assert isinstance(event.payload, StopLease)
        book.take(event.payload.view)
        facts = replace(FACTS, stop=book.view, stop_lease_fresh=book.fresh)
        if gate_state(facts)[0] is GateState.REDUCE_ONLY:
            closed.set()

    await rig.bus("execution", lambda bus: bus.watch_state(handler, types=[StopLease]))
    bus = await rig.bus("emergency_stop")
    ours, pings = [], []
    for number in range(400):
        now = datetime.now(UTC)
        closed.clear()
        view = replace(ARMED, epoch=number + 2, state=StopState.TRIPPED, reduce_only=True, issued_at=now)
        began = time.perf_counter()
        sending = asyncio.ensure_future(bus.set_state(StopLease(view), time=now))
        await closed.wait()
        ours.append(time.perf_counter() - began)
        await sending
        pings.append(await rig.ping())
    ping = quantile(pings, 0.5)
    return {
        "stop.lease_to_gate_over_valkey_p50_against_ping": quantile(ours, 0.5) / ping,
        "stop.lease_to_gate_over_valkey_p99_against_ping": quantile(ours, 0.99) / ping,
    }


async def process_to_gate(rig: Rig) -> dict[str, float]:
    """From a breaching snapshot in the hands of the stop's process to the gate closed in execution's process.

    The stop is the real component with its latch on a disk. Breaches are cleared by the next snapshot, so that each one is
    a first: REDUCE_ONLY at once, on which the debounce must not wait.
    """
    clocks = wall_clocks()
    arrived: dict[int, int] = {}

    async def note(event: Event) -> None:
        assert isinstance(event.payload, PortfolioUpdated)
        arrived[event.payload.snapshot.sequence] = time.monotonic_ns()

    services: list[EmergencyStopService] = []

    def wire(bus: RedisBus) -> None:
        bus.subscribe(note, producers=["portfolio"], types=[PortfolioUpdated], group=None)
        context = ComponentContext(DESK, clocks, bus, FileDisk(rig.directory / "stop"), POLICIES, DataKind.SYNTHETIC)
        services.append(EmergencyStopService(context))

    await rig.bus("emergency_stop", wire)
    await services[0].start()
    portfolio = await rig.bus("portfolio")
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(GATE_PROCESS), rig.url, stdout=asyncio.subprocess.PIPE
    )
    lines = child.stdout
    assert lines is not None
    ours, pings = [], []
    sequence = 0

    async def until(state: GateState, drawdown_pct: str) -> float:
        """Seconds since the snapshot that made the gate so; says it again every now and then until it is."""
        nonlocal sequence
        while True:
            sequence += 1
            now = clocks.market.now()
            await portfolio.publish(PortfolioUpdated(snapshot(sequence, now, Decimal(drawdown_pct))), time=now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while (line := (await lines.readline()).split())[0].decode() != state:
                        pass
                    return (int(line[1]) - arrived[sequence]) / 1e9

    try:
        await until(GateState.OPEN, "0")
        for number in range(420):
            closed = await until(GateState.REDUCE_ONLY, "5.5")
            await until(GateState.OPEN, "0")
            ping = await rig.ping()
            if number >= 20:  # both processes are warm
                ours.append(closed)
                pings.append(ping)
    finally:
        child.kill()
        await child.wait()
        await services[0].stop()
    ping = quantile(pings, 0.5)
    return {
        "stop.process_to_gate_p50_against_ping": quantile(ours, 0.5) / ping,
        "stop.process_to_gate_p99_against_ping": quantile(ours, 0.99) / ping,
    }


PING = "redis-py PING on the same server, p50"
RAW = "prepacked XADDs in pipelines of 128 over a bare socket"
BENCHES = [
    Bench(
        (
            higher("bus.publish_against_raw_pipeline128", 0.25, 0.45, RAW),
            higher("bus.publish_against_redis_py_pipeline128", 1.5, 2.5, "redis-py XADD in pipelines of 128"),
        ),
        lambda: on_server(publish),
        3,
    ),
    Bench(
        (higher("bus.publish_durable_against_raw_pipeline128", 0.12, 0.25, RAW),),
        lambda: on_server(publish_durable),
        3,
    ),
    Bench((higher("bus.replay_against_raw_pipeline128", 0.25, 0.5, RAW),), lambda: on_server(replay), 3),
    Bench(
        (
            lower("bus.publish_to_consumed_p50_against_ping", 1.5, 1.0, PING),
            lower("bus.publish_to_consumed_p99_against_ping", 5, 2.5, PING),
        ),
        lambda: on_server(publish_to_consumed),
        3,
    ),
    Bench(
        (
            lower("stop.lease_to_gate_over_valkey_p50_against_ping", 6, 3, PING),
            lower("stop.lease_to_gate_over_valkey_p99_against_ping", 30, 10, PING),
        ),
        lambda: on_server(lease_to_gate),
        3,
    ),
    Bench(
        (
            lower("stop.process_to_gate_p50_against_ping", 6, 3, PING),
            lower("stop.process_to_gate_p99_against_ping", 30, 10, PING),
        ),
        lambda: on_server(process_to_gate),
        3,
    ),
]
