"""One TradingPolicy: bring it into force, run its components, say how it stands."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import structlog

from breakwater_operator.cluster.applier import Address
from breakwater_operator.cluster.kinds import CONFIG_MAP, EMERGENCY_STOP, TRADING_POLICY
from breakwater_operator.desired.labels import config_map_name
from breakwater_operator.desk.backup import BELIEVABLE
from breakwater_operator.desk.publisher import NotPublished
from breakwater_operator.handlers.children import Result, apply_children
from breakwater_operator.handlers.context import Context, Known
from breakwater_operator.handlers.publication import Attempt, publish
from breakwater_operator.store import Body
from breakwater_operator.verdict.body import count, name_of, section, text
from breakwater_operator.verdict.events import Event, policy_events
from breakwater_operator.verdict.guard import Guard, guard_of
from breakwater_operator.verdict.readiness import Standing
from breakwater_operator.verdict.reasons import EventReason
from breakwater_operator.verdict.status import policy_status
from breakwater_operator.work_queue import Key, Lane, Retry

log = structlog.get_logger(__name__)

REGULAR_SECONDS = 60.0
"""How often a desk is looked at when nothing happens: the store may have lost its copy of the policy."""
STARTING_SECONDS = 2.0
"""How often while components are not ready: pods are not watched."""
UNREAD_SECONDS = 10.0
"""How often, while components are not ready, Secrets are written again: a pod that waits for a volume does not say for what."""
PAIR_SECONDS = 1.0
"""How long a new policy may be without its stop before that is worth saying."""
MOST_WAIT_SECONDS = 5.0
"""Longest pause between two attempts while the store or the API server is away."""


@dataclass
class _Seen:
    """What is kept of a policy between two looks. Times are the infrastructure clock's."""

    uid: str
    first: float
    told: int
    """The version that an Event last told of. The status alone does not say: claiming a version writes it."""
    unread_written: float | None = None
    """When Secrets were last written again; None until components were first seen not to be ready."""
    addresses: Collection[Address] = ()
    """The components' objects."""


