from __future__ import annotations

import asyncio
import errno
import json
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from breakwater.runtime import file_disk
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.journal import Journal, JournalCorrupt, TypedJournal
from breakwater.runtime.ports import DiskError


class Record(msgspec.Struct, frozen=True):
    amount: Decimal


async def test_disk_replace_append_truncate_and_read(disk: FileDisk) -> None:
    assert disk.read("a/b.json") is None
    await disk.replace("a/b.json", b"one")
    await disk.replace("a/b.json", b"two")
    await disk.append("a/log", b"12")
    await disk.append("a/log", b"34")
    await disk.truncate("a/log", 3)
    assert (disk.read("a/b.json"), disk.read("a/log")) == (b"two", b"123")
    assert sorted(path.name for path in (disk.root / "a").iterdir()) == ["b.json", "log"]


async def test_second_owner_of_a_volume_is_refused_naming_the_first(disk: FileDisk) -> None:
    with pytest.raises(DiskError, match=r"in use by the test \(process \d+\)"):
        FileDisk(disk.root)
    disk.close()
    FileDisk(disk.root).close()


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../b", "", ".lock"])
async def test_name_outside_the_volume_is_refused(disk: FileDisk, name: str) -> None:
    with pytest.raises(DiskError, match="relative path"):
        await disk.replace(name, b"x")


async def test_file_that_cannot_be_written_is_named_with_the_reason(disk: FileDisk) -> None:
    (disk.root / "taken").mkdir()
    with pytest.raises(DiskError, match=r"taken.*directory"):
        await disk.append("taken", b"x")
    with pytest.raises(DiskError, match=r"gone.*No such file"):
        await disk.truncate("gone", 0)


async def filled(disk: FileDisk, count: int = 4) -> bytes:
    journal = Journal(disk, "j")
    await journal.load()
    for n in range(count):
        await journal.append(b'{"k":%d}' % n)
    return disk.read("j") or b""


async def test_journal_reads_back_what_was_appended_as_json_lines(disk: FileDisk) -> None:
    raw = await filled(disk)
    assert [json.loads(line)["data"] for line in raw.splitlines()] == [{"k": n} for n in range(4)]
    journal = Journal(disk, "j")
    assert len(await journal.load()) == 4
    await asyncio.gather(*(journal.append(b'{"k":%d}' % n) for n in range(4, 60)))
    assert [json.loads(data)["k"] for data in await Journal(disk, "j").load()] == list(range(60))


async def test_journal_cut_at_any_byte_gives_a_prefix_and_goes_on(disk: FileDisk) -> None:
    raw = await filled(disk)
    ends = [index for index, byte in enumerate(raw) if byte == ord("\n")]
    for cut in range(len(raw)):
        await disk.replace("j", raw[:cut])
        journal = Journal(disk, "j")
        records = await journal.load()
        whole = sum(end <= cut for end in ends)  # a line that lacks only its newline is whole
        assert [json.loads(data)["k"] for data in records] == list(range(whole)), cut
        await journal.append(b'{"k":99}')
        assert [json.loads(data)["k"] for data in await Journal(disk, "j").load()] == [*range(whole), 99], cut


async def test_journal_with_any_flipped_bit_never_gives_other_data(disk: FileDisk) -> None:
    raw = await filled(disk, 3)
    read = 0
    for position in range(len(raw)):
        for bit in range(8):
            damaged = bytearray(raw)
            damaged[position] ^= 1 << bit
            (disk.root / "j").write_bytes(bytes(damaged))
            try:
                records = await Journal(disk, "j").load()
            except JournalCorrupt:
                continue
            # Only the last newline may go unnoticed: its record is whole.
            assert position == len(raw) - 1
            assert [json.loads(data)["k"] for data in records] == [0, 1, 2]
            read += 1
    assert read == 8


async def test_damage_in_the_middle_names_file_and_line_and_keeps_a_copy(disk: FileDisk) -> None:
    raw = await filled(disk)
    damaged = raw.replace(b'"k":1', b'"k":7')
    await disk.replace("j", damaged)
    with pytest.raises(JournalCorrupt, match=r"j is damaged at line 2: .*copy is kept as j\.damaged-") as caught:
        await Journal(disk, "j").load()
    copy = next(path for path in disk.root.iterdir() if ".damaged-" in path.name)
    assert copy.name in str(caught.value)
    assert copy.read_bytes() == damaged
    assert disk.read("j") == damaged


async def test_missing_record_in_the_middle_is_damage(disk: FileDisk) -> None:
    lines = (await filled(disk)).splitlines(keepends=True)
    await disk.replace("j", b"".join([lines[0], *lines[2:]]))
    with pytest.raises(JournalCorrupt, match="record 3 follows record 1"):
        await Journal(disk, "j").load()


async def test_zero_filled_tail_after_power_loss_is_torn(disk: FileDisk) -> None:
    raw = await filled(disk)
    await disk.replace("j", raw + bytes(4096))
    assert len(await Journal(disk, "j").load()) == 4
    assert disk.read("j") == raw


async def test_failed_append_leaves_no_trace_and_the_next_one_works(
    disk: FileDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(disk, "j")
    await journal.load()
    await journal.append(b"1")
    real = disk.append

    async def torn(name: str, data: bytes) -> None:
        await real(name, data[: len(data) // 2])
        raise DiskError("no space")

    monkeypatch.setattr(disk, "append", torn)
    with pytest.raises(DiskError, match="no space"):
        await journal.append(b"2")
    monkeypatch.setattr(disk, "append", real)
    await journal.append(b"3")
    assert await Journal(disk, "j").load() == [b"1", b"3"]


async def test_caller_that_gives_up_does_not_break_the_journal(disk: FileDisk) -> None:
    journal = Journal(disk, "j")
    await journal.load()
    first = asyncio.ensure_future(journal.append(b"1"))
    await asyncio.sleep(0)
    first.cancel()
    await journal.append(b"2")
    assert await Journal(disk, "j").load() == [b"1", b"2"]


async def test_rewrite_compacts_and_numbering_goes_on(disk: FileDisk) -> None:
    journal = TypedJournal(disk, "t", Record)
    await journal.load()
    for n in range(5):
        await journal.append(Record(Decimal(n) / 10))
    await journal.rewrite([Record(Decimal("0.50"))])
    await journal.append(Record(Decimal("1")))
    again = TypedJournal(disk, "t", Record)
    assert await again.load() == [Record(Decimal("0.50")), Record(Decimal(1))]
    with pytest.raises(JournalCorrupt, match="record 1 is not what this version writes"):
        await TypedJournal(disk, "t", list[int]).load()


async def test_a_rewrite_whose_durability_is_unknown_ends_the_use_of_the_file(
    disk: FileDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(disk, "j")
    await journal.load()
    await journal.append_many([b"1", b"2", b"3"])

    def refused(path: Path) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(file_disk, "_sync_directory", refused)
        with pytest.raises(DiskError):
            await journal.rewrite([b"6"])
    with pytest.raises(DiskError, match="restart the component"):
        await journal.append(b"4")
    after = Journal(disk, "j")
    assert await after.load() == [b"6"]
    await after.append(b"4")
    assert await Journal(disk, "j").load() == [b"6", b"4"]
