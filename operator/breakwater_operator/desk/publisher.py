"""Brings policies into force: claims the version in the policy's status, then writes ConfigMap and store, then says so.

A crash between any two of these leaves a version that only rises, and the next attempt heals the copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from breakwater.domain.ids import DeskId
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.lifecycle import Check
from breakwater.runtime.manifests import DeskManifests
from breakwater.runtime.policy_diff import Change
from breakwater.runtime.policy_events import policy_announcer
from breakwater.runtime.policy_store import PolicyInForce, PolicyStore
from breakwater.runtime.ports import DiskError, StoreUnavailable
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.redis_kv import RedisKeyValueStore
from breakwater_operator.cluster.api import Api
from breakwater_operator.cluster.errors import ApiError, ApiUnavailable, Conflict
from breakwater_operator.cluster.kinds import TRADING_POLICY
from breakwater_operator.desired.inputs import desk_id
from breakwater_operator.desired.labels import POLICY_UID_ANNOTATION, config_map_name, labels, owner_reference
from breakwater_operator.desk.backup import ConfigMapDisk, believable
from breakwater_operator.metrics import OperatorMetrics
from breakwater_operator.store import Store
from breakwater_operator.verdict.body import count, text

log = structlog.get_logger(__name__)

WHO = "operator"
ANNOUNCE_SECONDS = 2.0


class PublishConflict(Exception):
    """Somebody wrote to the policy at the same time: nothing was changed; read it again."""


class NotPublished(Exception):
    """Nothing was changed. ``store``: whether Redis was away, else the API server or the ConfigMap."""

    def __init__(self, message: str, *, store: bool) -> None:
        super().__init__(message)
        self.store = store


class _Published:
    """What is known of one desk's policy."""

    def __init__(self, publisher: Publisher, body: Mapping[str, Any]) -> None:
        metadata = body["metadata"]
        self.namespace, self.name, self.uid = metadata["namespace"], metadata["name"], metadata["uid"]
        self.desk = DeskId(desk_id(self.namespace, self.name, self.uid))
        self._publisher = publisher
        self.good: PolicyInForce | None = None
        """What this operator found or brought into force last. What turns up in the store later was put there by others."""
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": config_map_name(self.name),
                "namespace": self.namespace,
                "labels": labels(self.name),
                "annotations": {POLICY_UID_ANNOTATION: self.uid},
                "ownerReferences": [owner_reference(self.name, self.uid)],
            },
        }
        self.backup = ConfigMapDisk(publisher.api, publisher.objects, manifest)
        self.store = PolicyStore(
            publisher.kv,
            self.backup,
            publisher.clock,
            desk=self.desk,
            writer=True,
            on_change=self._announce,
            claim=self._claim,
        )

    async def _claim(self, version: int) -> None:
        """Give ``version`` out, once: the API server takes the first who asks for it."""
        body = self._publisher.objects.get(TRADING_POLICY, self.namespace, self.name)
        if body is None or body["metadata"]["uid"] != self.uid:
            raise PublishConflict(f"TradingPolicy {self.namespace}/{self.name} was deleted")
        try:
            taken = await self._publisher.api.patch_status(
                TRADING_POLICY,
                self.namespace,
                self.name,
                {"version": version},
                resource_version=body["metadata"]["resourceVersion"],
            )
        except Conflict as error:
            raise PublishConflict(str(error)) from error
        self._publisher.objects.put(TRADING_POLICY, taken)

    async def _announce(self, policy: PolicyInForce, changes: tuple[Change, ...]) -> None:
        """Say on the desk's bus that another policy holds. Components also look by themselves every few seconds."""
        publisher = self._publisher
        bus = RedisBus(publisher.redis_url, self.desk, "policy", publisher.clock, start_timeout=ANNOUNCE_SECONDS)
        try:
            await bus.start()
            await policy_announcer(bus, _WallMarket(publisher.clock))(policy, changes)
        except (BusUnavailable, StoreUnavailable) as error:
            raise BusUnavailable(str(error)) from error
        finally:
            await bus.stop()


