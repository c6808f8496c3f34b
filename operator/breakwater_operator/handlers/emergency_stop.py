"""One EmergencyStop: hand its requests to the desk, mirror what the desk's stop says. It decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from breakwater.domain.stop_state import StopRequestKind
from breakwater_operator.cluster.kinds import EMERGENCY_STOP, TRADING_POLICY
from breakwater_operator.desk.link import Desk, Unreachable
from breakwater_operator.handlers.context import Context, Known
from breakwater_operator.verdict.body import entries, section, text
from breakwater_operator.verdict.events import Event, repeated, stop_events
from breakwater_operator.verdict.guard import guard_of, stop_problem
from breakwater_operator.verdict.readiness import Publication, Standing
from breakwater_operator.verdict.reasons import Reason
from breakwater_operator.verdict.report import DeskReport, Outcome
from breakwater_operator.verdict.requests import Request, key_of, merged_answers, requests_in, unanswered
from breakwater_operator.verdict.status import stop_status, stop_writes
from breakwater_operator.work_queue import Key, Retry

log = structlog.get_logger(__name__)

REGULAR_SECONDS = 60.0
"""How often a stop is looked at when nothing happens."""
MOST_WAIT_SECONDS = 2.0
"""Longest pause between two attempts to deliver a request."""
NOT_STARTED = Publication(
    published=False, reason=Reason.NOT_PUBLISHED, message="the operator has not looked at the policy yet"
)


class StopHandler:
    """Looks at EmergencyStops. Remembers which trips execution has obeyed, so that a retry halts it only once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._halted: set[tuple[str, str]] = set()
        self._seen: dict[tuple[str, str], float] = {}
        self._uids: dict[Key, str] = {}
        self._standing: dict[str, frozenset[tuple[str, str]]] = {}
        """By uid: the requests that stood in the spec at the last look."""

    async def look(self, key: Key) -> float | None:
        """Deliver, mirror. Raises Retry while a request is not answered."""
        context = self._context
        body = context.objects.get(EMERGENCY_STOP, key.namespace, key.name)
        if body is None:
            self._gone(key)
            return None
        self._uids[key] = body["metadata"]["uid"]
        policy_name = text(body, "spec", "policyRef", "name")
        policy = context.objects.get(TRADING_POLICY, key.namespace, policy_name)
        desk = context.desk_of(policy) if policy is not None else None
        guard = guard_of(policy_name, context.objects.of_namespace(EMERGENCY_STOP, key.namespace))
        problem = stop_problem(body, policy, guard)
        answered, undelivered = await self._deliver(body, desk, guards=problem is None)

        known = context.known.get((key.namespace, policy_name))
        if policy is not None and known is None and not answered and not undelivered:
            # The policy is looked at first; its stop again right after.
            return None
        if policy is None or known is None or known.uid != policy["metadata"]["uid"]:
            known = Known("", NOT_STARTED, None)
        report = context.pulse.report(desk.uid) if desk else None
        standing = Standing(
            now=context.clock.utc_now(),
            publication=known.publication,
            problem=problem,
            components=known.components,
            report=report,
        )
        newest = context.objects.get(EMERGENCY_STOP, key.namespace, key.name)
        if newest is None or newest["metadata"]["uid"] != body["metadata"]["uid"]:
            # Made anew meanwhile: its answers are not this one's.
            return 0.0 if newest is not None else None
        body = newest
        old = section(body, "status")
        asked = {request.key for request in requests_in(section(body, "spec"))}
        heard = [each for each in _answers(report) if problem is None or (each.kind.value, each.request_id) in asked]
        outcomes = [*heard, *answered]
        status = stop_status(
            old,
            name=key.name,
            namespace=key.namespace,
            generation=int(body["metadata"].get("generation", 0)),
            standing=standing,
            requests=merged_answers(entries(old, "requests"), outcomes, section(body, "spec")),
            policy_status=section(policy, "status"),
        )
        written, again = await context.write_status(key, body, stop_writes(old, status))
        repeated = self._repeated(body, old)
        await context.recorder.record(body, (*stop_events(old, section(written, "status")), *repeated))
        if undelivered:
            raise Retry(undelivered, most=MOST_WAIT_SECONDS)
        # That the desk does not obey a new version shows in nothing but the time that passes.
        return min(again or REGULAR_SECONDS, REGULAR_SECONDS)

    async def _deliver(self, body: Mapping[str, Any], desk: Desk | None, *, guards: bool) -> tuple[list[Outcome], str]:
        """Hand over what is not answered yet: the new answers, and why something could not be delivered.

        A trip is handed over even when two stops claim the desk: stopping is always right. A reset then is not.
        """
        context, uid = self._context, body["metadata"]["uid"]
        report = context.pulse.report(desk.uid) if desk else None
        waiting = self._waiting(body, _answers(report), guards=guards)
        if not waiting:
            return [], ""
        if desk is None:
            return [], "there is no desk to hand the request to"
        if report is None or report.stop is None:
            # After a restart the desk may have answered long ago: a trip must not halt it a second time.
            report = await context.pulse.look(desk)
            waiting = self._waiting(body, _answers(report), guards=guards)
        answered, problems = [], []
        for request in waiting:
            began = self._seen.setdefault((uid, request.request_id), context.clock.monotonic())
            try:
                outcome = await self._hand_over(desk, uid, request)
            except Unreachable as error:
                context.metrics.count_delivery(request.kind.value, "unreachable")
                problems.append(f"{request.kind.value} {request.request_id}: {error}")
                # The trip comes first: a reset that overtakes it would arm a desk that a person wants stopped.
                break
            answered.append(outcome)
            context.metrics.count_delivery(request.kind.value, "accepted" if outcome.accepted else "refused")
            if request.kind is StopRequestKind.TRIP:
                context.metrics.trip_seconds.observe(context.clock.monotonic() - began)
            log.info(
                "request answered", desk=desk.policy, namespace=desk.namespace, kind=request.kind.value,
                request=request.request_id, code=outcome.code,
            )  # fmt: skip
            self._forget(uid, request)
        if answered:
            await context.pulse.look(desk)
        return answered, "; ".join(problems)

    def _repeated(self, body: Mapping[str, Any], old: Mapping[str, Any]) -> list[Event]:
        """Whoever asks under an id that has its answer already believes that something happens: say that nothing does."""
        uid = body["metadata"]["uid"]
        standing = frozenset(request.key for request in requests_in(section(body, "spec")))
        new = standing - self._standing.get(uid, standing)
        self._standing[uid] = standing
        return [repeated(answer) for answer in entries(old, "requests") if key_of(answer) in new]

    def _waiting(self, body: Mapping[str, Any], outcomes: tuple[Outcome, ...], *, guards: bool) -> list[Request]:
        asked = unanswered(section(body, "spec"), section(body, "status"), outcomes)
        return [request for request in asked if guards or request.kind is StopRequestKind.TRIP]

    async def _hand_over(self, desk: Desk, uid: str, request: Request) -> Outcome:
        link = self._context.link
        if request.kind is not StopRequestKind.TRIP:
            return await link.ask(desk, request)
        obeyed = (uid, request.request_id)
        if obeyed in self._halted:
            return await link.ask(desk, request)
        # Execution is told directly as well: it stops even when the emergency stop or the store is away.
        answer, halted = await asyncio.gather(link.ask(desk, request), link.halt(desk, request), return_exceptions=True)
        if isinstance(halted, Unreachable):
            self._context.metrics.count_delivery("HALT", "unreachable")
            log.warning("execution could not be halted directly", desk=desk.policy, reason=str(halted))
        elif isinstance(halted, BaseException):
            raise halted
        else:
            self._context.metrics.count_delivery("HALT", "accepted")
            self._halted.add(obeyed)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _forget(self, uid: str, request: Request) -> None:
        self._halted.discard((uid, request.request_id))
        self._seen.pop((uid, request.request_id), None)

    def _gone(self, key: Key) -> None:
        uid = self._uids.pop(key, "")
        self._halted = {each for each in self._halted if each[0] != uid}
        self._seen = {each: since for each, since in self._seen.items() if each[0] != uid}
        self._standing.pop(uid, None)
        self._context.figures_written.pop(key, None)


def _answers(report: DeskReport | None) -> tuple[Outcome, ...]:
    return report.stop.outcomes if report is not None and report.stop is not None else ()
