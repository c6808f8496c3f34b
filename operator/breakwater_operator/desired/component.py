"""What is special about one component; everything else is shared by all of them."""

from __future__ import annotations

from dataclasses import dataclass

from breakwater_operator.desired.manifest import Manifest


@dataclass(frozen=True)
class Component:
    """One component of a desk. Memory is MiB of the process alone, measured on a working desk with three symbols."""

    name: str
    """As ``breakwater run`` knows it: ``market_data``."""
    memory_mib: int
    cpu_millicores: int = 25
    keeps_state: bool = False
    """Whether its state lies on a claim that outlives the pod and the desk."""
    on_the_desk: bool = True
    """Whether it talks to store and policy. Only the paper venue does not: it plays the exchange."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that only this component gets."""
    exchange_key: bool = False
    """Whether it is given the exchange's key and secret."""
    data_claim: str | None = None
    """A claim of the user's that is mounted read-only at /data."""


def deployment_component(manifest: Manifest) -> str:
    """Which component a Deployment of ours runs (``market-data``)."""
    return str(manifest["metadata"]["labels"]["app.kubernetes.io/component"])
