"""While Redis is away and the buffer fills: what can be given up goes first, money and safety never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from breakwater.domain.ids import Symbol
from breakwater.domain.orders import OrderRole
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.disk_buffer.classes import Keeping
from breakwater.runtime.events import CandleClosed, Event, OrderRefused
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.ports import DiskError
from breakwater.runtime.valkey_server import EmbeddedServer

NOW = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
REFUSED = OrderRefused(
    "gate", Symbol("BTCUSDT"), OrderRole.ENTRY, Refusal(RefusalCode.EXPOSURE, "exposure 205 % of equity, limit 200 %")
)


async def test_filling_buffer_gives_up_market_data_first_and_never_orders(
    server: EmbeddedServer,
    make_bus: Any,
    candle: Callable[[int], CandleClosed],
    disk: FileDisk,
    eventually: Any,
) -> None:
    seen: list[Event] = []

    async def reader(event: Event) -> None:
        seen.append(event)

    await make_bus("reader", reads="writer", group="reader", handler=reader)
    bus = await make_bus("writer", disk=disk)
    assert bus.buffer is not None
    bus.buffer.most_events = 10
    await server.stop()
    await bus.publish(candle(0), time=NOW)  # nothing is full yet
    for _ in range(4):
        await bus.publish(REFUSED, time=NOW)
    with pytest.raises(BusUnavailable, match=r"market\.candle refused"):
        await bus.publish(candle(1), time=NOW)
    assert bus.trouble == ""
    for _ in range(20):
        await bus.publish(REFUSED, time=NOW)
    assert "the buffer is full (25 events" in bus.trouble
    assert not bus.readiness()["buffer"].ok
    assert bus.refused == {Keeping.DROPPABLE: 1}
    await server.start()
    await eventually(lambda: bus.connected and len(seen) == 1)  # the candle; orders are not subscribed to
    last = await bus.publish(candle(2), time=NOW)
    assert last.sequence == 26
    await eventually(lambda: [int(event.payload.close) for event in seen] == [0, 2])  # type: ignore[attr-defined]


async def test_disk_that_takes_nothing_is_told_and_heals(
    server: EmbeddedServer, make_bus: Any, disk: FileDisk, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    bus = await make_bus("writer", disk=disk)
    await server.stop()
    with monkeypatch.context() as patched:

        async def refuse(name: str, data: bytes) -> None:
            raise DiskError(f"{name}: input/output error")

        patched.setattr(disk, "append", refuse)
        with pytest.raises(BusUnavailable, match="input/output error"):
            await bus.publish(REFUSED, time=NOW)
        assert "does not take events" in bus.trouble
        await server.start()
        await eventually(lambda: bus.connected)
        await asyncio.sleep(1.2)
        assert bus.trouble == "", "with Redis back nobody appends: that the disk is well again is seen all the same"
        await server.stop()
    event = await bus.publish(REFUSED, time=NOW)
    assert bus.trouble == ""
    await server.start()
    await eventually(lambda: bus.connected)
    assert (await bus.publish(REFUSED, time=NOW)).sequence == event.sequence + 1


def test_only_what_the_next_one_replaces_may_be_given_up() -> None:
    from breakwater.runtime.disk_buffer.classes import KEEPING

    droppable = {name.partition(".")[0] for name, keeping in KEEPING.items() if keeping is Keeping.DROPPABLE}
    assert droppable == {"market", "signal", "health"}
    safety = {name for name in KEEPING if name.startswith(("order.", "ess.", "throttle."))}
    assert {KEEPING[name] for name in safety | {"account.moved", "account.flat"}} == {Keeping.ALWAYS}
