"""``breakwater throttle``: which symbols the repeated-order throttle closed, and a person's word to open one again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from breakwater.cli.client import DeskClient, body_of, request_id, sentences, who
from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import AsJson, Reason, StateDir, checked_reason, state_dir
from breakwater.cli.output import complain, console, print_json, row, say, table

if TYPE_CHECKING:
    import httpx

app = typer.Typer(no_args_is_help=True, help="Symbols closed after too many identical entries.", rich_markup_mode=None)

SymbolName = Annotated[str, typer.Argument(help="The venue's symbol, for example BTCUSDT.")]


@app.callback()
def throttle() -> None:
    """Symbols closed after too many identical entries."""


@app.command(epilog="Example: breakwater throttle show")
def show(state: StateDir = None, json: AsJson = False) -> None:
    """Closed symbols, how often entries repeat, and who enabled what."""
    answer = asyncio.run(_get(state))
    if json:
        print_json(answer.content)
    else:
        _show(body_of(answer))


@app.command(epilog='Example: breakwater throttle enable BTCUSDT --reason "the signal file had a loop, it is fixed"')
def enable(symbol: SymbolName, reason: Reason, state: StateDir = None, json: AsJson = False) -> None:
    """Allow entries on a closed symbol again. Answered once, and kept with who and why."""
    name = symbol.upper()
    if not (name.isascii() and name.isalnum()):
        raise CliError(Exit.USAGE, f"{symbol!r} is not a symbol.", "Write it as the venue does: BTCUSDT")
    raise typer.Exit(asyncio.run(_enable(state_dir(state), name, checked_reason(reason), json)))


async def _get(state: Path | None) -> httpx.Response:
    desk = DeskClient(state_dir(state))
    answer = await desk.get("/v1/throttle")
    if answer.status_code != 200:
        raise desk.unexpected(answer)
    return answer


async def _enable(root: Path, symbol: str, reason: str, json: bool) -> Exit:
    desk = DeskClient(root)
    body = {"requestID": request_id(), "reason": reason, "requestedBy": who()}
    answer = await desk.post(f"/v1/throttle/{symbol}/enable", json=body)
    if answer.status_code not in (200, 409, 422, 503):
        raise desk.unexpected(answer)
    if json:
        print_json(answer.content)
    elif answer.is_success:
        say(f"✓ {body_of(answer).get('text')}", "green")
    else:
        complain([f"✗ {line}" for line in sentences(answer)], "Closed symbols: breakwater throttle show")
    return Exit.OK if answer.is_success else Exit.REFUSED


def _show(told: dict[str, Any]) -> None:
    out, closed = console(), told.get("closed") or []
    limit = told.get("limit") or "-"
    if not closed:
        out.print(f"No symbol is closed. A symbol closes after {limit} identical entries in a row.")
    for each in closed:
        times = f"{each['repeats']} identical entries" if each.get("limit") else "too many identical entries"
        out.print(f"{each['symbol']} closed to entries since {_time(each['since'])}: {times}", style="bold red")
    if closed:
        out.print(
            f"Find out why the source repeats itself, then: breakwater throttle enable {closed[0]['symbol']} --reason TEXT"
        )
    if counts := told.get("counts"):
        shown = table("Symbol", "In a row", "Limit", right=("In a row", "Limit"))
        for symbol, count in counts.items():
            row(shown, symbol, count, limit)
        out.print(shown)
    for each in told.get("answers") or []:
        verdict = "enabled" if each["accepted"] else "was not closed"
        out.print(f"{_time(each['time'])} {each['symbol']} {verdict}, asked by {each['requestedBy']}: {each['reason']}")


def _time(text: str) -> str:
    return text[:19].replace("T", " ") + " UTC"
