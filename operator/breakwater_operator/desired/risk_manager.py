"""The risk manager: sized proposals from signals."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts


def risk_manager(desk: DeskFacts) -> Component:
    """Runs on every desk and keeps nothing that cannot be had again."""
    return Component("risk_manager", memory_mib=72)
