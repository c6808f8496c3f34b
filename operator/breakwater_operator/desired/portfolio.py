"""The portfolio: the ledger and the snapshots that the emergency stop judges by."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts


def portfolio(desk: DeskFacts) -> Component:
    """Runs on every desk. The day's baseline must survive the pod, so it lies on a claim."""
    return Component("portfolio", memory_mib=72, keeps_state=True)
