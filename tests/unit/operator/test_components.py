"""Observed Deployments and Pods in, a sentence out: which component does not run, why, what to do."""

from __future__ import annotations

from typing import Any

import pytest

from breakwater_operator.verdict.components import apply_failed, diagnose, narrowed
from breakwater_operator.verdict.reasons import Reason


def meta(component: str, **more: Any) -> dict[str, Any]:
    return {
        "name": f"main-{component}",
        "namespace": "desk-a",
        "labels": {"app.kubernetes.io/component": component},
        "generation": 2,
        **more,
    }


def deployment(component: str = "execution", **status: Any) -> dict[str, Any]:
    base = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    return {"metadata": meta(component), "spec": {"replicas": 1}, "status": base | status}


def pod(component: str = "execution", made: str = "2025-10-10T20:00:00Z", **status: Any) -> dict[str, Any]:
    metadata = meta(component, creationTimestamp=made) | {"name": f"main-{component}-7d9-x2v"}
    return {"metadata": metadata, "status": status}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    status = {
        "name": "execution",
        "image": "breakwater:9",
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return {"containerStatuses": [status | more]}


def unready(pods: list[dict[str, Any]]) -> tuple[Reason, str]:
    verdict = diagnose(["execution"], [deployment(readyReplicas=0)], pods)
    assert not verdict.ready
    return verdict.reason, verdict.message


def test_all_rolled_out_is_ready() -> None:
    verdict = diagnose(
        ["market_data", "execution"], [deployment(), deployment("market-data"), deployment("old", replicas=0)], []
    )
    assert (verdict.ready, verdict.reason) == (True, Reason.ALL_READY)
    assert verdict.message == "all 2 components are ready"


@pytest.mark.parametrize(
    "status",
    [{"observedGeneration": 1}, {"updatedReplicas": 0}, {"readyReplicas": 0}, {"replicas": 2}, {"readyReplicas": None}],
)
def test_rollout_that_is_not_over_is_not_ready(status: dict[str, Any]) -> None:
    assert diagnose(["execution"], [deployment(**status)], []).reason is Reason.PROGRESSING


def test_missing_deployment_is_being_made() -> None:
    verdict = diagnose(["execution"], [], [])
    assert (verdict.ready, verdict.reason) == (False, Reason.PROGRESSING)


def test_image_that_cannot_be_pulled_names_image_and_remedy() -> None:
    reason, said = unready([pod(**waiting("ImagePullBackOff", "not found"))])
    assert reason is Reason.IMAGE_NOT_PULLED
    assert "execution: its image breakwater:9 cannot be pulled (not found)" in said
    assert "imagePullSecrets" in said


def test_missing_secret_is_named_as_the_kubelet_said_it() -> None:
    reason, said = unready([pod(**waiting("CreateContainerConfigError", 'secret "binance" not found'))])
    assert reason is Reason.CONFIG_MISSING
    assert 'secret "binance" not found' in said


def test_crash_loop_shows_exit_code_last_words_and_where_to_look() -> None:
    ended = {"exitCode": 2, "reason": "Error", "message": "line\n" * 90 + "REDIS_URL must be set"}
    reason, said = unready([pod(**waiting("CrashLoopBackOff", lastState={"terminated": ended}, restartCount=3))])
    assert reason is Reason.CRASH_LOOP
    assert "exit code 2 after 3 restarts" in said
    assert "REDIS_URL must be set" in said
    assert "kubectl logs -n desk-a main-execution-7d9-x2v --previous" in said


def test_container_that_has_just_ended_is_told_before_the_back_off() -> None:
    status = {"state": {"terminated": {"exitCode": 1}}, "restartCount": 1}
    reason, said = unready([pod(containerStatuses=[status])])
    assert reason is Reason.CRASH_LOOP
    assert "after 1 restart;" in said


def test_container_that_outgrew_its_memory_asks_for_more() -> None:
    ended = {"exitCode": 137, "reason": "OOMKilled"}
    reason, said = unready([pod(**waiting("CrashLoopBackOff", lastState={"terminated": ended}, restartCount=1))])
    assert reason is Reason.OUT_OF_MEMORY
    assert "desk.resources" in said


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.", Reason.CLAIM_PENDING),
        ("0/1 nodes are available: 1 Insufficient memory.", Reason.UNSCHEDULABLE),
    ],
)
def test_pod_without_a_node_says_what_is_missing(message: str, reason: Reason) -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    found, said = unready([pod(conditions=[condition])])
    assert found is reason
    assert message in said


def test_pod_that_was_refused_shows_the_replica_sets_words() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: memory"}
    verdict = diagnose(["execution"], [deployment(readyReplicas=0, conditions=[condition])], [])
    assert verdict.reason is Reason.PODS_REFUSED
    assert "exceeded quota" in verdict.message


def test_running_pod_that_is_not_ready_points_to_its_log() -> None:
    status = {"state": {"running": {}}, "started": True, "ready": False}
    reason, said = unready([pod(containerStatuses=[status])])
    assert reason is Reason.NOT_READY
    assert "kubectl logs" in said


def test_pod_that_starts_is_progressing() -> None:
    assert unready([pod(containerStatuses=[{"state": {"running": {}}, "started": False}])])[0] is Reason.PROGRESSING
    assert unready([pod(**waiting("ContainerCreating"))])[0] is Reason.PROGRESSING


def test_newest_living_pod_is_the_one_that_counts() -> None:
    leaving = pod(made="2025-10-10T22:00:00Z", **waiting("ErrImagePull"))
    leaving["metadata"]["deletionTimestamp"] = "2025-10-10T22:00:01Z"
    older = pod(made="2025-10-10T20:00:00Z", **waiting("ErrImagePull"))
    newest = pod(made="2025-10-10T21:00:00Z", **waiting("CreateContainerConfigError"))
    assert unready([leaving, older, newest])[0] is Reason.CONFIG_MISSING


def test_worst_component_gives_the_reason_and_all_are_named() -> None:
    names = ["a", "b", "c", "d", "e", "execution"]
    verdict = diagnose(names, [deployment("a")], [pod(**waiting("ErrImagePull"))])
    assert verdict.reason is Reason.PROGRESSING
    deployments = [deployment("a"), deployment(readyReplicas=0)]
    verdict = diagnose(names, deployments, [pod(**waiting("ErrImagePull"))])
    assert verdict.reason is Reason.IMAGE_NOT_PULLED
    assert verdict.message.startswith("execution: its image")
    assert verdict.message.endswith("also not ready: e")
    assert verdict.components["a"].ready


def test_verdict_on_some_components_ignores_the_others() -> None:
    verdict = diagnose(["a", "execution"], [deployment()], [])
    assert narrowed(verdict, ["execution"]).ready
    refused = apply_failed("Deployment main-execution", "forbidden")
    assert narrowed(refused, ["a"]) is refused
    assert "Deployment main-execution could not be applied: forbidden" in refused.message


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"metadata": None},
        {"status": {"containerStatuses": [7]}, "metadata": {"labels": {"app.kubernetes.io/component": "execution"}}},
    ],
)
def test_bodies_that_cannot_be_read_are_no_error(odd: dict[str, Any]) -> None:
    assert not diagnose(["execution"], [odd], [odd]).ready
