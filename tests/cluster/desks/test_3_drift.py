"""What somebody changes by hand on a desk's children is put back."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest
from tests.cluster.desks.lab import Lab

from breakwater.domain.policy import Profile
from breakwater.runtime.policy_copy import PolicyCopy, decode_copy, encode_copy


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
    lab.kill_operator()
    lab.until(lambda: lab.get("service", "main-execution", desk), what="the Service")
    again = lab.until(
        lambda: json.loads(lab.get("configmap", "main-policy", desk)["data"]["policy.json"]), what="the copy"
    )
    assert again == copy


def test_policy_copy_edited_by_hand_is_put_back(lab: Lab, desk: str) -> None:
    before = lab.get("configmap", "main-policy", desk)["data"]["policy.json"]
    lab.patch("configmap", "main-policy", desk, {"data": {"policy.json": before.replace('"NORMAL"', '"AGGRESSIVE"')}})
    lab.until(lambda: lab.get("configmap", "main-policy", desk)["data"]["policy.json"] == before, what="put back")
    assert lab.page(desk)["policy"]["profile"] == "NORMAL"


@pytest.mark.slow
def test_policy_copy_forged_while_the_operator_is_away_closes_the_gate_and_is_never_obeyed(lab: Lab, desk: str) -> None:
    lab.until(lambda: lab.gate(desk)[0] == "OPEN", what="the gate is open before")
    before = lab.get("configmap", "main-policy", desk)["data"]["policy.json"]
    known = decode_copy(before.encode())
    spec = msgspec.structs.replace(known.desk.policy.spec, profile=Profile.AGGRESSIVE)
    policy = replace(known.desk.policy, spec=spec)
    # Whole and with the right digest: only that nobody published it tells it from a real one.
    forged = encode_copy(PolicyCopy(known.version + 5, replace(known.desk, policy=policy), known.history))
    lab.remove_operator()
    try:
        lab.patch("configmap", "main-policy", desk, {"data": {"policy.json": forged.decode()}})
        lab.until(lambda: lab.gate(desk) == ("REDUCE_ONLY", "POLICY_STALE"), 60, what="the gate closes")
        assert lab.execution(desk)["policy"]["version"] == known.version
        assert lab.page(desk)["policy"]["profile"] == "NORMAL"
        lab.patch("configmap", "main-policy", desk, {"data": {"policy.json": before}})
        lab.until(lambda: lab.gate(desk)[0] == "OPEN", 60, what="the gate opens once the copy is what it was")
    finally:
        lab.return_operator()
    lab.ready("main", desk)
    assert lab.status("tradingpolicy", "main", desk)["version"] == known.version


@pytest.mark.slow
def test_secret_deleted_by_hand_is_put_back_when_a_component_waits_for_it(lab: Lab, desk: str) -> None:
    # A new operator writes every Secret once: let the one that was killed before have done so.
    lab.until(lambda: "passed" in lab.operator_ready(), what="the operator is up")
    before = lab.get("secret", "main-desk", desk)["data"]
    lab.kubectl("delete", "secret", "main-desk", "-n", desk)
    lab.kubectl("delete", "pod", "-n", desk, "-l", "app.kubernetes.io/component=dashboard", "--wait=false")
    assert lab.until(lambda: lab.get("secret", "main-desk", desk)["data"], what="the Secret") == before
    lab.ready("main", desk)
