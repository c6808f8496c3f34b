"""What the handlers are given, and what the two of them share: writing a status, knowing a desk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from breakwater.runtime.clocks import InfraClock
from breakwater_operator.cluster.api import Api
from breakwater_operator.cluster.applier import Applier
from breakwater_operator.cluster.errors import ApiUnavailable, Conflict, NotFound
from breakwater_operator.cluster.events import EventRecorder
from breakwater_operator.cluster.kinds import BY_NAME
from breakwater_operator.desk.link import Desk, DeskLink, desk_token
from breakwater_operator.desk.publisher import Publisher
from breakwater_operator.desk.pulse import Pulse
from breakwater_operator.metrics import OperatorMetrics
from breakwater_operator.settings import OperatorSettings
from breakwater_operator.store import Body, Store
from breakwater_operator.verdict.components import ComponentsVerdict
from breakwater_operator.verdict.patch import status_patch, without_numbers
from breakwater_operator.verdict.readiness import Publication
from breakwater_operator.work_queue import Key, Retry, WorkQueue

log = structlog.get_logger(__name__)

FIGURES_SECONDS = 10.0
"""How often figures alone are worth a write."""


@dataclass
class Known:
    """What the last look at a policy found, for its stop's status."""

    uid: str
    publication: Publication
    components: ComponentsVerdict | None
    stops: tuple[str, ...] = ()


@dataclass
class Context:
    """Everything a handler works with."""

    settings: OperatorSettings
    clock: InfraClock
    metrics: OperatorMetrics
    api: Api
    objects: Store
    queue: WorkQueue
    applier: Applier
    recorder: EventRecorder
    publisher: Publisher
    link: DeskLink
    pulse: Pulse
    known: dict[tuple[str, str], Known] = field(default_factory=dict)
    """By namespace and name of the policy."""
    figures_written: dict[Key, float] = field(default_factory=dict)

    def desk_of(self, policy: Mapping[str, Any]) -> Desk:
        metadata = policy["metadata"]
        token = desk_token(self.settings.operator_key, metadata["uid"])
        return Desk(metadata["namespace"], metadata["name"], metadata["uid"], token)

    async def write_status(
        self, key: Key, body: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]
    ) -> tuple[Body, float | None]:
        """Bring the status of ``body`` to the last of ``steps``, one write for each that differs.

        Returns the body as it is then, and seconds after which to look again when figures were held back. Raises Retry.
        """
        kind = BY_NAME[key.kind]
        now = self.clock.monotonic()
        wait = self.figures_written.get(key, now - FIGURES_SECONDS) + FIGURES_SECONDS - now
        left: float | None = None
        current = dict(body)
        for step in steps:
            old = current.get("status") or {}
            step = steady(old, step)
            patch = status_patch(old, step, figures=wait <= 0)
            if patch is None:
                left = wait if wait > 0 and status_patch(old, step) is not None else None
                continue
            try:
                current = await self.api.patch_status(
                    kind, key.namespace, key.name, patch, resource_version=current["metadata"]["resourceVersion"]
                )
            except Conflict as error:
                raise Retry(str(error), at_once=True) from error
            except NotFound:
                return current, None
            except ApiUnavailable as error:
                raise Retry(str(error), most=5.0) from error
            self.objects.put(kind, current)
            self.figures_written[key] = now
            left = None
        return current, left


def steady(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """``new``, but a sentence of which only a number moved (an age that counts up) stays as it was."""
    kept = {
        name: old[name]
        for name in ("gateReason", "reduceOnlyReason")
        if name in new and name in old and without_numbers(old[name]) == without_numbers(new[name])
    }
    return {**new, **kept}
