"""That nothing may be opened any more is said at once: it waits neither for an earlier broadcast nor for the disk."""

from __future__ import annotations

import asyncio
from typing import Any

from breakwater.domain.orders import Side
from breakwater.runtime.bus import BusUnavailable


async def open_desk(world: Any) -> None:
    await world.fill(Side.BUY, "0.1", "100000", "5")
    await world.report("13995", "0.1", through=str(world.trades))
    await world.mark("100000")
    assert not world.leases[-1].reduce_only


def test_breach_while_an_open_lease_is_stuck_on_its_way_is_broadcast_at_once(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await open_desk(world)
        bus, free = world._buses["emergency_stop"], asyncio.Event()
        send = bus.set_state

        async def slow_when_open(payload: Any, *, time: Any) -> None:
            if not payload.view.reduce_only:
                await free.wait()
            await send(payload, time=time)

        bus.set_state = slow_when_open
        await asyncio.sleep(0.5)  # the next regular broadcast hangs by now
        await world.mark("92000")
        assert world.leases[-1].reduce_only
        free.set()
        await asyncio.sleep(0.05)
        assert world.leases[-1].reduce_only, "the older broadcast came last and was set right at once, not a beat later"

    in_world(story)


def test_closing_broadcast_that_failed_is_repeated_until_it_is_out(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await open_desk(world)
        bus, failures = world._buses["emergency_stop"], iter(range(3))
        send = bus.set_state

        async def failing(payload: Any, *, time: Any) -> None:
            if next(failures, None) is not None:
                raise BusUnavailable("gone for a moment")
            await send(payload, time=time)

        bus.set_state = failing
        await world.mark("92000")
        await asyncio.sleep(1.5)
        assert world.leases[-1].reduce_only

    in_world(story)


def test_person_trips_while_the_disk_is_slow_gate_closes_before_the_latch_is_written(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await open_desk(world)
        disk, free = world.disks["emergency_stop"], asyncio.Event()
        write = disk.replace

        async def slow(name: str, data: bytes) -> None:
            await free.wait()
            await write(name, data)

        disk.replace = slow
        asked = asyncio.ensure_future(world.ask("TRIP", "t1"))
        await asyncio.sleep(0.01)
        assert world.leases[-1].reduce_only
        assert world.state.value == "ARMED", "TRIPPED is said only when it is durable"
        free.set()
        assert (await asked).accepted
        assert world.state.value == "TRIPPED"

    in_world(story)
