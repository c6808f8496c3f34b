"""The status of both kinds from what is known, in the shapes of crds/*.yaml: bounded, numbers as numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from breakwater.domain.limits import effective_limits
from breakwater.domain.policy import TradingMode
from breakwater.domain.stop_state import StopState, StopView
from breakwater_operator.verdict.body import Body, count, cut, entries, text
from breakwater_operator.verdict.components import narrowed
from breakwater_operator.verdict.conditions import Fact, moment, parsed_moment, with_conditions
from breakwater_operator.verdict.figures import dollars, exact_percent, number, percent, whole
from breakwater_operator.verdict.guard import Guard
from breakwater_operator.verdict.halted import halted
from breakwater_operator.verdict.heads import kept_heads
from breakwater_operator.verdict.readiness import (
    Publication,
    Standing,
    components_ready,
    confirmed,
    policy_published,
    ready,
)
from breakwater_operator.verdict.reasons import ConditionType, Reason
from breakwater_operator.verdict.report import AuditRow, Measured
from breakwater_operator.verdict.walk import walk

CONFIRMED_EVERY = timedelta(minutes=1)
"""How often ``fetchedAt`` moves while nothing else does."""
CONFIRMED_FOR = timedelta(minutes=2)
"""How long after the last confirmation a desk may lag behind a new version and still be Ready."""
MOST_AUDIT = 20
THE_STOPS_OWN = ("emergency-stop", "execution")
"""Components that an EmergencyStop needs to do its work."""
_GATES = ("OPEN", "REDUCE_ONLY")
_OF_A_TRIP = ("tripID", "trippedAt", "trigger", "binding", "reason", "trippedBy", "measuredPct", "limitPct")


def policy_status(
    old: Body, *, name: str, namespace: str, generation: int, guard: Guard, standing: Standing
) -> dict[str, Any]:
    """The whole status of a TradingPolicy; ``old`` is the one it has. What did not answer keeps what it last said."""
    publication, report = standing.publication, standing.report
    stop = report.stop if report else None
    execution = report.execution if report else None
    status: dict[str, Any] = {"observedGeneration": generation, "emergencyStopName": guard.name}
    version = max(count(old, "version"), publication.version or 0)
    if version:
        status["version"] = version
    # A digest of an older version, which another operator has passed meanwhile, would not be this version's.
    digest = publication.digest if publication.version == version else ""
    if digest or text(old, "versionSHA256"):
        status["versionSHA256"] = digest or text(old, "versionSHA256")
    if fetched := _fetched_at(old, version, standing):
        status["fetchedAt"] = fetched
    if mode := _mode(old, publication, execution.mode if execution else None):
        status["mode"] = mode
    if execution is not None and execution.gate in _GATES:
        is_open = execution.gate == "OPEN"
        status |= {"gate": execution.gate, "gateReason": "" if is_open else cut(execution.why, 1024)}
    elif standing.components is None and "gate" not in old:
        status |= {"gate": "REDUCE_ONLY", "gateReason": "nothing runs yet"}
    else:
        status |= _kept(old, "gate", "gateReason")
    if stop is not None:
        status |= {"stopState": stop.view.state.value, **_desk_figures(old, stop.measured)}
    else:
        status |= _kept(old, "stopState", "equityUSD", "dailyDrawdownPct", "exposurePct", "openPositions")
    if execution is not None and "openPositions" not in status:
        status["openPositions"] = whole(len(execution.positions), 10_000)
    status |= _limits(publication) or _kept(old, "limits")
    was_confirmed = confirmed(standing) or _lately_confirmed(old, standing.now)
    facts = _facts(old, name=guard.name, namespace=namespace, standing=standing, was_confirmed=was_confirmed)
    status["conditions"] = with_conditions(entries(old, "conditions"), facts, generation, standing.now)
    return status


def stop_status(
    old: Body,
    *,
    name: str,
    namespace: str,
    generation: int,
    standing: Standing,
    requests: Sequence[Mapping[str, Any]],
    policy_status: Body,
) -> dict[str, Any]:
    """The whole status of an EmergencyStop; ``old`` is the one it has, ``requests`` come from `merged_answers`.

    ``policy_status`` is the status of its policy, which says when the desk last obeyed the version in force.

    With ``standing.problem`` the stop guards nothing: nothing is mirrored, what it last said stays.
    """
    components = narrowed(standing.components, THE_STOPS_OWN) if standing.components else None
    report = standing.report if standing.problem is None else None
    standing = dataclasses.replace(standing, components=components, report=report)
    stop = report.stop if report else None
    status: dict[str, Any] = {"observedGeneration": generation}
    if stop is not None:
        status |= _view(old, stop.view) | _stop_figures(stop.measured)
        status["audit"] = [_audit(row) for row in stop.audit[-MOST_AUDIT:]] or list(entries(old, "audit"))
        if heads := kept_heads(entries(old, "auditHeads"), stop.head):
            status["auditHeads"] = heads
    else:
        status |= _without(old, ("observedGeneration", "conditions", "requests"))
    status["requests"] = [dict(answer) for answer in requests]
    was_confirmed = confirmed(standing) or _lately_confirmed(policy_status, standing.now)
    facts = _facts(old, name=name, namespace=namespace, standing=standing, was_confirmed=was_confirmed)
    status["conditions"] = with_conditions(entries(old, "conditions"), facts, generation, standing.now)
    return status


def stop_writes(old: Body, new: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The statuses to write one after the other to get from ``old`` to ``new``: each transition is one the schema allows.

    All but the last only move state and epoch on, and say of which trip: a TRIPPED without its trigger would be read.
    """
    steps = walk(_state(old), state) if (state := _state(new)) is not None else ()
    before, after = count(old, "epoch"), count(new, "epoch")
    since, trip = _without(old, _OF_A_TRIP), _kept(new, *_OF_A_TRIP)
    between = []
    for left, step in zip(range(len(steps) - 1, 0, -1), steps[:-1], strict=True):
        facts = {**since, **trip} if step in (StopState.TRIPPED, StopState.COOLING_DOWN) and trip else old
        between.append({**facts, "state": step.value, "epoch": max(before, after - left)})
    return (*between, dict(new))


