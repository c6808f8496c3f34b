"""The order in which the files of tests are given to several workers."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
LONGEST_FIRST = (
    "contract/docs",
    "integration/drills",
    "integration/desk",
    "integration/processes",
    "simulation",
)
"""Folders whose tests take longest begin first, so that no worker is left alone with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.path))  # stable: the order within a file stays


def _rank(path: Path) -> int:
    inside = str(path.relative_to(TESTS)) if path.is_relative_to(TESTS) else ""
    return next((n for n, folder in enumerate(LONGEST_FIRST) if inside.startswith(f"{folder}/")), len(LONGEST_FIRST))
