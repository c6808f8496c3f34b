"""The emergency stop as a person needs to see it: what it is, why, and what exactly a reset still needs."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta

from breakwater.dashboard.view import DeskFacts, Need, StopPanel
from breakwater.domain.money import plain
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView, Trigger, Trip

_QUOTABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""Names that can stand inside a shell's single quotes and JSON as they are."""


def stop_panel(
    view: StopView | None,
    *,
    lease_fresh: bool,
    snapshot: Snapshot | None,
    facts: DeskFacts,
    market_now: datetime,
    day_start: timedelta,
    account_seen_at: datetime | None,
) -> StopPanel:
    """What is shown of ``view``. ``account_seen_at`` is the market time of the venue's last account report."""
    if view is None:
        return StopPanel(
            "UNKNOWN", lease_fresh=False, reason="the emergency stop was not heard yet: nothing may be opened"
        )
    reason = view.reduce_only_reason if view.reduce_only else ""
    if not lease_fresh:
        reason = "the emergency stop's lease has expired: nothing may be opened until it is heard again"
    trip = view.trip
    if trip is None or view.state not in {StopState.TRIPPED, StopState.COOLING_DOWN}:
        return StopPanel(
            view.state.value, lease_fresh, view.epoch, reduce_only=view.reduce_only or not lease_fresh, reason=reason
        )
    needs, baseline_needed = _needs(view, trip, snapshot, market_now, day_start, account_seen_at)
    left = _seconds_left(view, market_now)
    return StopPanel(
        state=view.state.value,
        lease_fresh=lease_fresh,
        epoch=view.epoch,
        reduce_only=True,
        reason=trip.reason,
        trip_id=trip.trip_id,
        trigger=trip.trigger.value,
        tripped_at=trip.time,
        measured=trip.measured,
        limit=trip.limit,
        unit={Trigger.EXECUTION_ERRORS: "errors", Trigger.MISSING_DATA: "s"}.get(trip.trigger, "%"),
        binding=trip.binding,
        who=trip.who,
        flat_at=view.flat_at,
        cooling_down_until=view.cooling_down_until,
        remaining_seconds=left,
        needs=needs,
        reset_command='breakwater reset --reason "why it is safe again"'
        + (" --new-baseline" if baseline_needed else ""),
        kubectl_command=_kubectl(facts, view, trip, baseline_needed),
    )


def _seconds_left(view: StopView, market_now: datetime) -> int | None:
    if view.cooling_down_until is None:
        return None
    return max(0, math.ceil((view.cooling_down_until - market_now).total_seconds()))


def _needs(
    view: StopView,
    trip: Trip,
    snapshot: Snapshot | None,
    market_now: datetime,
    day_start: timedelta,
    account_seen_at: datetime | None,
) -> tuple[tuple[Need, ...], bool]:
    closed = "flat: no position, no open order" if trip.close_positions else "no entry open, every position protected"
    needs = [Need("flat", view.flat_at is not None, f"the venue confirms the desk {closed}")]
    left = _seconds_left(view, market_now)
    if left is None:
        needs.append(Need("cooldown", False, "the cooldown starts when the desk is flat"))
    else:
        needs.append(
            Need(
                "cooldown",
                left == 0,
                f"the cooldown is over ({_clock(left)} of market time left)" if left else "the cooldown is over",
            )
        )
    reconciled = snapshot is not None and snapshot.reconciled
    needs.append(Need("reconciled", reconciled, "the ledger agrees with the venue's account"))
    baseline_needed = False
    match trip.trigger:
        case Trigger.DAILY_DRAWDOWN:
            trip_day = (trip.time - day_start).date()
            rolled = snapshot is not None and snapshot.baseline_day > trip_day
            baseline_needed = not rolled and not view.day_baseline_used
            if rolled:
                text = "a new trading day has begun"
            elif baseline_needed:
                text = "a new trading day, or --new-baseline: measure the day's drawdown from today's equity on (audited, once a day)"
            else:
                text = "a new trading day: this day's new baseline was used already"
            needs.append(Need("cause", rolled, text))
        case Trigger.OPEN_LOSS:
            needs.append(Need("cause", view.flat_at is not None, "the open loss is gone: flat"))
        case Trigger.EXECUTION_ERRORS:
            seen = account_seen_at is not None and account_seen_at > trip.time
            needs.append(Need("cause", seen, "the venue answered since"))
        case Trigger.MISSING_DATA:
            fresh = snapshot is not None and snapshot.time > trip.time and not snapshot.marks_missing
            needs.append(Need("cause", fresh, "fresh market data for every position"))
        case Trigger.PERSON:
            needs.append(Need("cause", True, "a person pulled it: a person's reason to go on"))
    needs.append(Need("request", False, "a person asks for it, once all of this is true"))
    return tuple(needs), baseline_needed


def _clock(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02d}"


def _kubectl(facts: DeskFacts, view: StopView, trip: Trip, baseline_needed: bool) -> str:
    if not (_QUOTABLE.fullmatch(facts.stop_name) and _QUOTABLE.fullmatch(trip.trip_id)):
        return ""
    reset: dict[str, object] = {
        "requestID": f"reset-{view.epoch}-1",
        "tripID": trip.trip_id,
        "reason": "why it is safe again",
        # Always said: a merge patch keeps what an earlier request asked for.
        "newBaseline": baseline_needed,
    }
    where = f" -n {facts.namespace}" if _QUOTABLE.fullmatch(facts.namespace) else ""
    patch = json.dumps({"spec": {"reset": reset}}, separators=(",", ":"))
    return f"kubectl patch estop {facts.stop_name}{where} --type merge -p '{patch}'"


def measured_text(panel: StopPanel) -> str:
    """``5.1 % against 5 %``, or empty when nothing was measured."""
    if panel.measured is None or panel.limit is None:
        return ""
    return f"{plain(panel.measured)} {panel.unit} against {plain(panel.limit)} {panel.unit}"
