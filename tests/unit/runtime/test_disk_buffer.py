"""The disk buffer: in order, bounded, whole after any crash; damage is set aside, a newer format is left alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakwater.runtime.disk_buffer.buffer import RESERVE, RESERVE_BYTES, DiskBuffer, Level
from breakwater.runtime.disk_buffer.segments import Entry, read_segment, segment_name
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.journal import encode_line
from breakwater.runtime.ports import DiskError
from breakwater.simulation.stores import DyingDisk, MemoryDisk


def entry(sequence: int, epoch: int = 7) -> Entry:
    return Entry(epoch, sequence, b'{"type":"order.filled","n":%d}' % sequence)


def entries(count: int, first: int = 1) -> list[Entry]:
    return [entry(first + n) for n in range(count)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FileDisk]:
    volume = FileDisk(tmp_path / "volume", owner="test")
    yield volume
    volume.close()


async def loaded(disk: FileDisk | MemoryDisk, **bounds: int) -> tuple[DiskBuffer, list[Entry]]:
    buffer = DiskBuffer(disk, desk="main", producer="execution", **bounds)
    return buffer, await buffer.load()


def segments(disk: FileDisk | MemoryDisk) -> list[str]:
    return [name for name in disk.names() if name.startswith("buffer-0")]


async def test_ten_thousand_events_are_there_after_a_restart_in_order(disk: FileDisk) -> None:
    buffer, left = await loaded(disk, segment_bytes=100_000)
    assert left == []
    for start in range(1, 10_001, 500):
        await buffer.append(entries(500, start))
    assert buffer.count == 10_000
    assert len(segments(disk)) > 3
    _, left = await loaded(disk)
    assert left == entries(10_000)


async def test_file_can_be_read_by_a_person(disk: FileDisk) -> None:
    buffer, _ = await loaded(disk)
    await buffer.append([entry(1)])
    header, line = (disk.read(segment_name(1)) or b"").splitlines()
    assert b'"data":{"buffer":1,"segment":1,"desk":"main","producer":"execution"}' in header
    assert b'"data":{"epoch":7,"sequence":1,"event":{"type":"order.filled","n":1}}' in line


async def test_appends_at_the_same_time_share_syncs_and_are_all_kept(disk: FileDisk) -> None:
    buffer, _ = await loaded(disk)
    await asyncio.gather(*(buffer.append([each]) for each in entries(300)))
    _, left = await loaded(disk)
    assert left == entries(300)


async def test_torn_tail_is_cut_at_every_byte_and_what_follows_is_not_lost() -> None:
    disk = MemoryDisk()
    buffer, _ = await loaded(disk)
    await buffer.append(entries(2))
    await buffer.append([entry(3)])
    whole = disk.read(segment_name(1)) or b""
    before = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for cut in range(before, len(whole)):
        torn = MemoryDisk()
        await torn.replace(segment_name(1), whole[:cut])
        again, left = await loaded(torn)
        assert left == entries(3 if cut == len(whole) - 1 else 2), (
            cut
        )  # only the line's end is missing: the event is whole
        await again.append([entry(4)])
        assert (await loaded(torn))[1] == [*left, entry(4)]


async def test_no_changed_byte_passes_for_data_and_the_other_events_stay() -> None:
    disk = MemoryDisk()
    buffer, _ = await loaded(disk)
    await buffer.append(entries(3))
    whole = disk.read(segment_name(1)) or b""
    for position in range(len(whole)):
        for bit in (1, 16, 128):
            damaged = MemoryDisk()
            changed = bytearray(whole)
            changed[position] ^= bit
            await damaged.replace(segment_name(1), bytes(changed))
            again, left = await loaded(damaged)
            assert [each for each in left if each not in entries(3)] == [], (position, bit)
            assert len(left) >= 1, (position, bit)
            assert left == sorted(left, key=lambda each: each.id)
            if len(left) < 3:
                assert again.quarantined or whole[:position].count(b"\n") == 3, (position, bit)


async def test_damaged_line_is_kept_aside_and_counted(disk: FileDisk) -> None:
    buffer, _ = await loaded(disk)
    await buffer.append(entries(3))
    raw = disk.read(segment_name(1)) or b""
    await disk.replace(segment_name(1), raw.replace(b'"n":2}', b'"n":9}'))
    again, left = await loaded(disk)
    assert left == [entry(1), entry(3)]
    assert again.quarantined == 1
    (copy,) = [name for name in disk.names() if ".damaged-" in name]
    assert b'"n":9}' in (disk.read(copy) or b"")
    again, left = await loaded(disk)
    assert (left, again.quarantined) == ([entry(1), entry(3)], 0)


async def test_segment_of_a_newer_version_is_left_alone_and_named(disk: FileDisk) -> None:
    buffer, _ = await loaded(disk)
    await buffer.append([entry(1)])
    raw = disk.read(segment_name(1)) or b""
    newer = encode_line(1, b'{"buffer":2,"segment":1}') + raw[raw.index(b"\n") + 1 :] + b"what only it understands"
    await disk.replace(segment_name(1), newer)
    again, left = await loaded(disk)
    assert left == []
    assert again.level is Level.FAILING
    assert "written by a newer version" in again.trouble
    await again.append([entry(2)])
    assert again.level is Level.FAILING
    assert disk.read(segment_name(1)) == newer
    assert (await loaded(disk))[1] == [entry(2)]


async def test_released_segments_are_deleted_and_the_rest_stays(disk: FileDisk) -> None:
    buffer, _ = await loaded(disk, segment_bytes=2_000)
    for each in entries(100):
        await buffer.append([each])
    before = len(segments(disk))
    await buffer.release((7, 60))
    assert 1 < len(segments(disk)) < before
    left = (await loaded(disk))[1]
    assert left[-1] == entry(100)
    assert left[0].sequence <= 61
    assert left == entries(len(left), left[0].sequence)
    await buffer.clear()
    assert (buffer.count, buffer.size, segments(disk)) == (0, 0, [])
    await buffer.append([entry(101)])
    assert (await loaded(disk))[1] == [entry(101)]


@pytest.mark.parametrize("kept", [0.0, 0.4, 1.0])
async def test_rewrite_that_the_machine_does_not_survive_leaves_the_old_or_the_new(kept: float) -> None:
    outcomes = set()
    for fatal in range(1, 9):
        disk = DyingDisk(100, kept)
        buffer, _ = await loaded(disk, segment_bytes=200)
        for each in entries(6):
            await buffer.append([each])
        disk._left = fatal
        new = [entry(n, epoch=8) for n in range(1, 4)]
        with contextlib.suppress(DiskError):
            await buffer.rewrite(new)
        left = (await loaded(disk.after_restart()))[1]
        assert left in (entries(6), new), fatal
        outcomes.add(len(left))
    assert outcomes == ({3} if kept == 1 else {3, 6})


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
async def test_every_acknowledged_event_survives_a_crash_in_any_write(kept: float) -> None:
    for fatal in range(1, 14):
        disk = DyingDisk(fatal, kept)
        acknowledged: list[Entry] = []
        buffer = DiskBuffer(disk, segment_bytes=300)
        with contextlib.suppress(DiskError):
            await buffer.load()
            for each in entries(10):
                await buffer.append([each])
                acknowledged.append(each)
        left = (await loaded(disk.after_restart()))[1]
        assert left[: len(acknowledged)] == acknowledged, fatal
        assert len(left) - len(acknowledged) <= 1


class Refusing(MemoryDisk):
    """Refuses to append to the files named, and everything while ``full`` and the reserve is there."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: set[str] = set()
        self.full = False

    async def append(self, name: str, data: bytes) -> None:
        if name in self.bad or (self.full and (RESERVE in self.names() or "all" in self.bad)):
            raise DiskError(f"{name}: no space left on device")
        await super().append(name, data)


