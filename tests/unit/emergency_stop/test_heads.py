"""The audit's end is signed; trouble with the key is said, and never holds up the stop."""

from __future__ import annotations

import secrets
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from breakwater.domain.ids import DeskId
from breakwater.domain.stop_facts import Transition
from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop import audit
from breakwater.emergency_stop.heads import (
    HEAD_FILE,
    KEY_FILE,
    HeadSigner,
    decode_head,
    encode_head,
    signature_problem,
)
from breakwater.emergency_stop.latch import COPY
from breakwater.emergency_stop.recorder import Recorder
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.ports import DiskError
from breakwater.simulation.stores import MemoryDisk

NOW = datetime(2025, 10, 10, 21, 0, 0, 250_000, tzinfo=UTC)
DESK = DeskId("desk-a")


def entropy(first: int) -> Any:
    return lambda count: bytes(range(first, first + count))


def moved(epoch: int) -> Transition:
    return Transition(StopState.ARMED, StopState.TRIPPED, epoch, NOW, "ada", "news", None, {"equity": "13290"})


async def recorder_on(disk: MemoryDisk, first: int = 0) -> Recorder:
    recorder = Recorder(disk, DESK, HeadSigner(disk, entropy(first)))
    await recorder.restore()
    return recorder


async def record(recorder: Recorder, epoch: int) -> None:
    latched = Latched(state=StopState.TRIPPED, epoch=epoch)
    await recorder.finish(await recorder.latch(latched, [moved(epoch)], []))


async def test_head_names_the_last_record_and_its_signature_holds() -> None:
    disk = MemoryDisk()
    recorder = await recorder_on(disk)
    assert recorder.signed_head is None
    for epoch in (1, 2, 3):
        await record(recorder, epoch)
    head = recorder.signed_head
    assert head is not None
    assert (head.desk, head.number, head.epoch, head.state, head.time) == (DESK, 3, 3, StopState.TRIPPED, NOW)
    assert head.hash == audit.verify_audit(disk.read(audit.FILE) or b"").head.digest
    assert signature_problem(head) == ""
    assert decode_head(disk.read(HEAD_FILE) or b"") == head
    assert decode_head(encode_head(head)) == head


@pytest.mark.parametrize(
    "change",
    [
        {"number": 2}, {"hash": "0" * 64}, {"epoch": 9}, {"state": StopState.ARMED}, {"desk": DeskId("desk-b")},
        {"time": NOW.replace(second=1)}, {"signature": "0" * 128}, {"signature": "zz"}, {"public_key": "00"},
        {"key_id": "0" * 16}, {"public_key": "0" * 64},
    ],
)  # fmt: skip
async def test_head_with_anything_changed_is_found_out(change: dict[str, Any]) -> None:
    recorder = await recorder_on(MemoryDisk())
    await record(recorder, 1)
    assert recorder.signed_head is not None
    assert signature_problem(replace(recorder.signed_head, **change))


async def test_restart_keeps_the_key_and_signs_the_same_head_though_its_file_is_lost() -> None:
    disk = MemoryDisk()
    recorder = await recorder_on(disk)
    await record(recorder, 1)
    before = recorder.signed_head
    disk._files.pop(HEAD_FILE)
    again = await recorder_on(disk, first=100)
    assert again.signed_head == before
    assert again.key_facts(NOW) == ()


async def test_start_from_a_second_copy_that_lags_signs_the_end_that_is_there() -> None:
    disk = MemoryDisk()
    recorder = await recorder_on(disk)
    await record(recorder, 1)
    left = MemoryDisk()
    await left.replace(COPY, disk.read(COPY) or b"")
    await record(recorder, 2)
    await left.replace(audit.FILE, disk.read(audit.FILE) or b"")
    head, newest = (await recorder_on(left)).signed_head, recorder.signed_head
    assert head is not None
    assert newest is not None
    assert (head.number, head.hash) == (2, newest.hash)


async def test_first_start_says_nothing_about_its_key() -> None:
    assert (await recorder_on(MemoryDisk())).key_facts(NOW) == ()


