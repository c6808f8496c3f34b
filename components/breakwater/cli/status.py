"""``breakwater status``: the same object as the page, for a terminal or for scripts."""

from __future__ import annotations

import asyncio

import msgspec

from breakwater.cli.client import DeskClient
from breakwater.cli.options import AsJson, StateDir, state_dir
from breakwater.cli.output import print_json


def status(state: StateDir = None, json: AsJson = False) -> None:
    """Show the desk. The emergency stop first, then money, positions, refusals and components."""
    desk = DeskClient(state_dir(state))
    found = asyncio.run(desk.status())
    if json:
        print_json(msgspec.json.encode(found))
        return
    from breakwater.cli.status_view import show_status

    show_status(found, desk.desk.record.url)
