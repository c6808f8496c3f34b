"""Where text goes: answers to stdout, everything about them to stderr. Text from the desk is never read as markup."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(*, error: bool = False) -> Console:
    """A plain console: no markup, no automatic colouring of numbers."""
    from rich.console import Console

    return Console(stderr=error, markup=False, highlight=False, soft_wrap=True, emoji=False)


def say(text: str, style: str | None = None) -> None:
    console().print(harmless(text), style=style)


def harmless(text: str) -> str:
    """``text`` without what a terminal obeys instead of showing it: a recorded reason must not be able to hide its own row."""
    return "".join(each if each.isprintable() or each in "\n\t" else f"\\x{ord(each):02x}" for each in text)


def complain(lines: Iterable[str], remedy: str = "") -> None:
    """Errors, one line each, and the remedy below."""
    out = console(error=True)
    for line in lines:
        out.print(harmless(line), style="bold red")
    if remedy:
        out.print(harmless(remedy))


def print_json(data: bytes) -> None:
    """One JSON object and a newline, as bytes: nothing is wrapped or coloured."""
    sys.stdout.buffer.write(data.rstrip(b"\n") + b"\n")
    sys.stdout.buffer.flush()


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """A table without frames; columns named in ``right`` are aligned to the right."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def row(into: Table, *cells: Any, style: str | None = None) -> None:
    """Add cells as plain text."""
    from rich.text import Text

    into.add_row(*(Text("" if cell is None else harmless(str(cell))) for cell in cells), style=style)
