"""A desk's own recording, replayed: the same policy gives about the same day, another one another day."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from breakwater.desk.desk import Desk
from breakwater.desk.recorder import Recorder
from breakwater.desk.sources import desk_manifests, restricted_to, signal_source
from breakwater.domain.ids import DeskId
from breakwater.domain.signals import DataKind
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill, drive
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.paper_venue.markets.until import Until
from breakwater.runtime.resources import profile_file
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk
from breakwater.simulation.world import SimulatedWorld
from breakwater.whatif.run import WhatIfOptions, WhatIfReport, run_whatif

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
END = START + timedelta(minutes=8)
SYMBOLS = ("BTCUSDT", "ETHUSDT")


async def _lived(simulation: Simulation) -> MemoryDisk:
    """A recorded desk that wants to be long in a market that crashes at once."""
    market = SyntheticMarket(1, SYMBOLS, START, crash_at=START)
    venue = PaperVenue(VenueConfig(symbols=tuple(map(spec_for, SYMBOLS))))
    backfill(venue, market, market.start_ms)
    world = SimulatedWorld(simulation, venue, desk=DeskId("main"), data=DataKind.SYNTHETIC)
    desk = Desk(world.ports, [signal_source("long", simulation.clocks.infra)])
    desk.add(Recorder(desk.context(Recorder.name), desk.instruments, build="test"))
    manifests = desk_manifests(profile="NORMAL", policy=None, stop=None)
    tight = msgspec.structs.replace(manifests.stop.spec, max_daily_drawdown_pct=Decimal("1.5"))
    manifests = dataclasses.replace(manifests, stop=dataclasses.replace(manifests.stop, spec=tight))
    await desk.start(restricted_to(manifests, SYMBOLS, extend=True), who="test")
    await drive(venue, Until(market, to_ms(END)), simulation.clocks)
    await desk.stop()
    await world.close()
    return world.disks["recorder"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a desk that recorded a bad quarter of an hour."""
    disk = run_virtual(_lived, seed=7, start=START - timedelta(seconds=10))
    root = tmp_path_factory.mktemp("desk")
    folder = root / "components" / "recorder"
    folder.mkdir(parents=True)
    for name in disk.names():
        (folder / name).write_bytes(disk.read(name) or b"")
    return root


@pytest.fixture(scope="module")
def report(state: Path) -> WhatIfReport:
    return run_whatif(WhatIfOptions(journal=state, policy=str(profile_file("NORMAL"))))


def test_own_policy_replayed_gives_the_orders_trips_and_nearly_the_equity_that_were_recorded(
    report: WhatIfReport,
) -> None:
    own, lived = report.runs[0], report.recording
    assert lived is not None
    assert own.name == "own"
    assert own.starting_equity == lived.starting_equity == 14000  # before the first order
    assert (lived.damaged_lines, lived.missing_lines, lived.unknown_lines) == (0, 0, 0)
    assert lived.trips == 1
    assert len(own.trips) == lived.trips
    assert (own.orders.submitted, own.fills) == (lived.orders_submitted, lived.fills)
    assert abs(own.final_equity - lived.final_equity) < lived.final_equity / 200
    assert abs(own.worst_daily_drawdown_pct - lived.worst_daily_drawdown_pct) < Decimal("0.5")


def test_wider_limits_on_the_same_recording_lose_more(report: WhatIfReport) -> None:
    own, normal = report.runs
    assert own.limits.max_daily_drawdown_pct == Decimal("1.5")
    assert normal.limits.max_daily_drawdown_pct == 5
    assert normal.worst_daily_drawdown_pct > own.worst_daily_drawdown_pct
    assert normal.final_equity < own.final_equity
    assert report.differences[0].final_equity == normal.final_equity - own.final_equity
    assert own.signals == normal.signals == report.signals.recorded
    assert [run.ledger_difference for run in report.runs] == [0, 0]


def test_same_input_gives_the_same_bytes(state: Path) -> None:
    options = WhatIfOptions(journal=state, end=START + timedelta(minutes=1))
    assert run_whatif(options).to_json() == run_whatif(options).to_json()


def test_damaged_lines_are_reported_and_the_rest_is_replayed(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "recording-0.jsonl"
    lines = (state / "components" / "recorder" / "recording-0.jsonl").read_bytes().splitlines(keepends=True)
    first_minute = next(n for n, line in enumerate(lines) if b'"type":"minute"' in line)
    lines[first_minute + 4] = b"\x00\x00 nonsense\n"
    file.write_bytes(b"".join(lines)[:-20])
    options = WhatIfOptions(journal=file, end=START + timedelta(minutes=2))
    damaged = run_whatif(options)
    assert damaged.recording is not None
    assert damaged.recording.damaged_lines == 2
    assert any(f"line {first_minute + 5}: the checksum does not match" in note for note in damaged.notes)
    assert any("it is cut short" in note for note in damaged.notes)
    assert json.loads(damaged.to_json())["runs"][0]["orders"]["submitted"] > 0
