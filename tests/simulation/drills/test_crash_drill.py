"""The crash drill in virtual time: the desk gets long, is stopped out, re-enters, trips, goes flat, and agrees with the venue."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.desk.sources import DeskInputError
from breakwater.drills.crash import CrashOptions, run_crash
from breakwater.drills.report import CrashReport
from breakwater.paper_venue.markets import MarketFileError

START = datetime(2025, 10, 10, 20, tzinfo=UTC)


def assert_came_out_whole(report: CrashReport) -> None:
    """What must hold after any drill in which the stop fired, whatever the market."""
    assert report.tripped
    assert report.trip is not None
    assert report.trip.measured_pct is not None
    assert report.trip.limit_pct is not None
    assert report.trip.measured_pct >= report.trip.limit_pct
    assert report.flat_at is not None
    assert report.flat_at >= report.trip.time
    assert report.risk_increasing_orders_accepted_after_trip == 0
    assert (report.positions_at_end, report.open_orders_at_end) == (0, 0)
    assert report.ledger.difference == Decimal("0.00")
    assert report.ledger.breakwater_equity == report.ledger.venue_equity
    assert report.gate_closed_ms is not None


def assert_reset_was_earned(report: CrashReport) -> None:
    assert report.reset.early_refused is True
    assert report.reset.early_code == "RESET_COOLING_DOWN"
    assert report.reset.refused_again_without_new_baseline is True
    assert report.reset.rearmed is True
    assert report.reset.rearmed_at is not None
    assert report.flat_at is not None
    assert (report.reset.rearmed_at - report.flat_at).total_seconds() >= 15 * 60
    assert report.state_at_end == "ARMED"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_crash_of_10_october_2025_trips_the_stop_and_the_desk_comes_out_whole(recorded: Path) -> None:
    files = [recorded / f"{symbol}-5m-2025-09_2025-10.csv.gz" for symbol in ("BTCUSDT", "ETHUSDT")]
    report = run_crash(CrashOptions(market=tuple(files), start=START, end=datetime(2025, 10, 11, 0, 30, tzinfo=UTC)))
    assert_came_out_whole(report)
    assert_reset_was_earned(report)
    assert report.trip is not None
    assert datetime(2025, 10, 10, 20, 50, tzinfo=UTC) <= report.trip.time <= datetime(2025, 10, 10, 21, 25, tzinfo=UTC)
    assert report.trip.trigger == "DAILY_DRAWDOWN"
    assert report.trip.binding == "emergencyStop"
    # Long in both symbols, both stopped out, re-entered, then exited by the trip: four entries with four stops at least.
    assert report.orders.filled >= 6


@pytest.fixture(scope="module")
def synthetic() -> CrashReport:
    return run_crash(CrashOptions(market=("synthetic:1",), start=START, end=START.replace(hour=21, minute=15)))


def test_synthetic_crash_trips_the_stop_and_the_desk_comes_out_whole(synthetic: CrashReport) -> None:
    assert_came_out_whole(synthetic)
    assert_reset_was_earned(synthetic)


def test_report_as_json_has_exactly_the_documented_keys(synthetic: CrashReport) -> None:
    report: dict[str, Any] = json.loads(synthetic.to_json())
    assert list(report) == [
        "tripped", "trip", "gate_closed_ms", "flat_at", "risk_increasing_orders_accepted_after_trip", "positions_at_end",
        "open_orders_at_end", "orders", "ledger", "reset", "state_at_end", "duration_s",
    ]  # fmt: skip
    assert list(report["trip"]) == ["time", "trigger", "measured_pct", "limit_pct", "binding"]
    assert list(report["orders"]) == ["submitted", "filled", "refused_by_code"]
    assert list(report["ledger"]) == ["breakwater_equity", "venue_equity", "difference"]
    assert list(report["reset"]) == [
        "early_refused", "early_code", "refused_again_without_new_baseline", "rearmed", "rearmed_at",
    ]  # fmt: skip


@pytest.mark.slow
def test_drawdown_limit_of_the_defensive_profile_binds_when_it_is_tighter(tmp_path: Path) -> None:
    policy = tmp_path / "defensive.yaml"
    policy.write_text(
        "apiVersion: breakwater.trading/v1alpha1\nkind: TradingPolicy\nmetadata: {name: main}\n"
        "spec: {profile: DEFENSIVE, symbols: [BTCUSDT, ETHUSDT]}\n"
    )
    options = CrashOptions(
        market=("synthetic:1",), start=START, end=START.replace(hour=21), signals="long", policy=policy
    )
    report = run_crash(options)
    assert_came_out_whole(report)
    assert report.trip is not None
    assert (report.trip.limit_pct, report.trip.binding) == (Decimal("3.0000"), "profile")


@pytest.mark.parametrize("market", [("synthetic:abc",), ()])
def test_market_that_cannot_be_read_from_its_name_is_refused_with_a_remedy(market: tuple[str, ...]) -> None:
    with pytest.raises(DeskInputError, match="synthetic:"):
        run_crash(CrashOptions(market=market, start=START, end=START.replace(hour=21)))


def test_market_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    missing = tmp_path / "BTCUSDT-5m-missing.csv"
    with pytest.raises(MarketFileError, match="BTCUSDT-5m-missing"):
        run_crash(CrashOptions(market=(missing,), start=START, end=START.replace(hour=21)))


def test_signal_file_that_is_not_there_is_refused_with_a_remedy() -> None:
    options = CrashOptions(market=("synthetic:1",), start=START, end=START.replace(hour=21), signals="none.jsonl")
    with pytest.raises(DeskInputError, match=r"none\.jsonl"):
        run_crash(options)
