"""Seeds to run: the fixed ones always, and fresh ones each time (tests/conftest.py draws them once for all workers)."""

from __future__ import annotations

import os

import pytest

FIXED = [7, 116]
"""A crash through a trip with stream drops; killed with an order on the wire, outages, and a trip."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_seed" in metafunc.fixturenames:
        fresh = [int(seed) for seed in os.environ["BREAKWATER_SEEDS"].split(",")]
        metafunc.parametrize("any_seed", FIXED + fresh)
