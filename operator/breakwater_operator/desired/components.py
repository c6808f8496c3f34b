"""The components of a desk by name. What is special about each one has a file of its own beside this one."""

from __future__ import annotations

NAMES = (
    "paper_venue", "market_data", "ai_engine", "risk_manager", "execution", "portfolio", "emergency_stop", "health_monitor",
    "dashboard",
)  # fmt: skip
"""In the order in which they are applied."""


def dashed(component: str) -> str:
    """The component's name in labels, object names and containers: ``market-data``."""
    return component.replace("_", "-")
