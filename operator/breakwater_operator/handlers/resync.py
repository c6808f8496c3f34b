"""Our own lists: at the start, so that nothing is decided before all is known, and every few minutes, for what a watch missed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import structlog

from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.lifecycle import Check, Service
from breakwater_operator.cluster.api import Api
from breakwater_operator.cluster.applier import Applier
from breakwater_operator.cluster.errors import ApiError, ApiUnavailable
from breakwater_operator.cluster.kinds import CHILDREN, OWN, TRADING_POLICY, Kind
from breakwater_operator.handlers.watch import CHILD_SELECTOR, enqueue
from breakwater_operator.metrics import OperatorMetrics
from breakwater_operator.store import Body, Store, version_of
from breakwater_operator.work_queue import WorkQueue

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 300.0
JITTER = 0.2
RETRY_SECONDS = 2.0


class Resync(Service):
    """Lists every kind and tells the store. ``namespaces`` empty: all at once."""

    name = "resync"

    def __init__(
        self,
        api: Api,
        objects: Store,
        queue: WorkQueue,
        applier: Applier,
        clock: InfraClock,
        jitter: random.Random,
        metrics: OperatorMetrics,
        namespaces: tuple[str, ...],
    ) -> None:
        super().__init__()
        self._api, self._objects, self._queue, self._applier = api, objects, queue, applier
        self._clock, self._random, self._metrics = clock, jitter, metrics
        self._scopes: tuple[str | None, ...] = namespaces or (None,)
        self._problem = "nothing has been listed yet"
        metrics.before_reading(self._measure)

    async def first(self) -> None:
        """List everything, however long it takes until the API server answers."""
        while not await self._once():
            await self._clock.sleep(RETRY_SECONDS)
        self._objects.synced = True

    async def start(self) -> None:
        self.spawn(self._for_ever(), "lists")

    def readiness(self) -> dict[str, Check]:
        return {**super().readiness(), "lists": Check(not self._problem, self._problem or "complete")}

    async def _for_ever(self) -> None:
        while True:
            await self._clock.sleep(PERIOD_SECONDS * (1 + JITTER * (2 * self._random.random() - 1)))
            while not await self._once():
                await self._clock.sleep(RETRY_SECONDS * 5)

    async def _once(self) -> bool:
        """One round; False when the API server did not let us finish it."""
        try:
            for kind in (*OWN, *CHILDREN):
                for namespace in self._scopes:
                    await self._list(kind, namespace)
        except (ApiUnavailable, ApiError) as error:
            if not self._problem:
                log.warning("listing failed; will try again", reason=str(error))
            self._problem = str(error)
            return False
        self._problem = ""
        self._applier.forget_unread()
        for body in self._objects.all(TRADING_POLICY):
            enqueue(self._queue, TRADING_POLICY, body)
        return True

    async def _list(self, kind: Kind, namespace: str | None) -> None:
        before = self._objects.versions(kind)
        labels = CHILD_SELECTOR if kind in CHILDREN else ""
        # Names and versions are enough to see that nothing was missed; only what was is read whole.
        slim = self._objects.synced and kind in CHILDREN
        listed = await self._api.list_objects(kind, namespace, labels=labels, metadata_only=slim)
        if slim:
            listed = [whole for item in listed if (whole := await self._whole(kind, item)) is not None]
        missed = self._objects.replace_all(kind, namespace, listed, before, self._changed)
        if missed and self._objects.synced:
            log.info("the list showed what no watch had reported", kind=kind.name, changes=missed)
            self._metrics.count_missed(kind.name, missed)

    async def _whole(self, kind: Kind, item: Body) -> Body | None:
        metadata = item["metadata"]
        known = self._objects.get(kind, metadata["namespace"], metadata["name"])
        if known is not None and version_of(known) >= version_of(item):
            return known
        return await self._api.get(kind, metadata["namespace"], metadata["name"])

    def _changed(self, kind: Kind, body: Mapping[str, Any], gone: bool) -> None:
        enqueue(self._queue, kind, body)

    def _measure(self) -> None:
        for kind, number in self._objects.counts().items():
            self._metrics.objects.labels(kind=kind).set(number)
