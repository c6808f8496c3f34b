"""A stop whose disk, bus or copies fail at the worst moment: what was decided stays, and nothing opens by itself."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from breakwater.domain.orders import Side
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.audit import FILE as AUDIT
from breakwater.emergency_stop.audit import verify_audit
from breakwater.emergency_stop.latch import COPY, FILE, decode_latch, encode_latch
from breakwater.emergency_stop.service import EmergencyStopService
from breakwater.runtime.events import StopLease, StopTripped
from breakwater.runtime.ports import DiskError
from breakwater.simulation.bus import MemoryBus


class Volume:
    """Breaks the writes of a memory disk as the test says."""

    def __init__(self, disk: Any) -> None:
        self._disk, self._replace = disk, disk.replace
        disk.replace = self.replace
        self.broken: set[str] = set()
        """Files that cannot be written."""
        self.half: set[str] = set()
        """Files whose write fails although the new content is there: the sync after the rename failed."""
        self.hangs = False
        self._healed = asyncio.Event()

    async def replace(self, name: str, data: bytes) -> None:
        if self.hangs:
            await self._healed.wait()
        if name in self.half:
            await self._replace(name, data)
        if name in self.half | self.broken:
            raise DiskError(f"{name}: input/output error")
        await self._replace(name, data)

    def heal(self) -> None:
        self.broken, self.half, self.hangs = set(), set(), False
        self._healed.set()


async def losing(world: Any) -> None:
    """Long 0.1 BTC and 5.7 % of equity gone: over the limit, confirmed."""
    await world.fill(Side.BUY, "0.1", "100000", "5")
    await world.report("13995", "0.1", through=str(world.trades))
    for _ in range(3):
        await world.mark("92000")
        await asyncio.sleep(0.6)


async def ready_to_rearm(world: Any) -> None:
    await losing(world)
    await world.fill(Side.SELL, "0.1", "92000", "4.6")
    await world.report("13190.4", through=str(world.trades))
    await world.flat()
    await asyncio.sleep(901)
    await world.report("13190.4", through=str(world.trades))
    await world.mark("92000")
    assert world.state is StopState.COOLING_DOWN


def forget_copies(world: Any) -> None:
    """The server lost the last lease."""
    for values in world.broker._desk_states(world.execution.desk).values.values():
        values.pop("emergency_stop", None)


def latched(world: Any, name: str = FILE) -> StopState:
    return decode_latch(world.disks["emergency_stop"].read(name)).latched.state


def test_a_trip_after_an_unfinished_write_reaches_the_latch_once_the_disk_is_well(in_world: Any) -> None:
    async def story(world: Any) -> None:
        volume = Volume(world.disks["emergency_stop"])
        volume.broken = {COPY}
        refused = await world.ask("RESET", "r0")  # its first copy is written, its second is not
        assert not refused.accepted
        volume.broken = {FILE, COPY}
        await losing(world)
        assert world.state is StopState.TRIPPED
        volume.heal()
        await asyncio.sleep(1)
        assert world.stop.readiness()["latch"].ok
        assert (latched(world), latched(world, COPY)) == (StopState.TRIPPED, StopState.TRIPPED)
        await world.kill(world.stop)
        forget_copies(world)
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        assert world.state is StopState.TRIPPED

    world = in_world(story)
    assert verify_audit(world.disks["emergency_stop"].read(AUDIT)).ok


def test_a_reset_answered_as_not_done_is_not_done_after_a_restart_either(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await ready_to_rearm(world)
        volume = Volume(world.disks["emergency_stop"])
        volume.half = {FILE}
        with pytest.raises(DiskError):
            await world.ask("RESET", "r1", new_baseline=True)
        volume.heal()
        await asyncio.sleep(1)
        assert latched(world) is StopState.COOLING_DOWN
        await world.kill(world.stop)
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        assert world.state is StopState.COOLING_DOWN
        await world.report("13190.4", through=str(world.trades))
        await world.mark("92000")
        assert (await world.ask("RESET", "r1", new_baseline=True)).accepted

    world = in_world(story)
    assert verify_audit(world.disks["emergency_stop"].read(AUDIT)).ok


def test_a_disk_that_hangs_neither_holds_up_a_trip_nor_leaves_the_lease_open(in_world: Any) -> None:
    async def story(world: Any) -> None:
        volume = Volume(world.disks["emergency_stop"])
        await world.fill(Side.BUY, "0.1", "100000", "5")
        await world.report("13995", "0.1", through=str(world.trades))
        await world.mark("100000")
        assert not world.leases[-1].reduce_only
        volume.hangs = True
        asked = asyncio.ensure_future(world.ask("RESET", "r0"))  # refused, and the refusal is to be written down
        await asyncio.sleep(0.05)
        for _ in range(8):
            await world.mark("92000")
            await asyncio.sleep(0.6)
        assert world.state is StopState.TRIPPED
        assert len(world.published("emergency_stop", StopTripped)) == 1
        assert (world.clocks.infra.utc_now() - world.leases[-1].issued_at).total_seconds() < 1
        volume.heal()
        with pytest.raises(DiskError):
            await asked
        await asyncio.sleep(2)
        assert latched(world) is StopState.TRIPPED

    in_world(story)


def test_an_input_that_cannot_be_judged_closes_the_lease(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.mark("100000")
        assert not world.leases[-1].reduce_only
        await world.stop._lock.acquire()  # whatever it is that evaluation waits for
        await world.mark("100000")
        await asyncio.sleep(1.5)
        assert world.leases[-1].reduce_only
        assert "judg" in world.leases[-1].reduce_only_reason
        world.stop._lock.release()
        await asyncio.sleep(0.5)
        assert not world.leases[-1].reduce_only

    in_world(story)


def test_a_lost_volume_waits_for_the_bus_before_it_says_what_it_is(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await losing(world)
        before = world.leases[-1]
        await world.kill(world.stop)
        world.disks["emergency_stop"]._files.clear()
        world.broker.up = False
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(3)
        assert world.stop.view().reduce_only
        assert not world.stop.settled
        with pytest.raises(DiskError, match="copies"):
            await world.ask("TRIP", "p1")
        world.broker.up = True
        await asyncio.sleep(1.5)
        assert (world.state, world.leases[-1].trip) == (StopState.TRIPPED, before.trip)
        assert world.leases[-1].epoch >= before.epoch

    in_world(story)


def test_a_stricter_copy_of_the_same_epoch_wins_at_the_start_and_while_running(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await losing(world)
        trip, epoch = world.leases[-1].trip, world.leases[-1].epoch
        await world.kill(world.stop)
        disk = world.disks["emergency_stop"]
        for name in (FILE, COPY):
            content = decode_latch(disk.read(name))
            armed = replace(content.latched, state=StopState.ARMED, trip=None, epoch=epoch)
            disk._files[name] = bytearray(encode_latch(replace(content, latched=armed)))
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        assert (world.state, world.leases[-1].trip) == (StopState.TRIPPED, trip)

    in_world(story)


def test_a_trip_taken_from_a_copy_while_running_can_be_reset(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await losing(world)
        tripped = world.leases[-1]
        await world.kill(world.stop)
        world.disks["emergency_stop"]._files.clear()
        forget_copies(world)
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        assert world.state is StopState.ARMED
        bus = world._buses["emergency_stop"]
        await bus.set_state(StopLease(tripped), time=world.clocks.market.now())
        await asyncio.sleep(0.5)
        assert world.leases[-1].trip == tripped.trip
        await world.fill(Side.SELL, "0.1", "92000", "4.6")
        await world.report("13190.4", through=str(world.trades))
        await world.flat()
        await asyncio.sleep(901)
        await world.report("13190.4", through=str(world.trades))
        await world.mark("92000")
        answer = await world.ask("RESET", "r1", new_baseline=True)
        assert answer.accepted, answer

    in_world(story)


def test_disabling_refused_while_stopped_takes_effect_after_the_rearm(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await ready_to_rearm(world)
        spec = replace(world.policies.value.stop, enabled=False)
        world.policies.value = replace(world.policies.value, stop=spec, version=2)
        await world.mark("92000")
        assert latched(world) is StopState.COOLING_DOWN
        assert (await world.ask("RESET", "r1", new_baseline=True)).accepted
        await world.mark("92000")
        await asyncio.sleep(0.5)
        assert world.state is StopState.DISABLED

    in_world(story)


def test_a_fast_market_does_not_make_a_jittering_snapshot_stale(in_world: Any) -> None:
    async def story(world: Any) -> None:
        world.clocks.market.speed = 60  # ten seconds of market time are 0.17 s of the machine's
        world.stop._rules = None
        await world.mark("100000")
        await asyncio.sleep(60)
        assert not world.leases[-1].reduce_only
        await asyncio.sleep(61)
        assert "old" in world.leases[-1].reduce_only_reason
        assert Decimal(world.leases[-1].lease_seconds) == 1

    in_world(story)


def test_a_stop_whose_events_may_not_be_kept_lets_nothing_be_opened(
    in_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: Any) -> None:
        await asyncio.sleep(1)
        assert not world.stop.view().reduce_only
        with monkeypatch.context() as patched:
            patched.setattr(MemoryBus, "trouble", "the buffer is full")
            await asyncio.sleep(1)
            assert world.leases[-1].reduce_only
            assert "may not be kept: the buffer is full" in world.leases[-1].reduce_only_reason
            await losing(world)
            assert world.state is StopState.TRIPPED

    in_world(story)
