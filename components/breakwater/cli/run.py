"""``breakwater run COMPONENT``: one component as its own process, as on Kubernetes. Settings come from the environment."""

from __future__ import annotations

import asyncio
import os
import signal
from types import FrameType
from typing import Annotated, NoReturn

import typer

from breakwater.cli.errors import CliError, Exit

COMPONENTS = (
    "market_data", "ai_engine", "risk_manager", "execution", "portfolio", "emergency_stop", "health_monitor", "dashboard",
    "paper_venue", "policy",
)  # fmt: skip


def run(component: Annotated[str, typer.Argument(help=", ".join(COMPONENTS))]) -> None:
    """Run one component until it is stopped."""
    name = component.replace("-", "_")
    if name not in COMPONENTS:
        raise CliError(Exit.USAGE, f"{component} is not a component.", f"Choose one of: {', '.join(COMPONENTS)}")

    signal.signal(signal.SIGTERM, _leave)
    from breakwater.desk.component import run_component
    from breakwater.runtime.settings import load_settings

    raise typer.Exit(asyncio.run(run_component(name, load_settings(os.environ))))


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """Until the component takes signals itself. The first process of a container has no default handlers."""
    raise SystemExit(0)
