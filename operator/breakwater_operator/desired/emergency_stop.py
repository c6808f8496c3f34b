"""The emergency stop: the authority over the stop's state, with latch and audit."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts


def emergency_stop(desk: DeskFacts) -> Component:
    """Runs on every desk. A trip survives everything, so latch and audit lie on a claim."""
    return Component("emergency_stop", memory_mib=72, keeps_state=True)
