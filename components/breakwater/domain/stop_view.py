"""The emergency stop as others see it: why nothing may be opened, when that may change, and the broadcast record."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from breakwater.domain.policy import wire_name
from breakwater.domain.stop_memory import STOPPED, Memory, daily_drawdown_pct, rules_in_force
from breakwater.domain.stop_rules import StopRules
from breakwater.domain.stop_state import StopState, StopView

_TRIPPED: Final = StopState.TRIPPED
_COOLING_DOWN: Final = StopState.COOLING_DOWN
_DISABLED: Final = StopState.DISABLED


def reduce_only_reason(memory: Memory, rules: StopRules | None, now: datetime) -> str:
    """Why only reducing is allowed at ``now``; empty when entries may pass as far as the stop is concerned."""
    latched, snapshot = memory.latched, memory.snapshot
    state = latched.state
    if state is _TRIPPED:
        return f"tripped: {latched.trip.reason if latched.trip else 'cause unknown'}"
    if state is _COOLING_DOWN:
        return "cooling down after a trip: needs a person's reset"
    if rules is None:
        return "no policy is in force"
    if state is _DISABLED and rules.live:
        return "the emergency stop is disabled and the desk trades live"
    if snapshot is None:
        return memory.snapshot_problem or "no portfolio snapshot since the start"
    if memory.snapshot_problem:
        return memory.snapshot_problem
    age = now - snapshot.time
    if age > rules.stale_after:
        return f"the last portfolio snapshot is {age.total_seconds():.0f} s old"
    if memory.pending:
        return f"{memory.pending[0].breach.text}: waiting for a second snapshot to confirm it"
    if not snapshot.reconciled:
        return "the ledger does not agree with the venue"
    if snapshot.marks_missing:
        return f"no fresh mark price for {', '.join(snapshot.marks_missing)}"
    return ""


class Measured(msgspec.Struct, frozen=True, rename=wire_name):
    """What the stop judges by, at ``time`` (market time). Percentages: 5 means 5 %; money in USDT."""

    time: datetime
    daily_drawdown_pct: Decimal
    open_loss_pct: Decimal
    consecutive_errors: int
    equity_usd: Decimal
    exposure_pct: Decimal
    open_positions: int


def measured_now(memory: Memory) -> Measured | None:
    """By the last usable snapshot; None before the first."""
    snapshot = memory.snapshot
    if snapshot is None:
        return None
    return Measured(
        time=snapshot.time,
        daily_drawdown_pct=daily_drawdown_pct(snapshot, memory.latched.rebase),
        open_loss_pct=snapshot.open_loss_pct,
        consecutive_errors=memory.latched.consecutive_errors,
        equity_usd=snapshot.equity,
        exposure_pct=snapshot.exposure_pct,
        open_positions=len(snapshot.positions),
    )


def next_deadline(memory: Memory, rules: StopRules | None, now: datetime) -> datetime | None:
    """The next moment at which silence alone changes something; None when it never does."""
    in_force = rules_in_force(memory.latched, rules)
    if in_force is None or memory.latched.stopped:
        return None
    last = memory.snapshot.time if memory.snapshot else memory.since
    moments = [last + in_force.stale_after, last + in_force.missing_data_after]
    return min((moment for moment in moments if moment > now), default=None)


def stop_view(
    memory: Memory,
    rules: StopRules | None,
    now: datetime,
    *,
    sequence: int,
    issued_at: datetime,
    lease_seconds: Decimal,
    closed_because: str = "",
) -> StopView:
    """The record to broadcast. ``closed_because`` adds a reason of the process itself (booting, disk trouble)."""
    latched, state, snapshot = memory.latched, memory.latched.state, memory.snapshot
    reason = reduce_only_reason(memory, rules, now) or closed_because
    used_on = latched.baseline_used_on
    return StopView(
        state=state,
        epoch=latched.epoch,
        sequence=sequence,
        issued_at=issued_at,
        lease_seconds=lease_seconds,
        reduce_only=reason != "",
        reduce_only_reason=reason,
        trip=latched.trip if state in STOPPED else None,
        flat_at=latched.flat_at,
        cooling_down_until=latched.cooling_down_until if state is _COOLING_DOWN else None,
        day_baseline_used=used_on is not None and snapshot is not None and used_on == snapshot.baseline_day,
    )
