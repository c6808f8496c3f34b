"""`helm upgrade` of the chart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.cluster.desks.lab import PROJECT, RELEASE_NAMESPACE, Lab


def _upgrade(lab: Lab, setting: str) -> str:
    chart, wait = str(PROJECT / "helm" / "breakwater"), ("--wait", "--timeout", "90s")
    return lab.helm("upgrade", "breakwater", chart, "-n", RELEASE_NAMESPACE, "--set", setting, *wait)


def _left_alone(lab: Lab, desk: str) -> dict[str, Any]:
    """What no upgrade touches: the desk's pods and policy, the store's process, all keys."""
    return {
        "pods": lab.pods(desk),
        "version": lab.status("tradingpolicy", "main", desk)["version"],
        "valkey": lab.container(RELEASE_NAMESPACE, "breakwater-valkey").pid,
        "secrets": {
            item["metadata"]["name"]: item.get("data")
            for item in lab.items("secrets", RELEASE_NAMESPACE)
            if item["type"] == "Opaque"
        },
    }


def _another(lab: Lab, operator: int) -> bool:
    """Whether a process of the operator runs that is not ``operator``."""
    return any(c.pod.startswith("breakwater-operator") and c.pid != operator for c in lab.containers())


def test_upgrade_replaces_the_operator_and_leaves_desks_store_and_keys_alone(lab: Lab, desk: str) -> None:
    before, operator = _left_alone(lab, desk), lab.operator().pid
    _upgrade(lab, "operator.logLevel=debug")
    lab.until(lambda: lab.operator().pid != operator, what="a new operator")
    lab.ready("main", desk)
    assert _left_alone(lab, desk) == before


@pytest.mark.slow
def test_upgrade_during_which_the_operator_dies_ends_whole(lab: Lab, desk: str) -> None:
    before, operator = _left_alone(lab, desk), lab.operator().pid
    with ThreadPoolExecutor(1) as aside:
        upgrading = aside.submit(_upgrade, lab, "operator.logLevel=warning")
        lab.until(lambda: _another(lab, operator) or upgrading.done(), 60, what="a new operator's process")
        assert not upgrading.done(), "the upgrade waits for an operator that is ready"
        lab.kill_operator()
        upgrading.result()
    lab.ready("main", desk)
    assert _left_alone(lab, desk) == before
    lab.patch("tradingpolicy", "main", desk, {"spec": {"profile": "DEFENSIVE"}})
    lab.until(lambda: lab.execution(desk)["policy"]["version"] > before["version"], what="the operator publishes again")
