"""The crash drill's short twin on the wall: a real Valkey, real HTTP and WebSocket, the market 60 times faster."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from breakwater.drills.crash import CrashOptions, run_crash

START = datetime(2025, 10, 10, 20, tzinfo=UTC)


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_synthetic_crash_on_real_valkey_and_http_trips_and_comes_out_whole() -> None:
    report = run_crash(CrashOptions(market=("synthetic:1",), start=START, end=START.replace(minute=45), speed=60.0))
    assert report.tripped
    assert report.risk_increasing_orders_accepted_after_trip == 0
    assert (report.positions_at_end, report.open_orders_at_end) == (0, 0)
    assert report.ledger.difference == Decimal("0.00")
    assert report.reset.early_code == "RESET_COOLING_DOWN"
    assert report.gate_closed_ms is not None
