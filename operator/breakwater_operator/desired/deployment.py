"""The Deployment of a component: one pod, the old one gone before the new one starts."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts, Platform
from breakwater_operator.desired.labels import component_name, labels, metadata, selector
from breakwater_operator.desired.manifest import Manifest
from breakwater_operator.desired.pod import pod_spec


def deployment(desk: DeskFacts, component: Component, platform: Platform) -> Manifest:
    """Nothing of the operator's own version is in the template: an upgrade of the operator restarts nothing."""
    annotations = {"annotations": dict(platform.pod_annotations)} if platform.pod_annotations else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(desk, component_name(desk.name, component.name), component.name),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 300,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector(desk.name, component.name)},
            "template": {
                "metadata": {"labels": platform.pod_labels | labels(desk.name, component.name), **annotations},
                "spec": pod_spec(desk, component, platform),
            },
        },
    }