class PolicyHandler:
    """Looks at TradingPolicies."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: dict[Key, _Seen] = {}

    async def look(self, key: Key) -> float | None:
        """Publish, apply, report. Seconds after which to look again. Raises Retry while something could not be done."""
        context = self._context
        body = context.objects.get(TRADING_POLICY, key.namespace, key.name)
        if key in self._seen and (body is None or body["metadata"]["uid"] != self._seen[key].uid):
            self._forget(key, self._seen.pop(key))
        known = context.known.get((key.namespace, key.name))
        if body is None or body["metadata"].get("deletionTimestamp"):
            # The garbage collector removes the components; claims stay.
            self._tell_stops(key)
            return None
        guard = guard_of(key.name, context.objects.of_namespace(EMERGENCY_STOP, key.namespace))
        uid = body["metadata"]["uid"]
        if count(body, "status", "version") > BELIEVABLE:
            body = await self._without_version(key, body)
        now = context.clock.monotonic()
        seen = self._seen.setdefault(key, _Seen(uid, now, count(body, "status", "version")))
        if guard.stop is None and now - seen.first < PAIR_SECONDS and context.publisher.known(uid) is None:
            # Both resources usually come in one file, the policy first.
            return PAIR_SECONDS
        attempt = await publish(context, body, guard, context.pulse.report(uid))
        result = await apply_children(context, body, attempt.desk) if attempt.desk is not None else None
        restored = await self._restore_copy(key, uid)
        if result is not None:
            seen.addresses = result.addresses
            context.pulse.follow(context.desk_of(body))
        self._note(key, known, uid, attempt, result, guard)
        again = await self._report(key, seen, guard, attempt, result, [*(result.events if result else ()), *restored])
        retry = attempt.retry or (result.retry if result else "")
        if retry:
            waits = [attempt.retry_most] if attempt.retry else []
            waits += [result.retry_most] if result is not None and result.retry else []
            raise Retry(retry, most=min(waits))
        if result is not None and not result.verdict.ready:
            self._write_unread_again(key, seen)
            return STARTING_SECONDS
        return min(again or REGULAR_SECONDS, REGULAR_SECONDS)

    def _write_unread_again(self, key: Key, seen: _Seen) -> None:
        now = self._context.clock.monotonic()
        if seen.unread_written is None:
            seen.unread_written = now
        elif now - seen.unread_written >= UNREAD_SECONDS:
            seen.unread_written = now
            self._context.applier.forget_unread(key.namespace)

    async def _report(
        self, key: Key, seen: _Seen, guard: Guard, attempt: Attempt, result: Result | None, events: list[Event]
    ) -> float | None:
        context = self._context
        # Claiming a version changed the status.
        body = context.objects.get(TRADING_POLICY, key.namespace, key.name)
        if body is None or body["metadata"]["uid"] != seen.uid:
            # Deleted, or made anew: nothing of this desk belongs into the new one's status.
            return None
        old = section(body, "status")
        standing = Standing(
            now=context.clock.utc_now(),
            publication=attempt.publication,
            problem=(guard.reason, guard.message) if guard.reason is not None else None,
            components=result.verdict if result else None,
            report=context.pulse.report(seen.uid),
        )
        status = policy_status(
            old,
            name=key.name,
            namespace=key.namespace,
            generation=int(body["metadata"].get("generation", 0)),
            guard=guard,
            standing=standing,
        )
        written, again = await context.write_status(key, body, [status])
        now = section(written, "status")
        await context.recorder.record(body, [*events, *policy_events({**old, "version": seen.told}, now)])
        seen.told = count(now, "version")
        return again

    async def _without_version(self, key: Key, body: Body) -> Body:
        """The body after a version that nobody gave out was taken from its status; the next one is found from the copies."""
        context = self._context
        log.error("status.version was forged and is taken out", namespace=key.namespace, policy=key.name)
        now = await context.api.patch_status(
            TRADING_POLICY,
            key.namespace,
            key.name,
            {"version": None},
            resource_version=body["metadata"]["resourceVersion"],
        )
        context.objects.put(TRADING_POLICY, now)
        return now

    async def _restore_copy(self, key: Key, uid: str) -> list[Event]:
        """Put the ConfigMap with the policy's copy back when somebody changed or deleted it."""
        context = self._context
        live = context.objects.get(CONFIG_MAP, key.namespace, config_map_name(key.name))
        if context.publisher.copy_is_whole(uid, live):
            return []
        try:
            await context.publisher.restore_copy(uid, live)
        except NotPublished as error:
            raise Retry(str(error), most=MOST_WAIT_SECONDS) from error
        note = f"ConfigMap {config_map_name(key.name)} was changed or deleted by hand and has been put back"
        return [Event(EventReason.CHILD_RESTORED, note, "Apply")]

    def _note(
        self, key: Key, known: Known | None, uid: str, attempt: Attempt, result: Result | None, guard: Guard
    ) -> None:
        """Keep what the stop's status needs, and have the stops looked at when that changed."""
        stops = tuple(sorted(self._stops(key)))
        now = Known(uid, attempt.publication, result.verdict if result else None, stops)
        self._context.known[key.namespace, key.name] = now
        if known != now:
            self._tell_stops(key)

    def _tell_stops(self, key: Key) -> None:
        for name in self._stops(key):
            self._context.queue.add(Key(EMERGENCY_STOP.name, key.namespace, name), lane=Lane.URGENT)

    def _stops(self, key: Key) -> list[str]:
        stops = self._context.objects.of_namespace(EMERGENCY_STOP, key.namespace)
        return [name_of(stop) for stop in stops if text(stop, "spec", "policyRef", "name") == key.name]

    def _forget(self, key: Key, seen: _Seen) -> None:
        context = self._context
        log.info("desk forgotten", namespace=key.namespace, policy=key.name)
        context.publisher.forget(seen.uid)
        context.pulse.forget(seen.uid)
        context.applier.forget(seen.addresses)
        context.known.pop((key.namespace, key.name), None)
        context.figures_written.pop(key, None)
