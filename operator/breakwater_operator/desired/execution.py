"""Execution: the one place that sends orders, with its journal and the only copy of the exchange's key."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.environment import API_KEY_FILE, API_SECRET_FILE
from breakwater_operator.desired.inputs import DeskFacts


def execution(desk: DeskFacts) -> Component:
    """Runs on every desk. Its journal makes a proposal executable once, so it lies on a claim."""
    keys = (("BREAKWATER_API_KEY_FILE", API_KEY_FILE), ("BREAKWATER_API_SECRET_FILE", API_SECRET_FILE))
    return Component(
        "execution", memory_mib=152, cpu_millicores=50, keeps_state=True, environment=keys, exchange_key=True
    )
