"""The Service of a component: a stable name for its one pod."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.environment import HTTP_PORT
from breakwater_operator.desired.inputs import DeskFacts
from breakwater_operator.desired.labels import component_name, metadata, selector
from breakwater_operator.desired.manifest import Manifest


def service(desk: DeskFacts, component: Component) -> Manifest:
    """A pod that is not ready is reached as well: a trip has to arrive while the store is away and nothing is ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(desk, component_name(desk.name, component.name), component.name),
        "spec": {
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "publishNotReadyAddresses": True,
            "selector": selector(desk.name, component.name),
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }
