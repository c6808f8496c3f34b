"""The objects of one desk: apply what differs, delete what is not desired any more, find out how the rest is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import structlog

from breakwater.runtime.manifests import DeskManifests
from breakwater_operator.cluster.api import address_of
from breakwater_operator.cluster.applier import Address, Applied, Leaving, NotOurs
from breakwater_operator.cluster.errors import ApiError, ApiUnavailable, Conflict
from breakwater_operator.cluster.kinds import CONFIG_MAP, DEPLOYMENT, POD, SERVICE
from breakwater_operator.desired.children import children
from breakwater_operator.desired.inputs import DeskFacts
from breakwater_operator.desired.labels import POLICY_LABEL, config_map_name
from breakwater_operator.desired.manifest import Manifest
from breakwater_operator.handlers.context import Context
from breakwater_operator.verdict.components import ComponentsVerdict, apply_failed, diagnose
from breakwater_operator.verdict.events import Event
from breakwater_operator.verdict.reasons import EventReason

log = structlog.get_logger(__name__)

AT_ONCE = 8
SOON_SECONDS = 5.0
REFUSED_SECONDS = 30.0
"""Longest pause while nothing but a refusal (quota, admission, a name that is taken) is in the way: every try writes."""


@dataclass
class Result:
    """How a desk's objects are now."""

    verdict: ComponentsVerdict
    events: list[Event] = field(default_factory=list)
    retry: str = ""
    retry_most: float = SOON_SECONDS
    """Longest pause before the next try."""
    addresses: frozenset[Address] = frozenset()


class _Problems:
    def __init__(self) -> None:
        self.refused: tuple[str, str] | None = None
        """The first child that was refused, and why."""
        self.retry: list[str] = []
        self.soon = False
        self.events: list[Event] = []


async def apply_children(context: Context, body: Mapping[str, Any], desk: DeskManifests) -> Result:
    """Make the desk's objects what ``desk`` needs. One that is refused does not keep the others from being applied."""
    metadata = body["metadata"]
    facts = DeskFacts(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        policy=desk.policy.spec,
        stop_name=desk.stop.name,
        token=context.desk_of(body).token,
        redis_url=context.settings.redis_url,
    )
    desired = children(facts, context.settings.platform)
    problems = _Problems()
    slots = asyncio.Semaphore(AT_ONCE)
    for _, group in groupby(desired, key=lambda manifest: manifest["kind"]):
        await asyncio.gather(*(_apply(context, manifest, facts.uid, slots, problems) for manifest in group))
    await _delete_others(context, facts, desired, problems)
    names = [m["metadata"]["labels"]["app.kubernetes.io/component"] for m in desired if m["kind"] == DEPLOYMENT.name]
    verdict = await _diagnose(context, facts, names)
    if problems.refused is not None:
        verdict = apply_failed(*problems.refused)
    addresses = frozenset(address_of(manifest) for manifest in desired)
    most = SOON_SECONDS if problems.soon or problems.refused is None else REFUSED_SECONDS
    return Result(verdict, problems.events, "; ".join(problems.retry[:3]), most, addresses)


async def _apply(context: Context, manifest: Manifest, uid: str, slots: asyncio.Semaphore, problems: _Problems) -> None:
    child = f"{manifest['kind']} {manifest['metadata']['name']}"
    try:
        async with slots:
            done = await context.applier.apply(manifest, uid=uid)
    except (Leaving, ApiUnavailable, Conflict) as error:
        problems.retry.append(str(error))
        problems.soon = True
    except (NotOurs, ApiError) as error:
        # The sentence without the request that was made: a person reads it in a condition.
        said = error.message if isinstance(error, ApiError) else str(error)
        problems.refused = problems.refused or (child, said)
        problems.retry.append(str(error))
    else:
        if done is Applied.RESTORED:
            note = f"{child} was changed or deleted by hand and has been put back: change the policy instead"
            problems.events.append(Event(EventReason.CHILD_RESTORED, note, "Apply"))


async def _delete_others(context: Context, facts: DeskFacts, desired: Sequence[Manifest], problems: _Problems) -> None:
    """Delete what carries the policy's label and belongs to this very policy, and is not desired. Claims always stay."""
    wanted = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in desired}
    wanted.add((CONFIG_MAP.name, config_map_name(facts.name)))
    for kind in (DEPLOYMENT, SERVICE, CONFIG_MAP):
        for live in context.objects.of_namespace(kind, facts.namespace):
            metadata = live["metadata"]
            owners = [ref.get("uid") for ref in metadata.get("ownerReferences") or [] if ref.get("controller")]
            ours = (metadata.get("labels") or {}).get(POLICY_LABEL) == facts.name and facts.uid in owners
            if not ours or (kind.name, metadata["name"]) in wanted or metadata.get("deletionTimestamp"):
                continue
            try:
                await context.api.delete(kind, facts.namespace, metadata["name"], uid=metadata["uid"])
            except (ApiError, ApiUnavailable) as error:
                problems.retry.append(str(error))
                continue
            context.objects.forget(kind, facts.namespace, metadata["name"], metadata["uid"])
            note = f"{kind.name} {metadata['name']} is not part of the desk any more and has been deleted"
            problems.events.append(Event(EventReason.CHILD_DELETED, note, "Delete"))


async def _diagnose(context: Context, facts: DeskFacts, names: Sequence[str]) -> ComponentsVerdict:
    deployments = [
        live
        for live in context.objects.of_namespace(DEPLOYMENT, facts.namespace)
        if (live["metadata"].get("labels") or {}).get(POLICY_LABEL) == facts.name
    ]
    verdict = diagnose(names, deployments, [])
    if verdict.ready:
        return verdict
    # Pods are not watched: they are asked for only while something is wrong.
    selector = f"app.kubernetes.io/name=breakwater,app.kubernetes.io/instance={facts.name}"
    try:
        pods = await context.api.list_objects(POD, facts.namespace, labels=selector)
    except ApiUnavailable:
        return verdict
    except ApiError as error:
        log.warning("pods cannot be read", namespace=facts.namespace, policy=facts.name, reason=str(error))
        return verdict
    return diagnose(names, deployments, pods)
