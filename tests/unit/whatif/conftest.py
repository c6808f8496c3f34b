"""A recorder on a memory disk that is fed events by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.desk.recorder import Recorder
from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.orders import OrderRole
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import DataKind
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import CandleClosed, MarkPrice, OrderRefused
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.manifests import load_manifests
from breakwater.runtime.policy_store import PolicyStore
from breakwater.runtime.resources import profile_file
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk, MemoryStore

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
DESK = DeskId("main")
BTC = Symbol("BTCUSDT")


@dataclass
class Recorded:
    """A desk's disk, and what publishes to its recorder."""

    simulation: Simulation
    disk: MemoryDisk
    recorder: Recorder
    market: MemoryBus
    risk_manager: MemoryBus

    async def mark(self, seconds: float, price: str) -> None:
        time = START + timedelta(seconds=seconds)
        await self.market.publish(MarkPrice(BTC, Decimal(price), time), time=time)

    async def candle(self, number: int, close: str = "100") -> None:
        opened = START + timedelta(minutes=5 * number)
        prices = (Decimal(close),) * 4
        closed = CandleClosed(BTC, opened, timedelta(minutes=5), *prices, Decimal(60))
        await self.market.publish(closed, time=opened + timedelta(minutes=5))

    async def refused(self, seconds: float) -> None:
        refusal = Refusal(RefusalCode.STOP_TRIPPED, "the emergency stop has tripped")
        payload = OrderRefused("risk_manager", BTC, OrderRole.ENTRY, refusal)
        await self.risk_manager.publish(payload, time=START + timedelta(seconds=seconds))

    async def pause(self, seconds: float = 2) -> None:
        await asyncio.sleep(seconds)


Story = Callable[[Recorded], Coroutine[Any, Any, None]]
Record = Callable[..., MemoryDisk]


async def _told(simulation: Simulation, disk: MemoryDisk, story: Story) -> None:
    broker = MemoryBroker()
    infra = simulation.clocks.infra
    policy = PolicyStore(MemoryStore(), None, infra, desk=DESK, writer=True)
    await policy.apply(load_manifests(profile_file("NORMAL")), who="test")
    bus, market, risk_manager = (
        MemoryBus(broker, DESK, name, infra) for name in ("recorder", "market_data", "risk_manager")
    )
    context = ComponentContext(DESK, simulation.clocks, bus, disk, policy, DataKind.SYNTHETIC)
    recorder = Recorder(context, InstrumentBook(), build="test")
    await bus.start()
    await market.start()
    await risk_manager.start()
    await recorder.start()
    await story(Recorded(simulation, disk, recorder, market, risk_manager))
    await asyncio.sleep(0.01)
    await recorder.stop()
    await bus.stop()
    await market.stop()
    await risk_manager.stop()


@pytest.fixture
def record() -> Record:
    """Runs a recorder while ``story`` is told to it; the disk it wrote to."""

    def run(story: Story, disk: MemoryDisk | None = None) -> MemoryDisk:
        kept = disk or MemoryDisk()
        run_virtual(lambda simulation: _told(simulation, kept, story), seed=1, start=START)
        return kept

    return run


@pytest.fixture
def on_disk(tmp_path: Path) -> Callable[[MemoryDisk], Path]:
    """The files of a memory disk as a desk's state directory."""

    def write(disk: MemoryDisk) -> Path:
        folder = tmp_path / "components" / "recorder"
        folder.mkdir(parents=True, exist_ok=True)
        for name in disk.names():
            (folder / name).write_bytes(disk.read(name) or b"")
        return tmp_path

    return write
