"""Pods of the chart keep the restricted Pod Security Standard, and secrets stay out of sight."""

from __future__ import annotations

import base64
import json

import pytest
from tests.contract.chart.rendering import VALUE_SETS, Object, pick, pods, rendered

every_set = pytest.mark.parametrize("values", VALUE_SETS)
ALLOWED_VOLUMES = {
    "configMap",
    "emptyDir",
    "projected",
    "secret",
    "persistentVolumeClaim",
    "downwardAPI",
    "csi",
    "ephemeral",
}


def violations(spec: Object) -> list[str]:
    """What the restricted standard (v1.36) refuses in a pod, field by field."""
    found = [field for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    pod = spec.get("securityContext", {})
    for volume in spec.get("volumes", []):
        found += [f"volume {volume['name']}" for kind in volume if kind != "name" and kind not in ALLOWED_VOLUMES]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        both = {**pod, **own}
        checks = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser", 1) != 0,
            "capabilities.drop": own.get("capabilities", {}).get("drop") == ["ALL"],
            "capabilities.add": not set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"},
            "seccompProfile": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            # Not part of the standard; ours.
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
        }
        found += [f"{container['name']}: {name}" for name, fine in checks.items() if not fine]
    return found


@every_set
def test_every_pod_keeps_the_restricted_standard(values: str) -> None:
    for name, _, spec in pods(rendered(values)):
        assert violations(spec) == [], name


def test_check_notices_each_kind_of_violation() -> None:
    for _, _, spec in pods(rendered("defaults")):
        (container,) = spec["containers"]
        for broken in (
            {**spec, "hostNetwork": True},
            {**spec, "volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
            {**spec, "securityContext": {}, "containers": [{**container, "securityContext": {}}]},
            {
                **spec,
                "containers": [{**container, "securityContext": {**container["securityContext"], "runAsUser": 0}}],
            },
        ):
            assert violations(broken)


@every_set
def test_only_operator_and_test_get_a_token_of_the_api_server(values: str) -> None:
    for name, labels, spec in pods(rendered(values)):
        mounted = labels["app.kubernetes.io/component"] in ("operator", "test")
        assert spec["automountServiceAccountToken"] is mounted, name
        assert spec["enableServiceLinks"] is False


def test_account_of_the_test_has_no_rights() -> None:
    objects = rendered("defaults")
    account = pick(objects, "Pod", "-selftest")["spec"]["serviceAccountName"]
    bound = [
        subject["name"] for each in objects if each["kind"].endswith("RoleBinding") for subject in each["subjects"]
    ]
    assert account not in bound


@every_set
def test_secrets_are_only_in_secrets(values: str) -> None:
    objects = rendered(values)
    hidden = [
        base64.b64decode(value).decode().strip() for each in objects if each["kind"] == "Secret" for value in each["data"].values()
    ]  # fmt: skip
    shown = json.dumps([each for each in objects if each["kind"] != "Secret"])
    assert not [secret for secret in hidden if secret in shown]


def test_password_of_the_store_reaches_it_by_file_alone() -> None:
    (container,) = pick(rendered("defaults"), "StatefulSet", "-valkey")["spec"]["template"]["spec"]["containers"]
    assert [variable["name"] for variable in container["env"]] == ["POD_IP"]
    assert container["command"] == ["valkey-server", "/etc/valkey/conf/valkey.conf", "--bind", "0.0.0.0"]
    assert "args" not in container


@every_set
def test_mounted_secrets_are_readable_by_the_pods_group_alone(values: str) -> None:
    for _, _, spec in pods(rendered(values)):
        for volume in spec.get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440
        assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"]


def test_only_breakwaters_pods_may_reach_the_store() -> None:
    spec = pick(rendered("defaults"), "NetworkPolicy", "-valkey")["spec"]
    (rule,) = spec["ingress"]
    desks, own = rule["from"]
    assert desks == {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "breakwater"}}}
    assert "namespaceSelector" not in own
    assert spec["policyTypes"] == ["Ingress"]
    for name, labels, _ in pods(rendered("defaults")):
        if not name.endswith("-valkey"):
            assert own["podSelector"]["matchLabels"].items() <= labels.items()
