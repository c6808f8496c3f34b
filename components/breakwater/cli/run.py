"""``breakwater run COMPONENT``: one component as its own process, as on Kubernetes. Settings come from the environment."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from breakwater.cli.errors import CliError, Exit

COMPONENTS = (
    "market_data", "ai_engine", "risk_manager", "execution", "portfolio", "emergency_stop", "health_monitor", "dashboard",
    "paper_venue", "policy",
)  # fmt: skip


def run(
    component: Annotated[str, typer.Argument(help=", ".join(COMPONENTS))],
    accounts: Annotated[
        Path | None, typer.Option(help="paper_venue: a file with its accounts (else BREAKWATER_VENUE_ACCOUNTS).")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="paper_venue: a plan of what goes wrong (else BREAKWATER_FAULTS).")
    ] = None,
    faults_api: Annotated[
        bool, typer.Option("--faults-api", help="paper_venue: let faults be changed at /paper/faults while it runs.")
    ] = False,
) -> None:
    """Run one component until it is stopped."""
    name = component.replace("-", "_")
    if name not in COMPONENTS:
        raise CliError(Exit.USAGE, f"{component} is not a component.", f"Choose one of: {', '.join(COMPONENTS)}")
    if name != "paper_venue" and (accounts is not None or faults is not None or faults_api):
        raise CliError(
            Exit.USAGE,
            f"{component} has no accounts and no faults to plan.",
            "Give --accounts and --faults to paper_venue only.",
        )
    environment = dict(os.environ)
    if accounts is not None:
        environment["BREAKWATER_VENUE_ACCOUNTS"] = str(accounts)
    if faults is not None:
        environment["BREAKWATER_FAULTS"] = str(faults)
    if faults_api:
        environment["BREAKWATER_FAULTS_API"] = "true"

    signal.signal(signal.SIGTERM, _leave)
    from breakwater.desk.component import run_component
    from breakwater.runtime.settings import load_settings

    raise typer.Exit(asyncio.run(run_component(name, load_settings(environment))))


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """Until the component takes signals itself. The first process of a container has no default handlers."""
    raise SystemExit(0)
