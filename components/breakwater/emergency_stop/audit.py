"""The stop's audit: one JSON line per transition, request and refusal, each hashed over the one before it.

A line is ``{"hash":"<sha256>","record":{...}}`` where the hash is over the previous hash and the canonical JSON of the record
(keys sorted, no spaces). A changed, removed or inserted line breaks the chain; a missing end shows against the head, which is
kept in the latch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from breakwater.domain.stop_facts import Answered, Fact, Noted, Rebased, Transition
from breakwater.domain.stop_state import StopState

FILE = "audit.jsonl"
GENESIS = "0" * 64
_HIGHEST_EPOCH = 2**53 - 1
"""What the resource's status can hold. Whatever is above was never written by a stop."""
_NAMES = {"measured_pct": "measuredPct", "limit_pct": "limitPct"}
_LOG_ONLY = frozenset({"breach_seen", "snapshot_unusable", "evaluator_failed", "execution_error"})
"""Noise around a limit: logged, and part of a trip's record when it comes to one."""
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, InvalidOperation, OverflowError, RecursionError)
"""What reading a line may raise, whatever the line holds."""


class AuditHead(msgspec.Struct, frozen=True):
    """Where the chain ends: number and hash of its last record."""

    number: int = 0
    digest: str = GENESIS


class AuditedTransition(msgspec.Struct, frozen=True, rename={"previous": "from", "state": "to", **_NAMES}):
    """One transition as the audit holds it. Percentages: 5 means 5 %; for errors the count and its limit."""

    time: datetime
    epoch: int
    previous: StopState
    state: StopState
    who: str
    reason: str
    measured_pct: Decimal | None
    limit_pct: Decimal | None
    hash: str


class AuditReport(msgspec.Struct, frozen=True):
    """What a verification found. ``records`` counts the whole ones from the start; ``head`` is the last of them."""

    ok: bool
    records: int
    head: AuditHead
    problem: str = ""
    record: int | None = None
    """Number of the record that is wrong or missing."""
    torn: bool = False
    """All that is wrong is a last line without its end: what a crash leaves behind, not what a change does."""


def is_for_record(fact: Fact) -> bool:
    """Whether ``fact`` belongs into the audit; the others are only logged."""
    return not (isinstance(fact, Noted) and fact.kind in _LOG_ONLY)


def audit_record(fact: Fact) -> dict[str, Any] | None:
    """Who, when, why and the measured values, as plain JSON; None for what is only logged."""
    match fact:
        case Transition():
            values = dict(fact.numbers) | {"epoch": str(fact.epoch)}
            if fact.trip is not None:
                values |= {"trip": fact.trip.trip_id, "trigger": fact.trip.trigger.value}
                values["closePositions"] = str(fact.trip.close_positions).lower()
            what = f"{fact.previous.value} -> {fact.state.value}"
            return _record("transition", fact.time.isoformat(), fact.who, what, fact.reason, values)
        case Answered(request=request, outcome=outcome):
            values = {"requestID": request.request_id, "code": outcome.code, "answer": outcome.text}
            values |= {"tripID": request.trip_id or "", "newBaseline": str(request.new_baseline).lower()}
            what = f"{request.kind.value} {'accepted' if outcome.accepted else 'refused'}"
            return _record("request", outcome.time.isoformat(), request.who, what, request.reason, values)
        case Rebased():
            values = {"equity": str(fact.equity), "epoch": str(fact.epoch)}
            return _record("baseline", fact.time.isoformat(), fact.who, "new baseline", "asked for by a reset", values)
        case Noted():
            if not is_for_record(fact):
                return None
            return _record("note", fact.time.isoformat(), "emergency_stop", fact.kind, fact.text, dict(fact.numbers))


def chain(head: AuditHead, records: Sequence[dict[str, Any]]) -> tuple[AuditHead, list[str]]:
    """The lines (without line break) that continue the chain, and the new head."""
    lines = []
    for record in records:
        numbered = {"n": head.number + 1, **record}
        digest = _digest(head.digest, numbered)
        lines.append(_canonical({"hash": digest, "record": numbered}))
        head = AuditHead(head.number + 1, digest)
    return head, lines


