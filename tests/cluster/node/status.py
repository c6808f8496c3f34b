"""A pod's status from what its containers say. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.cluster.node.api import Object


@dataclass(frozen=True)
class Seen:
    """What the node knows of a pod. ``init`` and ``main``: ContainerStatuses in the spec's order."""

    pod: Object
    ip: str
    host_ip: str
    started_at: str
    mounted: bool
    initialized: bool
    init: list[Object] = field(default_factory=list)
    main: list[Object] = field(default_factory=list)
    ended: bool = False
    """True: nothing runs and nothing will, whatever the restart policy says."""


def phase(seen: Seen) -> str:
    """Pending, Running, Succeeded or Failed, as a kubelet's ``getPhase``."""
    policy = seen.pod["spec"].get("restartPolicy", "Always")
    codes = [state["terminated"]["exitCode"] for status in seen.main if "terminated" in (state := status["state"])]
    if seen.ended:
        return "Succeeded" if len(codes) == len(seen.main) and not any(codes) else "Failed"
    if not seen.initialized:
        failed = [status["state"].get("terminated", {}).get("exitCode", 0) for status in seen.init]
        return "Failed" if policy == "Never" and any(failed) else "Pending"
    if any("waiting" in status["state"] and not status["lastState"] for status in seen.main):
        return "Pending"
    if len(codes) < len(seen.main) or policy == "Always":
        return "Running"
    if not any(codes):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def pod_status(seen: Seen, previous: list[Object], now: str) -> Object:
    """The part of the status that a node writes. ``previous``: the conditions of last time, for their transition times."""
    current = phase(seen)
    over = current in ("Succeeded", "Failed")
    unready = [status["name"] for status in seen.main if not status["ready"]]
    waiting = {"reason": "PodCompleted"} if current == "Succeeded" else {"reason": "PodFailed"} if over else {}
    not_ready = waiting or {
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{' '.join(unready)}]",
    }
    gates = _closed_gates(seen.pod)
    ready = not unready and not over
    conditions = [
        _condition("PodReadyToStartContainers", seen.mounted and not over, {}),
        _condition("Initialized", seen.initialized, _not_initialized(seen)),
        _condition("ContainersReady", ready, not_ready),
        _condition(
            "Ready", ready and not gates, {"reason": "ReadinessGatesNotReady", "message": gates} if ready else not_ready
        ),
    ]
    before = {condition["type"]: condition for condition in previous}
    for condition in conditions:
        old = before.get(condition["type"])
        same = old is not None and old["status"] == condition["status"]
        condition["lastTransitionTime"] = old["lastTransitionTime"] if old is not None and same else now
    status: Object = {
        "phase": current,
        "hostIP": seen.host_ip,
        "hostIPs": [{"ip": seen.host_ip}],
        "startTime": seen.started_at,
        "conditions": conditions,
        "containerStatuses": seen.main,
    }
    if seen.ip:
        status |= {"podIP": seen.ip, "podIPs": [{"ip": seen.ip}]}
    if seen.init:
        status["initContainerStatuses"] = seen.init
    if generation := seen.pod["metadata"].get("generation"):
        status["observedGeneration"] = generation
    return status


def is_ready(status: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status["conditions"])


def _condition(kind: str, true: bool, why_not: Object) -> Object:
    return {"type": kind, "status": "True" if true else "False"} | (
        {"reason": "", "message": ""} if true else {} | why_not
    )


def _not_initialized(seen: Seen) -> Object:
    incomplete = [status["name"] for status in seen.init if not status["ready"]]
    message = f"containers with incomplete status: [{' '.join(incomplete)}]"
    return {"reason": "ContainersNotInitialized", "message": message}


def _closed_gates(pod: Object) -> str:
    """A sentence when a readiness gate is not open, else nothing."""
    true = {each["type"] for each in (pod.get("status") or {}).get("conditions") or [] if each["status"] == "True"}
    closed = [
        gate["conditionType"] for gate in pod["spec"].get("readinessGates") or [] if gate["conditionType"] not in true
    ]
    return f"corresponding condition of pod readiness gate does not exist or is not True: {closed}" if closed else ""
