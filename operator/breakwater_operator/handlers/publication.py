"""Which policy shall be in force, and bringing it there: the newest valid one with its one stop, else the last good one on hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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

MODES = tuple(TradingMode)
"""What desks may be made for."""

SOON_SECONDS, LATE_SECONDS = 5.0, 60.0


@dataclass(frozen=True)
class Attempt:
    """``desk`` is what to run components for: what is in force, else what is asked for and valid; None: start nothing."""

    publication: Publication
    desk: DeskManifests | None
    retry: str = ""
    """Why it has to be tried again; empty when nothing is left to do."""
    retry_most: float = SOON_SECONDS
    """Longest pause before the next try."""


async def publish(context: Context, body: Mapping[str, Any], guard: Guard, report: DeskReport | None) -> Attempt:
    """Bring the policy ``body`` with its stop into force, as far as that is allowed now. Raises Retry on a conflict."""
    try:
        before = await context.publisher.look(body)
    except NotPublished as error:
        return _failed(None, None, error)
    seen = _versions_of(report)
    if guard.stop is None:
        return await _on_hold(context, body, guard, before, seen)
    try:
        asked = DeskManifests(policy_from_object(body), stop_from_object(guard.stop))
    except ManifestError as error:
        said = "; ".join(str(problem) for problem in error.problems)
        return await _kept(context, body, before, seen, Reason.INVALID, said)
    state = report.stop.view.state if report is not None and report.stop is not None else None
    wrong = refusals(_renamed(before, asked), asked, stop=state, modes=MODES)
    if wrong:
        said = "; ".join(f"{p.field} {p.problem}: {p.remedy}" for p in wrong)
        return await _kept(context, body, before, seen, Reason.REFUSED, said)
    try:
        now = await _bring(context, body, asked, "", seen)
    except NotPublished as error:
        return _failed(before, asked, error)
    if now.stale:
        return _not_in_store(now)
    return Attempt(_publication(now, True, Reason.PUBLISHED, f"version {now.version} is in force"), now.desk)


def _renamed(before: PolicyInForce | None, asked: DeskManifests) -> DeskManifests | None:
    """What is in force, guarded by a stop of the name asked for: of two stops a person may keep either."""
    if before is None:
        return None
    return replace(before.desk, stop=replace(before.desk.stop, name=asked.stop.name))


async def _bring(
    context: Context, body: Mapping[str, Any], desk: DeskManifests, hold: str, seen: tuple[int, ...]
) -> PolicyInForce:
    try:
        return await context.publisher.publish(body, desk, hold=hold, seen=seen)
    except PublishConflict as error:
        raise Retry(str(error), at_once=True) from error


async def _on_hold(
    context: Context, body: Mapping[str, Any], guard: Guard, before: PolicyInForce | None, seen: tuple[int, ...]
) -> Attempt:
    reason, message = guard.reason or Reason.NO_EMERGENCY_STOP, guard.message
    if before is None:
        return Attempt(_publication(None, False, reason, message), None)
    try:
        now = await _bring(context, body, before.desk, message, seen)
    except NotPublished as error:
        return Attempt(_publication(before, False, reason, f"{message}. {error}"), before.desk, str(error))
    if now.stale:
        return _not_in_store(now)
    said = f"version {now.version} is on hold: {message}"
    return Attempt(_publication(now, False, Reason.ON_HOLD, said), now.desk)


async def _kept(
    context: Context,
    body: Mapping[str, Any],
    before: PolicyInForce | None,
    seen: tuple[int, ...],
    reason: Reason,
    message: str,
) -> Attempt:
    """The last good policy stays: it is brought into force again, should anybody have put another in its place."""
    if before is None:
        return Attempt(_publication(None, False, reason, message), None)
    try:
        now = await _bring(context, body, before.desk, before.hold, seen)
    except NotPublished as error:
        said = f"{message}. Version {before.version} stays, and could not be confirmed: {error}"
        return Attempt(_publication(before, False, reason, said), before.desk, str(error))
    if now.stale:
        return _not_in_store(now)
    said = f"{message}. Version {now.version} stays in force"
    return Attempt(_publication(now, False, reason, said), now.desk)


def _not_in_store(now: PolicyInForce) -> Attempt:
    """A version that was given out and is not in the store: components do not get it, and open nothing before long."""
    said = f"version {now.version} could not be brought to the store: {'; '.join(now.problems) or 'no reason given'}"
    # Every try gives out another version.
    return Attempt(_publication(now, False, Reason.STORE_UNAVAILABLE, said), now.desk, said, LATE_SECONDS)


def _versions_of(report: DeskReport | None) -> tuple[int, ...]:
    """What the components say they obey. One that is above ours was read from a copy which somebody else wrote."""
    parts = (report.stop, report.execution) if report is not None else ()
    return tuple(part.policy.version for part in parts if part is not None and part.policy is not None)


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
