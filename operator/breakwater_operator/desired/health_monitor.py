"""The health monitor: what every component says of itself."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts


def health_monitor(desk: DeskFacts) -> Component:
    """Runs on every desk and keeps nothing that cannot be had again."""
    return Component("health_monitor", memory_mib=72)
