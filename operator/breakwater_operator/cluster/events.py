"""Events on our two resources: what `kubectl describe` shows. Losing one loses nothing: status says the same."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from breakwater.runtime.clocks import InfraClock
from breakwater_operator.cluster.api import Api
from breakwater_operator.cluster.errors import ApiError, ApiUnavailable
from breakwater_operator.verdict.events import Event

log = structlog.get_logger(__name__)

CONTROLLER = "breakwater.trading/operator"
_MOST_NOTE = 1024


class EventRecorder:
    """Writes Events (events.k8s.io/v1). ``instance`` names this process, usually its pod."""

    def __init__(self, api: Api, clock: InfraClock, instance: str) -> None:
        self._api, self._clock, self._instance = api, clock, instance[:128] or "operator"

    async def record(self, about: Mapping[str, Any], events: Iterable[Event]) -> None:
        """Write ``events`` about the object ``about``; never raises."""
        for event in events:
            try:
                await self._api.create_event(self._body(about, event))
            except (ApiError, ApiUnavailable) as error:
                log.warning("an Event could not be written", event=event.reason.value, reason=str(error))
                return

    def _body(self, about: Mapping[str, Any], event: Event) -> dict[str, Any]:
        metadata = about["metadata"]
        now = self._clock.utc_now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name'][:200]}.{uuid.uuid4().hex[:16]}",
                "namespace": metadata["namespace"],
            },
            "eventTime": now,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": event.action,
            "reason": event.reason.value,
            "type": event.type,
            "note": event.note[:_MOST_NOTE],
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
        }
