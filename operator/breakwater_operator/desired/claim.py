"""The claim of a component that keeps something. It outlives the policy: deleting a desk must not delete its audit."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts, Platform
from breakwater_operator.desired.labels import component_name, metadata
from breakwater_operator.desired.manifest import Manifest
from breakwater_operator.desired.quantity import canonical


def claim(desk: DeskFacts, component: Component, platform: Platform) -> Manifest:
    """Size and class count when the claim is made; later they belong to whoever resizes it."""
    storage = platform.storage
    by_class = {"storageClassName": storage.class_name} if storage.class_name is not None else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(desk, component_name(desk.name, component.name), component.name, owned=False),
        "spec": {
            "accessModes": [storage.access_mode],
            "resources": {"requests": {"storage": canonical(storage.size)}},
            **by_class,
        },
    }