async def test_new_key_over_an_old_audit_is_recorded_with_both_ids() -> None:
    disk = MemoryDisk()
    recorder = await recorder_on(disk)
    await record(recorder, 1)
    old = recorder.signer.key_id
    disk._files.pop(KEY_FILE)
    again = await recorder_on(disk, first=100)
    (fact,) = again.key_facts(NOW)
    assert fact.kind == "audit_key"
    assert old in fact.text
    assert again.signer.key_id in fact.text
    assert fact.numbers["publicKey"] == again.signer.public_key
    assert again.signed_head is not None
    assert signature_problem(again.signed_head) == ""


@pytest.mark.parametrize("content", [b"", b"rubbish", b"00" * 31, b"00" * 33, b"\xff" * 64, b"0" * 1_000_000])
async def test_key_that_is_none_leaves_heads_unsigned_and_everything_else_working(content: bytes) -> None:
    disk = MemoryDisk()
    await record(await recorder_on(disk), 1)
    await disk.replace(KEY_FILE, content)
    recorder = await recorder_on(disk)
    assert KEY_FILE in recorder.signer.problem
    assert disk.read(KEY_FILE) == content  # evidence, and perhaps to be put right
    await record(recorder, 2)
    head = recorder.signed_head
    assert head is not None
    assert (head.number, head.signed, head.key_id) == (2, False, "")
    assert [fact.kind for fact in recorder.key_facts(NOW)] == ["audit_unsigned"]
    assert audit.verify_audit(disk.read(audit.FILE) or b"").ok


class Odd(MemoryDisk):
    """Cannot read or write some files."""

    def __init__(self, *broken: str) -> None:
        super().__init__()
        self.broken = broken

    def read(self, name: str) -> bytes | None:
        if name in self.broken:
            raise DiskError(f"{name}: input/output error")
        return super().read(name)

    async def replace(self, name: str, data: bytes) -> None:
        if name in self.broken:
            raise DiskError(f"{name}: input/output error")
        await super().replace(name, data)


@pytest.mark.parametrize("name", [KEY_FILE, HEAD_FILE])
async def test_disk_that_refuses_key_or_head_never_stops_a_record(name: str) -> None:
    disk = Odd(name)
    recorder = await recorder_on(disk)
    await record(recorder, 1)
    await record(recorder, 2)
    assert audit.verify_audit(disk.read(audit.FILE) or b"").records == 2
    assert recorder.signed_head is not None
    assert recorder.signed_head.signed is (name == HEAD_FILE)


async def test_key_on_a_real_volume_is_its_owners_alone(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path / "volume")
    try:
        signer = HeadSigner(disk, secrets.token_bytes)
        await signer.load()
        path = tmp_path / "volume" / KEY_FILE
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert signer.public_key not in path.read_text()
        again = HeadSigner(disk, secrets.token_bytes)
        await again.load()
        assert (again.key_id, again.made) == (signer.key_id, False)
        assert [each.name for each in path.parent.iterdir() if each.name != ".lock"] == [KEY_FILE]
    finally:
        disk.close()


async def test_audit_that_cannot_be_read_does_not_keep_the_stop_from_starting() -> None:
    disk = Odd(audit.FILE)
    recorder = Recorder(disk, DESK, HeadSigner(disk, entropy(0)))
    reading, _ = await recorder.restore()
    assert not recorder.audit.ok
    assert reading.content is None
    assert "no latch" in reading.problems[0]  # and not a first start


def kept(number: int, digest: str, desk: str = "desk-a") -> StopHead:
    return StopHead(DeskId(desk), number, digest, number, StopState.TRIPPED, NOW)


async def test_head_that_others_kept_shows_an_audit_that_was_cut() -> None:
    disk = MemoryDisk()
    recorder = await recorder_on(disk)
    for epoch in (1, 2, 3):
        await record(recorder, epoch)
    last = recorder.signed_head
    lines = (disk.read(audit.FILE) or b"").splitlines(keepends=True)
    recorder.compare(last)
    assert recorder.audit.ok
    recorder.compare(kept(9, "0" * 64, desk="desk-b"))
    assert recorder.audit.ok  # another desk's head says nothing about ours
    disk._files[audit.FILE] = bytearray(b"".join(lines[:2]))
    recorder.compare(last)
    assert (recorder.audit.ok, recorder.audit.record) == (False, 3)