async def test_file_that_fails_is_given_up_and_what_it_held_goes_on_in_the_next() -> None:
    disk = Refusing()
    buffer, _ = await loaded(disk)
    await buffer.append(entries(5))
    disk.bad.add(segment_name(1))
    await asyncio.gather(*(buffer.append([entry(n)]) for n in range(6, 12)))
    assert segments(disk) == [segment_name(2)]
    assert buffer.level is Level.OK
    assert sorted((await loaded(disk))[1], key=lambda each: each.id) == entries(11)


async def test_full_disk_takes_events_from_its_reserve_and_then_says_that_it_fails() -> None:
    disk = Refusing()
    buffer, _ = await loaded(disk)
    assert len(disk.read(RESERVE) or b"") == RESERVE_BYTES
    disk.full = True
    await buffer.append([entry(1)])
    assert RESERVE not in disk.names()
    disk.bad.add("all")
    with pytest.raises(DiskError, match="no space left"):
        await buffer.append([entry(2)])
    assert buffer.level is Level.FAILING
    assert "does not take events" in buffer.trouble
    disk.bad.clear()
    disk.full = False
    await buffer.append([entry(2)])
    assert (buffer.level, buffer.trouble) == (Level.OK, "")
    assert (await loaded(disk))[1] == entries(2)


