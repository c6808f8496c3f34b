"""Where everything of one local test cluster lies: the constants that the control plane and the node agent share.

A cluster is one directory. `cluster.json` in it names the addresses that were chosen at its start; everything else
follows from the directory. Several clusters can live on one machine: each has its own ports and its own loopback
ranges for Services and pods, so read the ranges from `Cluster`, never from a constant.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Self

NODE_NAME = "breakwater-node"
"""The one Node of the cluster; its client certificate says `system:node:breakwater-node`."""

NODE_ADDRESS = "127.0.0.1"
"""The node's InternalIP and hostIP."""

STORAGE_CLASS = "standard"
"""The default StorageClass; its claims are bound to hostPath volumes under `Cluster.volumes_dir`."""

CLUSTER_DOMAIN = "cluster.local"

PROVISIONED = "/tmp/hostpath_pv"
"""What the controller manager's hostPath provisioner calls its directory; it cannot be told another."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster: its directory, its addresses and its client programs.

    `root` is absolute. `server` is the API server's URL. `service_cidr` is where ClusterIPs come from and `pod_cidr`
    where the node agent takes pod IPs from, both IPv4 and both empty strings for a cluster that was given by
    KUBECONFIG (it has its own node and its own network).
    """

    root: Path
    server: str
    service_cidr: str
    pod_cidr: str
    helm: Path
    kubectl: Path
    given_kubeconfig: Path | None = None

    @property
    def given(self) -> bool:
        """True when KUBECONFIG named the cluster: nothing here was started by us, and no node agent runs."""
        return self.given_kubeconfig is not None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig (system:masters)."""
        return self.given_kubeconfig or self.root / "admin.kubeconfig"

    @property
    def node_kubeconfig(self) -> Path:
        """The node agent's kubeconfig (O=system:nodes, CN=system:node:NODE_NAME); certificates are embedded."""
        return self.root / "node.kubeconfig"

    @property
    def pki_dir(self) -> Path:
        """Keys and certificates, mode 0700."""
        return self.root / "pki"

    @property
    def ca_file(self) -> Path:
        """The cluster's CA certificate (PEM): signs the API server, clients and the node's serving certificate."""
        return self.pki_dir / "ca.crt"

    @property
    def node_serving_cert(self) -> Path:
        """Serving certificate for the kubelet port (SAN 127.0.0.1, localhost, NODE_NAME)."""
        return self.pki_dir / "node-serving.crt"

    @property
    def node_serving_key(self) -> Path:
        return self.pki_dir / "node-serving.key"

    @property
    def api_port(self) -> int:
        return int(self.server.rsplit(":", 1)[1])

    @property
    def api_service_ip(self) -> str:
        """ClusterIP of `kubernetes.default.svc` (the first of `service_cidr`), in the API server's certificate."""
        return str(ipaddress.ip_network(self.service_cidr)[1])

    @property
    def logs_dir(self) -> Path:
        """One `<program>.log` for each program of the control plane, and `node.log`."""
        return self.root / "logs"

    @property
    def volumes_dir(self) -> Path:
        """Where the hostPath provisioner puts the directories of claims."""
        return self.root / "volumes"

    def on_host(self, host_path: str) -> Path:
        """Where the `hostPath.path` of a PersistentVolume really lies.

        The controller manager sees `volumes_dir` as /tmp/hostpath_pv in its own mount namespace, so volumes of two
        clusters never meet and go away with the cluster's directory. Other paths are what they say.
        """
        path = Path(host_path)
        return self.volumes_dir / path.relative_to(PROVISIONED) if path.is_relative_to(PROVISIONED) else path

    @property
    def node_dir(self) -> Path:
        """The node agent's state."""
        return self.root / "node"

    @property
    def pods_file(self) -> Path:
        """What runs now: `[{namespace, pod, container, pid, podIP, log}]`, written by the node agent."""
        return self.node_dir / "pods.json"

    @property
    def env_file(self) -> Path:
        """For a person's shell: the address of the cluster, and kubectl and helm first on the PATH."""
        return self.root / "env"

    @property
    def pids_file(self) -> Path:
        """What was started here, by program: see `processes.Processes`."""
        return self.root / "pids.json"

    def save(self) -> None:
        """Write `cluster.json` whole or not at all."""
        self.root.mkdir(parents=True, exist_ok=True)
        target = self.root / "cluster.json"
        draft = target.with_suffix(".tmp")
        fields = {
            "server": self.server,
            "serviceCIDR": self.service_cidr,
            "podCIDR": self.pod_cidr,
            "helm": str(self.helm),
            "kubectl": str(self.kubectl),
        }
        draft.write_text(json.dumps(fields, indent=2) + "\n")
        self.env_file.write_text(
            f"export KUBECONFIG={shlex.quote(str(self.kubeconfig))}\n"
            f'export PATH={shlex.quote(str(self.kubectl.parent))}:"$PATH"\n'
        )
        os.replace(draft, target)

    @classmethod
    def load(cls, root: Path) -> Self:
        """Read the cluster that was started in `root`. Raises FileNotFoundError when there is none."""
        fields = json.loads((root / "cluster.json").read_text())
        return cls(
            root=root.absolute(),
            server=fields["server"],
            service_cidr=fields["serviceCIDR"],
            pod_cidr=fields["podCIDR"],
            helm=Path(fields["helm"]),
            kubectl=Path(fields["kubectl"]),
        )
