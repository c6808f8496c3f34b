"""The dashboard: the page that people look at."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts


def dashboard(desk: DeskFacts) -> Component:
    """Runs on every desk. It prints the kubectl line of a reset, so it alone is told the names."""
    names = (("BREAKWATER_NAMESPACE", desk.namespace), ("BREAKWATER_STOP", desk.stop_name))
    return Component("dashboard", memory_mib=72, environment=tuple(pair for pair in names if pair[1]))
