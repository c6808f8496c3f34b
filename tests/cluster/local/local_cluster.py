"""A whole local cluster: the control plane and its one node, up and down."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster.local import build
from tests.cluster.local.control_plane import ControlPlane, remove_directory, stop_programs
from tests.cluster.local.layout import NODE_NAME, Cluster
from tests.cluster.local.processes import ClusterError, Processes, dying_with_starter
from tests.cluster.local.programs import private_mounts

NODE_AGENT = "node-agent"
AGENT_GRACE_SECONDS = 45.0  # it ends its pods first, and they have 30 s


def available() -> str | None:
    """Why no local cluster can be had on this machine; None when one can. Whether it builds is not tried here."""
    if sys.platform != "linux":
        return "a local cluster needs Linux (mount namespaces); set KUBECONFIG to use another cluster"
    if shutil.which("go") is None and build.given_binaries() is None:
        return "Go is not installed, and neither KUBEBUILDER_ASSETS nor KUBECONFIG is set"
    try:
        probe = subprocess.run([*private_mounts(), "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "`unshare` (util-linux) is not installed; set KUBECONFIG to use another cluster"
    if probe.returncode != 0:
        return f"mount namespaces are not allowed here ({probe.stderr.strip()}); set KUBECONFIG to use another cluster"
    return None


def start_control_plane(root: Path, *, bound: bool = False) -> ControlPlane:
    """Build what is missing and start a control plane in `root`. Raises ClusterError, leaving nothing behind."""
    binaries, tools = build.binaries(), build.tools()
    return ControlPlane.start(
        root,
        binaries,
        helm=tools / "helm",
        kubectl=tools / "kubectl",
        slots=build.cache_dir() / "slots",
        bound=bound,
    )


def start_node(plane: ControlPlane) -> None:
    """Start the node agent and wait until its Node is Ready. Raises ClusterError with the end of its log."""
    cluster = plane.cluster
    command = [sys.executable, "-m", "tests.cluster.node", "--cluster", str(cluster.root)]
    plane.processes.start(
        NODE_AGENT,
        [*(dying_with_starter("TERM") if plane.bound else []), *command],
        cluster.logs_dir / f"{NODE_AGENT}.log",
        cwd=build.PROJECT,
    )
    with plane.admin() as api:

        def ready() -> bool:
            node = api.get(f"/api/v1/nodes/{NODE_NAME}")
            if not node.is_success:
                return False
            found = node.json()
            conditions = {c["type"]: c["status"] for c in found.get("status", {}).get("conditions", [])}
            return conditions.get("Ready") == "True" and not found["spec"].get("taints")

        plane.wait(ready, f"the node {NODE_NAME} did not become Ready")


def stop(processes: Processes) -> None:
    """Stop a cluster: pods and their node first, then the control plane. The directory stays."""
    if NODE_AGENT in processes.records():
        processes.stop([NODE_AGENT], grace_seconds=AGENT_GRACE_SECONDS)
    stop_programs(processes)


def up(root: Path) -> tuple[ControlPlane, bool]:
    """A whole cluster in `root` that outlives this process, and whether it was started now.

    Raises ClusterError, with nothing left running.
    """
    root = root.absolute()
    processes = Processes(root / "pids.json")
    if processes.records() and not processes.dead():
        return ControlPlane.attach(root), False
    reason = available()
    if reason is not None:
        raise ClusterError(reason)
    stop(processes)
    plane = start_control_plane(root)
    try:
        start_node(plane)
    except BaseException:
        stop(plane.processes)
        raise
    return plane, True


def down(root: Path) -> bool:
    """Stop the cluster in `root` and remove the directory; False when there is none. The cache stays."""
    if not (root / "cluster.json").exists():
        return False
    stop(Processes(root / "pids.json"))
    remove_directory(root)
    return True


def given(kubeconfig: Path, scratch: Path) -> Cluster:
    """The cluster that KUBECONFIG names. One that `cluster-up` started is known whole, node and all.

    Raises ClusterError when the file does not exist.
    """
    if not kubeconfig.is_file():
        raise ClusterError(f"KUBECONFIG={kubeconfig}: there is no such file")
    if kubeconfig.name == "admin.kubeconfig" and (kubeconfig.parent / "cluster.json").exists():
        return Cluster.load(kubeconfig.parent)
    tools = build.tools()
    command = [str(tools / "kubectl"), "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]
    server = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "KUBECONFIG": str(kubeconfig)}
    ).stdout
    return Cluster(
        root=scratch,
        server=server,
        service_cidr="",
        pod_cidr="",
        helm=tools / "helm",
        kubectl=tools / "kubectl",
        given_kubeconfig=kubeconfig,
    )
