"""Which market a venue plays, where it starts, and how its clock goes on over restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from breakwater.desk.market import MarketRecord, choose_market, read_record, write_record
from breakwater.desk.sources import DeskInputError
from breakwater.simulation.stores import MemoryDisk

WALL = datetime(2026, 1, 5, 12, tzinfo=UTC)
FIRST = datetime(2025, 10, 10, tzinfo=UTC)
CANDLES = 12 * 24 * 2


@pytest.fixture
def replay(tmp_path: Path) -> str:
    """Two days of BTCUSDT in five-minute candles."""
    file = tmp_path / "BTCUSDT-5m.csv"
    start = int(FIRST.timestamp() * 1000)
    rows = [f"{start + i * 300_000},100,{101 + i % 3},99,100,5" for i in range(CANDLES)]
    file.write_text("\n".join(["ts,open,high,low,close,volume", *rows]) + "\n")
    return f"replay:{file}"


def test_replay_starts_where_it_is_told_and_has_all_before_as_history(replay: str) -> None:
    start = FIRST + timedelta(hours=30)
    chosen = choose_market(replay, (), known=None, state=None, wall=WALL, start=start)
    assert (chosen.now, chosen.record.origin) == (start, start)
    history = chosen.market.history("BTCUSDT", 300_000, int(start.timestamp() * 1000), 5000)
    assert len(history) == 30 * 12
    assert next(iter(chosen.market.ticks())).time_ms == int(start.timestamp() * 1000)
    again = choose_market(replay, (), known=chosen.record, state=None, wall=WALL, start=start)
    assert again.record == chosen.record
    assert choose_market(replay, (), known=chosen.record, state=None, wall=WALL).record == chosen.record


@pytest.mark.parametrize("hours", [-1, 48, 100])
def test_start_outside_the_recording_is_refused_with_its_span(replay: str, hours: int) -> None:
    start = FIRST + timedelta(hours=hours)
    with pytest.raises(DeskInputError, match="the recording reaches from 2025-10-10T00:00:00Z to 2025-10-12T00:00:00Z"):
        choose_market(replay, (), known=None, state=None, wall=WALL, start=start)


def test_crash_comes_the_given_minutes_after_the_first_start_also_after_a_restart() -> None:
    chosen = choose_market("synthetic:7", (), known=None, state=None, wall=WALL, crash_after_minutes=60)
    later = choose_market("synthetic:7", (), known=chosen.record, state=None, wall=WALL + timedelta(minutes=30))
    crash = int((WALL + timedelta(hours=1)).timestamp() * 1000)
    for market in (chosen.market, later.market):
        before, after = (market.history("BTCUSDT", 300_000, crash + offset * 60_000, 1)[0].close for offset in (0, 30))
        assert after < before * 9 / 10
    assert later.record == chosen.record


def test_option_of_another_market_or_another_start_is_refused(replay: str) -> None:
    def choose(source: str, known: MarketRecord | None = None, **options: object) -> MarketRecord:
        return choose_market(source, (), known=known, state=None, wall=WALL, **options).record  # type: ignore[arg-type]

    with pytest.raises(DeskInputError, match="only a replay has a start"):
        choose("synthetic", start=WALL)
    with pytest.raises(DeskInputError, match="only a synthetic market"):
        choose(replay, crash_after_minutes=5)
    with pytest.raises(DeskInputError, match="another start is another desk"):
        choose(replay, choose(replay), start=FIRST + timedelta(hours=2))
    with pytest.raises(DeskInputError, match="a crash after 240 minutes, not 5"):
        choose("synthetic", choose("synthetic"), crash_after_minutes=5)


def test_symbol_that_a_policy_names_later_is_listed_and_changes_no_other_price() -> None:
    first = choose_market("synthetic:7", (), known=None, state=None, wall=WALL)
    more = choose_market("synthetic:7", ("DOGEUSDT",), known=first.record, state=None, wall=WALL)
    assert "DOGEUSDT" in more.market.symbols
    until = int((WALL + timedelta(days=1)).timestamp() * 1000)
    assert first.market.history("ETHUSDT", 300_000, until, 50) == more.market.history("ETHUSDT", 300_000, until, 50)
    without = choose_market("synthetic:7", (), known=more.record, state=None, wall=WALL)
    assert without.market.symbols == more.market.symbols


async def test_anchors_are_kept_and_market_time_runs_on_while_the_venue_is_away() -> None:
    disk = MemoryDisk()
    record = MarketRecord("synthetic", ("BTCUSDT",), WALL).anchored(now=WALL, wall=WALL, speed=20)
    await write_record(disk, "market.json", record)
    again = read_record(disk)
    assert again is not None
    later = WALL + timedelta(hours=1)
    assert again.anchored(now=later, wall=later, speed=20) == record
    slower = again.anchored(now=later, wall=later, speed=5)
    assert (slower.market_anchor, slower.wall_anchor, slower.speed) == (WALL + timedelta(hours=20), later, 5)


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"\xff",
        b'{"source":"synthetic","symbols":["BTCUSDT"],"origin":"2026-01-05T12:00:00"}',
        b'{"source":"synthetic","symbols":["BTCUSDT"],"origin":"2026-01-05T12:00:00Z","speed":0}',
        b'{"source":"synthetic","symbols":["BTCUSDT"],"origin":"2026-01-05T12:00:00Z","speed":1e9}',
        b'{"source":"synthetic","symbols":["BTCUSDT"],"origin":"2026-01-05T12:00:00Z","wall_anchor":"2026-01-05T12:00"}',
    ],
)
async def test_damaged_record_is_refused_with_what_to_do(damage: bytes) -> None:
    disk = MemoryDisk()
    await disk.replace("market.json", damage)
    with pytest.raises(DeskInputError, match=r"market\.json is damaged .* restore it"):
        read_record(disk)


async def test_record_of_before_there_were_anchors_is_still_read() -> None:
    disk = MemoryDisk()
    await disk.replace("market.json", b'{"source":"synthetic","symbols":["BTCUSDT"],"origin":"2026-01-05T12:00:00Z"}')
    assert read_record(disk) == MarketRecord("synthetic", ("BTCUSDT",), WALL)
