"""What ``audit verify`` finds, from a whole audit to one that its owner rewrote and signed again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from breakwater.domain.ids import DeskId
from breakwater.domain.stop_facts import Transition
from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.audit import AuditHead, audit_record, chain, last_epoch, last_transitions, verify_audit
from breakwater.emergency_stop.heads import HeadSigner
from breakwater.emergency_stop.latch import LatchContent
from breakwater.emergency_stop.verify import Verdict, check_trail
from breakwater.simulation.stores import MemoryDisk

NOW = datetime(2025, 10, 10, 21, 0, tzinfo=UTC)


def records(count: int, who: str = "ada") -> list[dict[str, Any]]:
    moves = (
        Transition(StopState.ARMED, StopState.TRIPPED, epoch, NOW, who if epoch == 2 else "ada", "news")
        for epoch in range(1, count + 1)
    )
    return [record for move in moves if (record := audit_record(move)) is not None]


def trail(count: int, who: str = "ada") -> tuple[bytes, AuditHead, list[str]]:
    end, lines = chain(AuditHead(), records(count, who))
    return "".join(f"{line}\n" for line in lines).encode(), end, lines


async def signer(first: int = 0) -> HeadSigner:
    made = HeadSigner(MemoryDisk(), lambda count: bytes(range(first, first + count)))
    await made.load()
    return made


def head(key: HeadSigner, end: AuditHead, desk: str = "desk-a") -> StopHead:
    return key.sign(StopHead(DeskId(desk), end.number, end.digest, end.number, StopState.TRIPPED, NOW))


def latch(end: AuditHead, tail: tuple[str, ...] = ()) -> LatchContent:
    return LatchContent(1, Latched(), end, tail)


async def test_whole_audit_with_latch_signature_and_kept_head_is_whole() -> None:
    data, end, _ = trail(5)
    _, earlier, _ = trail(3)
    key = await signer()
    report = check_trail(data, head=head(key, end), latch=latch(end), kept=[head(key, earlier)])
    assert (report.verdict, report.records, report.problem, report.record) == (Verdict.WHOLE, 5, "", None)
    assert [check.name for check in report.checks] == ["chain", "latch", "signature", "kept head"]


async def test_changed_record_is_named() -> None:
    data, end, _ = trail(5)
    report = check_trail(data.replace(b'"epoch":"3"', b'"epoch":"7"'), head=head(await signer(), end))
    assert (report.verdict, report.record) == (Verdict.BROKEN, 3)
    assert "changed" in report.problem


async def test_audit_cut_at_its_end_is_found_by_the_head() -> None:
    data, end, _ = trail(5)
    cut = b"".join(data.splitlines(keepends=True)[:3])
    assert check_trail(cut).verdict is Verdict.WHOLE  # alone it cannot tell
    for report in (check_trail(cut, latch=latch(end)), check_trail(cut, head=head(await signer(), end))):
        assert (report.verdict, report.record) == (Verdict.BROKEN, 4)
        assert "5 records, here are 3" in report.problem


async def test_audit_rewritten_and_signed_again_is_found_by_a_head_kept_elsewhere() -> None:
    _, honest, _ = trail(5)
    forged, end, _ = trail(5, who="eve")
    key = await signer()
    assert check_trail(forged, head=head(key, end), latch=latch(end)).verdict is Verdict.WHOLE
    report = check_trail(forged, head=head(key, end), latch=latch(end), kept=[head(key, honest)])
    assert (report.verdict, report.record) == (Verdict.BROKEN, 5)
    assert "kept elsewhere" in report.problem


async def test_audit_begun_anew_on_another_volume_is_named_as_that() -> None:
    _, lost, _ = trail(5)
    data, end, _ = trail(2)
    old, new = await signer(), await signer(100)
    report = check_trail(data, head=head(new, end), kept=[head(old, lost)])
    assert report.verdict is Verdict.BROKEN
    assert "the volume was replaced" in report.problem


async def test_key_lost_but_audit_kept_fits_the_head_of_the_old_key() -> None:
    data, end, _ = trail(5)
    _, earlier, _ = trail(3)
    report = check_trail(data, head=head(await signer(100), end), kept=[head(await signer(), earlier)])
    assert report.verdict is Verdict.WHOLE


async def test_kept_head_that_was_tampered_with_or_is_of_another_desk_proves_nothing() -> None:
    data, end, _ = trail(2)
    key = await signer()
    forged = replace(head(key, end), number=1)
    assert "not to be trusted" in check_trail(data, kept=[forged]).problem
    other = head(key, end, desk="desk-b")
    assert "desk-b" in check_trail(data, head=head(key, end), kept=[other]).problem


async def test_head_without_or_with_a_wrong_signature_is_no_whole_audit() -> None:
    data, end, _ = trail(2)
    key = await signer()
    unsigned = replace(head(key, end), signature="")
    report = check_trail(data, head=unsigned, unsigned_because="audit.key is damaged")
    assert report.verdict is Verdict.UNSIGNED
    assert "audit.key is damaged" in report.problem
    assert check_trail(data, head=replace(head(key, end), epoch=1)).verdict is Verdict.BROKEN


@pytest.mark.parametrize("torn", [1, 40])
def test_line_that_a_crash_tore_is_told_apart_from_a_cut_one(torn: int) -> None:
    whole, end, lines = trail(5)
    data = b"".join(whole.splitlines(keepends=True)[:4]) + lines[4].encode()[:torn]
    report = check_trail(data, latch=latch(end, (lines[4],)))
    assert (report.verdict, report.records, report.record) == (Verdict.TORN, 4, 5)
    assert "as a crash leaves it" in report.problem
    assert check_trail(data).verdict is Verdict.TORN
    report = check_trail(data, latch=latch(end))  # the latch says that it had been written whole
    assert (report.verdict, report.record) == (Verdict.BROKEN, 5)
    assert "no crash" in report.problem


@pytest.mark.parametrize("known", ["head", "kept"])
async def test_torn_line_that_a_head_knows_whole_was_torn_by_no_crash(known: str) -> None:
    data, end, _ = trail(3)
    signed = head(await signer(), end)
    given = {"head": signed} if known == "head" else {"kept": [signed]}
    report = check_trail(data[:-7], **given)
    assert (report.verdict, report.record) == (Verdict.BROKEN, 3)


def test_lines_that_only_the_latch_has_yet_are_no_fault() -> None:
    whole, end, lines = trail(5)
    data = b"".join(whole.splitlines(keepends=True)[:3])
    report = check_trail(data, latch=latch(end, tuple(lines[3:])))
    assert (report.verdict, report.records) == (Verdict.WHOLE, 3)
    torn = data + lines[3].encode()[:9]
    assert check_trail(torn, latch=latch(end, tuple(lines[3:]))).verdict is Verdict.TORN


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 6),
    what=st.sampled_from(["drop", "double", "swap", "cut", "byte"]),
    where=st.integers(0, 10_000),
    bit=st.integers(0, 7),
)
def test_any_change_to_a_whole_audit_is_found_by_its_head(count: int, what: str, where: int, bit: int) -> None:
    data, end, _ = trail(count)
    rows = data.splitlines(keepends=True)
    index = where % count
    if what == "drop":
        rows.pop(index)
    elif what == "double":
        rows.insert(index, rows[index])
    elif what == "swap":
        other = (index + 1) % count
        rows[index], rows[other] = rows[other], rows[index]
    changed = bytearray(b"".join(rows))
    if what == "cut":
        del changed[where % len(changed) :]
    elif what == "byte":
        changed[where % len(changed)] ^= 1 << bit
    report = check_trail(bytes(changed), latch=latch(end))
    assert (report.verdict is Verdict.WHOLE) is (bytes(changed) == data)


HOSTILE = [
    b"", b"[]", b"7", b"null", b"{}", b'{"hash":1,"record":[]}', b"\xff\xfe", b"[" * 100_000, b"9" * 10_000,
    b'{"hash":"x","record":{"n":1,"values":{"epoch":Infinity}}}',
    b'{"hash":"x","record":{"n":1,"kind":"transition","time":7,"what":"ARMED -> TRIPPED","values":{"epoch":1e999}}}',
    json.dumps({"hash": "x", "record": {"n": True, "values": {"epoch": "9" * 5000}}}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("line", HOSTILE)
def test_line_that_is_no_record_is_broken_and_never_an_error(line: bytes) -> None:
    data, _, _ = trail(2)
    hostile = data + line + b"\n"
    assert (verify_audit(hostile).ok, verify_audit(hostile).record) == (False, 3)
    assert last_epoch(hostile) == 2
    assert len(last_transitions(hostile, 20)) == 2
    assert check_trail(hostile).verdict is Verdict.BROKEN
