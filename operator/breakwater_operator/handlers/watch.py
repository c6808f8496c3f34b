"""What kopf tells us: store the body, note whom to look at. Nothing else: an exception here would be neither seen nor retried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kopf

from breakwater_operator.cluster.kinds import CHILDREN, EMERGENCY_STOP, OWN, TRADING_POLICY, Kind
from breakwater_operator.desired.labels import MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL
from breakwater_operator.metrics import OperatorMetrics
from breakwater_operator.store import Store
from breakwater_operator.work_queue import Key, Lane, WorkQueue

CHILD_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY}"


def register(registry: kopf.OperatorRegistry, objects: Store, queue: WorkQueue, metrics: OperatorMetrics) -> None:
    """Watch every kind that is watched."""
    for kind in (*OWN, *CHILDREN):
        _watch(registry, kind, objects, queue, metrics)


def _watch(
    registry: kopf.OperatorRegistry, kind: Kind, objects: Store, queue: WorkQueue, metrics: OperatorMetrics
) -> None:
    @kopf.on.event(group=kind.group, version=kind.version, plural=kind.plural, id=kind.plural, registry=registry)
    async def seen(event: Any, **_: Any) -> None:
        body = dict(event["object"])
        body["apiVersion"], body["kind"] = kind.api_version, kind.name
        metrics.count_watch_event(kind.name)
        gone = event["type"] == "DELETED"
        before = objects.get(kind, body["metadata"].get("namespace", ""), body["metadata"]["name"])
        if objects.remove(kind, body) if gone else objects.put(kind, body):
            enqueue(queue, kind, body, before)


def enqueue(queue: WorkQueue, kind: Kind, body: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> None:
    """Note everything that a change of ``body`` concerns."""
    metadata = body["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    if kind is TRADING_POLICY:
        queue.add(Key(TRADING_POLICY.name, namespace, name))
    elif kind is EMERGENCY_STOP:
        queue.add(Key(EMERGENCY_STOP.name, namespace, name), lane=Lane.URGENT)
        for each in (body, before):
            if policy := _policy_of(each):
                queue.add(Key(TRADING_POLICY.name, namespace, policy))
    elif owner := (metadata.get("labels") or {}).get(POLICY_LABEL):
        queue.add(Key(TRADING_POLICY.name, namespace, str(owner)))


def _policy_of(stop: Mapping[str, Any] | None) -> str:
    reference = ((stop or {}).get("spec") or {}).get("policyRef") or {}
    return str(reference.get("name") or "")
