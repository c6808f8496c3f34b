"""What somebody changes by hand on a desk's children is put back."""

from __future__ import annotations

import json

import pytest

from tests.cluster.desks.lab import RELEASE_NAMESPACE, Lab


@pytest.mark.parametrize("component", ["dashboard", "health-monitor"])
def test_deployment_deleted_by_hand_is_made_again(lab: Lab, desk: str, component: str) -> None:
    name = f"main-{component}"
    before = lab.get("deployment", name, desk)["metadata"]["uid"]
    lab.kubectl("delete", "deployment", name, "-n", desk, "--wait=false")
    lab.until(lambda: lab.get("deployment", name, desk)["metadata"]["uid"] != before, what="made again")


def test_deployment_edited_by_hand_is_put_back(lab: Lab, desk: str) -> None:
    name = "main-dashboard"
    before = lab.get("deployment", name, desk)["spec"]
    lab.kubectl("scale", "deployment", name, "-n", desk, "--replicas=0")
    lab.until(lambda: lab.get("deployment", name, desk)["spec"]["replicas"] == 1, what="replicas put back")
    # Server-side apply alone would leave what another manager added.
    lab.kubectl("set", "env", f"deployment/{name}", "-n", desk, "BREAKWATER_LOG_LEVEL=debug", "SNEAKED_IN=1")
    lab.until(lambda: lab.get("deployment", name, desk)["spec"] == before, what="the environment put back")


def test_service_and_policy_copy_deleted_by_hand_come_back(lab: Lab, desk: str) -> None:
    copy = json.loads(lab.get("configmap", "main-policy", desk)["data"]["policy.json"])
    lab.kubectl("delete", "service/main-execution", "configmap/main-policy", "-n", desk)
    lab.until(lambda: lab.get("service", "main-execution", desk), what="the Service")
    again = lab.until(
        lambda: json.loads(lab.get("configmap", "main-policy", desk)["data"]["policy.json"]), what="the copy"
    )
    assert again == copy


def test_policy_copy_edited_by_hand_is_put_back_and_never_obeyed(lab: Lab, desk: str) -> None:
    before = lab.get("configmap", "main-policy", desk)["data"]["policy.json"]
    forged = before.replace('"NORMAL"', '"AGGRESSIVE"')
    assert forged != before
    lab.patch("configmap", "main-policy", desk, {"data": {"policy.json": forged}})
    lab.until(lambda: lab.get("configmap", "main-policy", desk)["data"]["policy.json"] == before, what="put back")
    assert lab.page(desk)["policy"]["profile"] == "NORMAL"


def test_secret_deleted_by_hand_is_back_once_the_operator_looks(lab: Lab, desk: str) -> None:
    before = lab.get("secret", "main-desk", desk)["data"]
    lab.kubectl("delete", "secret", "main-desk", "-n", desk)
    lab.kubectl("rollout", "restart", "deployment/breakwater-operator", "-n", RELEASE_NAMESPACE)
    assert lab.until(lambda: lab.get("secret", "main-desk", desk)["data"], what="the Secret") == before
