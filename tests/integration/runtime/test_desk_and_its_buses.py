"""A desk notices a bus that is dead, and its metrics say what buses could not deliver."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from breakwater.desk.bus_counts import BusCounts
from breakwater.desk.desk import Desk
from breakwater.desk.ports import DeskPorts
from breakwater.domain.ids import DeskId
from breakwater.domain.signals import DataKind
from breakwater.exchange.client import Endpoint, make_client
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.events import Event
from breakwater.runtime.metrics import Metrics
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.valkey_server import EmbeddedServer
from breakwater.simulation.stores import MemoryDisk, MemoryStore

NAME = DeskId("test")


@pytest.fixture
async def desk(server: EmbeddedServer) -> AsyncIterator[Desk]:
    """Assembled on real buses, not started: nobody answers at its venue."""
    clocks = wall_clocks()
    nowhere = Endpoint("http://127.0.0.1:9", "ws://127.0.0.1:9")
    ports = DeskPorts(
        desk=NAME,
        clocks=clocks,
        data=DataKind.SYNTHETIC,
        kv=MemoryStore(),
        bus=lambda component: RedisBus(server.url, NAME, component, clocks.infra),
        disk=lambda component: MemoryDisk(),
        client=lambda credentials: make_client(nowhere, credentials, clocks.infra),
        random=random.Random,
    )
    desk = Desk(ports, [])
    yield desk
    await desk.stop()


async def test_a_bus_that_fails_ends_the_desk(desk: Desk, server: EmbeddedServer) -> None:
    (ours,) = [bus for bus in desk.buses if bus.producer == "emergency_stop"]
    await ours.start()
    running = asyncio.ensure_future(desk.run())
    theirs = RedisBus(server.url, NAME, "emergency_stop", desk.ports.clocks.infra)
    await theirs.start()
    try:
        with pytest.raises(RuntimeError, match="another process is emergency_stop"):
            await asyncio.wait_for(running, 10)
    finally:
        await theirs.stop()


async def test_the_stop_is_unknown_until_it_has_read_its_state(desk: Desk) -> None:
    assert desk.stop_state is None
    assert desk.open_positions is None


async def test_dead_letters_and_failed_handlers_show_in_the_metrics(make_bus: Any, publish: Any) -> None:
    async def broken(event: Event) -> None:
        raise ArithmeticError("planted")

    writer = await make_bus("market_data")
    reader = await make_bus("portfolio", group="portfolio", reads="market_data", handler=broken)
    metrics = Metrics(desk="test", component="portfolio", version="0")
    BusCounts(metrics, [reader])
    assert "breakwater_dead_letters_total{" in metrics.render().decode()
    await publish(writer, 1)
    for _ in range(100):
        if reader.counters.dead_letters:
            break
        await asyncio.sleep(0.1)
    for _ in range(2):  # read twice, counted once
        text = metrics.render().decode()
        assert 'breakwater_dead_letters_total{component="portfolio",desk="test"} 1.0' in text
        assert 'type="market.candle"} 5.0' in text