async def test_bounds_by_count_and_by_bytes_are_told_apart_from_failing() -> None:
    buffer, _ = await loaded(MemoryDisk(), most_events=10)
    levels = []
    for first, count in ((1, 4), (5, 2), (7, 5)):  # the buffer itself refuses nothing: who publishes decides
        await buffer.append(entries(count, first))
        levels.append(buffer.level)
    assert levels == [Level.OK, Level.FILLING, Level.FULL]
    assert "the buffer is full (11 events" in buffer.trouble
    small, _ = await loaded(MemoryDisk(), most_bytes=500)
    await small.append(entries(8))
    assert small.level is Level.FULL


async def test_spool_of_an_earlier_version_is_taken_over_once(disk: FileDisk) -> None:
    from breakwater.runtime.disk_buffer.segments import entry_data
    from breakwater.runtime.journal import Journal

    spool = Journal(disk, "bus-spool.jsonl")
    await spool.load()
    await spool.append_many([entry_data(each) for each in entries(3)])
    for _ in range(2):
        assert (await loaded(disk))[1] == entries(3)
    assert "bus-spool.jsonl" not in disk.names()


async def test_segment_of_a_newer_version_stays_when_later_ones_void_what_was_before(disk: FileDisk) -> None:
    newer = encode_line(1, b'{"buffer":2,"segment":1}') + b"what only it understands"
    await disk.replace(segment_name(1), newer)
    buffer, _ = await loaded(disk)
    await buffer.append(entries(2))
    await buffer.rewrite([entry(1, epoch=8)])
    again, left = await loaded(disk)
    assert left == [entry(1, epoch=8)]
    assert again.level is Level.FAILING
    assert disk.read(segment_name(1)) == newer


class RefusingOnce(MemoryDisk):
    """Refuses the first append, and takes long for each."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals = 0

    async def append(self, name: str, data: bytes) -> None:
        await asyncio.sleep(0)
        if not self.refusals:
            self.refusals += 1
            raise DiskError(f"{name}: input/output error")
        for _ in range(20):
            await asyncio.sleep(0)
        await super().append(name, data)


async def test_event_that_a_failed_file_took_after_all_is_not_deleted_with_it() -> None:
    disk = RefusingOnce()
    buffer, _ = await loaded(disk)
    first = asyncio.create_task(buffer.append([entry(1)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the first is being written: the second waits for the next sync
    await buffer.append([entry(2)])
    await first
    assert sorted((await loaded(disk))[1], key=lambda each: each.id) == entries(2)
    assert buffer.count == 2


async def test_file_begun_on_a_disk_that_failed_has_its_header_once_the_disk_heals() -> None:
    disk = Refusing()
    buffer, _ = await loaded(disk)
    disk.full = True
    disk.bad.add("all")
    with pytest.raises(DiskError, match="no space left"):
        await buffer.append([entry(1)])
    disk.bad.clear()
    disk.full = False
    await buffer.append([entry(1)])
    found = [read_segment(disk.read(name) or b"") for name in segments(disk)]
    assert [each.entries for each in found if each.entries] == [[entry(1)]]
    assert all(each.header is not None for each in found)


async def test_empty_file_that_a_failing_disk_left_does_not_stop_the_release_of_later_ones(disk: FileDisk) -> None:
    buffer, _ = await loaded(disk, segment_bytes=500)
    for each in entries(30):
        await buffer.append([each])
    await disk.replace(segment_name(1), b"")
    again, left = await loaded(disk, segment_bytes=500)
    assert left[-1] == entry(30)
    await again.release((7, 30))
    assert (again.count, segments(disk)) == (0, [])


@pytest.mark.parametrize("size", [0, 20])
async def test_file_that_a_crash_left_without_its_header_gets_one(disk: FileDisk, size: int) -> None:
    buffer, _ = await loaded(disk)
    await buffer.append([entry(1)])
    raw = disk.read(segment_name(1)) or b""
    await disk.replace(segment_name(1), raw[:size])
    again, _ = await loaded(disk)
    await again.append([entry(2)])
    found = read_segment(disk.read(segment_name(1)) or b"")
    assert found.header is not None
    assert (found.entries, found.damaged) == ([entry(2)], [])


def test_empty_file_is_an_empty_segment() -> None:
    found = read_segment(b"")
    assert (found.header, found.entries, found.damaged, found.torn) == (None, [], [], 0)
