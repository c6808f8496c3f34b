"""The node agent: the pods that are bound to this node, each given to a worker of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import shutil
import sys
from pathlib import Path

from tests.cluster.local.layout import NODE_ADDRESS, NODE_NAME, Cluster
from tests.cluster.node.api import Api, Object
from tests.cluster.node.container import Container, Host
from tests.cluster.node.events import Events
from tests.cluster.node.network import Network
from tests.cluster.node.objects import WatchedObjects
from tests.cluster.node.pod import Node, PodWorker
from tests.cluster.node.processes import ProcessTable
from tests.cluster.node.registration import keep_alive, register
from tests.cluster.node.server import LogServer

from breakwater.runtime.valkey_server import ServerError, find_server

log = logging.getLogger(__name__)

_REPOSITORY = Path(__file__).resolve().parents[3]
_STOP_SECONDS = 5.0


class Agent:
    """``run`` until cancelled; then everything that it started is ended."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pods_dir = cluster.node_dir / "pods"
        logs = cluster.node_dir / "logs"
        for directory in (self._pods_dir, logs):
            directory.mkdir(parents=True, exist_ok=True)
        self._processes = ProcessTable(cluster.pods_file)
        host = Host(
            processes=self._processes,
            shims=_shims(cluster.node_dir / "shims"),
            logs=logs,
            visible=[str(_REPOSITORY), sys.prefix, sys.base_prefix],
            hidden=str(cluster.root),
        )
        api = Api(cluster.node_kubeconfig, cluster.node_dir)
        self._node = Node(cluster, api, WatchedObjects(api), Events(api, NODE_NAME), Network(cluster), host)
        self._server = LogServer(cluster, self._find)
        self._workers: dict[str, PodWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses = Addresses(cluster.pod_cidr)

    async def run(self) -> None:
        node = self._node
        self._processes.kill_leftovers()
        await self._server.start()
        try:
            await register(node.api, self._server.port)
            log.info("node %s runs; kubelet port %s", NODE_NAME, self._server.port)
            async with asyncio.TaskGroup() as group:
                group.create_task(keep_alive(node.api, self._server.port))
                group.create_task(node.events.run())
                group.create_task(node.network.run())
                services = "/api/v1/services"
                group.create_task(node.api.follow(services, node.network.set_services, node.network.service_event))
                selector = f"spec.nodeName={NODE_NAME}"
                group.create_task(
                    node.api.follow("/api/v1/pods", self._on_list, self._on_event, fieldSelector=selector)
                )
        finally:
            for task in self._tasks:
                task.cancel()
            await self._processes.kill_all(_STOP_SECONDS)
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.stop()
            await node.api.close()

    def _on_list(self, pods: list[Object]) -> None:
        present = {pod["metadata"]["uid"] for pod in pods}
        for uid in set(self._workers) - present:
            self._workers[uid].vanish()
        for directory in self._pods_dir.iterdir():
            if directory.name not in present | set(self._workers):
                shutil.rmtree(directory, ignore_errors=True)
        for pod in pods:
            self._on_event("MODIFIED", pod)

    def _on_event(self, kind: str, pod: Object) -> None:
        worker = self._workers.get(pod["metadata"]["uid"])
        if kind == "DELETED":
            if worker is not None:
                worker.vanish()
        elif worker is not None:
            worker.update(pod)
        else:
            self._admit(pod)

    def _admit(self, pod: Object) -> None:
        shared = bool(pod["spec"].get("hostNetwork"))
        ip = NODE_ADDRESS if shared else self._addresses.take((pod.get("status") or {}).get("podIP", ""))
        worker = PodWorker(self._node, pod, ip)
        self._workers[worker.uid] = worker
        task = asyncio.create_task(self._run(worker), name=f"pod {worker.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        except Exception:
            log.exception("pod %s", worker.name)
        finally:
            self._workers.pop(worker.uid, None)
            self._addresses.give_back(worker.ip)

    def _find(self, namespace: str, pod: str, container: str) -> Container | None:
        found: Container | None = None
        for worker in self._workers.values():
            metadata = worker.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, pod):
                found = next((each for each in worker.containers if each.name == container), found)
        return found


class Addresses:
    """The pods' IPs, each used again as late as possible."""

    def __init__(self, cidr: str) -> None:
        hosts = ipaddress.ip_network(cidr).hosts()
        self._free = {str(host): None for host in hosts}

    def take(self, wanted: str) -> str:
        """``wanted`` if it is free, else the one that was free for longest. Raises StopIteration when all are in use."""
        address = wanted if wanted in self._free else next(iter(self._free))
        del self._free[address]
        return address

    def give_back(self, address: str) -> None:
        if address != NODE_ADDRESS:
            self._free[address] = None


def _shims(directory: Path) -> Path:
    """Programs that images would bring, under the names that charts use."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        server = find_server()
    except ServerError as error:
        log.warning("no valkey-server for pods: %s", error)
    else:
        for name in ("valkey-server", "redis-server"):
            (directory / name).symlink_to(server)
    return directory
