"""The Node object, its status and its Lease: how the control plane knows that this node lives."""

from __future__ import annotations

import asyncio
import logging
import platform
from datetime import UTC, datetime

from tests.cluster.local.layout import NODE_ADDRESS, NODE_NAME
from tests.cluster.node.api import AWAY, STRATEGIC, Api, ApiError, Object
from tests.cluster.node.container import timestamp
from tests.cluster.node.pod import ALLOCATABLE

log = logging.getLogger(__name__)

_LEASE_SECONDS = 40
_BEAT_SECONDS = 5.0
_STATUS_EVERY = 60
"""Beats between two reports of an unchanged status, as a kubelet's five minutes."""
_NODE = f"/api/v1/nodes/{NODE_NAME}"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


async def register(api: Api, kubelet_port: int) -> None:
    """Make the Node, or take the old one over; wait until the API server took it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    names = {"kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": machine}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME, "labels": names}}
    while True:
        try:
            await api.call("POST", "/api/v1/nodes", node)
        except ApiError as error:
            if error.status != 409:
                log.warning("registration: %s", error)
                await asyncio.sleep(0.5)
                continue
        except AWAY as error:
            log.info("registration: %s", type(error).__name__)
            await asyncio.sleep(0.5)
            continue
        if await _report(api, kubelet_port, began=True):
            return
        await asyncio.sleep(0.5)


async def keep_alive(api: Api, kubelet_port: int) -> None:
    """Renew the Lease every 5 s; tell the status now and then, and when the node was given up meanwhile. For ever."""
    beat = 0
    while True:
        good = await _renew(api)
        beat += 1
        if good and (given_up := await _given_up(api)) | (beat % _STATUS_EVERY == 0):
            await _report(api, kubelet_port, began=given_up)
        await asyncio.sleep(_BEAT_SECONDS if good else 0.5)


async def _report(api: Api, kubelet_port: int, *, began: bool) -> bool:
    try:
        await api.call("PATCH", f"{_NODE}/status", {"status": _status(kubelet_port, began=began)}, kind=STRATEGIC)
    except (ApiError, *AWAY) as error:
        log.warning("node status: %r", error)
        return False
    return True


def _status(kubelet_port: int, *, began: bool) -> Object:
    now = timestamp()
    healthy = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ]
    conditions = [
        {"type": kind, "status": value, "reason": reason, "message": reason, "lastHeartbeatTime": now}
        | ({"lastTransitionTime": now} if began else {})
        for kind, value, reason in healthy
    ]
    return {
        "capacity": ALLOCATABLE,
        "allocatable": ALLOCATABLE,
        "conditions": conditions,
        "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}, {"type": "Hostname", "address": NODE_NAME}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet_port}},
        "nodeInfo": {
            "kubeletVersion": "v1.36.0-processes",
            "containerRuntimeVersion": "process://1",
            "osImage": platform.system(),
            "kernelVersion": platform.release(),
            "operatingSystem": "linux",
            "architecture": platform.machine(),
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kubeProxyVersion": "",
        },
    }


async def _given_up(api: Api) -> bool:
    """Whether the node controller stopped believing in this node: only the node itself can say that it is well."""
    try:
        node = await api.call("GET", _NODE)
    except (ApiError, *AWAY):
        return False
    conditions = (node.get("status") or {}).get("conditions") or []
    return not any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def _renew(api: Api) -> bool:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    spec = {"holderIdentity": NODE_NAME, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": now}
    try:
        try:
            await api.call("PATCH", f"{_LEASES}/{NODE_NAME}", {"spec": spec}, kind=STRATEGIC)
        except ApiError as error:
            if error.status != 404:
                raise
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": NODE_NAME},
                "spec": spec,
            }
            await api.call("POST", _LEASES, lease)
    except (ApiError, *AWAY) as error:
        log.info("lease: %r", error)
        return False
    return True