def _facts(old: Body, *, name: str, namespace: str, standing: Standing, was_confirmed: bool) -> list[Fact]:
    before = next((c for c in entries(old, "conditions") if c.get("type") == ConditionType.HALTED), None)
    return [
        ready(standing, was_confirmed=was_confirmed),
        policy_published(standing),
        components_ready(standing),
        halted(standing.report, name, namespace, _fact_of(before)),
    ]


def _fact_of(condition: Body | None) -> Fact | None:
    """The condition Halted as it stands, to be kept; None when there is none that can be read."""
    if condition is None or text(condition, "reason") not in set(Reason):
        return None
    holds = {"True": True, "False": False}.get(text(condition, "status"))
    return Fact(ConditionType.HALTED, holds, Reason(text(condition, "reason")), text(condition, "message"))


def _fetched_at(old: Body, version: int, standing: Standing) -> str:
    before = parsed_moment(text(old, "fetchedAt"))
    if not confirmed(standing):
        return text(old, "fetchedAt") if before else ""
    moved = before is None or version != count(old, "version") or abs(standing.now - before) >= CONFIRMED_EVERY
    return moment(standing.now) if moved else text(old, "fetchedAt")


def _lately_confirmed(old: Body, now: datetime) -> bool:
    before = parsed_moment(text(old, "fetchedAt"))
    # One from the future confirms nothing: else it would hold for ever.
    return before is not None and abs(now - before) <= CONFIRMED_FOR


def _mode(old: Body, publication: Publication, reported: str | None) -> str:
    known = {mode.value for mode in TradingMode}
    if reported in known:
        return str(reported)
    return publication.policy.trading_mode.value if publication.policy else text(old, "mode")


def _without(old: Body, names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in old.items() if name not in names}


def _kept(old: Body, *names: str) -> dict[str, Any]:
    return {name: old[name] for name in names if name in old}


def _desk_figures(old: Body, measured: Measured | None) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if measured is None:
        return figures
    if measured.open_positions is not None:
        figures["openPositions"] = whole(measured.open_positions, 10_000)
    if measured.equity_usd is not None:
        figures["equityUSD"] = dollars(measured.equity_usd, old.get("equityUSD"))
    if measured.daily_drawdown_pct is not None:
        figures["dailyDrawdownPct"] = percent(measured.daily_drawdown_pct)
    if measured.exposure_pct is not None:
        figures["exposurePct"] = percent(measured.exposure_pct)
    return figures


def _stop_figures(measured: Measured | None) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if measured is None:
        return figures
    if measured.daily_drawdown_pct is not None:
        figures["dailyDrawdownPct"] = percent(measured.daily_drawdown_pct)
    if measured.open_loss_pct is not None:
        figures["openLossPct"] = percent(measured.open_loss_pct)
    if measured.consecutive_errors is not None:
        figures["consecutiveErrors"] = whole(measured.consecutive_errors, 1_000_000)
    return figures


def _limits(publication: Publication) -> dict[str, Any]:
    if publication.policy is None or publication.stop is None:
        return {}
    rows = effective_limits(publication.policy, publication.stop).items()
    return {
        "limits": [
            {
                "name": name,
                "requested": number(bound.requested),
                "effective": number(bound.value),
                "binding": bound.binding.value,
            }
            for name, bound in rows
        ]
    }


def _view(old: Body, view: StopView) -> dict[str, Any]:
    """What the stop broadcasts. Armed again, only id and time of the last trip stay; the rest is in the audit."""
    status: dict[str, Any] = {
        "state": view.state.value,
        "epoch": max(view.epoch, count(old, "epoch")),
        "reduceOnly": view.reduce_only,
        "reduceOnlyReason": cut(view.reduce_only_reason, 1024) if view.reduce_only else "",
    }
    trip = view.trip
    if trip is None:
        return status | _kept(old, "tripID", "trippedAt")
    status |= {
        "tripID": cut(trip.trip_id, 128),
        "trippedAt": moment(trip.time),
        "trigger": trip.trigger.value,
        "binding": cut(trip.binding, 32),
        "reason": cut(trip.reason, 2048),
        "trippedBy": cut(trip.who, 256),
    }
    for field, value in (("measuredPct", trip.measured), ("limitPct", trip.limit)):
        if value is not None:
            status[field] = exact_percent(value)
    for field, time in (("flatAt", view.flat_at), ("coolingDownUntil", view.cooling_down_until)):
        if time is not None:
            status[field] = moment(time)
    return status


def _audit(row: AuditRow) -> dict[str, Any]:
    line: dict[str, Any] = {
        "time": moment(row.time),
        "from": row.was.value,
        "to": row.to.value,
        "who": cut(row.who, 256),
        "reason": cut(row.reason, 1024),
    }
    if row.epoch is not None:
        line["epoch"] = max(row.epoch, 0)
    for field, value in (("measuredPct", row.measured), ("limitPct", row.limit)):
        if value is not None:
            line[field] = exact_percent(value)
    if row.hash is not None and len(row.hash) == 64 and set(row.hash) <= set("0123456789abcdef"):
        line["hash"] = row.hash
    return line


def _state(status: Body) -> StopState | None:
    value = text(status, "state")
    return StopState(value) if value in set(StopState) else None
