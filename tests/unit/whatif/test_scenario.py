"""What people name becomes a scenario, or a sentence that says which file and field is wrong; nothing has run by then."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.desk.sources import DeskInputError
from breakwater.domain.limits import effective_limits
from breakwater.domain.policy import TradingMode
from breakwater.paper_venue.markets import MarketFileError
from breakwater.runtime.manifests import ManifestError
from breakwater.whatif.scenario import Side, WhatIfOptions, make_scenario

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
POLICY = "apiVersion: breakwater.trading/v1alpha1\nkind: TradingPolicy\nmetadata: {name: mine}\n"
STOP = "apiVersion: breakwater.trading/v1alpha1\nkind: EmergencyStop\nmetadata: {name: mine}\n"


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    """Two days of BTCUSDT, the second of which is what a replay takes by default."""
    return candle_file(tmp_path / "BTCUSDT-5m.csv", START, 576)


def candle_file(path: Path, start: datetime, count: int) -> Path:
    first = int(start.timestamp() * 1000)
    rows = [f"{first + i * 300_000},100,101,99,100,5" for i in range(count)]
    path.write_text("\n".join(["ts,open,high,low,close,volume", *rows]) + "\n")
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(POLICY + "spec: {profile: DEFENSIVE, symbols: [BTCUSDT]}\n")
    return path


@pytest.fixture
def stop(tmp_path: Path) -> Path:
    path = tmp_path / "tight.yaml"
    path.write_text(STOP + "spec: {policyRef: {name: other}, maxDailyDrawdownPct: 2}\n")
    return path


def drawdowns(sides: tuple[Side, ...]) -> dict[str, Decimal]:
    return {
        side.name: effective_limits(side.manifests.policy.spec, side.manifests.stop.spec).max_daily_drawdown_pct.value
        for side in sides
    }


def test_policy_file_is_compared_with_the_normal_profile_on_the_same_symbols(candles: Path, policy: Path) -> None:
    scenario = make_scenario(WhatIfOptions(market=(str(candles),), policy=str(policy)))
    assert drawdowns(scenario.sides) == {"NORMAL": 5, "mine": 3}
    assert {side.manifests.policy.spec.symbols for side in scenario.sides} == {("BTCUSDT",)}
    assert (scenario.start, scenario.end) == (START + timedelta(days=1), START + timedelta(days=2))


def test_live_policy_is_replayed_on_paper(candles: Path, tmp_path: Path) -> None:
    live = tmp_path / "live.yaml"
    venue = "venue: {exchange: binance-futures, credentialsSecretRef: {name: keys}}"
    live.write_text(POLICY + f"spec: {{profile: NORMAL, symbols: [BTCUSDT], tradingMode: Live, {venue}}}\n")
    scenario = make_scenario(WhatIfOptions(market=(str(candles),), policy=str(live)))
    assert {side.manifests.policy.spec.trading_mode for side in scenario.sides} == {TradingMode.PAPER}


def test_stop_alone_is_tried_with_the_policy_it_is_compared_with(candles: Path, stop: Path) -> None:
    scenario = make_scenario(WhatIfOptions(market=(str(candles),), stop=stop))
    assert drawdowns(scenario.sides) == {"NORMAL": 5, "tight": 2}
    assert {side.manifests.stop.spec.policy_ref.name for side in scenario.sides} == {"main"}


def test_every_against_is_a_run_of_its_own_before_the_one_that_is_tried(
    candles: Path, policy: Path, stop: Path
) -> None:
    options = WhatIfOptions(market=(str(candles),), policy=str(policy), stop=stop, against=("aggressive", str(policy)))
    assert drawdowns(make_scenario(options).sides) == {"AGGRESSIVE": 5, "mine": 3, "mine with tight": 2}


def test_same_name_twice_is_told_apart(candles: Path, policy: Path) -> None:
    scenario = make_scenario(WhatIfOptions(market=(str(candles),), policy=str(policy), against=(str(policy),)))
    assert [side.name for side in scenario.sides] == ["mine (1)", "mine (2)"]


def test_symbols_without_prices_are_left_out_and_said(candles: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.yaml"
    wide.write_text(POLICY + "spec: {profile: NORMAL, symbols: [BTCUSDT, ETHUSDT]}\n")
    scenario = make_scenario(WhatIfOptions(market=(str(candles),), policy=str(wide)))
    assert "wide: no prices for ETHUSDT; left out" in scenario.notes
    assert all(side.manifests.policy.spec.symbols == ("BTCUSDT",) for side in scenario.sides)


def test_synthetic_market_has_the_symbols_of_all_policies(policy: Path) -> None:
    scenario = make_scenario(WhatIfOptions(market=("synthetic:7",), policy="AGGRESSIVE", start=START))
    assert scenario.symbols == ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    assert make_scenario(WhatIfOptions(market=("synthetic:7",), policy=str(policy))).symbols == ("BTCUSDT",)


def signal(time: datetime) -> str:
    fields: dict[str, Any] = {"symbol": "BTCUSDT", "direction": "LONG", "confidence": 0.75, "stop_pct": 2}
    return json.dumps({**fields, "time": time.isoformat()})


def refused(options: WhatIfOptions, *says: str) -> None:
    with pytest.raises((DeskInputError, MarketFileError, ManifestError)) as error:
        make_scenario(options)
    for text in says:
        assert text in str(error.value)


def test_signals_outside_of_the_market_are_refused_with_both_spans(candles: Path, tmp_path: Path) -> None:
    signals = tmp_path / "old.jsonl"
    signals.write_text(signal(START - timedelta(days=9)) + "\n")
    options = WhatIfOptions(market=(str(candles),), policy="AGGRESSIVE", signals=str(signals))
    refused(options, "old.jsonl", "2025-10-01T20:00:00Z", "2025-10-11T20:00:00Z", "no time in common")


def test_signal_at_the_last_instant_of_the_market_is_inside(candles: Path, tmp_path: Path) -> None:
    signals = tmp_path / "last.jsonl"
    end = START + timedelta(hours=1)
    signals.write_text(signal(end) + "\n")
    options = WhatIfOptions(market=(str(candles),), policy="AGGRESSIVE", signals=str(signals), start=START, end=end)
    given = make_scenario(options).recorded
    assert given is not None
    assert [each.time for each in given] == [end]


def test_empty_file_of_signals_is_refused(candles: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    options = WhatIfOptions(market=(str(candles),), policy="AGGRESSIVE", signals=str(tmp_path / "empty.jsonl"))
    refused(options, "empty.jsonl", "holds no signals")


def test_files_without_a_common_time_are_refused(candles: Path, tmp_path: Path) -> None:
    later = candle_file(tmp_path / "ETHUSDT-5m.csv", START + timedelta(days=30), 10)
    refused(WhatIfOptions(market=(str(candles), str(later)), policy="AGGRESSIVE"), "no time in common", "ETHUSDT-5m")


def test_span_outside_of_the_files_is_refused_with_what_they_hold(candles: Path) -> None:
    options = WhatIfOptions(market=(str(candles),), policy="AGGRESSIVE", start=START + timedelta(days=9))
    refused(dict_replace(options, end=START + timedelta(days=10)), "2025-10-10T20:00:00Z to 2025-10-12T20:00:00Z")
    refused(dict_replace(options, start=START, end=START), "is not after the start")


def dict_replace(options: WhatIfOptions, **changes: Any) -> WhatIfOptions:
    import dataclasses

    return dataclasses.replace(options, **changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            POLICY + "spec: {profile: NORMAL, symbols: [BTCUSDT], limits: {maxLeverage: 900}}\n",
            "spec.limits.maxLeverage",
        ),
        (POLICY + "spec: [", "bad.yaml"),
        ("hello: there\n", "bad.yaml"),
        ("", "bad.yaml"),
    ],
)
@pytest.mark.parametrize("option", ["policy", "against"])
def test_bad_manifest_is_refused_with_file_and_field(
    candles: Path, tmp_path: Path, option: str, text: str, says: str
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    chosen: dict[str, Any] = (
        {"policy": str(bad)} if option == "policy" else {"policy": "NORMAL", "against": (str(bad),)}
    )
    refused(WhatIfOptions(market=(str(candles),), **chosen), says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (WhatIfOptions(), "--journal"),
        (WhatIfOptions(market=("synthetic:1",), journal=Path("x")), "one market"),
        (WhatIfOptions(market=("synthetic:1",)), "nothing to compare"),
        (WhatIfOptions(market=("synthetic:x",), policy="NORMAL"), "whole number"),
        (WhatIfOptions(market=("synthetic:1",), policy="none.yaml"), "none.yaml: there is no such file"),
        (WhatIfOptions(market=("none.csv",), policy="NORMAL"), "none.csv"),
        (WhatIfOptions(market=("synthetic:1",), policy="NORMAL", start=datetime(2025, 1, 1)), "no time zone"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_used_is_refused_by_name(options: WhatIfOptions, says: str) -> None:
    refused(options, says)


def test_signals_outside_of_the_time_replayed_are_counted_in_a_note(
    candles: Path, policy: Path, tmp_path: Path
) -> None:
    """The first day of a file is history unless a start is named: its signals must not vanish silently."""
    signal = {"symbol": "BTCUSDT", "direction": "LONG", "confidence": 0.8, "stop_pct": 2}
    times = (START + timedelta(hours=hours) for hours in (1, 30))
    signals = tmp_path / "mine.jsonl"
    signals.write_text("".join(json.dumps({**signal, "time": time.isoformat()}) + "\n" for time in times))
    scenario = make_scenario(WhatIfOptions(market=(str(candles),), signals=str(signals), policy=str(policy)))
    assert len(scenario.recorded or ()) == 1
    assert "1 of 2 signals are not from 2025-10-11T20:00:00Z to 2025-10-12T20:00:00Z: left out" in scenario.notes
