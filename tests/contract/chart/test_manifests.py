"""What the chart renders hangs together: names, selectors, references, settings, for several sets of values."""

from __future__ import annotations

import base64
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from tests.contract.chart.rendering import (
    CHART,
    EVERYTHING,
    GIVEN,
    NAMESPACE,
    RELEASE,
    VALUE_SETS,
    Object,
    pick,
    pods,
    render,
    rendered,
    template,
)

from breakwater.runtime.settings import parse_redis_url
from breakwater_operator.desired.inputs import Platform
from breakwater_operator.settings import VARIABLES, OperatorSettings, load_settings

KINDS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "ConfigMap": "v1",
    "Secret": "v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "Pod": "v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
}
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
every_set = pytest.mark.parametrize("values", VALUE_SETS)


def own(values: str) -> list[Object]:
    """Without what the user added."""
    return [each for each in rendered(values) if "labels" in each["metadata"]]


@every_set
def test_every_object_has_known_kind_own_name_namespace_and_labels(values: str) -> None:
    seen = set()
    for each in own(values):
        kind, metadata = each["kind"], each["metadata"]
        assert each["apiVersion"] == KINDS[kind]
        assert re.fullmatch(r"[a-z]([-.a-z0-9]*[a-z0-9])?", metadata["name"])
        assert ("namespace" in metadata) is (kind not in CLUSTER_WIDE)
        if kind in ("Role", "RoleBinding"):
            assert metadata["namespace"] in VALUE_SETS[values]["namespaces"]
        elif kind not in CLUSTER_WIDE:
            assert metadata["namespace"] == NAMESPACE
        labels = metadata["labels"]
        assert (labels["app.kubernetes.io/name"], labels["app.kubernetes.io/instance"]) == ("breakwater", RELEASE)
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert all(isinstance(value, str) for value in labels.values())
        address = (kind, metadata.get("namespace"), metadata["name"])
        assert address not in seen
        seen.add(address)


