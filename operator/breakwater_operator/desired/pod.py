"""The pod of a component: one container under the restricted security profile, its probes, memory and volumes."""

from __future__ import annotations

from typing import Any

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.components import dashed
from breakwater_operator.desired.environment import (
    API_KEY_KEY,
    API_SECRET_KEY,
    HTTP_PORT,
    POLICY_FILE,
    POLICY_MOUNT,
    SECRET_MOUNT,
    STATE_MOUNT,
    TOKEN_KEY,
    environment,
)
from breakwater_operator.desired.inputs import DeskFacts, Platform
from breakwater_operator.desired.labels import account_name, component_name, config_map_name, secret_name
from breakwater_operator.desired.manifest import Manifest
from breakwater_operator.desired.paper_venue import DATA_DIR
from breakwater_operator.desired.quantity import canonical

GRACE_SECONDS = 30
_READABLE = 0o440
"""Mode of mounted secrets: the pod's group reads them, nobody writes."""


def pod_spec(desk: DeskFacts, component: Component, platform: Platform) -> Manifest:
    """``spec`` of the pod template."""
    security = platform.security_context
    spec: Manifest = {
        "serviceAccountName": account_name(desk.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # What the API server would fill in, so that an edit of it by hand shows.
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": security.run_as_user,
            "runAsGroup": security.fs_group,
            "fsGroup": security.fs_group,
            # A claim with many files would otherwise be walked through at each start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(desk, component, platform)],
        "volumes": [volume for volume, _ in _volumes(desk, component)],
    }
    placement: dict[str, Any] = {
        "imagePullSecrets": [{"name": secret.name} for secret in platform.image_pull_secrets],
        "nodeSelector": dict(platform.node_selector),
        "tolerations": [dict(toleration) for toleration in platform.tolerations],
        "affinity": dict(platform.affinity),
        "priorityClassName": platform.priority_class_name,
    }
    return spec | {field: value for field, value in placement.items() if value}


def _container(desk: DeskFacts, component: Component, platform: Platform) -> Manifest:
    return {
        "name": dashed(component.name),
        "image": platform.image,
        "imagePullPolicy": platform.image_pull_policy,
        "command": ["breakwater", "run", component.name],
        "env": environment(desk, component, platform),
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "resources": _resources(component, platform),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [mount for _, mount in _volumes(desk, component)],
        # The last lines of a container that failed become part of the condition's sentence.
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        # Imports and reading the journal back may take a while on a crowded node: two minutes.
        "startupProbe": _probe("/livez", period=2, timeout=2, failures=60),
        "livenessProbe": _probe("/livez", period=10, timeout=5, failures=3),
        "readinessProbe": _probe("/readyz", period=2, timeout=2, failures=3),
    }


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "successThreshold": 1,
        "failureThreshold": failures,
    }


def _resources(component: Component, platform: Platform) -> Manifest:
    """The owner's for this component, else the owner's for all, else the measured ones: memory twice over, CPU unlimited."""
    own = platform.resources
    chosen = next((own[key] for key in (component.name, dashed(component.name), "default") if key in own), None)
    if chosen is None:
        return {
            "requests": {"cpu": f"{component.cpu_millicores}m", "memory": f"{component.memory_mib}Mi"},
            "limits": {"memory": f"{2 * component.memory_mib}Mi"},
        }
    return {
        group: {resource: canonical(amount) for resource, amount in sorted(chosen[group].items())}
        for group in ("requests", "limits")
        if chosen.get(group)
    }


def _volumes(desk: DeskFacts, component: Component) -> list[tuple[Manifest, Manifest]]:
    """Volume and mount of everything the container sees besides its image."""
    state: Manifest = {"name": "state"}
    if component.keeps_state:
        state["persistentVolumeClaim"] = {"claimName": component_name(desk.name, component.name)}
    else:
        state["emptyDir"] = {"sizeLimit": "1Gi"}
    found: list[tuple[Manifest, Manifest]] = [
        (state, {"name": "state", "mountPath": STATE_MOUNT}),
        ({"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}, {"name": "tmp", "mountPath": "/tmp"}),
    ]
    if component.on_the_desk:
        secrets = {"name": "desk", "projected": {"defaultMode": _READABLE, "sources": _secrets(desk, component)}}
        policy = {
            "name": "policy",
            "configMap": {
                "name": config_map_name(desk.name),
                "items": [{"key": POLICY_FILE, "path": POLICY_FILE}],
                "defaultMode": 0o444,
                "optional": True,
            },
        }
        found.append((secrets, {"name": "desk", "mountPath": SECRET_MOUNT, "readOnly": True}))
        found.append((policy, {"name": "policy", "mountPath": POLICY_MOUNT, "readOnly": True}))
    if component.data_claim:
        data = {"name": "data", "persistentVolumeClaim": {"claimName": component.data_claim, "readOnly": True}}
        found.append((data, {"name": "data", "mountPath": DATA_DIR, "readOnly": True}))
    return found


def _secrets(desk: DeskFacts, component: Component) -> list[Manifest]:
    """Only the files this component needs: the exchange's key reaches execution alone."""
    keys = [API_KEY_KEY, API_SECRET_KEY] if component.exchange_key else []
    own = secret_name(desk.name)
    credentials = desk.policy.venue.credentials_secret_ref
    if keys and not desk.on_paper and credentials is not None:
        return [_source(own, [TOKEN_KEY]), _source(credentials.name, keys)]
    return [_source(own, [TOKEN_KEY, *keys])]


def _source(secret: str, keys: list[str]) -> Manifest:
    return {"secret": {"name": secret, "items": [{"key": key, "path": key} for key in keys]}}
