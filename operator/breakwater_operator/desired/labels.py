"""Names, labels and the owner reference of what belongs to a desk (contract 2)."""

from __future__ import annotations

from breakwater_operator.desired.components import dashed
from breakwater_operator.desired.inputs import DeskFacts
from breakwater_operator.desired.manifest import Manifest

API_VERSION = "breakwater.trading/v1alpha1"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "breakwater-operator"
COMPONENT_LABEL = "app.kubernetes.io/component"
POLICY_LABEL = "breakwater.trading/policy"
POLICY_UID_ANNOTATION = "breakwater.trading/policy-uid"


def component_name(policy: str, component: str) -> str:
    """Name of a component's Deployment, Service and claim: ``main-market-data``."""
    return f"{policy}-{dashed(component)}"


def account_name(policy: str) -> str:
    """Name of the ServiceAccount that the pods of a desk run under; it has no rights."""
    return f"{policy}-desk"


def secret_name(policy: str) -> str:
    """Name of the Secret with the desk's token, keys and store."""
    return f"{policy}-desk"


def config_map_name(policy: str) -> str:
    """Name of the ConfigMap with the copy of the policy in force; the publisher writes it."""
    return f"{policy}-policy"


def labels(policy: str, component: str | None = None) -> dict[str, str]:
    """Labels of one object; ``component`` None for what the whole desk shares."""
    part = {COMPONENT_LABEL: dashed(component)} if component else {}
    return {
        "app.kubernetes.io/name": "breakwater",
        **part,
        "app.kubernetes.io/instance": policy,
        MANAGED_BY_LABEL: MANAGED_BY,
        POLICY_LABEL: policy,
    }


def selector(policy: str, component: str) -> dict[str, str]:
    """What Services and Deployments pick pods by. A Deployment's can never change: keep it as it is."""
    chosen = labels(policy, component)
    return {name: chosen[name] for name in ("app.kubernetes.io/name", COMPONENT_LABEL, "app.kubernetes.io/instance")}


def owner_reference(policy: str, uid: str) -> Manifest:
    """Makes the garbage collector remove a child with its policy."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TradingPolicy",
        "name": policy,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def metadata(desk: DeskFacts, name: str, component: str | None = None, *, owned: bool = True) -> Manifest:
    """Metadata of one child. ``owned`` False for claims: they outlive the policy."""
    owner = {"ownerReferences": [owner_reference(desk.name, desk.uid)]} if owned else {}
    return {
        "name": name,
        "namespace": desk.namespace,
        "labels": labels(desk.name, component),
        "annotations": {POLICY_UID_ANNOTATION: desk.uid},
        **owner,
    }