def time_of(line: str | bytes) -> datetime | None:
    """When the record in ``line`` was made, market time; None when it cannot be read."""
    try:
        return datetime.fromisoformat(json.loads(line)["record"]["time"])
    except _UNREADABLE:
        return None


def transition_in(line: str | bytes) -> AuditedTransition | None:
    """The transition that a line of the audit tells of; None when it tells of something else or cannot be read."""
    try:
        parsed = json.loads(line)
        record = parsed["record"]
        if record["kind"] != "transition":
            return None
        values, (previous, state) = record["values"], record["what"].split(" -> ")
        return AuditedTransition(
            time=datetime.fromisoformat(record["time"]),
            epoch=int(values["epoch"]),
            previous=StopState(previous),
            state=StopState(state),
            who=record["who"],
            reason=record["why"],
            measured_pct=Decimal(values["measured"]) if "measured" in values else None,
            limit_pct=Decimal(values["limit"]) if "limit" in values else None,
            hash=parsed["hash"],
        )
    except _UNREADABLE:
        return None


def last_transitions(data: bytes, count: int) -> list[AuditedTransition]:
    """The last ``count`` readable transitions, the newest last."""
    found: list[AuditedTransition] = []
    for line in reversed(data.splitlines()):
        if len(found) == count:
            break
        if (transition := transition_in(line)) is not None:
            found.append(transition)
    return found[::-1]


def verify_audit(data: bytes, head: AuditHead | None = None, *, keeper: str = "the latch") -> AuditReport:
    """Check every link, and with ``head`` that nothing is missing at the end (records beyond it are whole and allowed).

    ``keeper`` is who knows ``head``, for the sentence.
    """
    last = AuditHead()
    reached = head is None or head == last

    def broken(number: int, problem: str) -> AuditReport:
        return AuditReport(False, last.number, last, problem, number)

    lines = data.split(b"\n")
    torn = lines.pop()  # empty when the file ends with a line break
    for line in lines:
        try:
            parsed = json.loads(line)
            digest, record = parsed["hash"], parsed["record"]
            number = record["n"]
            if _canonical(parsed).encode() != line:
                raise ValueError("not as it was written")  # other bytes for the same values: changed all the same
        except _UNREADABLE:
            return broken(last.number + 1, f"record {last.number + 1} is not readable")
        if number != last.number + 1:
            return broken(last.number + 1, f"record {number} follows record {last.number}")
        if digest != _digest(last.digest, record):
            return broken(number, f"record {number} or one before it was changed")
        last = AuditHead(number, digest)
        if head is not None and head.number == number:
            if head.digest != digest:
                return broken(number, f"record {number} is not the one {keeper} knows: rewritten?")
            reached = True
    missing = last.number + 1
    if not reached and head is not None and not (torn and head.number == missing):
        return broken(missing, f"cut: {keeper} knows {head.number} records, here are {last.number}")
    if torn:
        problem = f"record {missing} is torn: {len(torn)} bytes without an end"
        return AuditReport(False, last.number, last, problem, missing, torn=True)
    return AuditReport(True, last.number, last)


def last_epoch(data: bytes) -> int:
    """The highest epoch any readable record mentions; 0 when there is none. For when the latch itself is lost."""
    highest = 0
    for line in data.splitlines():
        try:
            epoch = int(json.loads(line)["record"]["values"].get("epoch", 0))
        except _UNREADABLE:
            continue
        if epoch <= _HIGHEST_EPOCH:
            highest = max(highest, epoch)
    return highest


def _record(kind: str, time: str, who: str, what: str, why: str, values: dict[str, str]) -> dict[str, Any]:
    return {"kind": kind, "time": time, "who": who, "what": what, "why": why, "values": values}


def _digest(previous: str, record: dict[str, Any]) -> str:
    return hashlib.sha256(previous.encode() + _canonical(record).encode()).hexdigest()


def _canonical(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
