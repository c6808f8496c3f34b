"""The reference pages say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import typer.main

from breakwater.cli.errors import Exit
from breakwater.cli.main import app
from breakwater.dashboard.view import DeskStatus, StopPanel
from breakwater.domain.refusals import RefusalCode

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"


def test_refusals_table_lists_every_code_once_in_order_with_meaning_and_remedy() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", (REFERENCE / "refusals.md").read_text(), re.MULTILINE)
    assert [code for code, _, _ in rows] == [code.value for code in RefusalCode]
    assert all(meaning.endswith(".") and remedy.endswith(".") for _, meaning, remedy in rows)


def test_cli_page_lists_every_command_and_exit_code() -> None:
    page = (REFERENCE / "cli.md").read_text()
    group = typer.main.get_group(app)
    for name, command in group.commands.items():
        for inner in getattr(command, "commands", {}) or {"": None}:
            assert f"| `{f'{name} {inner}'.strip()}" in page, f"{name} {inner} is not in cli.md"
    codes = {int(code) for code in re.findall(r"^\| (\d+) \| ", page, re.MULTILINE)}
    assert codes == {code.value for code in Exit}


def test_cli_page_lists_every_key_of_status() -> None:
    page = (REFERENCE / "cli.md").read_text().partition("### `GET /v1/status`")[2]
    keys = {key for row in re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    assert keys == {field.name for field in msgspec.structs.fields(DeskStatus)}
    stop = re.search(r"^\| `stop` \| `\{([^}]*)\}`", page, re.MULTILINE)
    assert stop is not None
    assert stop[1].split(", ") == [field.name for field in msgspec.structs.fields(StopPanel)]


def test_every_command_has_an_example() -> None:
    group = typer.main.get_group(app)
    commands = [c for command in group.commands.values() for c in getattr(command, "commands", {"": command}).values()]
    assert commands
    for command in commands:
        assert (command.epilog or "").startswith("Example: breakwater "), f"{command.name} has no example"
