"""One cluster for all tests of a run: the local one, or the one that KUBECONFIG names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.local import build, local_cluster
from tests.cluster.local.clients import Client
from tests.cluster.local.control_plane import ControlPlane
from tests.cluster.local.layout import Cluster
from tests.cluster.local.processes import ClusterError

NEEDS_CLUSTER = {"control_plane", "cluster"}
BUILD_FAILURE = pytest.StashKey[ClusterError]()


def _given_kubeconfig() -> Path | None:
    """Only where no local cluster can be had: an exported KUBECONFIG may well name somebody's production."""
    named = os.environ.get("KUBECONFIG", "")
    return Path(named).absolute() if named and local_cluster.available() is not None else None


def pytest_report_header() -> str | None:
    named = _given_kubeconfig()
    return None if named is None else f"cluster tests run on the cluster of KUBECONFIG={named}"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build before the first test starts: a cold build takes longer than a test may."""
    wanted = any(NEEDS_CLUSTER & set(getattr(item, "fixturenames", ())) for item in session.items)
    if not wanted or session.config.option.collectonly or _given_kubeconfig() or local_cluster.available():
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            build.binaries()
            build.tools()
        except ClusterError as error:
            session.config.stash[BUILD_FAILURE] = error


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, API server, controller manager and scheduler; a node only if `cluster` is asked for too.

    Under KUBECONFIG it is the one of a cluster that `make cluster-up` started; a test that needs the programs
    themselves is skipped on any other.
    """
    named = _given_kubeconfig()
    if named is not None:
        cluster = local_cluster.given(named, tmp_path_factory.mktemp("given-cluster"))
        if cluster.given:
            pytest.skip("KUBECONFIG names a cluster whose programs are not ours to stop")
        yield ControlPlane.attach(cluster.root)
        return
    reason = local_cluster.available()
    if reason is not None:
        pytest.skip(f"no cluster: {reason}")
    if BUILD_FAILURE in pytestconfig.stash:
        raise pytestconfig.stash[BUILD_FAILURE]
    plane = local_cluster.start_control_plane(tmp_path_factory.mktemp("cluster"), bound=True)
    try:
        yield plane
    finally:
        local_cluster.stop(plane.processes)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A whole cluster with a Ready node."""
    named = _given_kubeconfig()
    if named is not None:
        return local_cluster.given(named, tmp_path_factory.mktemp("given-cluster"))
    plane: ControlPlane = request.getfixturevalue("control_plane")
    local_cluster.start_node(plane)
    return plane.cluster


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Client:
    """`kubectl("get", "pods")` as the administrator: returns standard output, raises CommandError."""
    return Client(cluster.kubectl, cluster)


@pytest.fixture(scope="session")
def helm(cluster: Cluster) -> Client:
    """`helm("install", ...)` as the administrator: returns standard output, raises CommandError."""
    return Client(cluster.helm, cluster)


@pytest.fixture
def namespace(kubectl: Client) -> Iterator[str]:
    """A fresh namespace, deleted afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
