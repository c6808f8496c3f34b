"""A live object against the desired one: defaults are no difference, every edit by hand is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater.domain.ids import Symbol
from breakwater.domain.policy import PolicySpec
from breakwater_operator.cluster.drift import desired_hash, differs, for_apply, merged_for_replace
from breakwater_operator.desired.children import children
from breakwater_operator.desired.inputs import DeskFacts, Platform
from breakwater_operator.desired.manifest import Manifest

PLATFORM = Platform.load(
    "image: breakwater:1\n"
    "resources: {default: {requests: {cpu: 0.5, memory: 1024Mi}}}\n"
    "tolerations: [{key: a, operator: Exists}]\n"
    "podAnnotations: {scrape: 'true'}\n"
)
DESK = DeskFacts(
    name="main",
    namespace="desk-a",
    uid="0a1b2c3d-5e6f-4711-8a9b-0c1d2e3f4a5b",
    policy=PolicySpec(symbols=(Symbol("BTCUSDT"),)),
    stop_name="main",
    token="t",
    redis_url="redis://r",
)
CHILDREN = children(DESK, PLATFORM)


def child(kind: str, name: str = "main-execution") -> Manifest:
    (found,) = [c for c in CHILDREN if c["kind"] == kind and c["metadata"]["name"] == name]
    return found


DEPLOYMENT, SERVICE, CLAIM = child("Deployment"), child("Service"), child("PersistentVolumeClaim")


def live(desired: Manifest) -> dict[str, Any]:
    """``desired`` as Kubernetes 1.36 gave it back: server fields, defaults, and what controllers add."""
    found = copy.deepcopy(desired)
    found["metadata"] |= {
        "uid": "11111111-0000-4000-8000-000000000000",
        "resourceVersion": "12",
        "generation": 1,
        "creationTimestamp": "2025-10-10T20:00:00Z",
        "managedFields": [{"manager": "breakwater-operator"}],
    }
    match found["kind"]:
        case "Deployment":
            found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
            found["spec"]["template"]["metadata"]["creationTimestamp"] = None
            spec = found["spec"]["template"]["spec"]
            spec["serviceAccount"] = spec["serviceAccountName"]
            found["status"] = {"observedGeneration": 1, "replicas": 1}
        case "Service":
            found["spec"] |= {
                "clusterIP": "10.0.0.7",
                "clusterIPs": ["10.0.0.7"],
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
            }
            found["status"] = {"loadBalancer": {}}
        case "PersistentVolumeClaim":
            found["metadata"]["finalizers"] = ["kubernetes.io/pvc-protection"]
            found["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes"
            found["spec"] |= {"storageClassName": "standard", "volumeMode": "Filesystem", "volumeName": "pv-7"}
            found["status"] = {"phase": "Bound"}
        case "ServiceAccount":
            found["imagePullSecrets"] = [{"name": "from-the-registry"}]
    return found


def test_defaults_of_the_api_server_are_no_difference() -> None:
    for desired in CHILDREN:
        assert differs(live(desired), desired) is None, desired["kind"]


def at(manifest: Any, *path: str | int) -> Any:
    for step in path:
        manifest = manifest[step]
    return manifest


POD = ("spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
Edit = Callable[[dict[str, Any]], Any]

EDITS: list[tuple[Manifest, str, Edit]] = [
    (DEPLOYMENT, "spec.replicas", lambda o: o["spec"].update(replicas=3)),
    (DEPLOYMENT, "spec.paused", lambda o: o["spec"].update(paused=True)),
    (DEPLOYMENT, "spec.strategy.type", lambda o: o["spec"]["strategy"].update(type="RollingUpdate")),
    (DEPLOYMENT, "spec.template.spec.hostNetwork", lambda o: at(o, *POD).update(hostNetwork=True)),
    (DEPLOYMENT, "spec.template.spec.dnsPolicy", lambda o: at(o, *POD).update(dnsPolicy="Default")),
    (DEPLOYMENT, "spec.template.spec.serviceAccountName", lambda o: at(o, *POD).update(serviceAccountName="admin")),
    (DEPLOYMENT, "spec.template.spec.initContainers", lambda o: at(o, *POD).update(initContainers=[{"name": "spy"}])),
    (DEPLOYMENT, "spec.template.spec.containers[spy]", lambda o: at(o, *POD, "containers").append({"name": "spy"})),
    (DEPLOYMENT, "spec.template.spec.containers[execution].image", lambda o: at(o, *CONTAINER).update(image="other")),
    (DEPLOYMENT, "spec.template.spec.containers[execution].lifecycle", lambda o: at(o, *CONTAINER).update(lifecycle={"a": 1})),
    (DEPLOYMENT, "spec.template.spec.containers[execution].livenessProbe", lambda o: at(o, *CONTAINER).pop("livenessProbe")),
    (DEPLOYMENT, "spec.template.spec.containers[execution].command", lambda o: at(o, *CONTAINER)["command"].append("--x")),
    (DEPLOYMENT, "spec.template.spec.containers[execution].command[2]", lambda o: at(o, *CONTAINER)["command"].__setitem__(2, "x")),
    (
        DEPLOYMENT,
        "spec.template.spec.containers[execution].env[HELLO]",
        lambda o: at(o, *CONTAINER, "env").append({"name": "HELLO", "value": "1"}),
    ),
    (
        DEPLOYMENT,
        "spec.template.spec.containers[execution].env[BREAKWATER_HTTP_PORT].value",
        lambda o: next(e for e in at(o, *CONTAINER, "env") if e["name"] == "BREAKWATER_HTTP_PORT").update(value="8080.0"),
    ),
    (DEPLOYMENT, "spec.template.spec.containers[execution].env[POD_IP]", lambda o: at(o, *CONTAINER, "env").pop(0)),
    (DEPLOYMENT, "spec.template.spec.containers[execution].env", lambda o: at(o, *CONTAINER, "env").reverse()),
    (
        DEPLOYMENT,
        "spec.template.spec.containers[execution].resources.requests.memory",
        lambda o: at(o, *CONTAINER, "resources", "requests").update(memory="2Gi"),
    ),
    (
        DEPLOYMENT,
        "spec.template.spec.containers[execution].resources.limits",
        lambda o: at(o, *CONTAINER, "resources").update(limits={"cpu": "1"}),
    ),
    (
        DEPLOYMENT,
        "spec.template.spec.containers[execution].volumeMounts[/host]",
        lambda o: at(o, *CONTAINER, "volumeMounts").append({"name": "x", "mountPath": "/host"}),
    ),
    (DEPLOYMENT, "spec.template.spec.volumes[x]", lambda o: at(o, *POD, "volumes").append({"name": "x", "emptyDir": {}})),
    (
        DEPLOYMENT,
        "spec.template.spec.volumes[state].persistentVolumeClaim",
        lambda o: at(o, *POD, "volumes").__setitem__(0, {"name": "state", "emptyDir": {}}),
    ),
    (DEPLOYMENT, "spec.template.spec.tolerations", lambda o: at(o, *POD, "tolerations").append({"key": "b"})),
    (
        DEPLOYMENT,
        "spec.template.metadata.labels[breakwater.trading/policy]",
        lambda o: at(o, "spec", "template", "metadata", "labels").update({"breakwater.trading/policy": "x"}),
    ),
    (
        DEPLOYMENT,
        "metadata.labels[app.kubernetes.io/component]",
        lambda o: o["metadata"]["labels"].pop("app.kubernetes.io/component"),
    ),
    (DEPLOYMENT, "metadata.ownerReferences[main]", lambda o: o["metadata"].update(ownerReferences=[])),
    (DEPLOYMENT, "metadata.ownerReferences[main]", lambda o: o["metadata"]["ownerReferences"][0].update(controller=False)),
    (SERVICE, "spec.type", lambda o: o["spec"].update(type="NodePort")),
    (SERVICE, "spec.externalIPs", lambda o: o["spec"].update(externalIPs=["10.9.9.9"])),
    (SERVICE, "spec.selector.more", lambda o: o["spec"]["selector"].update(more="1")),
    (SERVICE, "spec.ports[http].targetPort", lambda o: o["spec"]["ports"][0].update(targetPort=81)),
    (SERVICE, "spec.ports[b]", lambda o: o["spec"]["ports"].append({"name": "b", "port": 1})),
    (SERVICE, "spec.publishNotReadyAddresses", lambda o: o["spec"].update(publishNotReadyAddresses=1)),
    (SERVICE, "spec", lambda o: o.pop("spec")),
    (CLAIM, "metadata.labels[app.kubernetes.io/instance]", lambda o: o["metadata"]["labels"].update({"app.kubernetes.io/instance": "x"})),
]  # fmt: skip


@pytest.mark.parametrize(("desired", "path", "edit"), EDITS, ids=[path for _, path, _ in EDITS])
def test_edit_by_hand_is_seen_and_a_replace_undoes_it(desired: Manifest, path: str, edit: Edit) -> None:
    found = live(desired)
    edit(found)
    assert differs(found, desired) == path
    put = merged_for_replace(found, desired)
    assert differs(put, desired) is None
    assert put["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]
    assert "managedFields" not in put["metadata"]


def test_what_others_add_beside_ours_stays() -> None:
    found = live(DEPLOYMENT)
    found["metadata"]["labels"]["team"] = "x"
    found["metadata"]["annotations"]["note"] = "y"
    found["metadata"]["finalizers"] = ["example.com/keep"]
    found["metadata"]["ownerReferences"].append({"kind": "Audit", "name": "a", "uid": "2"})
    found["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    assert differs(found, DEPLOYMENT) is None
    put = merged_for_replace(found, DEPLOYMENT)
    assert put["metadata"]["labels"]["team"] == "x"
    assert put["metadata"]["annotations"]["note"] == "y"
    assert put["metadata"]["finalizers"] == ["example.com/keep"]
    assert len(put["metadata"]["ownerReferences"]) == 2
    # Without it the pod would be restarted once more.
    assert put["spec"]["template"]["spec"] == DEPLOYMENT["spec"]["template"]["spec"]
    assert put["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] == "now"


def test_service_keeps_its_address_when_it_is_replaced() -> None:
    put = merged_for_replace(live(SERVICE), SERVICE)
    assert (put["spec"]["clusterIP"], put["spec"]["ipFamilies"]) == ("10.0.0.7", ["IPv4"])


def test_claim_that_was_resized_by_hand_is_left_alone() -> None:
    found = live(CLAIM)
    found["spec"]["resources"]["requests"]["storage"] = "50Gi"
    assert differs(found, CLAIM) is None
    sent = for_apply(found, CLAIM)
    assert sent["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "50Gi"}},
        "storageClassName": "standard",
    }
    assert merged_for_replace(found, CLAIM)["spec"] == found["spec"]


def test_claim_that_does_not_exist_is_asked_for_as_wanted() -> None:
    assert for_apply(None, CLAIM) == CLAIM
    assert for_apply(live(DEPLOYMENT), DEPLOYMENT) == DEPLOYMENT


def test_quantities_are_compared_by_what_they_amount_to() -> None:
    found = live(DEPLOYMENT)
    requests = at(found, *CONTAINER, "resources", "requests")
    requests |= {"cpu": "0.5", "memory": "1048576Ki"}
    assert differs(found, DEPLOYMENT) is None
    requests["memory"] = "odd"
    assert differs(found, DEPLOYMENT) == "spec.template.spec.containers[execution].resources.requests.memory"


# ------------------------------------------------------------------------------------------------ properties


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for number, inner in enumerate(value) for leaf in leaves(inner, (*path, number))]
    return [path]


OWNED = [
    (desired, path)
    for desired in CHILDREN
    if desired["kind"] in ("Deployment", "Service")
    for path in leaves(desired)
    if path[0] == "spec"
]


@settings(max_examples=300)
@given(st.sampled_from(OWNED), st.sampled_from(["changed", 77, True, None, {"a": "b"}, ["x"]]), st.booleans())
def test_any_field_that_is_changed_or_removed_is_seen_and_put_back(
    where: tuple[Manifest, tuple[str | int, ...]], value: Any, remove: bool
) -> None:
    desired, path = where
    found = live(desired)
    holder = at(found, *path[:-1])
    last = path[-1]
    before = holder[last]
    if remove:
        del holder[last]
    else:
        holder[last] = value
    same = not remove and value == before and type(value) is type(before)
    assert (differs(found, desired) is None) is (same or (remove and before in ({}, [], None)))
    assert differs(merged_for_replace(found, desired), desired) is None


@given(st.sampled_from(CHILDREN))
def test_replacing_twice_is_replacing_once(desired: Manifest) -> None:
    once = merged_for_replace(live(desired), desired)
    assert merged_for_replace(once, desired) == once


def test_comparing_changes_nothing() -> None:
    for desired in CHILDREN:
        found = live(desired)
        before = copy.deepcopy((found, desired))
        differs(found, desired)
        merged_for_replace(found, desired)["metadata"]["labels"]["x"] = "y"
        for_apply(found, desired)
        assert (found, desired) == before


def test_hash_depends_on_content_not_on_order() -> None:
    assert desired_hash({"a": 1, "b": [1, 2]}) == desired_hash({"b": [1, 2], "a": 1})
    assert desired_hash({"a": [1, 2]}) != desired_hash({"a": [2, 1]})
    assert len({desired_hash(desired) for desired in CHILDREN}) == len(CHILDREN)