@every_set
def test_selectors_choose_exactly_the_pods_of_their_part(values: str) -> None:
    objects = rendered(values)
    running = {name: labels for name, labels, _ in pods(objects)}
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] in ("Deployment", "StatefulSet"):
            selector = spec["selector"]["matchLabels"]
        elif each["kind"] == "Service":
            selector = spec["selector"]
        elif each["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        else:
            continue
        chosen = [name for name, labels in running.items() if selector.items() <= labels.items()]
        assert chosen == [each["metadata"]["name"].removesuffix("-headless")], each["metadata"]["name"]


@every_set
def test_services_lead_to_ports_that_pods_have(values: str) -> None:
    objects = rendered(values)
    for each in objects:
        if each["kind"] == "Service":
            selector = each["spec"]["selector"]
            (spec,) = [spec for _, labels, spec in pods(objects) if selector.items() <= labels.items()]
            there = {(p["name"], p["containerPort"], p["protocol"]) for p in spec["containers"][0]["ports"]}
            for port in each["spec"]["ports"]:
                assert (port["targetPort"], port["port"], port["protocol"]) in there


@every_set
def test_every_named_port_secret_map_account_and_role_exists(values: str) -> None:
    objects = rendered(values)
    there = {(each["kind"], each["metadata"]["name"]) for each in objects} | GIVEN
    keys = {
        (each["kind"], each["metadata"]["name"]): set(each["data"]) for each in objects if each["kind"] in ("Secret", "ConfigMap") and "data" in each
    }  # fmt: skip
    for name, _, spec in pods(objects):
        for kind, target, wanted in references(spec):
            assert (kind, target) in there, f"{name} refers to {kind} {target}"
            if (kind, target) in keys:
                assert wanted <= keys[kind, target], f"{name}: {kind} {target} has no {wanted}"
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        for container in spec["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for action in (container.get(probe) or {}).values():
                    if isinstance(action, dict):
                        assert action["port"] in ports
            # `data` comes from the claim template.
            assert {mount["name"] for mount in container["volumeMounts"]} - {"data"} <= volumes
    for each in objects:
        if each["kind"].endswith("RoleBinding"):
            assert (each["roleRef"]["kind"], each["roleRef"]["name"]) in there
            (subject,) = each["subjects"]
            assert (subject["kind"], subject["name"]) in there
            assert subject["namespace"] == NAMESPACE
        if each["kind"] == "StatefulSet":
            assert ("Service", each["spec"]["serviceName"]) in there


def references(spec: Object) -> list[tuple[str, str, set[str]]]:
    """Kind, name and entries of everything a pod refers to."""
    found = [("ServiceAccount", spec["serviceAccountName"], set[str]())] if "serviceAccountName" in spec else []
    for volume in spec.get("volumes", []):
        if source := volume.get("secret"):
            found.append(("Secret", source["secretName"], {item["key"] for item in source["items"]}))
        if source := volume.get("configMap"):
            found.append(("ConfigMap", source["name"], {item["key"] for item in source["items"]}))
    for container in spec["containers"]:
        sources = [variable.get("valueFrom", {}).get("secretKeyRef") for variable in container.get("env", [])]
        found += [("Secret", source["name"], {source["key"]}) for source in sources if source]
    return found


@every_set
def test_images_have_a_version_and_containers_have_resources(values: str) -> None:
    for name, _, spec in pods(rendered(values)):
        for container in spec["containers"]:
            tag = re.search(r"(?::([\w.-]+))?(@sha256:[a-f0-9]{64})?$", container["image"])
            assert tag is not None
            assert tag[1] != "latest"
            assert tag[1] or tag[2], f"{name} runs {container['image']}"
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


@every_set
def test_operator_starts_from_what_is_rendered(values: str, tmp_path: Path) -> None:
    settings = settings_of(rendered(values), tmp_path)
    assert list(settings.namespaces) == VALUE_SETS[values].get("namespaces", [])
    assert settings.http_port == 8080


def settings_of(objects: list[Object], directory: Path) -> OperatorSettings:
    """The operator's own reading of the environment and the files that its pod gets. Raises SettingsError."""
    deployment = pick(objects, "Deployment", "-operator")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    assert set(environment) - {"POD_IP"} <= set(VARIABLES)
    assert next(iter(environment)) == "POD_IP", "a variable can only refer to an earlier one"
    # The Secrets may be somebody else's, and then only the names are known here.
    (directory / "key").write_text("k" * 48)
    (directory / "platform.yaml").write_text(pick(objects, "ConfigMap", "-platform")["data"]["platform.yaml"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert environment["BREAKWATER_OPERATOR_KEY_FILE"] == f"{mounts['key']}/key"
    assert environment["BREAKWATER_PLATFORM_FILE"] == f"{mounts['platform']}/platform.yaml"
    environment |= {
        "REDIS_URL": "redis://localhost",
        "BREAKWATER_OPERATOR_KEY_FILE": str(directory / "key"),
        "BREAKWATER_PLATFORM_FILE": str(directory / "platform.yaml"),
    }
    return load_settings(environment)


def test_every_value_for_desks_reaches_the_operator(tmp_path: Path) -> None:
    platform = settings_of(rendered("everything"), tmp_path).platform
    desk = EVERYTHING["desk"]
    assert platform.image == f"mirror.example:5000/team/desk:1.2@sha256:{'a' * 64}"
    assert [secret.name for secret in platform.image_pull_secrets] == ["pull"]
    assert (platform.security_context.run_as_user, platform.security_context.fs_group) == (1000680000, 1000680001)
    assert platform.bind_address == "$(POD_IP)"
    assert (platform.storage.class_name, platform.storage.size) == ("fast", "5Gi")
    assert platform.storage.access_mode == "ReadWriteOncePod"
    # Exact numbers reach the operator as text.
    assert platform.resources["execution"]["requests"]["cpu"] == "0.5"
    assert platform.resources["default"] == desk["resources"]["default"]
    for field, value in (
        ("log_level", "logLevel"),
        ("node_selector", "nodeSelector"),
        ("affinity", "affinity"),
        ("pod_labels", "podLabels"),
        ("pod_annotations", "podAnnotations"),
        ("priority_class_name", "priorityClassName"),
    ):
        assert getattr(platform, field) == desk[value]
    assert list(platform.tolerations) == desk["tolerations"]


@pytest.mark.parametrize(("named", "class_name"), [("", None), ("-", ""), ("fast", "fast")])
def test_storage_class_is_the_default_none_or_the_named_one(named: str, class_name: str | None) -> None:
    storage = {"storage": {"className": named}}
    objects = render({"desk": storage, "valkey": storage})
    platform = Platform.load(pick(objects, "ConfigMap", "-platform")["data"]["platform.yaml"])
    (claim,) = pick(objects, "StatefulSet", "-valkey")["spec"]["volumeClaimTemplates"]
    assert platform.storage.class_name == class_name
    assert claim["spec"].get("storageClassName") == class_name


def test_one_operator_at_a_time_and_a_new_one_when_its_platform_changes() -> None:
    before = pick(rendered("defaults"), "Deployment", "-operator")["spec"]
    after = pick(render({"desk": {"podLabels": {"a": "b"}}}), "Deployment", "-operator")["spec"]
    assert before["replicas"] == 1
    assert before["strategy"] == {"type": "Recreate"}
    assert before["template"] != after["template"]


@pytest.mark.parametrize(
    "change",
    [{"operator": {"logLevel": "debug"}}, {"desk": {"logLevel": "debug"}}, {"crds": {"keep": False}}],
    ids=["operator", "desk", "crds"],
)
def test_store_goes_on_when_other_values_change(change: Object) -> None:
    before, after = (pick(objects, "StatefulSet", "-valkey") for objects in (rendered("defaults"), render(change)))
    assert before["spec"] == after["spec"]


@pytest.mark.parametrize("values", ["defaults", "everything"])
def test_same_values_rendered_again_change_nothing_but_what_only_a_cluster_can_keep(values: str) -> None:
    first, second = rendered(values), render(VALUE_SETS[values])
    assert [each for each in first if each["kind"] != "Secret"] == [each for each in second if each["kind"] != "Secret"]


def test_new_version_of_the_chart_alone_leaves_the_store_running(tmp_path: Path) -> None:
    newer = shutil.copytree(CHART, tmp_path / "breakwater")
    text = (CHART / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(re.sub(r"(?m)^(version|appVersion): .*$", r'\1: "9.9.9"', text))
    pinned = {"image": {"tag": "1.0.0"}}
    before, after = (
        pick(render(pinned), "StatefulSet", "-valkey"),
        pick(render(pinned, chart=newer), "StatefulSet", "-valkey"),
    )
    assert before["metadata"]["labels"] != after["metadata"]["labels"]
    assert before["spec"] == after["spec"]


def test_passwords_and_keys_are_random_long_and_the_same_in_every_entry() -> None:
    first, second = rendered("defaults"), render({})
    secrets = [
        {key: decoded(value) for key, value in pick(o, "Secret", "-valkey")["data"].items()} for o in (first, second)
    ]
    for secret in secrets:
        assert re.fullmatch(r"[A-Za-z0-9]{48}", secret["password"])
        assert secret["auth.conf"] == f"requirepass {secret['password']}\n"
        assert secret["url"] == f"redis://:{secret['password']}@breakwater-valkey.{NAMESPACE}.svc:6379/0"
        assert parse_redis_url(secret["url"]) == secret["url"]
    assert secrets[0] != secrets[1]
    keys = [decoded(pick(objects, "Secret", "-operator")["data"]["key"]) for objects in (first, second)]
    assert len(set(keys)) == 2
    assert all(len(key) == 48 for key in keys)


def decoded(value: str) -> str:
    return base64.b64decode(value).decode()


def test_secrets_outlive_the_release_so_that_running_desks_fit_the_next_install() -> None:
    for name in ("-valkey", "-operator"):
        metadata = pick(rendered("defaults"), "Secret", name)["metadata"]
        assert metadata["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_external_store_replaces_the_charts_own_everywhere() -> None:
    for values, secret, key in (
        ("external-url", "breakwater-redis", "url"),
        ("external-secret", "given-redis", "address"),
    ):
        objects = rendered(values)
        assert not [each for each in objects if each["metadata"]["name"].endswith(("valkey", "headless"))]
        wanted = {"name": "REDIS_URL", "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        assert all(wanted in spec["containers"][0]["env"] for _, _, spec in pods(objects))
    data = pick(rendered("external-url"), "Secret", "-redis")["data"]
    assert decoded(data["url"]) == VALUE_SETS["external-url"]["redis"]["external"]["url"]


def test_address_to_bind_reaches_operator_store_and_desks() -> None:
    objects = rendered("everything")
    (operator,), (store,) = (
        spec["containers"] for name, _, spec in pods(objects) if name.endswith(("-operator", "-valkey"))
    )
    assert {"name": "BREAKWATER_HTTP_HOST", "value": "$(POD_IP)"} in operator["env"]
    assert store["command"][-2:] == ["--bind", "$(POD_IP)"]
    assert store["env"][0]["name"] == "POD_IP"


def test_labels_of_the_user_never_replace_what_selectors_need() -> None:
    labels = {name: labels for name, labels, _ in pods(rendered("everything"))}["breakwater-operator"]
    assert labels["app.kubernetes.io/component"] == "operator"
    assert labels["team"] == "risk"


def test_extra_objects_are_rendered_with_the_release() -> None:
    names = [each["metadata"]["name"] for each in rendered("everything")]
    assert {"breakwater-more", "text-breakwater"} <= set(names)


@pytest.mark.parametrize(("release", "namespace"), [("12345", "678"), ("a" * 53, "n" * 63), ("true", "null")])
def test_odd_names_of_release_and_namespace_stay_text_and_within_bounds(release: str, namespace: str) -> None:
    for each in render({}, release=release, namespace=namespace):
        metadata = each["metadata"]
        if each["kind"] not in CLUSTER_WIDE:
            assert metadata["namespace"] == namespace
        assert isinstance(metadata["name"], str)
        assert all(isinstance(value, str) and len(value) <= 63 for value in metadata["labels"].values())
        # A StatefulSet's pods carry a hash of 11 characters more in a label.
        assert len(metadata["name"]) <= {"StatefulSet": 52, "ClusterRole": 253, "ClusterRoleBinding": 253}.get(
            each["kind"], 63
        )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"redis": {"external": {"url": "redis://a", "existingSecret": "b"}}}, "give url or existingSecret, not both"),
        ({"valkey": {"image": {"repository": "valkey"}}}, "valkey.image: give a tag or a digest"),
        ({"valkey": {"image": {"tag": "9"}}}, "valkey.image: tag or digest is given without repository"),
        ({"operator": {"serviceAccount": {"create": False}}}, "operator.serviceAccount: create is false"),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_a_sentence(values: Object, sentence: str) -> None:
    answer = template(values)
    assert answer.returncode != 0
    assert sentence in answer.stderr


def test_versions_of_chart_and_program_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == version("breakwater")
