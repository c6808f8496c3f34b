"""How the tests are shared out over several workers: one file after the other stays together, all cluster tests share one cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
LONGEST_FIRST = (
    "cluster",
    "contract/docs",
    "integration/drills",
    "integration/desk",
    "integration/processes",
    "simulation",
)
"""Folders whose tests take longest begin first, so that no worker is left alone with one of them at the end."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item.path)))
    items.sort(key=lambda item: _rank(item.path))  # stable: the order within a file stays


def _group(path: Path) -> str:
    inside = path.relative_to(TESTS) if path.is_relative_to(TESTS) else path
    return "cluster" if inside.parts[0] == "cluster" else str(inside)


def _rank(path: Path) -> int:
    inside = str(path.relative_to(TESTS)) if path.is_relative_to(TESTS) else ""
    return next((n for n, folder in enumerate(LONGEST_FIRST) if inside.startswith(f"{folder}/")), len(LONGEST_FIRST))
