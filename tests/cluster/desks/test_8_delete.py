"""Deleting a policy removes its components and nothing else."""

from __future__ import annotations

import pytest
from tests.cluster.desks.lab import COMPONENTS, DESK_SECONDS, Lab, profile

KINDS = "deployments,services,configmaps,secrets,serviceaccounts"
OURS = "app.kubernetes.io/managed-by=breakwater-operator"


def test_policy_deleted_takes_its_components_and_nothing_else(lab: Lab, started: str) -> None:
    lab.kubectl("create", "configmap", "mine", "-n", started, "--from-literal=a=b")
    claims = lab.names("persistentvolumeclaims", started)
    others = {item["metadata"]["uid"] for item in lab.items(KINDS, "desk-b")}
    lab.kubectl("delete", "tradingpolicy", "main", "-n", started, "--wait=false")
    lab.kill_operator()
    lab.until(lambda: not lab.items(KINDS, started, OURS), 60, what="the children are gone")
    lab.until(lambda: not lab.pods(started), 60, what="the pods are gone")
    assert lab.names("persistentvolumeclaims", started) == claims
    assert "mine" in lab.names("configmaps", started)
    lab.until(
        lambda: lab.condition("estop", "main", started, "Ready").get("reason") == "PolicyNotFound",
        what="the stop says that its policy is gone",
    )
    assert {item["metadata"]["uid"] for item in lab.items(KINDS, "desk-b")} == others


@pytest.mark.slow
def test_policy_made_anew_under_the_old_name_is_a_new_desk(lab: Lab, started: str) -> None:
    lab.kubectl("delete", "tradingpolicy/main", "estop/main", "-n", started, "--ignore-not-found")
    lab.until(lambda: not lab.pods(started), 60, what="the old desk's pods are gone")
    lab.apply(profile("normal"), started)
    lab.until(lambda: lab.items("deployments", started, OURS), what="the first component")
    lab.kill_operator()
    lab.ready("main", started, DESK_SECONDS)
    assert len(lab.names("deployments", started)) == len(COMPONENTS)
    stop = lab.status("estop", "main", started)
    assert (stop["state"], stop.get("requests", [])) == ("ARMED", [])
    assert lab.status("tradingpolicy", "main", started)["version"] == 1
