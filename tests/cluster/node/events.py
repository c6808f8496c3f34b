"""Events about pods, in a kubelet's words; repeats are counted on the same Event."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import NamedTuple

from tests.cluster.node.api import AWAY, STRATEGIC, Api, ApiError, Object

log = logging.getLogger(__name__)
_KEPT = 200


class _Said(NamedTuple):
    uid: str
    container: str
    kind: str
    reason: str
    message: str


class _Entry:
    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0


class Events:
    """``say`` never waits and never fails; ``run`` sends in the background. What cannot be sent is lost."""

    def __init__(self, api: Api, node: str) -> None:
        self._api = api
        self._node = node
        self._queue: asyncio.Queue[tuple[_Said, Object]] = asyncio.Queue()
        self._known: dict[_Said, _Entry] = {}
        self._number = 0

    def say(self, pod: Object, reason: str, message: str, *, warning: bool = False, container: str = "") -> None:
        metadata = pod["metadata"]
        said = _Said(metadata["uid"], container, "Warning" if warning else "Normal", reason, message)
        self._queue.put_nowait((said, metadata))

    async def run(self) -> None:
        while True:
            said, metadata = await self._queue.get()
            try:
                await self._send(said, metadata)
            except ApiError as error:
                if error.status not in (403, 404):  # its namespace goes away
                    log.warning("event %s of %s: %s", said.reason, metadata["name"], error)
            except AWAY as error:
                log.info("event %s of %s lost: %s", said.reason, metadata["name"], type(error).__name__)

    async def _send(self, said: _Said, metadata: Object) -> None:
        namespace, now = metadata["namespace"], f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        path = f"/api/v1/namespaces/{namespace}/events"
        if (entry := self._known.get(said)) is not None:
            entry.count += 1
            await self._api.call(
                "PATCH", f"{path}/{entry.name}", {"count": entry.count, "lastTimestamp": now}, kind=STRATEGIC
            )
            return
        self._number += 1
        stamp = int(datetime.now(UTC).timestamp() * 1_000_000)
        entry = _Entry(f"{metadata['name'][:200]}.{stamp:x}{self._number:x}")
        involved = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": namespace,
            "name": metadata["name"],
            "uid": said.uid,
        }
        if said.container:
            involved["fieldPath"] = f"spec.containers{{{said.container}}}"
        event = {
            "metadata": {"name": entry.name, "namespace": namespace},
            "involvedObject": involved,
            "reason": said.reason,
            "message": said.message[:1000],
            "type": said.kind,
            "source": {"component": "kubelet", "host": self._node},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._api.call("POST", path, event)
        entry.count = 1
        self._known[said] = entry
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
