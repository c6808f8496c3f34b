"""The guide's page about Kubernetes, followed as a reader would in a cluster that is fresh."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.local import local_cluster
from tests.cluster.local.layout import Cluster
from tests.contract.docs.conftest import NEEDS_CLUSTER, ROOT, Reader, commands_of


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of its own: what `make cluster-up` gives."""
    reason = local_cluster.available()
    if reason is not None:
        pytest.skip(f"no cluster: {reason}")
    plane = local_cluster.start_control_plane(tmp_path / "cluster", bound=True)
    try:
        local_cluster.start_node(plane)
        yield plane.cluster
    finally:
        local_cluster.stop(plane.processes)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_guide_to_kubernetes_followed_to_its_end_does_what_it_shows(
    fresh: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "reader"
    home.mkdir()
    monkeypatch.setenv("KUBECONFIG", str(fresh.kubeconfig))
    monkeypatch.setenv("PATH", f"{fresh.kubectl.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HELM_CACHE_HOME", str(tmp_path / "helm"))
    reader = Reader(home)
    asyncio.run(reader.follow(commands_of(ROOT / "docs" / "guide" / NEEDS_CLUSTER)))
    assert not reader.problems, "\n".join(reader.problems)
    assert len([entry for entry in reader.transcript if "(not run: " not in entry]) > 15
