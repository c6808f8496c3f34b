"""The operator on a real API server: how soon a policy's children are there, how soon a trip closes the gate, what a change costs."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.benchmarks.harness import Bench, lower, quantile, rss_kib
from tests.cluster.desks.lab import COMPONENTS, PROJECT, RELEASE_NAMESPACE, Lab
from tests.cluster.local import local_cluster
from tests.cluster.local.clients import Client

GROUP = "/apis/breakwater.trading/v1alpha1"
OURS = "app.kubernetes.io/managed-by=breakwater-operator"
KINDS = (
    ("/api/v1", "serviceaccounts"),
    ("/api/v1", "secrets"),
    ("/api/v1", "configmaps"),
    ("/api/v1", "persistentvolumeclaims"),
    ("/api/v1", "services"),
    ("/apis/apps/v1", "deployments"),
)
LEASE_SECONDS = 1.0
TRIPS = 8
# What server-side apply of a child needs to be the operator's, and nothing else.
BARE_KOPF = """
import asyncio, kopf, sys
@kopf.on.event("breakwater.trading", "v1alpha1", "tradingpolicies")
async def seen(**_): pass
@kopf.on.login()
def login(**_): return kopf.login_with_kubeconfig()
kopf.run(standalone=True, clusterwide=True)
"""


@contextlib.contextmanager
def installed() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="breakwater-bench-", dir="/tmp") as directory:
        plane = local_cluster.start_control_plane(Path(directory) / "cluster", bound=True)
        try:
            local_cluster.start_node(plane)
            cluster = plane.cluster
            lab = Lab(cluster, Client(cluster.kubectl, cluster), Client(cluster.helm, cluster))
            chart = str(PROJECT / "helm" / "breakwater")
            lab.helm("install", "breakwater", chart, "-n", RELEASE_NAMESPACE, "--create-namespace", "--wait")
            yield lab
            lab.close()
        finally:
            local_cluster.stop(plane.processes)


class _Measured:
    """One cluster, everything measured once: starting it takes longer than all of the measuring."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.api = lab.admin_http()
        self._desk = httpx.Client(trust_env=False, timeout=5)

    def all(self) -> dict[str, float]:
        found = {**self.apply(), **self.change(), **self.memory()}
        return {**found, **self.trip()}

    def apply(self) -> dict[str, float]:
        """From the manifests being taken to the last child being there, against creating the same objects one by one."""
        self._namespace("bench")
        for kind, body in self._manifests():
            self._created(f"{GROUP}/namespaces/bench/{kind}", body)
        began = time.perf_counter()
        wanted = set(COMPONENTS)
        while wanted - {name.removeprefix("main-") for name in self._deployments("bench")}:
            time.sleep(0.005)
        ours = time.perf_counter() - began
        self.lab.ready("main", "bench")
        children = self._children("bench")
        self._namespace("peer")
        began = time.perf_counter()
        for path, kind, body in children:
            self._created(f"{path}/namespaces/peer/{kind}", body)
        peer = time.perf_counter() - began
        self.lab.kubectl("delete", "namespace", "peer", "--wait=false")
        return {"operator.apply_to_children": ours / peer}

    def change(self) -> dict[str, float]:
        """Writes to the API server for a change of profile, against the two that cannot be done without: status and copy."""
        written = []
        for profile in ("DEFENSIVE", "NORMAL", "DEFENSIVE"):
            self._quiet()
            before, version = self._writes(), self.lab.status("tradingpolicy", "main", "bench")["version"]
            self.lab.patch("tradingpolicy", "main", "bench", {"spec": {"profile": profile}})
            self._above(version)
            self._quiet()
            written.append(self._writes() - before)
        return {"operator.api_writes_per_change": statistics.median(written) / 2}

    def memory(self) -> dict[str, float]:
        """The operator with one desk against kopf alone watching one kind; a whole desk against one desk in one process."""
        operator = rss_kib(self.lab.operator().pid)
        environment = {"KUBECONFIG": str(self.lab.cluster.kubeconfig), "PATH": "/usr/bin:/bin"}
        bare = subprocess.Popen([sys.executable, "-c", BARE_KOPF], env=environment, stderr=subprocess.DEVNULL)
        try:
            time.sleep(5)
            alone = rss_kib(bare.pid)
        finally:
            bare.kill()
            bare.wait()
        desk = sum(rss_kib(c.pid) for c in self.lab.containers() if c.namespace == "bench")
        say = f"operator {operator // 1024} MiB, desk {desk // 1024} MiB, control plane not counted"
        sys.stderr.write(say + "\n")
        return {
            "operator.memory": operator / alone,
            "operator.desk_memory_per_component": desk / len(COMPONENTS) / alone,
        }

    def trip(self) -> dict[str, float]:
        """From the patch being sent to the gate being closed in execution, against the second that a lost lease takes."""
        taken = []
        execution = f"http://{self.lab.container('bench', 'main-execution-').ip}:8080/v1/execution"
        for number in range(TRIPS):
            self.lab.until(lambda: self.lab.gate("bench")[0] == "OPEN", 90, what="the gate is open")
            patch = {"spec": {"trip": {"requestID": f"bench-{number}", "reason": "measuring"}}}
            began = time.perf_counter()
            self._patched(f"{GROUP}/namespaces/bench/emergencystops/main", patch)
            while self._desk.get(execution).json()["gate"] == "OPEN":
                time.sleep(0.001)
            taken.append(time.perf_counter() - began)
            self._reset(number)
        return {
            "operator.patch_to_gate_closed_p50": statistics.median(taken) / LEASE_SECONDS,
            "operator.patch_to_gate_closed_worst": quantile(taken, 1.0) / LEASE_SECONDS,
        }

    # ------------------------------------------------------------------------------------------------------

    def _reset(self, number: int) -> None:
        lab = self.lab
        lab.until(lambda: lab.status("estop", "main", "bench")["state"] == "COOLING_DOWN", 60, what="flat")
        attempt = 0
        while True:
            request = f"bench-{number}-{attempt}"
            trip = lab.status("estop", "main", "bench")["tripID"]
            reset = {"requestID": request, "tripID": trip, "reason": "measured"}
            lab.patch("estop", "main", "bench", {"spec": {"reset": reset}})
            if self._answer(request)["accepted"]:
                return
            attempt += 1
            time.sleep(0.5)

    def _above(self, version: int) -> None:
        self.lab.until(lambda: self.lab.execution("bench")["policy"]["version"] > version, what="a new version")

    def _answer(self, request: str) -> dict[str, Any]:
        def answered() -> Any:
            requests = self.lab.status("estop", "main", "bench").get("requests", [])
            return next((each for each in requests if each["requestID"] == request), None)

        found: dict[str, Any] = self.lab.until(answered, what=f"an answer to {request}")
        return found

    def _manifests(self) -> list[tuple[str, dict[str, Any]]]:
        policy, stop = yaml.safe_load_all((PROJECT / "profiles" / "normal.yaml").read_text())
        policy["spec"]["venue"] = {"paper": {"market": "synthetic:1", "speed": 60}}
        stop["spec"]["cooldownMinutes"] = 1
        return [("tradingpolicies", policy), ("emergencystops", stop)]

    def _children(self, namespace: str) -> list[tuple[str, str, dict[str, Any]]]:
        found = []
        for path, kind in KINDS:
            answer = self.api.get(f"{path}/namespaces/{namespace}/{kind}", params={"labelSelector": OURS})
            for item in answer.raise_for_status().json()["items"]:
                metadata = {"name": item["metadata"]["name"], "labels": item["metadata"]["labels"]}
                body = {
                    key: value
                    for key, value in item.items()
                    if key in ("data", "type", "spec", "automountServiceAccountToken")
                }
                spec = dict(body.get("spec") or {})
                for assigned in ("clusterIP", "clusterIPs", "volumeName"):
                    spec.pop(assigned, None)
                if "spec" in body:
                    body["spec"] = spec
                if kind == "deployments":
                    body["spec"]["replicas"] = 0
                found.append((path, kind, {**body, "metadata": metadata}))
        return found

    def _deployments(self, namespace: str) -> list[str]:
        answer = self.api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments")
        return [item["metadata"]["name"] for item in answer.raise_for_status().json()["items"]]

    def _namespace(self, name: str) -> None:
        self._created("/api/v1/namespaces", {"metadata": {"name": name}})

    def _created(self, path: str, body: dict[str, Any]) -> None:
        self.api.post(path, json=body).raise_for_status()

    def _patched(self, path: str, patch: dict[str, Any]) -> None:
        content = json.dumps(patch)
        headers = {"Content-Type": "application/merge-patch+json"}
        self.api.patch(path, content=content, headers=headers).raise_for_status()

    def _writes(self) -> float:
        operator = self.lab.operator()
        text = httpx.get(f"http://{operator.ip}:8080/metrics", trust_env=False).text
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith("breakwater_operator_api_writes_total{") and "Event" not in line
        )

    def _quiet(self) -> None:
        """Wait until the operator has written nothing for a second and a half."""
        last, since = self._writes(), time.monotonic()
        while time.monotonic() - since < 1.5:
            time.sleep(0.1)
            if (now := self._writes()) != last:
                last, since = now, time.monotonic()


def measure() -> dict[str, float]:
    with installed() as lab:
        return _Measured(lab).all()


BENCHES = [
    Bench(
        (
            lower("operator.apply_to_children", 10, 4, "creating the same objects one after the other over HTTP"),
            lower("operator.patch_to_gate_closed_p50", 0.25, 0.05, "the stop's lease, 1 s"),
            lower("operator.patch_to_gate_closed_worst", 1, 0.25, "the stop's lease, 1 s"),
            lower("operator.api_writes_per_change", 3, 1.5, "two writes: the status and the policy's copy"),
            lower("operator.memory", 3, 1.8, "kopf alone, watching one kind"),
            lower("operator.desk_memory_per_component", 3, 1.5, "kopf alone, watching one kind"),
        ),
        measure,
        runs=1,
    )
]
