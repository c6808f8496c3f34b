"""The operator in this process against a real control plane and a real Valkey; desks are fakes over HTTP, so that they can fail."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml
from tests.cluster.local import local_cluster
from tests.cluster.local.control_plane import ControlPlane
from tests.integration.operator.fake_desk import FakeDesk, FakeDesks
from tests.integration.operator.helpers import KEY, Cluster, Operators, eventually, policy, stop

from breakwater.runtime.valkey_server import EmbeddedServer
from breakwater_operator.cluster.kinds import EMERGENCY_STOP, TRADING_POLICY
from breakwater_operator.main import Operator

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, API server, controllers, scheduler; no node, so pods stay pending."""
    if reason := local_cluster.available():
        pytest.skip(f"no cluster: {reason}")
    plane = local_cluster.start_control_plane(tmp_path_factory.mktemp("operator-cluster"), bound=True)
    try:
        with plane.admin() as admin:
            for path in sorted((PROJECT / "crds").glob("*.yaml")):
                crd = yaml.safe_load(path.read_text())
                answer = admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=crd)
                assert answer.status_code == 201, answer.text
            group = "/apis/breakwater.trading/v1alpha1"
            statuses = ("tradingpolicies/status", "emergencystops/status")
            plane.wait(lambda: all(name in admin.get(group).text for name in statuses), "the CRDs were not served")
        yield plane
    finally:
        local_cluster.stop(plane.processes)


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[Cluster]:
    """A namespace of its own."""
    cluster = Cluster(plane, f"t-{uuid.uuid4().hex[:8]}")
    await cluster.create_namespace()
    yield cluster
    await cluster.delete_namespace()
    await cluster.close()


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "valkey")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def desks() -> AsyncIterator[FakeDesks]:
    fakes = FakeDesks(KEY)
    await fakes.start()
    yield fakes
    await fakes.stop()


@pytest.fixture
async def operators(
    plane: ControlPlane, cluster: Cluster, valkey: EmbeddedServer, desks: FakeDesks
) -> AsyncIterator[Operators]:
    operators = Operators(plane, cluster.namespace, valkey.url, desks)
    yield operators
    await operators.end_all()


@pytest.fixture
async def operator(operators: Operators) -> Operator:
    """An operator that runs."""
    return await operators.start()


@pytest.fixture
async def desk(cluster: Cluster, operator: Operator, desks: FakeDesks) -> FakeDesk:
    """A desk ``main`` whose policy is in force and whose stop is heard."""
    made = await cluster.create(policy())
    fake = desks.add(cluster.namespace, "main", made["metadata"]["uid"])
    await cluster.create(stop())

    async def heard() -> bool:
        stop_status = await cluster.status(EMERGENCY_STOP, "main")
        return (
            stop_status.get("state") == "ARMED" and (await cluster.status(TRADING_POLICY, "main")).get("version") == 1
        )

    await eventually(heard, "the desk is in force and its stop is heard")
    return fake
