"""The chart rendered by helm, as objects; and the value sets that the tests render it with."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.local.build import tools

PROJECT = Path(__file__).resolve().parents[3]
CHART = PROJECT / "helm" / "breakwater"
RELEASE, NAMESPACE = "breakwater", "breakwater-system"
POD_KINDS = ("Deployment", "StatefulSet", "Pod")

Object = dict[str, Any]

EVERYTHING: Object = {
    "image": {"repository": "mirror.example:5000/team/desk", "tag": "1.2", "digest": "sha256:" + "a" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "bindAddress": "$(POD_IP)",
    "securityContext": {"runAsUser": 1000680000, "fsGroup": 1000680001},
    "crds": {"keep": False},
    "operator": {
        "logLevel": "debug",
        "logFormat": "auto",
        "serviceAccount": {"name": "own", "annotations": {"example.com/role": "x"}},
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "podLabels": {"team": "risk", "app.kubernetes.io/component": "mine"},
        "podAnnotations": {"example.com/a": "b"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "trading", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "priorityClassName": "high",
        "service": {"annotations": {"example.com/scrape": "true"}},
    },
    "desk": {
        "logLevel": "warning",
        "resources": {
            "default": {"limits": {"memory": "300Mi"}},
            "execution": {"requests": {"cpu": 0.5, "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        },
        "storage": {"className": "fast", "size": "5Gi", "accessMode": "ReadWriteOncePod"},
        "podLabels": {"team": "desk"},
        "podAnnotations": {"example.com/c": "d"},
        "nodeSelector": {"zone": "b"},
        "tolerations": [
            {"key": "spot", "operator": "Equal", "value": "no", "effect": "NoExecute", "tolerationSeconds": 30}
        ],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "priorityClassName": "desks",
    },
    "valkey": {
        "image": {"repository": "mirror.example/valkey", "tag": "9.1"},
        "maxMemory": "1gb",
        "storage": {"className": "-", "size": "20Gi", "accessMode": "ReadWriteMany"},
        "podLabels": {"team": "store"},
        "podAnnotations": {"example.com/e": "f"},
        "nodeSelector": {"disk": "nvme"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAffinity": {}},
        "priorityClassName": "high",
    },
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text-{{ .Release.Name }}\n",
    ],
}
VALUE_SETS: dict[str, Object] = {
    "defaults": {},
    "everything": EVERYTHING,
    "namespaced": {"namespaces": ["desk-a", "123"]},
    "external-url": {"redis": {"external": {"url": "rediss://user:secret@redis.example:6380/2"}}},
    "external-secret": {"redis": {"external": {"existingSecret": "given-redis", "key": "address"}}},
    "own-secrets": {
        "operator": {"existingSecret": "given-key", "serviceAccount": {"create": False, "name": "given-account"}},
        "valkey": {"existingSecret": "given-store", "networkPolicy": {"enabled": False}},
    },
    "no-crds": {"crds": {"enabled": False}},
}
GIVEN = {
    ("Secret", "given-redis"),
    ("Secret", "given-key"),
    ("Secret", "given-store"),
    ("ServiceAccount", "given-account"),
}
"""What the value sets name as existing already."""


def helm(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm without a cluster and without the user's own settings."""
    with tempfile.TemporaryDirectory() as home:
        own = {f"HELM_{part}_HOME": home for part in ("CACHE", "CONFIG", "DATA")}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HELM_", "KUBE"))}
        return subprocess.run(
            [str(tools() / "helm"), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**kept, **own, "KUBECONFIG": f"{home}/none"},
        )


def template(
    values: Object, *, release: str = RELEASE, namespace: str = NAMESPACE, chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    """`helm template`, whatever comes of it."""
    return helm("template", release, str(chart), "-n", namespace, "-f", "-", stdin=json.dumps(values))


def render(values: Object, *, release: str = RELEASE, namespace: str = NAMESPACE, chart: Path = CHART) -> list[Object]:
    """All objects. Raises AssertionError with helm's words."""
    answer = template(values, release=release, namespace=namespace, chart=chart)
    assert answer.returncode == 0, answer.stderr
    return [found for found in yaml.safe_load_all(answer.stdout) if found]


@cache
def _rendered(name: str) -> str:
    return json.dumps(render(VALUE_SETS[name]))


def rendered(name: str) -> list[Object]:
    """The objects of a value set; rendered once a run."""
    found: list[Object] = json.loads(_rendered(name))
    return found


def pick(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of that kind whose name ends so. Raises ValueError."""
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(name)]
    return found


def pods(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Name, labels and pod spec of everything that runs."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each["metadata"]["name"], each["metadata"]["labels"], each["spec"]
        elif each["kind"] in POD_KINDS:
            inner = each["spec"]["template"]
            yield each["metadata"]["name"], inner["metadata"]["labels"], inner["spec"]
