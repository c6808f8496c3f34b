"""A real Kubernetes control plane as local processes: etcd, API server, controller manager, scheduler.

Everything listens on 127.0.0.1 and lies below the cluster's directory.
"""

from __future__ import annotations

import shutil
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
from tests.cluster.local import programs
from tests.cluster.local.layout import NODE_ADDRESS, NODE_NAME, PROVISIONED, STORAGE_CLASS, Cluster
from tests.cluster.local.pki import ClusterPKI, Pair, write_private
from tests.cluster.local.processes import ClusterError, Processes, wait_until
from tests.cluster.local.slots import Slot, reserve

START_SECONDS = 60.0
GRACE_SECONDS = 5.0
HEALTH_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ApiServer:
    """What a test may do to the API server to play an outage."""

    processes: Processes
    wait_until_ready: Callable[[], None]

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self.processes.signal(programs.API_SERVER, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, and wait until it answers."""
        self.processes.signal(programs.API_SERVER, signal.SIGCONT)
        self.wait_until_ready()

    def kill(self) -> None:
        """SIGKILL: connections break and are refused from now on."""
        self.processes.kill(programs.API_SERVER)

    def start(self) -> None:
        """Start it again after `kill`, and wait until it answers."""
        self.processes.restart(programs.API_SERVER)
        self.wait_until_ready()


def remove_directory(root: Path) -> None:
    """Remove a stopped cluster's directory. Raises ClusterError when something else lies there."""
    if not root.exists():
        return
    if any(root.iterdir()) and not (root / "cluster.json").exists():
        raise ClusterError(f"{root} is not empty and holds no cluster; name another directory with --dir")
    shutil.rmtree(root)


def stop_programs(processes: Processes) -> None:
    """Stop the four programs, clients before servers: a server that still has watchers waits for them."""
    running = processes.records()
    for group in ((programs.SCHEDULER, programs.CONTROLLER_MANAGER), (programs.API_SERVER,), (programs.ETCD,)):
        processes.stop([name for name in group if name in running], grace_seconds=GRACE_SECONDS)


class ControlPlane:
    """The four programs of one cluster."""

    def __init__(self, cluster: Cluster, processes: Processes, *, bound: bool = False) -> None:
        """`bound`: its programs, and the node that joins it, die with the thread that started them."""
        self.cluster = cluster
        self.bound = bound
        self.processes = processes
        self.api_server = ApiServer(processes, self.wait_for_api)

    @classmethod
    def start(cls, root: Path, binaries: Path, *, helm: Path, kubectl: Path, slots: Path, bound: bool = False) -> Self:
        """Start a new control plane in `root` and wait until it serves, with the StorageClass in place.

        `slots` is the directory in which clusters of this machine reserve their addresses. `bound`: it dies with the
        starting thread. Raises ClusterError, with nothing left running, when a program dies or is too slow.
        """
        root = root.absolute()
        processes = Processes(root / "pids.json")
        if any(processes.alive(name) for name in processes.records()):
            raise ClusterError(f"a cluster runs in {root} already; stop it with `make cluster-down`")
        remove_directory(root)
        root.mkdir(parents=True, mode=0o700)
        slot = reserve(slots)
        try:
            ports = programs.Ports(*slot.ports(5))
            cluster = Cluster(
                root=root,
                server=f"https://127.0.0.1:{ports.api}",
                service_cidr=slot.service_cidr,
                pod_cidr=slot.pod_cidr,
                helm=helm,
                kubectl=kubectl,
            )
            plane = cls(cluster, processes, bound=bound)
            plane._start(programs.CommandLines(cluster, binaries, ports, bound), slot)
        except BaseException:
            stop_programs(processes)
            raise
        finally:
            slot.close()
        return plane

    @classmethod
    def attach(cls, root: Path) -> Self:
        """The control plane that another process started in `root`. Raises FileNotFoundError when there is none."""
        cluster = Cluster.load(root)
        return cls(cluster, Processes(cluster.pids_file))

    def stop(self) -> None:
        """Stop the four programs. The directory stays, with its logs."""
        stop_programs(self.processes)

    def pause(self) -> None:
        """The API server answers nobody; short for `api_server.pause()`."""
        self.api_server.pause()

    def resume(self) -> None:
        """The API server answers again; short for `api_server.resume()`."""
        self.api_server.resume()

    def check(self) -> None:
        """Raise ClusterError with the end of its log when a program has died by itself."""
        for name in self.processes.dead():
            raise ClusterError(f"{name} ended; the end of its log:\n{self.processes.tail(name)}")

    def wait_for_api(self) -> None:
        """Wait until the API server says that it is ready. Raises ClusterError when it dies or takes over a minute."""
        self._wait_healthy(self.cluster.server + "/readyz", "the API server did not become ready")

    def admin(self) -> httpx.Client:
        """An HTTP client to the API server that may do everything; close it."""
        trust = self._trust()
        trust.load_cert_chain(self.cluster.pki_dir / "admin.crt", self.cluster.pki_dir / "admin.key")
        return httpx.Client(base_url=self.cluster.server, verify=trust, trust_env=False)

    def anonymous(self) -> httpx.Client:
        """An HTTP client that trusts the cluster's CA and has no credentials; close it."""
        return httpx.Client(
            base_url=self.cluster.server, verify=self._trust(), trust_env=False, timeout=HEALTH_TIMEOUT_SECONDS
        )

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition of the cluster. Raises ClusterError when a program dies or a minute has passed."""

        def settled() -> bool:
            self.check()
            return condition()

        wait_until(settled, START_SECONDS, what)

    def _start(self, commands: programs.CommandLines, slot: Slot) -> None:
        cluster = self.cluster
        cluster.save()
        cluster.volumes_dir.mkdir()
        Path(PROVISIONED).mkdir(exist_ok=True)
        self._write_credentials(commands)
        self._run(commands, programs.ETCD, keep_open=slot.lock_fd)
        self._run(commands, programs.API_SERVER)
        self.wait_for_api()
        self._run(commands, programs.CONTROLLER_MANAGER)
        self._run(commands, programs.SCHEDULER)
        local = "https://127.0.0.1:{}/healthz"
        self._wait_healthy(local.format(commands.ports.controller_manager), "the controller manager did not start")
        self._wait_healthy(local.format(commands.ports.scheduler), "the scheduler did not start")
        with self.admin() as api:
            self._create_storage_class(api)
            self.wait(
                lambda: api.get("/api/v1/namespaces/default/serviceaccounts/default").is_success,
                "the controllers did not create the default ServiceAccount",
            )

    def _run(self, commands: programs.CommandLines, name: str, keep_open: int | None = None) -> None:
        self.processes.start(
            name,
            commands.of(name),
            self.cluster.logs_dir / f"{name}.log",
            environment=programs.GO_MEMORY,
            keep_open=() if keep_open is None else (keep_open,),
        )

    def _write_credentials(self, commands: programs.CommandLines) -> None:
        cluster = self.cluster
        names = ["127.0.0.1", "localhost", cluster.api_service_ip, "kubernetes", "kubernetes.default"]
        names += ["kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        pki = ClusterPKI(cluster.pki_dir, cluster.server, names)
        pki.write_kubeconfig(cluster.kubeconfig, "admin", pki.admin_credentials())
        pki.write_kubeconfig(cluster.node_kubeconfig, NODE_NAME, pki.node_credentials(NODE_NAME))
        pki.write_node_serving(NODE_NAME, cluster.node_serving_cert, cluster.node_serving_key, NODE_ADDRESS)
        for component in (programs.CONTROLLER_MANAGER, programs.SCHEDULER):
            pki.write_kubeconfig(commands.kubeconfig_of(component), component, pki.component_credentials(component))
        self._write_admin_pair(pki.admin_credentials())
        commands.authentication_file.write_text(programs.ANONYMOUS_HEALTH_ONLY)

    def _write_admin_pair(self, pair: Pair) -> None:
        (self.cluster.pki_dir / "admin.crt").write_bytes(pair.cert)
        write_private(self.cluster.pki_dir / "admin.key", pair.key)

    def _create_storage_class(self, api: httpx.Client) -> None:
        answer = api.post(
            "/apis/storage.k8s.io/v1/storageclasses",
            json={
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {
                    "name": STORAGE_CLASS,
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "provisioner": "kubernetes.io/host-path",
                "reclaimPolicy": "Delete",
                "volumeBindingMode": "Immediate",
            },
        )
        if not answer.is_success:
            raise ClusterError(f"the StorageClass was refused: {answer.text}")

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.cluster.ca_file))

    def _wait_healthy(self, url: str, what: str) -> None:
        with self.anonymous() as client:

            def healthy() -> bool:
                try:
                    return client.get(url).is_success
                except httpx.TransportError:
                    return False

            self.wait(healthy, what)
