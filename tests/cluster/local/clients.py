"""kubectl and helm against one cluster, with all their caches below its directory."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.cluster.local.layout import Cluster
from tests.cluster.local.pki import write_private
from tests.cluster.local.processes import ClusterError


class CommandError(ClusterError):
    """The command failed; the message holds what it wrote to standard error."""


class Client:
    """One program, `kubectl` or `helm`, as the cluster's administrator.

    Calling it returns standard output and raises CommandError on failure; `run` returns whatever came out.
    """

    def __init__(self, program: Path, cluster: Cluster, kubeconfig: Path | None = None) -> None:
        """`kubeconfig` replaces the administrator's, to act as somebody else."""
        self.kubeconfig = kubeconfig or cluster.kubeconfig
        self._program = program
        self._cluster = cluster
        self._home = home = cluster.root / "clients"
        home.mkdir(parents=True, exist_ok=True)
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HELM_", "KUBE"))},
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(home / "kubectl"),
            "HELM_CACHE_HOME": str(home / "helm-cache"),
            "HELM_CONFIG_HOME": str(home / "helm-config"),
            "HELM_DATA_HOME": str(home / "helm-data"),
        }

    def as_service_account(self, namespace: str, name: str) -> Client:
        """The same program with a fresh token of that ServiceAccount, and its `kubeconfig` for other programs.

        Called on `kubectl` of somebody who may create tokens. Raises CommandError.
        """
        token = self("create", "token", name, "--namespace", namespace).strip()
        config = self.json("config", "view", "--raw", "--flatten", "--minify")
        (context,) = config["contexts"]
        context["context"].update(user=name, namespace=namespace)
        config["users"] = [{"name": name, "user": {"token": token}}]
        path = self._home / f"{namespace}.{name}.kubeconfig"
        write_private(path, json.dumps(config).encode())
        return Client(self._program, self._cluster, path)

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 100) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever its exit code. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        return subprocess.run(
            [str(self._program), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self._environment,
            check=False,
        )

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 100) -> str:
        """Standard output. Raises CommandError when the exit code is not 0."""
        answer = self.run(*arguments, stdin=stdin, timeout=timeout)
        if answer.returncode != 0:
            shown = " ".join([self._program.name, *arguments])
            raise CommandError(f"`{shown}` ended with {answer.returncode}: {answer.stderr.strip()}")
        return answer.stdout

    def json(self, *arguments: str, timeout: float = 100) -> Any:
        """Standard output of the command with `-o json`, parsed. Raises CommandError."""
        return json.loads(self(*arguments, "-o", "json", timeout=timeout))

    def apply(self, *objects: dict[str, Any], namespace: str | None = None) -> None:
        """Apply objects server-side. Raises CommandError when one is refused."""
        scope = () if namespace is None else ("--namespace", namespace)
        content = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self("apply", "--server-side", *scope, "-f", "-", stdin=content)
