"""The control plane of the test cluster is a real one: versions, RBAC, controllers, volumes, garbage collection."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.local import build, local_cluster, programs
from tests.cluster.local.clients import Client
from tests.cluster.local.control_plane import ControlPlane
from tests.cluster.local.layout import STORAGE_CLASS
from tests.cluster.local.processes import ClusterError, Processes, start_time, wait_until

CRDS = build.PROJECT / "crds"
SECONDS = 20.0


@pytest.fixture
def admin(control_plane: ControlPlane) -> Client:
    """kubectl without a node: these tests do not need one."""
    return Client(control_plane.cluster.kubectl, control_plane.cluster)


@pytest.fixture
def place(admin: Client) -> Iterator[str]:
    name = f"plane-{uuid.uuid4().hex[:8]}"
    admin("create", "namespace", name)
    yield name
    admin("delete", "namespace", name, "--wait=false")


def eventually(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, SECONDS, what)


def config_map(name: str, owner: dict[str, Any] | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if owner is not None:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["name"], "uid": owner["uid"], "controller": True}
        ]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def exists(admin: Client, place: str, kind: str, name: str) -> bool:
    return bool(admin("get", kind, name, "-n", place, "--ignore-not-found", "-o", "name"))


def test_api_server_built_from_go_mod_says_the_version_go_mod_asks_for(admin: Client) -> None:
    assert admin.json("version")["serverVersion"]["gitVersion"] == build.kubernetes_version()


def test_service_account_without_a_role_is_forbidden_and_with_one_is_allowed(admin: Client, place: str) -> None:
    admin("create", "serviceaccount", "reader", "-n", place)
    reader = admin.as_service_account(place, "reader")

    refused = reader.run("get", "pods")
    assert refused.returncode != 0
    assert f'User "system:serviceaccount:{place}:reader" cannot list resource "pods"' in refused.stderr

    admin("create", "role", "look", "-n", place, "--verb=list", "--resource=pods")
    admin("create", "rolebinding", "look", "-n", place, "--role=look", f"--serviceaccount={place}:reader")
    eventually(lambda: reader.run("get", "pods").returncode == 0, "the role did not take effect")
    assert reader.run("get", "secrets").returncode != 0


def test_nobody_without_credentials_sees_more_than_health(control_plane: ControlPlane) -> None:
    with control_plane.anonymous() as anyone:
        assert anyone.get("/readyz").status_code == 200
        assert anyone.get("/api/v1/namespaces").status_code == 401
        assert anyone.get("/metrics").status_code == 401


def test_node_certificate_may_not_read_secrets_of_others(control_plane: ControlPlane, place: str) -> None:
    cluster = control_plane.cluster
    admin = Client(cluster.kubectl, cluster)
    admin("create", "secret", "generic", "foreign", "-n", place, "--from-literal=a=b")
    node = Client(cluster.kubectl, cluster, cluster.node_kubeconfig)
    refused = node.run("get", "secret", "foreign", "-n", place)
    assert refused.returncode != 0
    assert "no relationship found between node" in refused.stderr


def test_deployment_applied_gets_a_replica_set_and_a_pod(admin: Client, place: str) -> None:
    labels = {"app": "sample"}
    container = {"name": "main", "image": "none", "command": ["true"]}
    admin.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "sample"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    # nobody has to run it: this node does not exist
                    "spec": {"containers": [container], "nodeSelector": {"sample": "nowhere"}},
                },
            },
        },
        namespace=place,
    )

    def pods() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = admin.json("get", "pods", "-n", place, "-l", "app=sample")["items"]
        return found

    eventually(lambda: len(pods()) == 1, "no pod")
    (owner,) = pods()[0]["metadata"]["ownerReferences"]
    assert owner["kind"] == "ReplicaSet"
    eventually(
        lambda: any(c["reason"] == "Unschedulable" for c in pods()[0]["status"].get("conditions", [])), "verdict"
    )


def test_claim_without_a_class_binds_to_a_volume_inside_the_cluster_directory(
    control_plane: ControlPlane, admin: Client, place: str
) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}
    admin.apply(claim, namespace=place)
    eventually(lambda: admin.json("get", "pvc", "data", "-n", place)["status"]["phase"] == "Bound", "not bound")

    bound = admin.json("get", "pvc", "data", "-n", place)["spec"]
    assert bound["storageClassName"] == STORAGE_CLASS
    volume = admin.json("get", "pv", bound["volumeName"])
    directory = control_plane.cluster.on_host(volume["spec"]["hostPath"]["path"])
    assert directory.is_dir()
    assert directory.parent == control_plane.cluster.volumes_dir

    admin("delete", "pvc", "data", "-n", place)
    eventually(lambda: not directory.exists(), "the volume of a deleted claim stayed")


def test_owner_deleted_takes_what_it_owns_and_nothing_else(admin: Client, place: str) -> None:
    admin.apply(config_map("owner"), config_map("stranger"), namespace=place)
    owner = admin.json("get", "configmap", "owner", "-n", place)["metadata"]
    admin.apply(config_map("owned", owner), namespace=place)

    admin("delete", "configmap", "owner", "-n", place)

    eventually(lambda: not exists(admin, place, "configmap", "owned"), "the owned object stayed")
    assert exists(admin, place, "configmap", "stranger")


def test_both_custom_resources_become_established(admin: Client) -> None:
    names = ("tradingpolicies.breakwater.trading", "emergencystops.breakwater.trading")
    present = all(admin.run("get", "crd", name).returncode == 0 for name in names)
    if not present:
        admin("apply", "--server-side", "-f", str(CRDS))
    try:
        for name in names:
            admin("wait", "--for=condition=Established", f"crd/{name}", "--timeout=20s")
            conditions = {c["type"]: c for c in admin.json("get", "crd", name)["status"]["conditions"]}
            assert conditions["NamesAccepted"]["status"] == "True"
            assert "NonStructuralSchema" not in conditions
    finally:
        if not present:
            admin("delete", "-f", str(CRDS), "--wait=true")


def test_api_server_killed_and_started_again_still_knows_everything(
    control_plane: ControlPlane, admin: Client, place: str
) -> None:
    admin.apply(config_map("kept"), namespace=place)
    control_plane.api_server.kill()
    assert admin.run("get", "configmap", "kept", "-n", place, "--request-timeout=1s").returncode != 0
    control_plane.api_server.start()
    assert exists(admin, place, "configmap", "kept")


def test_api_server_paused_answers_nobody_until_it_is_resumed(control_plane: ControlPlane, admin: Client) -> None:
    control_plane.api_server.pause()
    try:
        assert admin.run("get", "--raw", "/readyz", "--request-timeout=1s").returncode != 0
    finally:
        control_plane.api_server.resume()
    assert admin("get", "--raw", "/readyz") == "ok"


def test_program_that_dies_at_start_is_reported_with_its_log_and_leaves_nothing_running(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    binaries = tmp_path / "binaries"
    binaries.mkdir()
    for name in programs.NAMES:
        (binaries / name).symlink_to(build.binaries() / name)
    (binaries / programs.API_SERVER).unlink()
    (binaries / programs.API_SERVER).write_text("#!/bin/sh\necho the certificate has gone >&2\nexit 3\n")
    (binaries / programs.API_SERVER).chmod(0o755)
    tools = control_plane.cluster
    root = tmp_path / "cluster"

    with pytest.raises(ClusterError, match=r"kube-apiserver ended(.|\n)*the certificate has gone"):
        ControlPlane.start(root, binaries, helm=tools.helm, kubectl=tools.kubectl, slots=build.cache_dir() / "slots")

    assert not Processes(root / "pids.json").records()


@pytest.mark.slow
def test_cluster_up_twice_is_one_cluster_and_down_leaves_no_process_and_no_directory(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    root = tmp_path / "cluster"
    try:
        plane, started = local_cluster.up(root)
        assert started
        assert plane.cluster.service_cidr != control_plane.cluster.service_cidr
        records = list(plane.processes.records().values())
        assert len(records) == len(programs.NAMES) + 1

        again, started = local_cluster.up(root)
        assert not started
        assert list(again.processes.records().values()) == records
    finally:
        assert local_cluster.down(root)

    assert [record for record in records if start_time(record.pid) == record.started] == []
    assert not root.exists()
    assert not local_cluster.down(root)


def test_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="nowhere: there is no such file"):
        local_cluster.given(tmp_path / "nowhere", tmp_path)


def test_recorded_pid_that_belongs_to_a_stranger_now_is_left_alone(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "pids.json")
    processes.start("sleeper", ["sleep", "60"], tmp_path / "log")
    record_file = tmp_path / "pids.json"
    pid = processes.records()["sleeper"].pid
    text = record_file.read_text()
    record_file.write_text(text.replace(f'"started": {start_time(pid)}', '"started": 1'))

    stranger = Processes(record_file)
    assert not stranger.alive("sleeper")
    stranger.stop(["sleeper"], grace_seconds=1)
    assert start_time(pid) is not None

    record_file.write_text(text)
    Processes(record_file).stop(["sleeper"], grace_seconds=1)
    assert start_time(pid) is None


def test_bound_program_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    record_file = tmp_path / "pids.json"
    script = (
        "import os, signal, pathlib\n"
        "from tests.cluster.local.processes import Processes, dying_with_starter, wait_until\n"
        f"p = Processes(pathlib.Path({str(record_file)!r}))\n"
        f"p.start('sleeper', [*dying_with_starter('KILL'), 'sleep', '60'], pathlib.Path({str(tmp_path / 'log')!r}))\n"
        # Before the program itself runs, nothing binds it yet.
        "pid = p.records()['sleeper'].pid\n"
        "wait_until(lambda: pathlib.Path(f'/proc/{pid}/comm').read_text() == 'sleep\\n', 20, 'sleep runs')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=build.PROJECT, check=False)

    processes = Processes(record_file)
    assert "sleeper" in processes.records()
    eventually(lambda: not processes.alive("sleeper"), "the program outlived its starter")


def test_directory_that_holds_something_else_is_left_alone(control_plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ClusterError, match="holds no cluster"):
        local_cluster.up(tmp_path)
    assert not local_cluster.down(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
