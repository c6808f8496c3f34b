"""``breakwater signal``: give the desk an opinion by hand, through the same interface that a model uses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from breakwater.cli.client import DeskClient, body_of, sentences
from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import AsJson, StateDir, state_dir
from breakwater.cli.output import print_json, say

if TYPE_CHECKING:
    import httpx

app = typer.Typer(no_args_is_help=True, help="Give the desk a signal.", rich_markup_mode=None)


@app.callback()
def signals() -> None:
    """Give the desk a signal."""


@app.command(epilog="Example: breakwater signal send BTCUSDT long --confidence 0.75 --stop-pct 2")
def send(
    symbol: Annotated[str, typer.Argument(help="The venue's symbol, for example BTCUSDT.")],
    direction: Annotated[str, typer.Argument(help="long or short.")],
    confidence: Annotated[
        str, typer.Option(help="How sure, 0 to 1. Below the policy's minimum nothing is traded.")
    ] = "0.75",
    stop_pct: Annotated[
        str, typer.Option("--stop-pct", help="Where the opinion is wrong, in percent of the price.")
    ] = "2",
    target_pct: Annotated[
        str | None, typer.Option("--target-pct", help="Where it is right, in percent of the price.")
    ] = None,
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Publish one signal. The risk manager and the gate may still refuse what follows: see breakwater status."""
    if direction.upper() not in ("LONG", "SHORT"):
        raise CliError(Exit.USAGE, f"{direction} is not a direction.", "Give long or short.")
    body: dict[str, Any] = {
        "symbol": symbol.upper(),
        "direction": direction.upper(),
        "confidence": confidence,
        "stop_pct": stop_pct,
        "source": "cli",
    }
    if target_pct is not None:
        body["target_pct"] = target_pct
    answer = asyncio.run(_post(state, body))
    if json:
        print_json(answer.content)
        return
    say(f"✓ taken as {body_of(answer).get('signal_id')}", "green")


async def _post(state: Path | None, body: dict[str, Any]) -> httpx.Response:
    desk = DeskClient(state_dir(state))
    answer = await desk.post("/v1/signals", json=body)
    if answer.status_code in (409, 413, 422, 503):
        raise CliError(Exit.REFUSED, sentences(answer), "No signal was taken.")
    if not answer.is_success:
        raise desk.unexpected(answer)
    return answer
