"""Breakwater installed by Helm as the guide says, and desks on it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.cluster.desks.lab import PROJECT, RELEASE_NAMESPACE, Lab, profile
from tests.cluster.local.clients import Client
from tests.cluster.local.layout import Cluster
from tests.cluster.local.processes import ClusterError

DESK_A = "desk-a"


@pytest.fixture(scope="session")
def lab(cluster: Cluster, kubectl: Client, helm: Client) -> Iterator[Lab]:
    """A cluster with Breakwater in it, whose operator died once while it was installed; a given one is left as it was.

    The guide's test installs it undisturbed.
    """
    found = Lab(cluster, kubectl, helm)
    if cluster.given and kubectl.run("get", "tradingpolicies", "-A", "-o", "name").stdout.strip():
        pytest.fail("the cluster that KUBECONFIG names runs desks already: the tests would trip and delete in it")
    try:
        _install(found)
    except ClusterError as error:
        pytest.fail(f"{error}\n{found.situation()}")
    yield found
    if cluster.given:
        for namespace in found.desks:
            kubectl("delete", "namespace", namespace)
        helm("uninstall", "breakwater", "-n", RELEASE_NAMESPACE)
        kubectl("delete", "namespace", RELEASE_NAMESPACE)
    found.close()


def _install(lab: Lab) -> None:
    chart, wait = str(PROJECT / "helm" / "breakwater"), ("--wait", "--timeout", "90s")
    with ThreadPoolExecutor(1) as aside:
        installing = aside.submit(
            lab.helm, "install", "breakwater", chart, "-n", RELEASE_NAMESPACE, "--create-namespace", *wait
        )
        lab.until(lambda: lab.has_operator or installing.done(), 60, what="the operator's first process")
        if not installing.done():
            lab.kill_operator()
        installing.result()


@pytest.fixture(scope="session")
def started(lab: Lab) -> str:
    """Namespace of a desk made from profiles/normal.yaml, as it is shipped."""
    lab.namespace(DESK_A)
    lab.apply(profile("normal"), DESK_A)
    lab.ready("main", DESK_A)
    return DESK_A


@pytest.fixture
def desk(lab: Lab, started: str) -> Iterator[str]:
    """The same desk, Ready at the start of each test and under the profile NORMAL again at its end."""
    lab.ready("main", started)
    yield started
    if lab.get("tradingpolicy", "main", started):
        lab.apply(profile("normal"), started)
