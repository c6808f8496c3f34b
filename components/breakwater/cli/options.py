"""Options that several commands share, and the parsing of what people type."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from breakwater.cli.errors import CliError, Exit
from breakwater.desk.rundir import HOME_VARIABLE, state_dir_from

StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", help=f"Where the desk keeps its state. Default: ${HOME_VARIABLE}, else ./.breakwater"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Reason = Annotated[str, typer.Option("--reason", help="Why. Goes into the audit record.")]


def state_dir(given: Path | None) -> Path:
    return given.expanduser() if given is not None else state_dir_from(os.environ)


def checked_reason(reason: str) -> str:
    if not reason.strip() or len(reason) > 500:
        raise CliError(
            Exit.USAGE,
            "--reason must say something, in at most 500 characters.",
            'For example: --reason "checked positions, news is over"',
        )
    return reason.strip()


def parse_speed(text: str, *, or_max: bool) -> float:
    """A number above 0 and at most 60; ``max`` (infinity) where it is offered."""
    if or_max and text == "max":
        return float("inf")
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or not 0 < number <= 60:
        choice = " or max" if or_max else ""
        raise CliError(
            Exit.USAGE,
            f"--speed {text} is not a speed.",
            f"Give a number above 0 and at most 60{choice}: market seconds per second.",
        )
    return float(number)


def parse_utc(name: str, text: str) -> datetime:
    """An ISO 8601 time that says it is UTC."""
    example = f"For example: {name} 2025-10-10T20:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CliError(Exit.USAGE, f"{name} {text} is not a time.", example) from None
    if moment.utcoffset() != timedelta(0):
        zone = "has no time zone" if moment.tzinfo is None else "is not UTC"
        raise CliError(Exit.USAGE, f"{name} {text} {zone}: market time is UTC.", example)
    return moment.astimezone(UTC)


def parse_seed(text: str) -> int:
    """The seed in ``synthetic`` (1) or ``synthetic:7``."""
    _, colon, seed = text.partition(":")
    if not colon:
        return 1
    if not (seed.isascii() and seed.isdigit() and len(seed) <= 18):
        raise CliError(
            Exit.USAGE, f"--market {text}: {seed!r} is not a seed.", "Give a whole number from 0: synthetic:7"
        )
    return int(seed)


def readable(path: Path, option: str) -> Path:
    """``path``, if a file can be read there."""
    found = path.expanduser()
    if not found.is_file():
        what = "is a directory" if found.is_dir() else "does not exist"
        raise CliError(Exit.USAGE, f"{option} {path}: the file {what}.", "Check the path.")
    if not os.access(found, os.R_OK):
        raise CliError(Exit.USAGE, f"{option} {path}: the file cannot be read.", "Check its permissions.")
    return found
