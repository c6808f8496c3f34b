"""What a desk's components said of themselves over HTTP, checked: GET /v1/stop and GET /v1/execution (contract 5)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_state import StopRequestKind, StopState, StopView

T = TypeVar("T")

PATIENCE = timedelta(seconds=5)
"""How long a component may be silent before that is worth saying."""


class BadReport(ValueError):
    """The answer is not what the component should say; the sentence names the first wrong field."""


class Outcome(msgspec.Struct, frozen=True):
    """The stop's one answer to a request, as in `breakwater.domain.stop_state.RequestOutcome`."""

    request_id: str
    kind: StopRequestKind
    accepted: bool
    code: str
    text: str
    time: datetime
    remaining_seconds: int | None = None
    who: str = ""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One transition. Percentages: 5 means 5 %, for execution errors the count."""

    time: datetime
    was: StopState = msgspec.field(name="from")
    to: StopState
    who: str
    reason: str
    epoch: int | None = None
    measured: Decimal | None = msgspec.field(name="measuredPct", default=None)
    limit: Decimal | None = msgspec.field(name="limitPct", default=None)
    hash: str | None = None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The stop's figures now. Percentages: 5 means 5 %; money in USDT."""

    time: datetime | None = None
    daily_drawdown_pct: Decimal | None = msgspec.field(name="dailyDrawdownPct", default=None)
    open_loss_pct: Decimal | None = msgspec.field(name="openLossPct", default=None)
    consecutive_errors: int | None = msgspec.field(name="consecutiveErrors", default=None)
    equity_usd: Decimal | None = msgspec.field(name="equityUSD", default=None)
    exposure_pct: Decimal | None = msgspec.field(name="exposurePct", default=None)
    open_positions: int | None = msgspec.field(name="openPositions", default=None)


class PolicySeen(msgspec.Struct, frozen=True):
    """The policy a component obeys: its version, whether it is stale, and the hold on it."""

    version: int
    stale: bool = False
    hold: str = ""


class Missing(msgspec.Struct, frozen=True):
    """One thing that a reset would still need; ``code`` is a refusal code."""

    code: str
    text: str = ""


class StopReport(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ``GET /v1/stop``. ``needs`` is what a reset still lacks, ``needs_with_baseline`` one with newBaseline."""

    view: StopView
    needs: tuple[Missing, ...] = ()
    needs_with_baseline: tuple[Missing, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    audit: tuple[AuditRow, ...] = ()
    head: StopHead | None = None
    measured: Measured | None = None
    policy: PolicySeen | None = None


class ExecutionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ``GET /v1/execution``, as far as the operator needs it."""

    gate: str
    code: str | None = None
    why: str = ""
    halted_by: str | None = None
    positions: dict[str, str] = msgspec.field(default_factory=dict)
    policy: PolicySeen | None = None
    mode: str | None = None


class DeskReport(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a desk. A part is None when it did not answer; ``..._problem`` says why, ``..._heard_at`` when it last did.

    A missing part makes the desk not Ready at once: see `carried`.
    """

    asked_at: datetime
    """Wall time, UTC."""
    stop: StopReport | None = None
    execution: ExecutionReport | None = None
    stop_problem: str = ""
    execution_problem: str = ""
    stop_heard_at: datetime | None = None
    execution_heard_at: datetime | None = None


def stop_report(data: bytes) -> StopReport:
    """The JSON of ``GET /v1/stop``. Raises BadReport when the state itself cannot be read.

    Anything else that cannot be read counts as not said: a detail of a newer version must not hide a trip.
    """
    answer = _json(data)
    reset = answer.get("reset")
    needs: Mapping[str, Any] = reset if isinstance(reset, Mapping) else {}
    return StopReport(
        view=_converted(answer.get("view"), StopView, "view"),
        needs=_rows(needs.get("plain"), Missing),
        needs_with_baseline=_rows(needs.get("newBaseline"), Missing),
        outcomes=_rows(answer.get("outcomes"), Outcome),
        audit=_rows(answer.get("audit"), AuditRow),
        head=_or_none(answer.get("head"), StopHead),
        measured=_or_none(answer.get("measured"), Measured),
        policy=_or_none(answer.get("policy"), PolicySeen),
    )


def execution_report(data: bytes) -> ExecutionReport:
    """The JSON of ``GET /v1/execution``. Raises BadReport when the gate cannot be read."""
    answer = _json(data)
    policy = _or_none(answer.get("policy"), PolicySeen)
    told = {key: value for key, value in answer.items() if key != "policy" and value is not None}
    return msgspec.structs.replace(_converted(told, ExecutionReport, "execution"), policy=policy)


def outcome(data: bytes) -> Outcome:
    """The JSON of ``POST /v1/stop/requests`` (200 and 409). Raises BadReport."""
    return _converted(_json(data), Outcome, "outcome")


def answers(stop: StopReport | None) -> tuple[Outcome, ...]:
    """What the stop has answered lately; nothing when it did not answer at all."""
    return stop.outcomes if stop is not None else ()


def carried(before: DeskReport | None, report: DeskReport) -> DeskReport:
    """``report`` with what ``before`` knew: when each part was last heard, and the part itself while its silence is short.

    One lost answer is no news; `PATIENCE` of silence is.
    """
    if before is None:
        before = DeskReport(asked_at=report.asked_at)
    stop, stop_at = _part(report.stop, before.stop, before.stop_heard_at, report.asked_at)
    execution, execution_at = _part(report.execution, before.execution, before.execution_heard_at, report.asked_at)
    return msgspec.structs.replace(
        report, stop=stop, stop_heard_at=stop_at, execution=execution, execution_heard_at=execution_at
    )


def _part(new: T | None, old: T | None, heard_at: datetime | None, now: datetime) -> tuple[T | None, datetime | None]:
    if new is not None:
        return new, now
    return (old if heard_at is not None and now - heard_at <= PATIENCE else None), heard_at


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        answer = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReport(f"its answer is not JSON: {error}") from None
    if not isinstance(answer, dict):
        raise BadReport("its answer is not an object")
    return answer


def _converted(value: object, kind: type[T], what: str) -> T:
    try:
        found = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadReport(f"its answer is not as expected: {what}: {error}") from None
    return found


def _or_none(value: object, kind: type[T]) -> T | None:
    try:
        return _converted(value, kind, "") if value is not None else None
    except BadReport:
        return None


def _rows(value: object, kind: type[T]) -> tuple[T, ...]:
    rows = value if isinstance(value, list | tuple) else ()
    return tuple(row for each in rows if (row := _or_none(each, kind)) is not None)
