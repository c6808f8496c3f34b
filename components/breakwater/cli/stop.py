"""``breakwater trip`` and ``breakwater reset``: a person's two requests to the emergency stop."""

from __future__ import annotations

import asyncio
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from breakwater.cli.client import DeskClient, body_of, request_id, sentences, who
from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import AsJson, Reason, StateDir, checked_reason, state_dir
from breakwater.cli.output import complain, print_json, say

if TYPE_CHECKING:
    import httpx


def trip(reason: Reason, state: StateDir = None, json: AsJson = False) -> None:
    """Stop the desk now. Nothing new is opened, orders are cancelled, positions closed; always possible."""
    raise typer.Exit(asyncio.run(_trip(state_dir(state), checked_reason(reason), json)))


def reset(
    reason: Reason,
    new_baseline: Annotated[
        bool,
        typer.Option("--new-baseline", help="Measure the day's drawdown from today's equity on. Audited, once a day."),
    ] = False,
    trip_id: Annotated[
        str | None, typer.Option("--trip-id", help="The trip you looked at. Default: the one the desk reports now.")
    ] = None,
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Ask the emergency stop to arm again. It decides, once; a refused request never fires later."""
    raise typer.Exit(asyncio.run(_reset(state_dir(state), checked_reason(reason), new_baseline, trip_id, json)))


async def _trip(root: Path, reason: str, json: bool) -> Exit:
    desk = DeskClient(root)
    request, person = request_id(), who()
    # Both at once: neither may wait for the other, and each closes the gate by itself.
    answers = await asyncio.gather(
        _attempt(
            desk, "/v1/stop/requests", {"kind": "trip", "requestID": request, "reason": reason, "requestedBy": person}
        ),
        _attempt(desk, "/v1/halt", {"requestID": request, "reason": reason, "requestedBy": person}),
    )
    named = dict(zip(("emergency stop", "execution"), answers, strict=True))
    if json:
        _print({name.replace(" ", "_"): _as_json(answer) for name, answer in named.items()})
    codes = [_report(name, answer, quiet=json) for name, answer in named.items()]
    if not json and Exit.OK in codes and codes != [Exit.OK, Exit.OK]:
        say("One of the two is enough to open nothing new. Look at: breakwater status", "yellow")
    return max(codes)


async def _attempt(desk: DeskClient, path: str, body: dict[str, str]) -> httpx.Response | CliError:
    try:
        return await desk.post(path, json=body)
    except CliError as error:
        return error


def _report(name: str, answer: httpx.Response | CliError, *, quiet: bool) -> Exit:
    if isinstance(answer, CliError):
        if not quiet:
            complain((f"✗ {name}: {answer.lines[0]}",), answer.remedy)
        return answer.code
    if answer.is_success:
        if not quiet:
            text = body_of(answer).get("text")
            say(f"✓ {name}: {text or 'halted: nothing new is opened'}", "green")
        return Exit.OK
    if not quiet:
        complain([f"✗ {name}: {line}" for line in sentences(answer)])
    return Exit.REFUSED


async def _reset(root: Path, reason: str, new_baseline: bool, trip_id: str | None, json: bool) -> Exit:
    desk = DeskClient(root)
    status = await desk.status()
    stop = status.get("stop", {})
    trip_id = trip_id or stop.get("trip_id")
    if trip_id is None:
        problem = f"RESET_NOT_TRIPPED: there is nothing to reset, the emergency stop is {stop.get('state', 'UNKNOWN')}."
        raise CliError(Exit.REFUSED, problem, "Look at: breakwater status")
    answer = await desk.post(
        "/v1/stop/requests",
        json={
            "kind": "reset",
            "requestID": request_id(),
            "tripID": trip_id,
            "reason": reason,
            "requestedBy": who(),
            "newBaseline": new_baseline,
        },
    )
    if json:
        print_json(answer.content)
    if answer.is_success:
        if not json:
            say(f"✓ {body_of(answer).get('text') or f'armed again after {trip_id}'}", "green")
        return Exit.OK
    if not json:
        complain([f"✗ {line}" for line in sentences(answer)], _remaining(body_of(answer), status))
    return Exit.REFUSED


def _remaining(outcome: dict[str, Any], status: dict[str, Any]) -> str:
    seconds = outcome.get("remaining_seconds")
    if not isinstance(seconds, int) or seconds <= 0:
        return "This request is answered and done: ask again once that has changed."
    try:
        speed = Decimal(str(status.get("market", {}).get("speed", "1")))
    except InvalidOperation:
        speed = Decimal(1)
    here = f" ({clock(int(seconds / speed))} here, at speed {speed.normalize():f})" if speed not in (0, 1) else ""
    return f"{clock(seconds)} of the cooldown remain{here}. This request is answered and done: ask again then."


def clock(seconds: int) -> str:
    """``14:05`` or ``1:14:05``."""
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _as_json(answer: httpx.Response | CliError) -> dict[str, Any]:
    if isinstance(answer, CliError):
        return {"reached": False, "error": answer.lines[0]}
    return {"reached": True, "status_code": answer.status_code, "answer": body_of(answer)}


def _print(value: object) -> None:
    import msgspec

    print_json(msgspec.json.encode(value))
