"""What all workers share: the fresh seeds of this run, and the order in which files are given out."""

from __future__ import annotations

import os
import time
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


SEEDS = "BREAKWATER_SEEDS"
"""Environment variable that names the fresh seeds instead (41,42)."""


def pytest_configure() -> None:
    # Before there are workers, which inherit it: each drawing its own would collect other tests than the rest.
    first = int(time.time()) % 1_000_000
    os.environ.setdefault(SEEDS, f"{first},{first + 1}")


def pytest_report_header() -> str:
    return f"fresh seeds: {os.environ[SEEDS]} (python -m breakwater.simulation.run_seeds --seed N --replay repeats one)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.path))  # stable: the order within a file stays


def _rank(path: Path) -> int:
    inside = str(path.relative_to(TESTS)) if path.is_relative_to(TESTS) else ""
    return next((n for n, folder in enumerate(LONGEST_FIRST) if inside.startswith(f"{folder}/")), len(LONGEST_FIRST))
