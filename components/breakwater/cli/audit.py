"""``breakwater audit show|verify``: read the emergency stop's audit, and check that nobody changed it."""

from __future__ import annotations

import asyncio
import enum
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from breakwater.cli.audit_source import AuditSource, Trail, heads_from
from breakwater.cli.errors import Exit
from breakwater.cli.options import AsJson, StateDir, parse_utc, state_dir
from breakwater.cli.output import complain, console, print_json, row, say, table
from breakwater.runtime.unreadable import UNREADABLE

if TYPE_CHECKING:
    from breakwater.emergency_stop.verify import TrailReport

app = typer.Typer(no_args_is_help=True, help="Read and check the emergency stop's audit.", rich_markup_mode=None)


class Kind(enum.StrEnum):
    """What a record tells of."""

    TRANSITION = "transition"
    REQUEST = "request"
    BASELINE = "baseline"
    NOTE = "note"


FromFile = Annotated[
    Path | None,
    typer.Option("--file", help="An audit.jsonl instead of a desk that runs. Latch and head beside it are used too."),
]
FromUrl = Annotated[
    str | None, typer.Option("--url", help="A desk elsewhere, for example through kubectl port-forward.")
]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="Where the token for --url is.")]


@app.command(epilog="Example: breakwater audit show --kind transition --since 2026-01-31T00:00:00Z")
def show(
    since: Annotated[
        str | None, typer.Option("--since", help="Leave out what is older: a market time in UTC, ISO 8601.")
    ] = None,
    kind: Annotated[list[Kind] | None, typer.Option("--kind", help="Only these; may be given more than once.")] = None,
    file: FromFile = None,
    url: FromUrl = None,
    token_file: TokenFile = None,
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Print the audit: every transition, request and refusal with who, when and why. It is not checked: see verify."""
    oldest = parse_utc("--since", since) if since is not None else None
    trail = asyncio.run(AuditSource(file, url, token_file, state_dir(state)).read())
    records, unreadable = _records(trail.data)
    kinds = {each.value for each in kind or ()}
    chosen = [each for each in records if (not kinds or each["kind"] in kinds) and _recent(each, oldest)]
    if json:
        print_json(msgspec.json.encode({"records": chosen, "unreadable": unreadable}))
    else:
        _print_records(chosen)
    if unreadable:
        complain((f"{unreadable} lines cannot be read.",), "What is wrong: breakwater audit verify")


@app.command(epilog="Example: breakwater audit verify --head kept-head.json")
def verify(
    head: Annotated[
        list[str] | None,
        typer.Option("--head", help="A head that was kept elsewhere: FILE, URL or - for stdin; may be repeated."),
    ] = None,
    file: FromFile = None,
    url: FromUrl = None,
    token_file: TokenFile = None,
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Check chain, latch, signature and kept heads. Exit code 0: whole; 1: not, and which record; 2: wrong usage."""
    from breakwater.emergency_stop.verify import Verdict, check_trail

    kept = [each for where in head or () for each in heads_from(where, sys.stdin.buffer.read)]
    trail = asyncio.run(AuditSource(file, url, token_file, state_dir(state)).read())
    report = check_trail(
        trail.data, head=trail.head, unsigned_because=trail.unsigned_because, latch=trail.latch, kept=kept
    )
    if json:
        print_json(msgspec.json.encode(report))
    else:
        _print_report(report, trail)
    raise typer.Exit(Exit.OK if report.verdict is Verdict.WHOLE else Exit.UNEXPECTED)


def _records(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Every readable record with its hash, and how many lines are none."""
    found: list[dict[str, Any]] = []
    unreadable = 0
    for line in filter(None, data.split(b"\n")):
        try:
            parsed = msgspec.json.decode(line)
            record = {**parsed["record"], "hash": parsed["hash"]}
            if (
                not isinstance(record["n"], int)
                or not isinstance(record["values"], dict)
                or not all(isinstance(record[name], str) for name in _TEXTS)
            ):
                raise TypeError("not a record")
        except (*UNREADABLE, KeyError, TypeError):
            unreadable += 1
        else:
            found.append(record)
    return found, unreadable


_TEXTS = ("kind", "time", "who", "what", "why")


def _recent(record: dict[str, Any], oldest: datetime | None) -> bool:
    try:
        return oldest is None or datetime.fromisoformat(record["time"]) >= oldest
    except (ValueError, TypeError):  # a record without a time is never left out
        return True


def _print_records(records: list[dict[str, Any]]) -> None:
    shown = table("n", "time (UTC)", "what", "who", "why", right=("n",))
    for record in records:
        stopped = record["what"].endswith("-> TRIPPED")
        time = record["time"][:19].replace("T", " ")
        row(shown, record["n"], time, record["what"], record["who"], _why(record), style="red" if stopped else None)
    console().print(shown)


def _why(record: dict[str, Any]) -> str:
    """The reason; for an answer also its code."""
    code = record["values"].get("code", "")
    return f"{record['why']} [{code}]" if code else str(record["why"])


def _print_report(report: TrailReport, trail: Trail) -> None:
    from breakwater.emergency_stop.verify import Verdict

    whole = report.verdict is Verdict.WHOLE
    for check in report.checks:
        mark = "✓" if check.verdict is Verdict.WHOLE else "✗"
        say(f"{mark} {check.name}: {check.text}", "green" if mark == "✓" else "red")
    place = "" if report.record is None else f" at record {report.record}"
    say(f"{report.verdict.value}{place}: {trail.where}", "green" if whole else "bold red")
    if whole and report.head is None and trail.latch is None and len(report.checks) == 1:
        say(
            "Only the chain was checked: records missing at its end do not show without latch, head or --head.",
            "yellow",
        )
