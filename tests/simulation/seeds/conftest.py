"""Seeds to run: the fixed ones always, and fresh ones each time (BREAKWATER_SEEDS=41,42 names them instead)."""

from __future__ import annotations

import os
import time

import pytest

FIXED = [7, 116]
"""A crash through a trip with stream drops; killed with an order on the wire, outages, and a trip."""


def fresh_seeds() -> list[int]:
    if named := os.environ.get("BREAKWATER_SEEDS"):
        return [int(seed) for seed in named.split(",")]
    first = int(time.time()) % 1_000_000
    return [first, first + 1]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_seed" in metafunc.fixturenames:
        metafunc.parametrize("any_seed", FIXED + fresh_seeds())


def pytest_report_header() -> str:
    return f"seeds: {FIXED} and fresh (python -m breakwater.simulation.run_seeds --seed N --replay repeats one)"
