"""Market data: prices and candles from the venue to everybody else."""

from __future__ import annotations

from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts


def market_data(desk: DeskFacts) -> Component:
    """Runs on every desk and keeps nothing that cannot be had again."""
    return Component("market_data", memory_mib=152, cpu_millicores=50)
