"""Damage to latch or audit is seen, never taken for data; a crash between the two is completed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater.domain.ids import DeskId
from breakwater.domain.stop_facts import Noted, Transition
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop import audit
from breakwater.emergency_stop.audit import AuditHead, audit_record, chain, last_epoch, verify_audit
from breakwater.emergency_stop.heads import HeadSigner
from breakwater.emergency_stop.latch import COPY, FILE, Finding, Latch, LatchContent, decode_latch, encode_latch
from breakwater.emergency_stop.recorder import Recorder
from breakwater.runtime.ports import DiskError
from breakwater.simulation.stores import MemoryDisk

NOW = datetime(2025, 10, 10, 21, 0, tzinfo=UTC)


def moved(epoch: int) -> Transition:
    return Transition(StopState.ARMED, StopState.TRIPPED, epoch, NOW, "ada", "news ü", None, {"equity": "13290"})


def lines(count: int) -> tuple[AuditHead, bytes]:
    records = [audit_record(moved(epoch)) for epoch in range(1, count + 1)]
    head, texts = chain(AuditHead(), [record for record in records if record])
    return head, "".join(f"{text}\n" for text in texts).encode()


def recorder_on(disk: Any) -> Recorder:
    return Recorder(disk, DeskId("desk-a"), HeadSigner(disk, lambda count: bytes(range(count))))


def content(epoch: int, state: StopState, revision: int = 1) -> LatchContent:
    return LatchContent(revision, Latched(state=state, epoch=epoch))


def test_a_whole_chain_verifies() -> None:
    head, data = lines(5)
    report = verify_audit(data, head)
    assert (report.ok, report.records, report.head) == (True, 5, head)
    assert verify_audit(b"").ok
    assert last_epoch(data) == 5


def test_records_beyond_the_head_are_allowed_and_missing_ones_are_not() -> None:
    _, data = lines(5)
    short, _ = lines(3)
    assert verify_audit(data, short).ok
    head, _ = lines(6)
    report = verify_audit(data, head)
    assert not report.ok
    assert "cut" in report.problem


def test_removing_a_line_or_the_end_is_found() -> None:
    head, data = lines(5)
    rows = data.splitlines(keepends=True)
    for index in range(5):
        report = verify_audit(b"".join(rows[:index] + rows[index + 1 :]), head)
        assert not report.ok, index
    assert not verify_audit(data[:-9], head).ok
    assert not verify_audit(data[:-9]).ok


def test_a_rewritten_chain_is_found_by_its_head() -> None:
    head, data = lines(3)
    records = [json.loads(line)["record"] for line in data.splitlines()]
    records[1]["who"] = "eve"
    _, texts = chain(AuditHead(), [{k: v for k, v in record.items() if k != "n"} for record in records])
    forged = "".join(f"{text}\n" for text in texts).encode()
    assert verify_audit(forged).ok  # the chain alone cannot tell
    assert "rewritten" in verify_audit(forged, head).problem


def test_any_flipped_bit_is_found() -> None:
    head, data = lines(2)
    for where in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[where] ^= 1 << bit
            assert not verify_audit(bytes(damaged), head).ok, (where, bit)


@settings(max_examples=200, deadline=None)
@given(where=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_in_a_latch_is_found(where: int, bit: int) -> None:
    data = bytearray(encode_latch(content(3, StopState.TRIPPED)))
    data[where % len(data)] ^= 1 << bit
    with pytest.raises(ValueError, match="checksum"):
        decode_latch(bytes(data))


@pytest.mark.parametrize(
    ("first", "second", "wins"),
    [
        (content(4, StopState.ARMED), content(3, StopState.TRIPPED), (4, StopState.ARMED)),
        (content(3, StopState.ARMED), content(4, StopState.TRIPPED), (4, StopState.TRIPPED)),
        (content(4, StopState.ARMED, 9), content(4, StopState.TRIPPED, 1), (4, StopState.TRIPPED)),
        (b"garbage", content(4, StopState.TRIPPED), (4, StopState.TRIPPED)),
        (content(4, StopState.COOLING_DOWN), b"", (4, StopState.COOLING_DOWN)),
    ],
)
async def test_of_two_copies_the_higher_epoch_then_the_stricter_wins(first: Any, second: Any, wins: Any) -> None:
    disk = MemoryDisk()
    for name, what in ((FILE, first), (COPY, second)):
        await disk.replace(name, what if isinstance(what, bytes) else encode_latch(what))
    reading = Latch(disk).read()
    assert reading.content is not None
    assert (reading.content.latched.epoch, reading.content.latched.state) == wins
    assert bool(reading.problems) is (isinstance(first, bytes) or isinstance(second, bytes))


async def test_no_readable_copy_is_unreadable_and_none_at_all_is_a_first_start() -> None:
    disk = MemoryDisk()
    assert Latch(disk).read().finding is Finding.ABSENT
    await disk.replace(FILE, b"x")
    assert Latch(disk).read().finding is Finding.UNREADABLE


async def test_an_audit_without_a_latch_is_a_removed_latch() -> None:
    disk = MemoryDisk()
    _, data = lines(4)
    await disk.append(audit.FILE, data)
    reading, epoch = await recorder_on(disk).restore()
    assert reading.finding is Finding.UNREADABLE
    assert epoch == 4


@pytest.mark.parametrize("torn", [0, 1, 40])
async def test_a_crash_between_latch_and_audit_is_completed(torn: int) -> None:
    disk = MemoryDisk()
    recorder = recorder_on(disk)
    await recorder.restore()
    await recorder.finish(await recorder.latch(Latched(epoch=1), [moved(1)], []))
    half = await recorder.latch(Latched(epoch=2), [moved(2), Noted("spec_refused", NOW, "no")], [moved(2)])
    await disk.append(audit.FILE, half.audit_tail[0].encode()[:torn])
    again = recorder_on(disk)
    reading, _ = await again.restore()
    assert reading.content == half
    assert again.audit.ok
    assert again.audit.records == 3
    await again.finish(await again.latch(Latched(epoch=3), [moved(3)], []))
    assert verify_audit(disk.read(audit.FILE) or b"", half.head).records == 4


async def test_an_append_that_failed_half_way_is_not_repeated() -> None:
    class Failing(MemoryDisk):
        fail = False

        async def append(self, name: str, data: bytes) -> None:
            if self.fail:
                await super().append(name, data[: len(data) // 2])
                raise DiskError("no space left")
            await super().append(name, data)

    disk = Failing()
    recorder = recorder_on(disk)
    await recorder.restore()
    disk.fail = True
    first = await recorder.latch(Latched(epoch=1), [moved(1), moved(1)], [])
    with pytest.raises(DiskError):
        await recorder.finish(first)
    disk.fail = False
    await recorder.finish(await recorder.latch(Latched(epoch=2), [moved(2)], []))
    report = verify_audit(disk.read(audit.FILE) or b"")
    assert (report.ok, report.records) == (True, 3)


async def test_a_cut_audit_is_reported_and_goes_on() -> None:
    disk = MemoryDisk()
    recorder = recorder_on(disk)
    await recorder.restore()
    for epoch in (1, 2, 3):
        await recorder.finish(await recorder.latch(Latched(epoch=epoch), [moved(epoch)], []))
    data = disk.read(audit.FILE) or b""
    await disk.truncate(audit.FILE, data.index(b"\n") + 1)
    again = recorder_on(disk)
    await again.restore()
    assert not again.audit.ok
    assert again.audit.problem == "record 3 follows record 1"  # the latch still had the third, the second is gone
