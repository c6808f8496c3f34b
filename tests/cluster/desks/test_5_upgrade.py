"""`helm upgrade` of the chart."""

from __future__ import annotations

from tests.cluster.desks.lab import PROJECT, RELEASE_NAMESPACE, Lab


def test_upgrade_replaces_the_operator_and_leaves_desks_store_and_keys_alone(lab: Lab, desk: str) -> None:
    pods, version = lab.pods(desk), lab.status("tradingpolicy", "main", desk)["version"]
    operator = lab.operator().pid
    secrets = {
        item["metadata"]["name"]: item.get("data")
        for item in lab.items("secrets", RELEASE_NAMESPACE)
        if item["type"] == "Opaque"
    }
    valkey = lab.container(RELEASE_NAMESPACE, "breakwater-valkey").pid
    chart = str(PROJECT / "helm" / "breakwater")
    lab.helm(
        "upgrade",
        "breakwater",
        chart,
        "-n",
        RELEASE_NAMESPACE,
        "--set",
        "operator.logLevel=debug",
        "--wait",
        "--timeout",
        "90s",
    )
    lab.until(lambda: lab.operator().pid != operator, what="a new operator")
    lab.ready("main", desk)
    assert lab.pods(desk) == pods
    assert lab.container(RELEASE_NAMESPACE, "breakwater-valkey").pid == valkey
    assert lab.status("tradingpolicy", "main", desk)["version"] == version
    assert {
        item["metadata"]["name"]: item.get("data")
        for item in lab.items("secrets", RELEASE_NAMESPACE)
        if item["type"] == "Opaque"
    } == secrets
