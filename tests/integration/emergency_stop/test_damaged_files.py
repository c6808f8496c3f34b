"""Latch and audit damaged in every way at hand: the stop always starts, says what is wrong, and is never less strict."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.audit import FILE as AUDIT
from breakwater.emergency_stop.audit import last_epoch, verify_audit
from breakwater.emergency_stop.latch import COPY, FILE, decode_latch
from breakwater.emergency_stop.service import EmergencyStopService
from breakwater.runtime.ports import DiskError
from breakwater.simulation.stores import MemoryDisk

MOST_EPOCH = 2**53 - 1


def checksummed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def with_state(data: bytes, value: object) -> bytes:
    body = json.loads(data.partition(b"\n")[2])
    body["latched"]["state"] = value
    return checksummed(json.dumps(body).encode())


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:90] + bytes([data[90] ^ 1]) + data[91:],
    "a list": lambda data: checksummed(b"[]"),
    "a number": lambda data: checksummed(b"7"),
    "no such state": lambda data: with_state(data, "RELAXED"),
    "state of a wrong type": lambda data: with_state(data, 7),
    "no utf-8": lambda data: checksummed(b"\xff\xfe"),
    "text that is no utf-8": lambda data: checksummed(b'{"revision":"\xff"}'),
    "deep": lambda data: checksummed(b'{"revision":' + b"[" * 100_000),
    "huge": lambda data: bytes(4_000_000),
}


def forget_copies(world: Any) -> None:
    """The server lost the last lease."""
    for values in world.broker._desk_states(world.execution.desk).values.values():
        values.pop("emergency_stop", None)


async def restart(world: Any) -> None:
    world.stop = await world.begin(EmergencyStopService)
    await asyncio.sleep(1)
    await world.mark("100000")


@pytest.mark.parametrize("damaged", [(FILE,), (COPY,), (FILE, COPY)], ids=["first", "second", "both"])
@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_latch_of_a_tripped_desk_stays_tripped_and_can_be_worked_with(
    in_world: Any, how: str, damaged: tuple[str, ...]
) -> None:
    async def story(world: Any) -> None:
        await world.ask("TRIP", "p1")
        before = world.leases[-1]
        await world.kill(world.stop)
        disk = world.disks["emergency_stop"]
        for name in damaged:
            disk._files[name] = bytearray(DAMAGE[how](disk.read(name)))
        forget_copies(world)
        await restart(world)
        assert world.state is StopState.TRIPPED
        known = len(damaged) == 1
        assert (world.leases[-1].trip == before.trip) is known
        assert world.leases[-1].epoch >= before.epoch + (not known)
        assert damaged[0] in world.stop.readiness()["latch"].detail
        # It goes on from here: what it writes is whole again.
        await world.flat()
        assert decode_latch(disk.read(FILE)).latched.state is StopState.COOLING_DOWN
        assert decode_latch(disk.read(COPY)).latched.state is StopState.COOLING_DOWN

    world = in_world(story)
    assert verify_audit(world.disks["emergency_stop"].read(AUDIT)).ok


def test_second_copy_that_lags_behind_the_audit_is_not_believed(in_world: Any) -> None:
    async def story(world: Any) -> None:
        disk = world.disks["emergency_stop"]
        armed = disk.read(COPY)
        await world.ask("TRIP", "p1")
        await world.kill(world.stop)
        disk._files.pop(FILE)
        disk._files[COPY] = bytearray(armed)  # the crash came before it was written
        forget_copies(world)
        await restart(world)
        assert world.state is StopState.TRIPPED
        assert "audit" in world.leases[-1].trip.reason

    in_world(story)


@pytest.mark.parametrize("heard", [True, False], ids=["the bus knows the same", "the bus knows nothing"])
def test_second_copy_alone_opens_only_what_the_bus_confirms(in_world: Any, heard: bool) -> None:
    async def story(world: Any) -> None:
        disk = world.disks["emergency_stop"]
        await world.kill(world.stop)
        disk._files[FILE] = bytearray(b"rubbish")  # it may have held a trip that nobody heard of
        if not heard:
            forget_copies(world)
        await restart(world)
        assert world.state is (StopState.ARMED if heard else StopState.TRIPPED)

    in_world(story)


@pytest.mark.parametrize(
    "line",
    [
        b"rubbish\n", b"[]\n", b"{}\n", b"\xff\n", b"[" * 100_000 + b"\n", bytes(2_000_000), b'{"torn',
        b'{"hash":"x","record":{"n":9,"kind":"transition","values":{"epoch":Infinity}}}\n',
        b'{"hash":"x","record":{"n":9,"kind":"transition","values":{"epoch":"' + b"9" * 4000 + b'"}}}\n',
    ],
)  # fmt: skip
@pytest.mark.parametrize("tripped", [True, False])
def test_damaged_audit_is_reported_and_stops_nothing(in_world: Any, line: bytes, tripped: bool) -> None:
    async def story(world: Any) -> None:
        if tripped:
            await world.ask("TRIP", "p1")
        await world.kill(world.stop)
        world.disks["emergency_stop"]._files[AUDIT].extend(line)
        await restart(world)
        # What has no end is not a line yet: dropped, as after a crash.
        assert world.stop.readiness()["audit"].ok is not line.endswith(b"\n")
        assert world.state is (StopState.TRIPPED if tripped else StopState.ARMED)
        if not tripped:
            assert not world.leases[-1].reduce_only
            assert (await world.ask("TRIP", "p2")).accepted
        await world.flat()
        assert world.stop.view().state is StopState.COOLING_DOWN
        assert world.leases[-1].epoch < MOST_EPOCH

    world = in_world(story)
    assert last_epoch(world.disks["emergency_stop"].read(AUDIT)) < MOST_EPOCH


class Blocked(MemoryDisk):
    """A directory stands where ``name`` should be."""

    def __init__(self, like: MemoryDisk, name: str) -> None:
        super().__init__()
        self._files, self.name = like._files, name

    def _refuse(self, name: str) -> None:
        if name == self.name:
            raise DiskError(f"{name}: a directory stands where a file is expected")

    def read(self, name: str) -> bytes | None:
        self._refuse(name)
        return super().read(name)

    async def replace(self, name: str, data: bytes) -> None:
        self._refuse(name)
        await super().replace(name, data)

    async def append(self, name: str, data: bytes) -> None:
        self._refuse(name)
        await super().append(name, data)


@pytest.mark.parametrize("name", [AUDIT, FILE, COPY])
def test_directory_where_a_file_should_be_does_not_keep_the_stop_from_tripping(in_world: Any, name: str) -> None:
    async def story(world: Any) -> None:
        await world.kill(world.stop)
        world.disks["emergency_stop"] = Blocked(world.disks["emergency_stop"], name)
        await restart(world)
        checks = world.stop.readiness()
        assert name in checks["audit"].detail + checks["latch"].detail
        assert world.state is StopState.ARMED  # the bus knows it too
        asked = asyncio.ensure_future(world.ask("TRIP", "p1"))
        await asyncio.sleep(1)
        assert world.stop.view().state is StopState.TRIPPED
        assert (await asked).accepted
        assert world.leases[-1].reduce_only

    in_world(story)
