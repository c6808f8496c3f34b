"""Where the recorded market data lies, if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded candles: $BREAKWATER_MARKETDATA, else ../shared/marketdata beside the project."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "marketdata"
    folder = Path(os.environ.get("BREAKWATER_MARKETDATA", beside))
    if not (folder / "BTCUSDT-5m-2025-09_2025-10.csv.gz").is_file():
        pytest.skip(f"recorded market data is not at {folder}; set BREAKWATER_MARKETDATA to its folder")
    return folder
