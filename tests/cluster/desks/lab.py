"""What the cluster tests see of a desk: kubectl, the desk's own HTTP, and the processes of its pods."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cluster.local.clients import Client
from tests.cluster.local.layout import Cluster
from tests.cluster.local.pki import write_private

PROJECT = Path(__file__).resolve().parents[3]
RELEASE_NAMESPACE = "breakwater-system"
OPERATOR = "app.kubernetes.io/name=breakwater,app.kubernetes.io/component=operator"
COMPONENTS = (
    "paper-venue",
    "market-data",
    "ai-engine",
    "risk-manager",
    "execution",
    "portfolio",
    "emergency-stop",
    "health-monitor",
    "dashboard",
)
DESK_SECONDS = 120.0
"""How long a desk may take from apply to Ready on a busy machine of two cores."""


@dataclass(frozen=True)
class Container:
    """A running container of a pod."""

    namespace: str
    pod: str
    container: str
    pid: int
    ip: str

    @property
    def memory_mib(self) -> float:
        """Resident memory of the process and its children, MiB."""
        total = 0
        for pid in (self.pid, *_children(self.pid)):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    total += int(line.split()[1])
        return total / 1024


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


class Lab:
    """One cluster with Breakwater installed. Waits end with what was last seen; nothing sleeps for a fixed time."""

    def __init__(self, cluster: Cluster, kubectl: Client, helm: Client) -> None:
        self.cluster, self.kubectl, self.helm = cluster, kubectl, helm
        self.desks: list[str] = []
        """Namespaces made here."""
        self._http = httpx.Client(timeout=5, trust_env=False)

    def close(self) -> None:
        self._http.close()

    # ------------------------------------------------------------------------------------------ objects

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """The object; {} when there is none."""
        found = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found.strip() else {}

    def items(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        chosen = ("-l", selector) if selector else ()
        items: list[dict[str, Any]] = self.kubectl.json("get", kind, "-n", namespace, *chosen)["items"]
        return items

    def names(self, kind: str, namespace: str, selector: str = "") -> set[str]:
        return {item["metadata"]["name"] for item in self.items(kind, namespace, selector)}

    def apply(self, text: str, namespace: str) -> str:
        return self.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)

    def refused(self, text: str, namespace: str) -> str:
        """What the API server says when it refuses ``text``; fails when it takes it."""
        answer = self.kubectl.run("apply", "-n", namespace, "-f", "-", stdin=text)
        assert answer.returncode != 0, f"taken: {answer.stdout}"
        return answer.stderr

    def patch(self, kind: str, name: str, namespace: str, patch: dict[str, Any]) -> str:
        return self.kubectl("patch", kind, name, "-n", namespace, "--type", "merge", "-p", json.dumps(patch))

    def patch_status(self, kind: str, name: str, namespace: str, status: dict[str, Any]) -> str:
        """As somebody who may write the status could."""
        patch = json.dumps({"status": status})
        return self.kubectl(
            "patch", kind, name, "-n", namespace, "--subresource=status", "--type", "merge", "-p", patch
        )

    def status(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        status: dict[str, Any] = self.get(kind, name, namespace).get("status", {})
        return status

    def condition(self, kind: str, name: str, namespace: str, type_: str) -> dict[str, Any]:
        """The condition; {} when it is not there, or speaks of an older generation."""
        body = self.get(kind, name, namespace)
        for condition in body.get("status", {}).get("conditions", []):
            if condition["type"] == type_ and condition.get("observedGeneration") == body["metadata"]["generation"]:
                return dict(condition)
        return {}

    def namespace(self, name: str) -> str:
        self.kubectl("create", "namespace", name)
        self.desks.append(name)
        return name

    def admin_http(self) -> httpx.Client:
        """The API server over HTTP as the administrator, for what must not wait for a program to start."""
        config = self.kubectl.json("config", "view", "--raw", "--flatten", "--minify")
        server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        keys = self.cluster.root / "clients"
        for name, data in (
            ("ca", server["certificate-authority-data"]),
            ("crt", user["client-certificate-data"]),
            ("key", user["client-key-data"]),
        ):
            write_private(keys / f"admin.{name}", base64.b64decode(data))
        context = ssl.create_default_context(cafile=str(keys / "admin.ca"))
        context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
        return httpx.Client(base_url=server["server"], verify=context, trust_env=False, timeout=10)

    # ------------------------------------------------------------------------------------------ waiting

    def until(self, fact: Callable[[], Any], seconds: float = 30.0, *, what: str = "") -> Any:
        """Wait until ``fact()`` is truthy and return it; what cannot be read yet counts as no."""
        deadline, last = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                last = fact()
                if last:
                    return last
            except (httpx.HTTPError, LookupError, ValueError) as error:
                last = error
            time.sleep(0.15)
        pytest.fail(
            f"{what or getattr(fact, '__name__', 'it')}: not within {seconds:.0f} s; last {last!r}\n{self.situation()}"
        )

    def after(self, seconds: float, action: Callable[[], Any]) -> None:
        """Do it ``seconds`` from now: to hit a moment in the middle of something."""
        time.sleep(seconds)
        action()

    def operator_ready(self) -> str:
        """What the operator's /readyz says."""
        operator = self.operator()
        return self._http.get(f"http://{operator.ip}:8080/readyz").text

    def ready(self, name: str, namespace: str, seconds: float = DESK_SECONDS) -> None:
        self.until(
            lambda: self.condition("tradingpolicy", name, namespace, "Ready").get("status") == "True",
            seconds,
            what=f"{namespace}/{name} Ready",
        )

    def situation(self) -> str:
        """For the failure's message: pods, conditions, and the last the operator said."""
        pods = self.kubectl.run("get", "pods", "-A").stdout
        desks = self.kubectl.run("get", "tp,estop", "-A", "-o", "json").stdout
        conditions = []
        for item in json.loads(desks or '{"items": []}')["items"]:
            conditions += [
                f"{item['kind']} {each['type']}={each['status']} {each['reason']}: {each['message']}"
                for each in item.get("status", {}).get("conditions", [])
                if each["type"] in ("Ready", "PolicyPublished", "ComponentsReady")
            ]
        return "\n".join([pods, *conditions, "operator:", self.operator_log(15)])

    # ------------------------------------------------------------------------------------------ processes

    def containers(self) -> list[Container]:
        file = self.cluster.pods_file  # written with the first pod
        found = json.loads(file.read_text()) if file.exists() else []
        return [Container(e["namespace"], e["pod"], e["container"], e["pid"], e["podIP"]) for e in found if e["pid"]]

    def container(self, namespace: str, start: str) -> Container:
        """The running container of the pod whose name begins with ``start``. Raises LookupError."""
        for each in self.containers():
            if each.namespace == namespace and each.pod.startswith(start):
                return each
        raise LookupError(f"no container of {namespace}/{start}... runs")

    def operator(self) -> Container:
        return self.container(RELEASE_NAMESPACE, "breakwater-operator")

    def kill(self, victim: Container) -> None:
        """kill -9 of everything in the container; its node starts it again."""
        for pid in (*_children(victim.pid), victim.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def log(self, namespace: str, start: str, lines: int = 25) -> str:
        logs = sorted(
            (self.cluster.node_dir / "logs").glob(f"{namespace}_{start}*.log"), key=lambda p: p.stat().st_mtime
        )
        return "\n".join(logs[-1].read_text(errors="replace").splitlines()[-lines:]) if logs else "(no log)"

    def operator_log(self, lines: int = 25) -> str:
        return self.log(RELEASE_NAMESPACE, "breakwater-operator", lines)

    def remove_operator(self) -> None:
        """Scale the operator to nothing and wait until its process is gone."""
        self._scale_operator(0)
        self.until(lambda: not self.has_operator, what="the operator is gone")

    def return_operator(self) -> None:
        self._scale_operator(1)

    def kill_operator(self) -> None:
        """kill -9 and a new pod at once, without the waiting time of a container that keeps crashing."""
        self.kubectl("delete", "pod", "-n", RELEASE_NAMESPACE, "-l", OPERATOR, "--force", "--grace-period=0")

    @property
    def has_operator(self) -> bool:
        return any(c.namespace == RELEASE_NAMESPACE and "operator" in c.pod for c in self.containers())

    def _scale_operator(self, replicas: int) -> None:
        self.kubectl("scale", "deployment/breakwater-operator", "-n", RELEASE_NAMESPACE, f"--replicas={replicas}")

    # ------------------------------------------------------------------------------------------ a desk's own HTTP

    def token(self, policy: str, namespace: str) -> str:
        secret = self.get("secret", f"{policy}-desk", namespace)
        return base64.b64decode(secret["data"]["token"]).decode()

    def request(
        self, namespace: str, policy: str, component: str, method: str, path: str, *, token: str = "", **parts: Any
    ) -> httpx.Response:
        ip = self.container(namespace, f"{policy}-{component}-").ip
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._http.request(method, f"http://{ip}:8080{path}", headers=headers, **parts)

    def execution(self, namespace: str, policy: str = "main") -> Any:
        return self.request(namespace, policy, "execution", "GET", "/v1/execution").json()

    def gate(self, namespace: str, policy: str = "main") -> tuple[str, str | None]:
        """State of the gate in the component that sends the orders, and the code of why it is closed."""
        found = self.execution(namespace, policy)
        return found["gate"], found["code"]

    def page(self, namespace: str, policy: str = "main") -> Any:
        """What the desk's page shows."""
        token = self.token(policy, namespace)
        return self.request(namespace, policy, "dashboard", "GET", "/v1/status", token=token).json()

    def pods(self, namespace: str, policy: str = "main") -> dict[str, tuple[str, int]]:
        """By component: uid of its pod and restarts of its container; equal before and after: nothing restarted."""
        return {
            pod["metadata"]["labels"]["app.kubernetes.io/component"]: (
                pod["metadata"]["uid"],
                sum(c["restartCount"] for c in pod["status"].get("containerStatuses", [])),
            )
            for pod in self.items("pods", namespace, f"breakwater.trading/policy={policy}")
            if "deletionTimestamp" not in pod["metadata"]
        }


def profile(name: str) -> str:
    return (PROJECT / "profiles" / f"{name}.yaml").read_text()


def texts(rows: Iterable[dict[str, Any]], key: str) -> list[Any]:
    return [row.get(key) for row in rows]