class _WallMarket:
    """Policies change at wall time, whatever time a desk's market lives in."""

    def __init__(self, clock: InfraClock) -> None:
        self._clock = clock

    def now(self) -> Any:
        return self._clock.utc_now()

    async def sleep_until(self, moment: Any) -> None:
        raise NotImplementedError("nobody waits on this clock")


class Publisher:
    """The one writer of every desk's policy. One connection to the store for all desks."""

    def __init__(self, api: Api, objects: Store, redis_url: str, clock: InfraClock, metrics: OperatorMetrics) -> None:
        self.api, self.objects, self.redis_url, self.clock = api, objects, redis_url, clock
        self.kv = RedisKeyValueStore(redis_url, clock)
        self._metrics = metrics
        self._desks: dict[str, _Published] = {}
        self._store_problem = ""

    async def close(self) -> None:
        await self.kv.close()

    async def look(self, body: Mapping[str, Any]) -> PolicyInForce | None:
        """What is in force for this policy's desk, read from its copies the first time. Raises NotPublished."""
        desk = self._desk(body)
        if desk.good is None:
            await self._load(desk, body)
            desk.good = await desk.store.refresh()
        return desk.good

    def known(self, uid: str) -> PolicyInForce | None:
        """What is in force as far as this process knows."""
        desk = self._desks.get(uid)
        return desk.store.current() if desk else None

    async def publish(
        self, body: Mapping[str, Any], desk: DeskManifests, *, hold: str, seen: Iterable[int] = ()
    ) -> PolicyInForce:
        """Bring ``desk`` into force; nothing happens when it already is. Raises NotPublished and PublishConflict.

        ``seen``: the versions that components say they obey; what is in force is never below one of them.
        """
        published = self._desk(body)
        await self._load(published, body)
        before = published.store.current()
        versions = (count(body, "status", "version"), published.backup.floor, *seen)
        floor = max(map(believable, versions))
        try:
            policy = await published.store.apply(desk, who=WHO, hold=hold, floor=floor)
        except StoreUnavailable as error:
            self._store_problem = str(error)
            raise NotPublished(str(error), store=True) from error
        except (DiskError, ApiError, ApiUnavailable) as error:
            raise NotPublished(
                f"the policy's version or its ConfigMap could not be written: {error}", store=False
            ) from error
        published.good = policy
        self._store_problem = "; ".join(policy.problems) if policy.stale else ""
        if before is None or before.version != policy.version:
            self._metrics.count_published()
            log.info("policy in force", desk=published.desk, version=policy.version, hold=policy.hold or None)
        return policy

    def copy_is_whole(self, uid: str, config_map: Mapping[str, Any] | None) -> bool:
        """Whether the ConfigMap as last seen carries the policy in force."""
        desk = self._desks.get(uid)
        return desk is None or desk.backup.holds(config_map)

    async def restore_copy(self, uid: str, config_map: Mapping[str, Any] | None) -> None:
        """Put the ConfigMap back to what was written last. Raises NotPublished."""
        try:
            await self._desks[uid].backup.restore(config_map)
        except DiskError as error:
            raise NotPublished(str(error), store=False) from error

    def forget(self, uid: str) -> None:
        self._desks.pop(uid, None)

    async def ping(self) -> None:
        """Ask the store whether it is there; `readiness` tells the answer."""
        try:
            await self.kv.ping()
        except StoreUnavailable as error:
            self._store_problem = str(error)
        else:
            self._store_problem = ""
        self._metrics.store_connected.set(0 if self._store_problem else 1)

    def readiness(self) -> Check:
        return Check(not self._store_problem, self._store_problem or "the store answers")

    def _desk(self, body: Mapping[str, Any]) -> _Published:
        uid = body["metadata"]["uid"]
        if uid not in self._desks:
            self._desks[uid] = _Published(self, body)
        return self._desks[uid]

    @staticmethod
    async def _load(desk: _Published, body: Mapping[str, Any]) -> None:
        try:
            await desk.backup.load(count(body, "status", "version"), text(body, "status", "versionSHA256"))
        except DiskError as error:
            raise NotPublished(
                f"the ConfigMap with the policy's copy could not be read: {error}", store=False
            ) from error
