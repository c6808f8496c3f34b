"""Whether an audit is the one that was written: against itself, its latch, its signed head, and heads that others kept. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from breakwater.domain.stop_head import StopHead
from breakwater.emergency_stop.audit import AuditHead, verify_audit
from breakwater.emergency_stop.heads import signature_problem
from breakwater.emergency_stop.latch import LatchContent


class Verdict(enum.StrEnum):
    WHOLE = "WHOLE"
    TORN = "TORN"
    """The last line has no end, as a crash leaves it; every record before it is whole."""
    UNSIGNED = "UNSIGNED"
    """The chain is whole, but nobody vouches for it: the desk's key cannot be used."""
    BROKEN = "BROKEN"
    """Changed, cut, or another audit than the one somebody knows."""


class TrailCheck(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    text: str
    record: int | None = None
    """Number of the record that is wrong or missing."""


class TrailReport(msgspec.Struct, frozen=True):
    """What was found; the verdict is that of the first of the worst checks."""

    verdict: Verdict
    records: int
    """Whole ones, from the first."""
    problem: str
    record: int | None
    checks: tuple[TrailCheck, ...]
    head: StopHead | None = None
    """The signed end that was given with the audit; worth keeping elsewhere."""


def check_trail(
    data: bytes,
    *,
    head: StopHead | None = None,
    unsigned_because: str = "",
    latch: LatchContent | None = None,
    kept: Sequence[StopHead] = (),
) -> TrailReport:
    """Check the audit file ``data``. ``head`` is the end that came with it, ``kept`` are heads from elsewhere."""
    chain = _chain(data, latch)
    checks, records = [chain], verify_audit(data).records
    data = _completed(data, latch)
    if latch is not None:
        checks.append(_against(data, "latch", AuditHead(latch.head.number, latch.head.digest), "the latch"))
    if head is not None or unsigned_because:
        checks.append(_signature(data, head, unsigned_because))
    checks += [_kept(data, each, head) for each in kept]
    worst = next((check for verdict in _WORST_FIRST for check in checks if check.verdict is verdict), chain)
    whole = worst.verdict is Verdict.WHOLE
    return TrailReport(
        worst.verdict,
        records,
        "" if whole else worst.text,
        None if whole else worst.record,
        tuple(checks),
        head,
    )


def _chain(data: bytes, latch: LatchContent | None) -> TrailCheck:
    report = verify_audit(data)
    if report.ok:
        return TrailCheck("chain", Verdict.WHOLE, f"{report.records} records, each over the one before")
    if not report.torn:
        return TrailCheck("chain", Verdict.BROKEN, report.problem, report.record)
    torn = _torn(data)
    if latch is None or any(line.encode().startswith(torn) for line in _missing(data, latch)[:1]):
        text = f"{report.problem}, as a crash leaves it; the next start of the stop completes it from the latch"
        return TrailCheck("chain", Verdict.TORN, text, report.record)
    text = f"{report.problem}, and the latch holds no copy of it: this is no crash"
    return TrailCheck("chain", Verdict.BROKEN, text, report.record)


def _torn(data: bytes) -> bytes:
    return data[data.rfind(b"\n") + 1 :]


def _missing(data: bytes, latch: LatchContent) -> list[str]:
    """Lines that the latch holds and a crash kept from the file."""
    known = set(data.split(b"\n")[:-1])
    return [line for line in latch.audit_tail if line.encode() not in known]


def _completed(data: bytes, latch: LatchContent | None) -> bytes:
    """``data`` as the next start of the stop would complete it."""
    missing = _missing(data, latch) if latch is not None else []
    torn = _torn(data)
    if not missing or not missing[0].encode().startswith(torn):
        return data
    return data[: len(data) - len(torn)] + "".join(f"{line}\n" for line in missing).encode()


def _against(data: bytes, name: str, known: AuditHead, keeper: str) -> TrailCheck:
    """Whether the audit still holds the record that ``keeper`` knows as the last one."""
    report = verify_audit(data, known, keeper=keeper)
    if report.torn and report.record == known.number and name != "latch":
        # The latch is written before the record, a head after it.
        text = f"{report.problem}, but {keeper} was made when it was whole: this is no crash"
        return TrailCheck(name, Verdict.BROKEN, text, report.record)
    if report.ok or report.torn:
        return TrailCheck(name, Verdict.WHOLE, f"record {known.number} is the one {keeper} knows")
    return TrailCheck(name, Verdict.BROKEN, report.problem, report.record)


def _signature(data: bytes, head: StopHead | None, unsigned_because: str) -> TrailCheck:
    if head is None or not head.signed:
        why = unsigned_because or ("there is no record yet" if head is None else "the head carries no signature")
        return TrailCheck("signature", Verdict.UNSIGNED, f"the head is unsigned: {why}")
    if problem := signature_problem(head):
        return TrailCheck("signature", Verdict.BROKEN, problem, head.number)
    found = _against(data, "signature", AuditHead(head.number, head.hash), "the signed head")
    if found.verdict is not Verdict.WHOLE:
        return found
    return TrailCheck(
        "signature", Verdict.WHOLE, f"record {head.number} is signed as the last one by key {head.key_id}"
    )


def _kept(data: bytes, kept: StopHead, head: StopHead | None) -> TrailCheck:
    name = "kept head"
    if kept.signed and (problem := signature_problem(kept)):
        return TrailCheck(name, Verdict.BROKEN, f"the kept head itself is not to be trusted: {problem}", kept.number)
    if head is not None and kept.desk != head.desk:
        text = f"the kept head is of desk {kept.desk}, this audit of desk {head.desk}"
        return TrailCheck(name, Verdict.BROKEN, text)
    found = _against(data, name, AuditHead(kept.number, kept.hash), "the head kept elsewhere")
    if found.verdict is Verdict.WHOLE or head is None or not kept.signed or kept.key_id == head.key_id:
        return found
    text = f"{found.text}; key {kept.key_id} signed that one, this audit has key {head.key_id}: the volume was replaced"
    return TrailCheck(name, Verdict.BROKEN, text, found.record)


_WORST_FIRST = (Verdict.BROKEN, Verdict.TORN, Verdict.UNSIGNED)
