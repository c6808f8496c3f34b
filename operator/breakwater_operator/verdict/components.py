"""Observed Deployments and Pods in, a verdict out: which component does not run, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from breakwater_operator.verdict.body import Body, count, cut, entries, listed, name_of, section, text
from breakwater_operator.verdict.reasons import Reason

_COMPONENT_LABEL = "app.kubernetes.io/component"
_MOST_DETAIL = 600
_MOST_NAMED = 4
_NOT_PULLED = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_BAD_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError"})
_OUT_OF_MEMORY = "OOMKilled"


@dataclass(frozen=True)
class ComponentVerdict:
    """One component (``market-data``). Not ready: ``reason`` and a sentence with the remedy."""

    component: str
    ready: bool
    reason: Reason = Reason.ALL_READY
    message: str = ""


@dataclass(frozen=True)
class ComponentsVerdict:
    """All components of a desk together; the reason is the worst one's."""

    ready: bool
    reason: Reason
    message: str
    components: Mapping[str, ComponentVerdict] = field(default_factory=dict)


_WORST_FIRST = (
    Reason.APPLY_FAILED,
    Reason.CONFIG_MISSING,
    Reason.IMAGE_NOT_PULLED,
    Reason.OUT_OF_MEMORY,
    Reason.CRASH_LOOP,
    Reason.CLAIM_PENDING,
    Reason.UNSCHEDULABLE,
    Reason.PODS_REFUSED,
    Reason.NOT_READY,
    Reason.PROGRESSING,
)


def diagnose(desired: Iterable[str], deployments: Iterable[Body], pods: Iterable[Body]) -> ComponentsVerdict:
    """The verdict on the ``desired`` components (``market-data`` or ``market_data``).

    ``deployments`` and ``pods`` are those with the policy's label, in any order; ``pods`` may be empty while all is
    well. Components that are not desired are not looked at.
    """
    names = [component.replace("_", "-") for component in desired]
    found = {_component(deployment): deployment for deployment in deployments}
    of: dict[str, list[Body]] = {}
    for pod in pods:
        of.setdefault(_component(pod), []).append(pod)
    return _together({name: _verdict(name, found.get(name), of.get(name, [])) for name in names})


def narrowed(verdict: ComponentsVerdict, components: Collection[str]) -> ComponentsVerdict:
    """The verdict on ``components`` alone; one that names no components (`apply_failed`) stays."""
    if not verdict.components:
        return verdict
    return _together({name: one for name, one in verdict.components.items() if name in components})


def apply_failed(child: str, problem: str) -> ComponentsVerdict:
    """The verdict when the API server refused a child, for example ``Deployment main-execution``."""
    message = f"{child} could not be applied: {cut(problem, _MOST_DETAIL)}"
    return ComponentsVerdict(False, Reason.APPLY_FAILED, message)


def _together(verdicts: Mapping[str, ComponentVerdict]) -> ComponentsVerdict:
    bad = sorted((v for v in verdicts.values() if not v.ready), key=lambda v: _WORST_FIRST.index(v.reason))
    if not bad:
        return ComponentsVerdict(True, Reason.ALL_READY, f"all {len(verdicts)} components are ready", verdicts)
    said = "; ".join(verdict.message for verdict in bad[:_MOST_NAMED])
    if len(bad) > _MOST_NAMED:
        said += f"; also not ready: {listed(verdict.component for verdict in bad[_MOST_NAMED:])}"
    return ComponentsVerdict(False, bad[0].reason, said, verdicts)


def _component(body: Body) -> str:
    return text(body, "metadata", "labels", _COMPONENT_LABEL)


def _verdict(component: str, deployment: Body | None, pods: Sequence[Body]) -> ComponentVerdict:
    if deployment is None:
        return ComponentVerdict(component, False, Reason.PROGRESSING, f"{component}: its Deployment is being made")
    if _rolled_out(deployment):
        return ComponentVerdict(component, True)
    reason, message = _why(deployment, _current(pods))
    return ComponentVerdict(component, False, reason, f"{component}: {message}")


def _rolled_out(deployment: Body) -> bool:
    """The pod of the newest template, and no other, is ready."""
    status = section(deployment, "status")
    wanted = section(deployment, "spec").get("replicas", 1)
    return (
        count(status, "observedGeneration") >= count(deployment, "metadata", "generation")
        and wanted > 0
        and count(status, "updatedReplicas") == wanted
        and count(status, "replicas") == wanted
        and count(status, "readyReplicas") == wanted
    )


