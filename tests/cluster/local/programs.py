"""The command lines of the control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.local.layout import PROVISIONED, Cluster
from tests.cluster.local.processes import dying_with_starter

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
NAMES = (ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER)

GO_MEMORY = {"GOGC": "50"}
"""The four are idle most of the time: less heap is worth more to a small machine than fewer collections."""

ISSUER = "https://kubernetes.default.svc.cluster.local"

# The API refuses Endpoints and EndpointSlices with loopback addresses, and every pod here has one: these controllers
# could only fail again and again. The node agent forwards Services by itself.
CONTROLLERS = "*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller"

ANONYMOUS_HEALTH_ONLY = """\
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
    - path: /livez
    - path: /readyz
    - path: /healthz
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on 127.0.0.1."""

    api: int
    etcd: int
    etcd_peer: int
    controller_manager: int
    scheduler: int


@dataclass(frozen=True, slots=True)
class CommandLines:
    """Arguments for one cluster.

    `binaries` is the directory that holds the four programs. `bound`: they die with the thread that starts them, so
    that a test run that is killed leaves nothing behind.
    """

    cluster: Cluster
    binaries: Path
    ports: Ports
    bound: bool

    @property
    def authentication_file(self) -> Path:
        return self.cluster.root / "authentication.yaml"

    def kubeconfig_of(self, component: str) -> Path:
        return self.cluster.root / f"{component}.kubeconfig"

    def of(self, name: str) -> list[str]:
        """The whole command line of one of NAMES."""
        return {
            ETCD: self.etcd,
            API_SERVER: self.api_server,
            CONTROLLER_MANAGER: self.controller_manager,
            SCHEDULER: self.scheduler,
        }[name]()

    def etcd(self) -> list[str]:
        client = f"https://127.0.0.1:{self.ports.etcd}"
        peer = f"https://127.0.0.1:{self.ports.etcd_peer}"
        return [
            *self._program(ETCD),
            "--name=default",
            f"--data-dir={self.cluster.root / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--client-cert-auth",
            f"--trusted-ca-file={self.cluster.ca_file}",
            f"--cert-file={self._pki('etcd.crt')}",
            f"--key-file={self._pki('etcd.key')}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={self.cluster.ca_file}",
            f"--peer-cert-file={self._pki('etcd.crt')}",
            f"--peer-key-file={self._pki('etcd.key')}",
            "--unsafe-no-fsync",
            "--snapshot-count=5000",
            "--log-level=warn",
        ]

    def api_server(self) -> list[str]:
        return [
            *self._program(API_SERVER),
            f"--etcd-servers=https://127.0.0.1:{self.ports.etcd}",
            f"--etcd-cafile={self.cluster.ca_file}",
            f"--etcd-certfile={self._pki('apiserver-etcd-client.crt')}",
            f"--etcd-keyfile={self._pki('apiserver-etcd-client.key')}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.ports.api}",
            f"--tls-cert-file={self._pki('apiserver.crt')}",
            f"--tls-private-key-file={self._pki('apiserver.key')}",
            f"--client-ca-file={self.cluster.ca_file}",
            f"--authentication-config={self.authentication_file}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={self._pki('service-accounts.pub')}",
            f"--service-account-signing-key-file={self._pki('service-accounts.key')}",
            f"--requestheader-client-ca-file={self._pki('front-proxy-ca.crt')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={self._pki('front-proxy-client.crt')}",
            f"--proxy-client-key-file={self._pki('front-proxy-client.key')}",
            f"--kubelet-certificate-authority={self.cluster.ca_file}",
            f"--kubelet-client-certificate={self._pki('apiserver-kubelet-client.crt')}",
            f"--kubelet-client-key={self._pki('apiserver-kubelet-client.key')}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-cluster-ip-range={self.cluster.service_cidr}",
            # The endpoint of `kubernetes` would be a loopback address too.
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        ]

    def controller_manager(self) -> list[str]:
        command = [
            *self._program(CONTROLLER_MANAGER),
            *self._client(CONTROLLER_MANAGER, self.ports.controller_manager),
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self._pki('service-accounts.key')}",
            f"--root-ca-file={self.cluster.ca_file}",
            f"--cluster-signing-cert-file={self.cluster.ca_file}",
            f"--cluster-signing-key-file={self._pki('ca.key')}",
            f"--controllers={CONTROLLERS}",
            "--enable-hostpath-provisioner",
            "--pvclaimbinder-sync-period=2s",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]
        # Its provisioner knows no other place than /tmp/hostpath_pv: give it its own view of that directory.
        script = f'mount --bind "$1" {PROVISIONED} && shift && exec "$@"'
        return [*private_mounts(), "sh", "-c", script, "sh", str(self.cluster.volumes_dir), *command]

    def scheduler(self) -> list[str]:
        return [
            *self._program(SCHEDULER),
            *self._client(SCHEDULER, self.ports.scheduler),
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]

    def _program(self, name: str) -> list[str]:
        # inside `unshare`, not around it: a new user namespace makes the kernel forget the signal
        return [*(dying_with_starter("KILL") if self.bound else []), str(self.binaries / name)]

    def _client(self, component: str, port: int) -> list[str]:
        kubeconfig = self.kubeconfig_of(component)
        return [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={self._pki('apiserver.crt')}",
            f"--tls-private-key-file={self._pki('apiserver.key')}",
            "--leader-elect=false",
            "--profiling=false",
        ]

    def _pki(self, name: str) -> Path:
        return self.cluster.pki_dir / name


def private_mounts() -> list[str]:
    """The prefix that runs a command in its own mount namespace, as root or (in a user namespace) as anyone."""
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
