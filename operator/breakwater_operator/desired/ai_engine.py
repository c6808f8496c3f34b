"""The AI engine: signals from indicators, models and outside."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts


def ai_engine(desk: DeskFacts) -> Component:
    """Runs on every desk and keeps nothing that cannot be had again."""
    return Component("ai_engine", memory_mib=80)
