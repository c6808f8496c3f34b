"""Which policy shall be in force, and bringing it there: the newest valid one with its one stop, else the last good one on hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from breakwater.desk.policy_change import refusals
from breakwater.domain.policy import TradingMode
from breakwater.runtime.manifests import (
    DeskManifests,
    ManifestError,
    policy_from_object,
    stop_from_object,
)
from breakwater.runtime.policy_store import PolicyInForce
from breakwater_operator.desk.publisher import NotPublished, PublishConflict
from breakwater_operator.handlers.context import Context
from breakwater_operator.verdict.guard import Guard
from breakwater_operator.verdict.readiness import Publication
from breakwater_operator.verdict.reasons import Reason
from breakwater_operator.verdict.report import DeskReport
from breakwater_operator.work_queue import Retry

MODES = (TradingMode.PAPER,)
"""What this version is wired for."""


@dataclass(frozen=True)
class Attempt:
    """``desk`` is what to run components for: what is in force, else what is asked for and valid; None: start nothing."""

    publication: Publication
    desk: DeskManifests | None
    retry: str = ""
    """Why it has to be tried again; empty when nothing is left to do."""


async def publish(context: Context, body: Mapping[str, Any], guard: Guard, report: DeskReport | None) -> Attempt:
    """Bring the policy ``body`` with its stop into force, as far as that is allowed now. Raises Retry on a conflict."""
    try:
        before = await context.publisher.look(body)
    except NotPublished as error:
        return _failed(None, None, error)
    if guard.stop is None:
        return await _on_hold(context, body, guard, before)
    try:
        asked = DeskManifests(policy_from_object(body), stop_from_object(guard.stop))
    except ManifestError as error:
        said = "; ".join(str(problem) for problem in error.problems)
        return _kept(before, Reason.INVALID, said)
    state = report.stop.view.state if report is not None and report.stop is not None else None
    positions = len(report.execution.positions) if report is not None and report.execution is not None else None
    wrong = refusals(before.desk if before else None, asked, stop=state, open_positions=positions, modes=MODES)
    if wrong:
        return _kept(before, Reason.REFUSED, "; ".join(f"{p.field} {p.problem}: {p.remedy}" for p in wrong))
    try:
        now = await context.publisher.publish(body, asked, hold="")
    except PublishConflict as error:
        raise Retry(str(error), at_once=True) from error
    except NotPublished as error:
        return _failed(before, asked, error)
    return Attempt(_publication(now, True, Reason.PUBLISHED, f"version {now.version} is in force"), now.desk)


async def _on_hold(context: Context, body: Mapping[str, Any], guard: Guard, before: PolicyInForce | None) -> Attempt:
    reason, message = guard.reason or Reason.NO_EMERGENCY_STOP, guard.message
    if before is None:
        return _kept(None, reason, message)
    try:
        now = await context.publisher.publish(body, before.desk, hold=message)
    except PublishConflict as error:
        raise Retry(str(error), at_once=True) from error
    except NotPublished as error:
        failed = _failed(before, None, error)
        return Attempt(_publication(before, False, reason, f"{message}. {error}"), before.desk, failed.retry)
    said = f"version {now.version} is on hold: {message}"
    return Attempt(_publication(now, False, Reason.ON_HOLD, said), now.desk)


def _kept(before: PolicyInForce | None, reason: Reason, message: str) -> Attempt:
    """The last good policy stays."""
    if before is not None:
        message = f"{message}. Version {before.version} stays in force"
    return Attempt(_publication(before, False, reason, message), before.desk if before else None)


def _failed(before: PolicyInForce | None, asked: DeskManifests | None, error: NotPublished) -> Attempt:
    """What is asked for is right, and could not be brought into force now; its components may start all the same."""
    reason = Reason.STORE_UNAVAILABLE if error.store else Reason.BACKUP_UNAVAILABLE
    desk = before.desk if before is not None else asked
    return Attempt(_publication(before, False, reason, str(error)), desk, str(error))


def _publication(policy: PolicyInForce | None, published: bool, reason: Reason, message: str) -> Publication:
    if policy is None:
        return Publication(published=published, reason=reason, message=message)
    return Publication(
        published=published,
        reason=reason,
        message=message,
        version=policy.version,
        digest=policy.digest,
        policy=policy.policy,
        stop=policy.stop,
    )
