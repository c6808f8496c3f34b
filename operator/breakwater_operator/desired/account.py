"""The ServiceAccount of a desk's pods: it has no rights, and its token is not mounted."""

from __future__ import annotations

from breakwater_operator.desired.inputs import DeskFacts
from breakwater_operator.desired.labels import account_name, metadata
from breakwater_operator.desired.manifest import Manifest


def service_account(desk: DeskFacts) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(desk, account_name(desk.name)),
        "automountServiceAccountToken": False,
    }
