"""The conditions Ready, PolicyPublished and ComponentsReady, for both kinds from the same facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec
from breakwater.domain.policy import PolicySpec
from breakwater.domain.refusals import RefusalCode
from breakwater_operator.verdict.body import cut
from breakwater_operator.verdict.components import ComponentsVerdict
from breakwater_operator.verdict.conditions import Fact, moment
from breakwater_operator.verdict.reasons import ConditionType, Reason
from breakwater_operator.verdict.report import DeskReport

REPORT_STALE_AFTER = timedelta(seconds=30)
"""Age of the last look at a desk after which the operator itself no longer knows."""
_NO_LEASE = frozenset({RefusalCode.STOP_UNKNOWN.value, RefusalCode.STOP_LEASE_EXPIRED.value})
_MOST_PROBLEM = 500


@dataclass(frozen=True, kw_only=True)
class Publication:
    """How publishing the policy went, and what is in force now: with ``published`` False the last good one, if any.

    ``reason`` and ``message`` say why not (`Reason.INVALID` with field and remedy, ...), or that it is.
    """

    published: bool
    reason: Reason
    message: str
    version: int | None = None
    digest: str = ""
    policy: PolicySpec | None = None
    stop: EmergencyStopSpec | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Everything that is known of a desk at one moment. ``now`` is wall time, UTC.

    ``problem``: why policy and stop do not belong together (`guard.stop_problem`, or a `Guard`'s reason and message).
    ``components`` None: nothing has been started. ``report`` None: the desk has never been asked.
    """

    now: datetime
    publication: Publication
    problem: tuple[Reason, str] | None = None
    components: ComponentsVerdict | None = None
    report: DeskReport | None = None


def confirmed(standing: Standing) -> bool:
    """Whether stop and execution both obey the published version, and know it to be fresh."""
    report, version = standing.report, standing.publication.version
    if report is None or report.stop is None or report.execution is None or version is None:
        return False
    seen = (report.stop.policy, report.execution.policy)
    return all(policy is not None and policy.version == version and not policy.stale for policy in seen)


def policy_published(standing: Standing) -> Fact:
    publication = standing.publication
    return Fact(ConditionType.POLICY_PUBLISHED, publication.published, publication.reason, publication.message)


def components_ready(standing: Standing) -> Fact:
    verdict = standing.components
    if verdict is None:
        reason = standing.problem[0] if standing.problem else standing.publication.reason
        message = "nothing is started before a valid policy with exactly one EmergencyStop is published"
        return Fact(ConditionType.COMPONENTS_READY, False, reason, message)
    return Fact(ConditionType.COMPONENTS_READY, verdict.ready, verdict.reason, verdict.message)


def ready(standing: Standing, *, was_confirmed: bool) -> Fact:
    """Whether the desk runs under its policy. ``was_confirmed``: the components obeyed it lately (see `confirmed`)."""
    reason, message = (
        standing.problem
        or _of(policy_published(standing))
        or _of(components_ready(standing))
        or _silence(standing)
        or _no_lease(standing)
        or (None if was_confirmed else (Reason.POLICY_NOT_CONFIRMED, _unconfirmed(standing)))
        or (Reason.RUNNING, f"the desk runs under version {standing.publication.version} of its policy")
    )
    return Fact(ConditionType.READY, reason is Reason.RUNNING, reason, message)


def _of(fact: Fact) -> tuple[Reason, str] | None:
    return None if fact.holds else (fact.reason, fact.message)


def _silence(standing: Standing) -> tuple[Reason, str] | None:
    report = standing.report
    if report is None:
        return Reason.STARTING, "the desk has not been asked yet how it is"
    if standing.now - report.asked_at > REPORT_STALE_AFTER:
        since = moment(report.asked_at)
        return Reason.STOP_UNREACHABLE, f"the operator has not heard from the desk since {since}"
    if report.stop is None:
        said = _since("the emergency stop", report.stop_heard_at, report.stop_problem)
        return Reason.STOP_UNREACHABLE, f"{said}; it decides without the operator, its last known state is shown"
    if report.execution is None:
        said = _since("execution", report.execution_heard_at, report.execution_problem)
        return Reason.EXECUTION_UNREACHABLE, said
    return None


def _since(who: str, heard_at: datetime | None, problem: str) -> str:
    since = f" since {moment(heard_at)}" if heard_at else ""
    return f"{who} has not answered{since}: {cut(problem or 'no reason given', _MOST_PROBLEM)}"


def _no_lease(standing: Standing) -> tuple[Reason, str] | None:
    execution = standing.report.execution if standing.report else None
    if execution is not None and execution.code in _NO_LEASE:
        message = "execution does not hear the emergency stop, so it only reduces risk: look at the store (Redis)"
        return Reason.LEASE_EXPIRED, message
    return None


def _unconfirmed(standing: Standing) -> str:
    report = standing.report
    said = (
        [
            f"{who} obeys {f'version {part.policy.version}' if part.policy is not None else 'none'}"
            for who, part in (("emergency stop", report.stop), ("execution", report.execution))
            if part is not None
        ]
        if report is not None
        else []
    )
    return (
        f"version {standing.publication.version} of the policy is published, but emergency stop and execution do not "
        f"both obey it yet ({', '.join(said) or 'neither answers'}): look at the store (Redis) and at their logs"
    )
