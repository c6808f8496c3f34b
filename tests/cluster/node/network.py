"""Services and names on loopback: what kube-proxy and the cluster's DNS do.

A Service's ClusterIP and port listen while some pod behind it is ready, and refuse at once otherwise. Names come to the pods as
``/etc/hosts``, written in place because the file is mounted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.cluster.local.layout import CLUSTER_DOMAIN, NODE_ADDRESS, Cluster
from tests.cluster.node.api import Object

log = logging.getLogger(__name__)

_CHUNK = 65536


class Backend(Protocol):
    """A pod as the network sees it."""

    pod: Object
    uid: str
    ip: str
    ready: bool

    @property
    def deleting(self) -> bool: ...


class Address(NamedTuple):
    ip: str
    port: int


class Forwarder:
    """TCP from one address to whatever ``pick`` names at that moment."""

    def __init__(self, pick: Callable[[], Address | None]) -> None:
        self._pick = pick
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self, address: Address) -> None:
        """Raises OSError."""
        self._server = await asyncio.start_server(self._serve, address.ip, address.port, limit=_CHUNK)

    def close(self, *, cut: bool = False) -> None:
        """Listen no longer; ``cut``: and end the connections too."""
        if self._server is not None:
            self._server.close()
        if cut:
            for task in list(self._connections):
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        ends = [writer]
        try:
            if (target := self._pick()) is None:
                raise ConnectionRefusedError
            far_reader, far_writer = await asyncio.open_connection(target.ip, target.port, limit=_CHUNK)
            ends.append(far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer))
                group.create_task(_pump(far_reader, writer))
        except* OSError:  # a broken connection must look broken on the other side too
            for end in ends:
                end.transport.abort()
        finally:
            self._connections.discard(task)
            for end in ends:
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):
            writer.write_eof()


class Network:
    """Pods and Services in; listeners and host files out. ``run`` keeps them in step."""

    def __init__(self, cluster: Cluster) -> None:
        self.api_service = cluster.api_service_ip
        self._cluster = cluster
        self._directory = cluster.node_dir / "hosts"
        self._directory.mkdir(parents=True, exist_ok=True)
        for old in self._directory.iterdir():
            old.unlink()
        # Nobody answers there: an unknown name is refused at once and no question leaves the machine.
        self.resolver_file.write_text(
            f"nameserver {self.api_service.rpartition('.')[0]}.10\noptions timeout:1 attempts:1\n"
        )
        self._services: dict[tuple[str, str], Object] = {}
        self._pods: dict[str, Backend] = {}
        self._forwarders: dict[Address, Forwarder] = {}
        self._targets: dict[Address, list[Address]] = {}
        self._turn = itertools.count()
        self._stale = asyncio.Event()

    @property
    def resolver_file(self) -> Path:
        """For the pods' /etc/resolv.conf."""
        return self._directory / "resolv.conf"

    def hosts_file(self, uid: str) -> Path:
        """For a pod's /etc/hosts."""
        return self._directory / uid

    def services_of(self, namespace: str) -> list[Object]:
        return [service for (where, _), service in sorted(self._services.items()) if where == namespace]

    def add(self, pod: Backend) -> None:
        self._pods[pod.uid] = pod
        self._write_hosts(pod)
        self.refresh()

    def remove(self, pod: Backend) -> None:
        self._pods.pop(pod.uid, None)
        self.hosts_file(pod.uid).unlink(missing_ok=True)
        self.refresh()

    def refresh(self) -> None:
        """Some pod is different now."""
        self._stale.set()

    def set_services(self, services: list[Object]) -> None:
        """All there are."""
        self._services = {_key(service): service for service in services}
        self.refresh()

    def service_event(self, kind: str, service: Object) -> None:
        if kind == "DELETED":
            self._services.pop(_key(service), None)
        else:
            self._services[_key(service)] = service
        self.refresh()

    async def run(self) -> None:
        try:
            while True:
                await self._stale.wait()
                self._stale.clear()
                await self._sync()
        finally:
            for forwarder in self._forwarders.values():
                forwarder.close(cut=True)

    async def _sync(self) -> None:
        for pod in self._pods.values():
            self._write_hosts(pod)
        self._targets = dict(self._wanted())
        for address in [address for address in self._forwarders if not self._targets.get(address)]:
            self._forwarders.pop(address).close()
        for address in [address for address, targets in self._targets.items() if targets]:
            if address not in self._forwarders:
                forwarder = Forwarder(lambda address=address: self._pick(address))  # type: ignore[misc]
                try:
                    await forwarder.open(address)
                except OSError as error:
                    log.warning("service address %s:%s cannot be served: %s", *address, error)
                    continue
                self._forwarders[address] = forwarder

    def _wanted(self) -> Iterable[tuple[Address, list[Address]]]:
        for (namespace, name), service in self._services.items():
            ip = service["spec"].get("clusterIP")
            if not ip or ip == "None":
                continue
            for port in service["spec"].get("ports") or []:
                if port.get("protocol", "TCP") != "TCP":
                    continue
                if (namespace, name) == ("default", "kubernetes"):
                    yield Address(ip, port["port"]), [Address(NODE_ADDRESS, self._cluster.api_port)]
                    continue
                found = (_target(pod, port) for pod in self._behind(service))
                yield Address(ip, port["port"]), [target for target in found if target is not None]

    def _pick(self, address: Address) -> Address | None:
        targets = self._targets.get(address)
        return targets[next(self._turn) % len(targets)] if targets else None

    def _behind(self, service: Object) -> list[Backend]:
        """The ready pods that a Service's selector means."""
        selector = service["spec"].get("selector")
        anyway = service["spec"].get("publishNotReadyAddresses", False)
        if not selector:
            return []
        return [
            pod
            for pod in self._pods.values()
            if pod.pod["metadata"]["namespace"] == service["metadata"]["namespace"]
            and selector.items() <= (pod.pod["metadata"].get("labels") or {}).items()
            and pod.ip
            and (anyway or (pod.ready and not pod.deleting))
        ]

    def _write_hosts(self, pod: Backend) -> None:
        file = self.hosts_file(pod.uid)
        text = self._hosts_text(pod).encode()
        if file.exists() and file.read_bytes() == text:
            return
        with open(file, "r+b" if file.exists() else "wb", buffering=0) as target:
            target.write(text)  # in place and in one go: the mount follows the file, not its name
            target.truncate()

    def _hosts_text(self, pod: Backend) -> str:
        metadata, spec = pod.pod["metadata"], pod.pod["spec"]
        lines = ["127.0.0.1 localhost", f"{pod.ip} {spec.get('hostname') or metadata['name']}"]
        for (namespace, name), service in sorted(self._services.items()):
            ip = service["spec"].get("clusterIP")
            if ip == "None":
                behind = self._behind(service)
                lines += [f"{each.ip} {host}" for each in behind if (host := _own_name(each, namespace, name))]
                ip = behind[0].ip if behind else ""
            if ip:
                full = f"{name}.{namespace}.svc.{CLUSTER_DOMAIN} {name}.{namespace}.svc {name}.{namespace}"
                lines.append(f"{ip} {full} {name}" if namespace == metadata["namespace"] else f"{ip} {full}")
        return "\n".join(lines) + "\n"


def _key(service: Object) -> tuple[str, str]:
    return service["metadata"]["namespace"], service["metadata"]["name"]


def _own_name(pod: Backend, namespace: str, service: str) -> str:
    """The names of a StatefulSet's pod below its headless Service, e.g. ``store-0.store.desk-a.svc``."""
    spec = pod.pod["spec"]
    if spec.get("subdomain") != service or not spec.get("hostname"):
        return ""
    base = f"{spec['hostname']}.{service}"
    return f"{base}.{namespace}.svc.{CLUSTER_DOMAIN} {base}.{namespace}.svc {base}.{namespace} {base}"


def _target(pod: Backend, port: Object) -> Address | None:
    wanted = str(port.get("targetPort", port["port"]))
    if wanted.isdigit():
        return Address(pod.ip, int(wanted))
    for container in pod.pod["spec"]["containers"]:
        for each in container.get("ports") or []:
            if each.get("name") == wanted:
                return Address(pod.ip, each["containerPort"])
    return None
