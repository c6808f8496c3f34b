"""The platform file: what the owner of the cluster sets for every desk."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_operator.desired.children import children
from breakwater_operator.desired.inputs import DeskFacts, Platform, PlatformError
from breakwater_operator.desired.quantity import QuantityError, amount_of, canonical

FULL = """
image: registry.example/breakwater:0.1.0
imagePullPolicy: Always
imagePullSecrets: [{name: pull}]
bindAddress: $(POD_IP)
storage: {className: fast, size: 2048Mi, accessMode: ReadWriteOncePod}
resources:
  default: {requests: {cpu: 0.05, memory: 64Mi}}
  market-data: {requests: {memory: 256Mi}, limits: {memory: 1024Mi}}
nodeSelector: {disk: ssd}
tolerations: [{key: trading, operator: Exists, effect: NoSchedule}]
affinity: {nodeAffinity: {}}
podAnnotations: {prometheus.io/scrape: "true"}
podLabels: {team: trading, app.kubernetes.io/instance: stolen}
priorityClassName: high
logLevel: debug
securityContext: {runAsUser: 2000, fsGroup: 3000}
"""


def template(platform: Platform, desk: DeskFacts, name: str = "main-market-data") -> Any:
    (found,) = [c for c in children(desk, platform) if c["kind"] == "Deployment" and c["metadata"]["name"] == name]
    return found["spec"]["template"]


def test_every_field_of_the_platform_reaches_the_pods(desk: Any) -> None:
    platform = Platform.load(FULL)
    pod = template(platform, desk())
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "registry.example/breakwater:0.1.0"
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == {"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == [{"key": "trading", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["affinity"] == {"nodeAffinity": {}}
    assert spec["priorityClassName"] == "high"
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (2000, 3000)
    assert pod["metadata"]["annotations"] == {"prometheus.io/scrape": "true"}
    assert pod["metadata"]["labels"]["team"] == "trading"
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert (values["BREAKWATER_HTTP_HOST"], values["BREAKWATER_LOG_LEVEL"]) == ("$(POD_IP)", "debug")
    (claim,) = [
        c
        for c in children(desk(), platform)
        if c["metadata"]["name"] == "main-execution" and "accessModes" in c["spec"]
    ]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "resources": {"requests": {"storage": "2Gi"}},
        "storageClassName": "fast",
    }


def test_labels_of_the_owner_never_replace_ours(desk: Any) -> None:
    assert template(Platform.load(FULL), desk())["metadata"]["labels"]["app.kubernetes.io/instance"] == "main"


def test_component_without_its_own_resources_gets_the_default_ones(desk: Any) -> None:
    (container,) = template(Platform.load(FULL), desk(), "main-portfolio")["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}}


def test_image_alone_is_enough_and_gives_the_measured_memory(desk: Any) -> None:
    (container,) = template(Platform.load("image: breakwater:1"), desk())["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "152Mi"}, "limits": {"memory": "304Mi"}}


def test_fields_left_empty_count_as_not_set() -> None:
    assert Platform.load("image: i\nstorage:\nresources: {default: }\npriorityClassName:\n") == Platform(image="i")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "one document"),
        ("image: a\n---\nimage: b", "one document"),
        ("- a", "one document"),
        ("image: ''", "image is empty"),
        ("bindAddress: x", "image"),
        ("image: i\nimages: j", "images"),
        ("image: 5", "$.image"),
        ("image: i\nimagePullPolicy: Sometimes", "imagePullPolicy"),
        ("image: i\nlogLevel: loud", "logLevel"),
        ("image: i\nstorage: {size: big}", "storage.size"),
        ("image: i\nstorage: {accessMode: Any}", "storage.accessMode"),
        ("image: i\nresources: {executor: {}}", "resources.executor"),
        ("image: i\nresources: {execution: {wishes: {}}}", "resources.execution.wishes"),
        ("image: i\nresources: {execution: {limits: {memory: 1 GB}}}", "resources.execution.limits.memory"),
        ("image: i\nsecurityContext: {runAsUser: 0}", "runAsUser"),
        ("image: [", "platform file"),
        ("image: i\nimage: j", "image"),
    ],
)
def test_wrong_platform_file_is_refused_with_the_field(text: str, named: str) -> None:
    with pytest.raises(PlatformError) as refused:
        Platform.load(text)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("1024Mi", "1Gi"), ("0.5", "500m"), ("1000m", "1"), (2, "2"), ("1.5Gi", "1536Mi"), ("100e3", "100k"), ("0", "0"),
        ("1000", "1k"), ("1500m", "1500m"), ("128974848", "128974848"), ("0.1", "100m"), ("1Ki", "1Ki"), ("1023Ki", "1023Ki"),
    ],
)  # fmt: skip
def test_quantity_is_written_as_the_api_server_would(written: object, kept: str) -> None:
    assert canonical(written) == kept


@pytest.mark.parametrize("wrong", ["", "1 Gi", "GiB", "-1", "1GB", "nan", None, True, 0.5, "1.2.3", "1e400"])
def test_what_is_no_quantity_is_refused(wrong: object) -> None:
    with pytest.raises(QuantityError):
        amount_of(wrong)


@given(
    st.decimals(min_value=0, max_value=10**6, places=3),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]),
)
def test_canonical_quantity_is_the_same_amount_and_stays_as_it_is(number: Decimal, suffix: str) -> None:
    written = f"{number}{suffix}"
    kept = canonical(written)
    assert canonical(kept) == kept
    assert abs(amount_of(kept) - amount_of(written)) <= Decimal("1e-9")
