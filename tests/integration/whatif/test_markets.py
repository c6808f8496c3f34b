"""The profiles beside each other on the day of the crash, real and synthetic; and what a reset afterwards would cost."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from breakwater.whatif.engine import run_side
from breakwater.whatif.report import RunReport
from breakwater.whatif.run import WhatIfOptions, WhatIfReport, run_whatif
from breakwater.whatif.scenario import make_scenario

START = datetime(2025, 10, 10, 20, tzinfo=UTC)


@pytest.mark.marketdata
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_crash_of_10_october_2025_costs_the_optimist_less_under_tighter_profiles(recorded: Path) -> None:
    files = tuple(str(recorded / f"{symbol}-5m-2025-09_2025-10.csv.gz") for symbol in ("BTCUSDT", "ETHUSDT"))
    options = WhatIfOptions(
        market=files, against=("NORMAL", "AGGRESSIVE"), policy="DEFENSIVE", start=START, end=START.replace(hour=22)
    )
    report = run_whatif(options)
    normal, aggressive, defensive = report.runs
    for run, limit in ((normal, 5), (aggressive, 5), (defensive, 3)):
        (trip,) = run.trips
        assert START.replace(minute=50) <= trip.time <= START.replace(hour=21, minute=25)
        assert trip.trigger == "DAILY_DRAWDOWN"
        assert trip.limit == limit
        assert run.worst_daily_drawdown_pct >= limit
        assert run.ledger_difference == 0
        assert (run.positions_at_end, run.liquidations) == (0, 0)
    assert defensive.final_equity > normal.final_equity
    assert defensive.final_equity > aggressive.final_equity


@pytest.fixture(scope="module")
def synthetic() -> WhatIfReport:
    """Six minutes from the start of a crash."""
    end = START + timedelta(minutes=6)
    return run_whatif(WhatIfOptions(market=("synthetic:1",), policy="DEFENSIVE", start=START, end=end))


def test_synthetic_crash_under_two_profiles_shows_the_smaller_loss_of_the_tighter_one(synthetic: WhatIfReport) -> None:
    normal, defensive = synthetic.runs
    assert normal.lowest_equity < defensive.lowest_equity < normal.starting_equity
    assert normal.peak_exposure_pct > defensive.peak_exposure_pct > 0
    assert [run.ledger_difference for run in synthetic.runs] == [0, 0]
    for run in synthetic.runs:
        assert run.equity_curve[0][1] <= run.starting_equity
        assert run.equity_curve[-1] == (synthetic.market.end, run.final_equity)
        assert run.orders.refused == sum(run.orders.refused_by_code.values()) == sum(run.orders.refused_by.values())


@pytest.mark.slow
def test_reset_after_each_cooldown_lets_a_tripped_desk_go_on(tmp_path: Path) -> None:
    policy = tmp_path / "nervous.yaml"
    policy.write_text(
        "apiVersion: breakwater.trading/v1alpha1\nkind: TradingPolicy\nmetadata: {name: main}\n"
        "spec: {profile: NORMAL, symbols: [BTCUSDT]}\n---\n"
        "apiVersion: breakwater.trading/v1alpha1\nkind: EmergencyStop\nmetadata: {name: main}\n"
        "spec: {policyRef: {name: main}, maxDailyDrawdownPct: 0.5, cooldownMinutes: 1}\n"
    )

    def run(*, auto_reset: bool) -> RunReport:
        options = WhatIfOptions(
            market=("synthetic:1",),
            policy=str(policy),
            auto_reset=auto_reset,
            start=START,
            end=START + timedelta(minutes=9),
        )
        scenario = make_scenario(options)
        return run_side(scenario, scenario.sides[-1])

    stays, goes_on = run(auto_reset=False), run(auto_reset=True)
    assert len(stays.trips) == 1
    assert (stays.resets, stays.state_at_end, stays.trips[0].reset_at) == (0, "COOLING_DOWN", None)
    assert goes_on.trips[0].time == stays.trips[0].time
    assert goes_on.resets >= 1
    assert goes_on.trips[0].reset_at is not None
    assert goes_on.trips[0].flat_at is not None
    assert goes_on.trips[0].reset_at - goes_on.trips[0].flat_at >= timedelta(minutes=1)
    assert goes_on.signals > stays.signals


def signals_file(path: Path, count: int) -> Path:
    lines = [
        {
            "symbol": "BTCUSDT", "direction": "SHORT", "confidence": 0.8, "stop_pct": 2, "id": f"s{n}",
            "time": (START + timedelta(minutes=n)).isoformat(), "horizon_seconds": 30,
        }
        for n in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_command_prints_one_json_object_and_writes_the_picture(tmp_path: Path) -> None:
    signals = signals_file(tmp_path / "mine.jsonl", 2)
    picture = tmp_path / "equity.svg"
    command = f"whatif --market synthetic:1 --signals {signals} --policy AGGRESSIVE --plot {picture} --json"
    span = "--start 2025-10-10T20:00:00Z --end 2025-10-10T20:02:00Z"
    result = subprocess.run(
        [sys.executable, "-m", "breakwater.cli.main", *shlex.split(f"{command} {span}")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout, parse_float=Decimal)
    assert report["signals"] == {"source": "mine.jsonl", "recorded": 2}
    for run in report["runs"]:
        assert run["signals"] == 2
        assert run["orders"]["submitted"] == 2  # the entry and its stop; the second signal meets an open position
        assert run["orders"]["refused_by_code"] == {"POSITION_OPEN": 1}
    assert picture.read_text().startswith("<svg ")