def _current(pods: Sequence[Body]) -> Body | None:
    """The newest pod that is not on its way out."""
    living = [pod for pod in pods if not section(pod, "metadata").get("deletionTimestamp")]
    return max(living, key=lambda pod: text(pod, "metadata", "creationTimestamp"), default=None)


def _why(deployment: Body, pod: Body | None) -> tuple[Reason, str]:
    if pod is None:
        return _without_pod(deployment)
    return _not_scheduled(pod) or _container_waits(pod) or _not_ready(pod)


def _without_pod(deployment: Body) -> tuple[Reason, str]:
    for condition in entries(deployment, "status", "conditions"):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            said = cut(text(condition, "message"), _MOST_DETAIL)
            return (
                Reason.PODS_REFUSED,
                f"its pod was refused: {said}; look at quotas and admission rules of the namespace",
            )
    return Reason.PROGRESSING, "its pod is being made"


def _not_scheduled(pod: Body) -> tuple[Reason, str] | None:
    for condition in entries(pod, "status", "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            said = cut(text(condition, "message"), _MOST_DETAIL)
            if "persistentvolumeclaim" in said.lower():
                remedy = "look at kubectl get pvc: the claim needs a storage class that can provide it"
                return Reason.CLAIM_PENDING, f"its claim is not bound ({said}); {remedy}"
            return Reason.UNSCHEDULABLE, f"no node takes its pod ({said}); add a node or lower desk.resources"
    return None


def _container_waits(pod: Body) -> tuple[Reason, str] | None:
    statuses = [*entries(pod, "status", "initContainerStatuses"), *entries(pod, "status", "containerStatuses")]
    for status in statuses:
        waiting = section(status, "state", "waiting")
        reason, said = text(waiting, "reason"), cut(text(waiting, "message"), _MOST_DETAIL)
        if reason in _NOT_PULLED:
            remedy = "check the image's name and imagePullSecrets"
            return (
                Reason.IMAGE_NOT_PULLED,
                f"its image {text(status, 'image')} cannot be pulled ({said or reason}); {remedy}",
            )
        if reason in _BAD_CONFIG:
            remedy = "create what is missing, the pod starts by itself then"
            return Reason.CONFIG_MISSING, f"its container cannot be made ({said or reason}); {remedy}"
        ended = section(status, "lastState", "terminated") or section(status, "state", "terminated")
        if ended and (reason == "CrashLoopBackOff" or section(status, "state", "terminated")):
            return _ended(pod, status, ended)
    return None


def _ended(pod: Body, status: Body, ended: Body) -> tuple[Reason, str]:
    restarts = count(status, "restartCount")
    again = f"after {restarts} restart{'s' if restarts != 1 else ''}"
    if text(ended, "reason") == _OUT_OF_MEMORY:
        return Reason.OUT_OF_MEMORY, f"it ran out of memory {again}; raise its limit in desk.resources"
    said = cut(" ".join(text(ended, "message").split()[-60:]), _MOST_DETAIL)
    last = f", saying: {said}" if said else ""
    logs = f"kubectl logs -n {text(pod, 'metadata', 'namespace')} {name_of(pod)} --previous"
    return Reason.CRASH_LOOP, f"it ended with exit code {count(ended, 'exitCode')} {again}{last}; see {logs}"


def _needs(pod: Body) -> str:
    """The user's own Secrets, without which a pod stays as it is and no status says why. The desk's comes first."""
    found = ""
    for volume in entries(pod, "spec", "volumes"):
        for source in entries(volume, "projected", "sources")[1:]:
            keys = " and ".join(text(item, "key") for item in entries(source, "secret", "items"))
            found += f"; it needs Secret {text(source, 'secret', 'name')} with {keys}"
    return found


def _not_ready(pod: Body) -> tuple[Reason, str]:
    running = [s for s in entries(pod, "status", "containerStatuses") if section(s, "state").get("running") is not None]
    if not running or not any(status.get("started") for status in running):
        return Reason.PROGRESSING, f"its pod is starting{_needs(pod)}"
    where = f"kubectl logs -n {text(pod, 'metadata', 'namespace')} {name_of(pod)}"
    return Reason.NOT_READY, f"it runs but is not ready; {where} says what it waits for"
