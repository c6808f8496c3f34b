"""One pod on this node, from its arrival to its deletion."""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.local.layout import NODE_ADDRESS, NODE_NAME, Cluster
from tests.cluster.node.api import AWAY, STRATEGIC, Api, ApiError, Object
from tests.cluster.node.container import SHIMS, Container, Host, timestamp
from tests.cluster.node.environment import PodFacts, environment
from tests.cluster.node.events import Events
from tests.cluster.node.network import Network
from tests.cluster.node.objects import Ref, WatchedObjects, references
from tests.cluster.node.status import Seen, is_ready, pod_status
from tests.cluster.node.volumes import MountError, PodVolumes

log = logging.getLogger(__name__)

ALLOCATABLE = {"cpu": "32", "memory": "64Gi", "pods": "110"}
"""Promised, not enforced: nothing here limits a process, and several desks must fit on a small machine."""
_RETRY_SECONDS = 1.0
_REFRESH_SECONDS = 30.0


@dataclass(frozen=True)
class Node:
    """What all pods share."""

    cluster: Cluster
    api: Api
    objects: WatchedObjects
    events: Events
    network: Network
    host: Host


class PodWorker:
    """``run`` once; ``update`` with each new version; ``vanish`` when the API server no longer knows the pod."""

    def __init__(self, node: Node, pod: Object, ip: str) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.ip = ip
        self.ready = False
        self.directory: Path = node.cluster.node_dir / "pods" / self.uid
        self._node = node
        self._refs = references(pod)
        self._volumes = PodVolumes(
            node.api, self.directory / "volumes", self._facts(), node.objects.get, node.cluster.on_host
        )
        old = pod.get("status") or {}
        self._over = old.get("phase") in ("Succeeded", "Failed")
        self._started_at = old.get("startTime") or timestamp()
        self._conditions: list[Object] = old.get("conditions") or []
        self._mounted = self._initialized = self._ended = False
        spec = pod["spec"]
        before = {each["name"]: each for each in old.get("containerStatuses") or []}
        self._main = [Container(node.host, self, each, before.get(each["name"])) for each in spec["containers"]]
        before = {each["name"]: each for each in old.get("initContainerStatuses") or []}
        inits = spec.get("initContainers") or []
        self._init = [Container(node.host, self, each, before.get(each["name"]), init=True) for each in inits]
        self._dirty = asyncio.Event()
        self._sent: Object = {}
        self._ending = asyncio.Event()
        self._gone = asyncio.Event()
        self._wake = asyncio.Event()

    @property
    def name(self) -> str:
        return f"{self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"

    @property
    def containers(self) -> list[Container]:
        return [*self._init, *self._main]

    @property
    def deleting(self) -> bool:
        return bool(self.pod["metadata"].get("deletionTimestamp"))

    def update(self, pod: Object) -> None:
        """A newer version of the pod."""
        old, self.pod = self.pod["metadata"], pod
        if any(old.get(key) != pod["metadata"].get(key) for key in ("labels", "annotations")):
            self._volumes.update(self._facts())
            self._wake.set()
            self._node.network.refresh()
        if self._sent and _ready_condition(pod.get("status") or {}) != _ready_condition(self._sent):
            self._sent = {}  # somebody else wrote it: the node controller, after the node was out of reach
        self._dirty.set()
        if self.deleting:
            self._ending.set()

    def vanish(self) -> None:
        """It was deleted by force: nothing of it may go on."""
        self._gone.set()
        self._ending.set()

    # What containers ask of it

    def variables(self, container: Object) -> dict[str, str]:
        network = self._node.network
        services = network.services_of(self.pod["metadata"]["namespace"])
        return environment(container, self._facts(), self._node.objects.get, services, network.api_service)

    def mounts(self, container: Object, variables: dict[str, str]) -> list[dict[str, Any]]:
        network = self._node.network
        names = {"/etc/hosts": network.hosts_file(self.uid), "/etc/resolv.conf": network.resolver_file}
        names["/etc/hostname"] = self._hostname_file
        own = [{"source": str(file), "target": target, "readOnly": False} for target, file in names.items()]
        own.append({"source": str(self._node.host.shims), "target": SHIMS, "readOnly": True})
        return [*own, *self._volumes.mounts(container, variables)]

    def changed(self) -> None:
        self._dirty.set()

    def say(self, reason: str, message: str, *, warning: bool = False, container: str = "") -> None:
        self._node.events.say(self.pod, reason, message, warning=warning, container=container)

    # Its life

    async def run(self) -> None:
        """Until it is deleted, by request or by force."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._hostname_file.write_text(self.pod["metadata"]["name"] + "\n")
        self._node.network.add(self)
        ignore = self._node.objects.listen(self._object_changed)
        self._node.objects.hold(self._refs)
        helpers = [asyncio.create_task(self._report()), asyncio.create_task(self._refresh())]
        life = asyncio.create_task(self._live(), name=f"life of {self.name}")
        life.add_done_callback(self._complain)
        try:
            if self.deleting:
                self._ending.set()
            await self._ending.wait()
            await self._stop()
            life.cancel()
            await asyncio.wait({life})
            self._ended = True
            if not self._gone.is_set():
                self._node.network.refresh()
                helpers[0].cancel()
                await self._delete()
        except Exception:
            await asyncio.gather(*(container.stop(0) for container in self.containers))
            raise
        finally:
            ignore()
            for task in (life, *helpers):
                task.cancel()
            await asyncio.gather(life, *helpers, return_exceptions=True)
            self._node.network.remove(self)
            await self._node.objects.release(self._refs)
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _live(self) -> None:
        if self._over:
            self._mounted = self._initialized = True
            return
        self.changed()
        await self._node.objects.known(self._refs)
        await self._mount()
        self._mounted = True
        self.changed()
        for container in self._init:
            if container.spec.get("restartPolicy") == "Always":
                self.say("Failed", f"sidecar container {container.name}: not supported by this node", warning=True)
            if await container.run() != 0:
                return
        self._initialized = True
        self.changed()
        await asyncio.gather(*(container.run() for container in self._main))

    async def _mount(self) -> None:
        while True:
            try:
                return await self._volumes.prepare()
            except MountError as error:
                self.say("FailedMount", str(error), warning=True)
            await self._wait_to_be_woken(_RETRY_SECONDS)

    async def _wait_to_be_woken(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return
        self._wake.clear()

    def _object_changed(self, ref: Ref) -> None:
        if ref in self._refs:
            self._wake.set()
            for container in self.containers:
                container.wake()

    async def _refresh(self) -> None:
        """Bring changes into the mounted volumes, and now and then see whether a token needs renewal."""
        while True:
            await self._wait_to_be_woken(_REFRESH_SECONDS)
            if self._mounted and not self._over:
                await self._volumes.refresh()

    async def _stop(self) -> None:
        stops: list[asyncio.Task[None]] = []
        grace = -1.0
        while True:
            wanted = 0.0 if self._gone.is_set() else float(self.pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            if grace < 0 or wanted < grace:
                grace = wanted
                stops += [asyncio.create_task(container.stop(grace)) for container in self.containers]
            self._ending.clear()
            news = asyncio.create_task(self._ending.wait())
            left = asyncio.create_task(_all(stops))
            await asyncio.wait((news, left), return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if left.done():
                return left.result()
            left.cancel()

    # What it tells the API server

    def _status(self) -> Object:
        seen = Seen(
            pod=self.pod,
            ip=self.ip,
            host_ip=NODE_ADDRESS,
            started_at=self._started_at,
            mounted=self._mounted,
            initialized=self._initialized,
            init=[container.status() for container in self._init],
            main=[container.status() for container in self._main],
            ended=self._ended,
        )
        status = pod_status(seen, self._conditions, timestamp())
        self._conditions = status["conditions"]
        return status

    async def _report(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if self._over:
                continue
            status = self._status()
            if self.ready != is_ready(status):
                self.ready = is_ready(status)
                self._node.network.refresh()
            if status != self._sent and not await self._send(status):
                await asyncio.sleep(0.3)
                self._dirty.set()

    async def _send(self, status: Object) -> bool:
        """Whether there is nothing left to say."""
        try:
            await self._node.api.call(
                "PATCH", f"{self._path}/status", {"metadata": {"uid": self.uid}, "status": status}, kind=STRATEGIC
            )
        except ApiError as error:
            if error.status in (404, 409):
                return True
            log.warning("status of %s: %s", self.name, error)
            return False
        except AWAY:
            return False
        self._sent = status
        return True

    async def _delete(self) -> None:
        """Tell the last status, then let the API server forget the pod."""
        while not self._gone.is_set():
            try:
                if not self._over and not await self._send(self._status()):
                    raise TimeoutError
                body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
                await self._node.api.call("DELETE", self._path, body)
                return
            except ApiError as error:
                if error.status in (404, 409):
                    return
                log.warning("deletion of %s: %s", self.name, error)
            except AWAY:
                log.info("deletion of %s waits for the API server", self.name)
            await asyncio.sleep(0.5)

    @property
    def _path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    @property
    def _hostname_file(self) -> Path:
        return self.directory / "hostname"

    def _facts(self) -> PodFacts:
        return PodFacts(self.pod, self.ip, NODE_ADDRESS, NODE_NAME, ALLOCATABLE)

    def _complain(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pod %s is stuck", self.name, exc_info=error)


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


def _ready_condition(status: Object) -> str:
    return next((str(each["status"]) for each in status.get("conditions") or [] if each["type"] == "Ready"), "")
