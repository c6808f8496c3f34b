"""What the recorder writes is what is read back, whatever happened to the files in between."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.desk import recorder as recorder_module
from breakwater.desk.recording import FILES, Candle, Header, decode_record, file_name, read_recording
from breakwater.desk.sources import DeskInputError
from breakwater.domain.ids import Symbol
from breakwater.runtime.journal import decode_line, encode_line
from breakwater.runtime.manifests import load_manifests
from breakwater.runtime.ports import DiskError
from breakwater.runtime.resources import profile_file
from breakwater.simulation.stores import MemoryDisk

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
BTC = Symbol("BTCUSDT")


async def few_minutes(desk: Any) -> None:
    await desk.candle(-1)
    for second, price in ((0, "100"), (5, "99"), (10, "103"), (15, "101"), (55, "100.5"), (60, "100.4"), (125, "98")):
        await desk.mark(second, price)
    await desk.pause()


def test_minutes_keep_first_lowest_highest_and_last_price_at_their_times(record: Any, on_disk: Any) -> None:
    recording = read_recording(on_disk(record(few_minutes)))
    assert recording.marks[BTC] == {
        START + timedelta(seconds=second): Decimal(price)
        for second, price in ((0, "100"), (5, "99"), (10, "103"), (55, "100.5"), (60, "100.4"), (125, "98"))
    }
    assert [c.close for c in recording.candles[BTC].values()] == [Decimal(100)]
    assert (recording.damaged, recording.unknown, recording.missing, recording.problems) == (0, 0, 0, [])


def test_policy_in_force_is_recorded_whole(record: Any, on_disk: Any) -> None:
    recording = read_recording(on_disk(record(few_minutes)))
    assert recording.policy_at(START) == load_manifests(profile_file("NORMAL"))


def test_restart_goes_on_in_the_same_file_and_repeats_no_candle(record: Any, on_disk: Any) -> None:
    async def later(desk: Any) -> None:
        await desk.candle(-1)  # the history again
        await desk.candle(0)
        await desk.mark(600, "97")
        await desk.pause()

    disk = record(later, record(few_minutes))
    assert disk.names() == [file_name(0)]
    assert (disk.read(file_name(0)) or b"").count(b'"type":"candle"') == 2
    recording = read_recording(on_disk(disk))
    assert (recording.runs, recording.missing, recording.damaged) == (2, 0, 0)
    assert len(recording.candles[BTC]) == 2


def test_full_file_is_followed_by_one_that_can_be_replayed_alone(
    record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "FILE_BYTES", 2000)

    async def long_day(desk: Any) -> None:
        for minute in range(250):
            if minute % 5 == 0:
                await desk.candle(minute // 5)
            await desk.mark(minute * 60, f"{100 + minute}")
            await desk.mark(minute * 60 + 30, f"{100 + minute}.5")
            await desk.pause(1.1)

    disk = record(long_day)
    assert disk.names() == [file_name(number) for number in range(FILES)]
    assert all(len(disk.read(name) or b"") < 40_000 for name in disk.names())
    segments = {name: int(re.findall(rb'"segment":(\d+)', disk.read(name) or b"")[0]) for name in disk.names()}
    assert sorted(segments.values()) == list(range(max(segments.values()) - FILES + 1, max(segments.values()) + 1))
    newest = max(segments, key=lambda name: segments[name])
    for name in disk.names():
        (tmp_path / name).write_bytes(disk.read(name) or b"")
    whole, alone = read_recording(tmp_path), read_recording(tmp_path / newest)
    assert isinstance(whole.header, Header)
    assert whole.span[1] == START + timedelta(minutes=249, seconds=30)
    assert alone.policy_at(START) is not None
    assert len(alone.candles[BTC]) > 2
    # What the oldest files held is gone, the rest is without a hole.
    first, last = whole.span
    assert len(whole.marks[BTC]) == 2 * ((last - first).total_seconds() // 60 + 1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), how=st.sampled_from(["cut", "flip", "drop line", "foreign line", "zeros"]))
def test_damage_anywhere_is_counted_and_costs_no_more_than_its_lines(seed: int, how: str, whole: bytes) -> None:
    chance = random.Random(seed)
    lines = whole.splitlines(keepends=True)
    at = chance.randrange(2, len(lines))  # header and a first price stay: without them there is no recording
    if how == "cut":
        lines = [*lines[:at], lines[at][: chance.randrange(1, len(lines[at]) - 1)]]
    elif how == "flip":
        position = chance.randrange(len(lines[at]) - 1)
        lines[at] = lines[at][:position] + bytes([lines[at][position] ^ 0x55]) + lines[at][position + 1 :]
    elif how == "drop line":
        del lines[at]
    elif how == "foreign line":
        lines.insert(at, b"\xff\xfe not ours {}\n")
    else:
        lines[at] = bytes(64) + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file_name(0)).write_bytes(b"".join(lines))
        recording = read_recording(Path(folder))
    cut_at_the_end = how == "drop line" and at == len(whole.splitlines()) - 1
    assert cut_at_the_end or recording.damaged + recording.missing + recording.unknown >= 1
    assert bool(recording.problems) or cut_at_the_end


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A recording as bytes."""
    import breakwater.desk.recording as format_
    from breakwater.domain.ids import DeskId
    from breakwater.domain.signals import DataKind

    records: list[Any] = [format_.Header(START, 1, 0, DeskId("main"), "test", DataKind.SYNTHETIC)]
    for minute in range(12):
        time = START + timedelta(minutes=minute)
        path = ((0, Decimal(100 + minute)), (30_000, Decimal(101)))
        records.append(format_.Minute(time, BTC, path))
        records.append(format_.Account(time, *(Decimal(14000),) * 2, *(Decimal(0),) * 3, 0))
    return b"".join(encode_line(n, format_.encode_record(r)) for n, r in enumerate(records, start=1))


def test_disk_that_fails_costs_the_recording_and_not_the_desk(record: Any, on_disk: Any) -> None:
    class Full(MemoryDisk):
        full = True

        async def append(self, name: str, data: bytes) -> None:
            if self.full:
                raise DiskError(f"{name}: no space left on device")
            await super().append(name, data)

    disk = Full()

    async def story(desk: Any) -> None:
        await desk.mark(0, "100")
        await desk.mark(61, "101")
        await desk.pause()
        check = desk.recorder.readiness()["recording"]
        assert (check.ok, "no space left" in check.detail) == (False, True)
        assert not desk.recorder.failed.done()
        disk.full = False
        await desk.pause()
        assert desk.recorder.readiness()["recording"].ok

    recording = read_recording(on_disk(record(story, disk)))
    assert list(recording.marks[BTC].values()) == [Decimal(100), Decimal(101)]


def test_disk_that_fails_for_long_leaves_the_records_once_and_in_order(record: Any, on_disk: Any) -> None:
    class Full(MemoryDisk):
        full = False

        async def append(self, name: str, data: bytes) -> None:
            if self.full:
                raise DiskError(f"{name}: no space left on device")
            await super().append(name, data)

    disk = Full()

    async def story(desk: Any) -> None:
        await desk.pause()
        disk.full = True
        for minute in range(5):
            await desk.candle(minute)
            await desk.pause(20)
        disk.full = False
        await desk.pause()

    raw = record(story, disk).read(file_name(0)) or b""
    assert raw.count(b'"type":"policy"') <= 2  # the one before, and one to be sure
    records = [decode_record(whole[1]) for whole in map(decode_line, raw.splitlines()) if whole]
    times = [each.time for each in records if isinstance(each, Candle)]
    assert times == [START + timedelta(minutes=5 * number) for number in range(5)]


def test_orders_of_a_minute_are_recorded_once_it_is_over(record: Any, on_disk: Any) -> None:
    """Not only when the next order comes, hours later perhaps: a replay beside it would say that nothing was traded."""

    async def story(desk: Any) -> None:
        await desk.refused(1)
        await desk.mark(1, "100")
        await desk.mark(70, "101")
        await desk.pause(70)
        assert b'"type":"orders"' in (desk.disk.read(file_name(0)) or b"")
        await desk.refused(5)  # late: counted, too

    recording = read_recording(on_disk(record(story)))
    assert [(each.time, each.refused) for each in recording.orders] == [(START, {"STOP_TRIPPED": 1})] * 2


@pytest.mark.parametrize(
    "make",
    [
        lambda f: f.Minute(START, BTC, ()),
        lambda f: f.Minute(START, BTC, ((0, Decimal("NaN")),)),
        lambda f: f.Minute(START, BTC, ((0, Decimal(-1)),)),
        lambda f: f.Minute(START, BTC, ((10**18, Decimal(1)),)),
        lambda f: f.Minute(START.replace(tzinfo=None), BTC, ((0, Decimal(1)),)),
        lambda f: f.Candle(START, BTC, 0, *(Decimal(1),) * 5),
        lambda f: f.Candle(START, BTC, 60, *(Decimal("Infinity"),) * 5),
        lambda f: f.Account(START, *(Decimal("NaN"),) * 5, 0),
        lambda f: f.Orders(START, 1, 1, Decimal("NaN"), {}),
    ],
)
def test_record_that_makes_no_sense_is_left_out_and_counted(
    make: Callable[[Any], Any], tmp_path: Path, whole: bytes
) -> None:
    import breakwater.desk.recording as format_

    (tmp_path / file_name(0)).write_bytes(whole + encode_line(26, format_.encode_record(make(format_))))
    recording = read_recording(tmp_path)
    assert (recording.unknown, recording.missing, recording.damaged) == (1, 0, 0)
    assert recording.span == (START, START + timedelta(minutes=11, seconds=30))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path / "none", "no such file or directory"),
        (lambda path: path, "no recording in components/recorder"),
        (lambda path: _written(path / "x.jsonl", b"hello\n"), "no recording of a desk"),
        (lambda path: _written(path / "x.jsonl", b""), "no recording of a desk"),
    ],
)
def test_path_that_holds_no_recording_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(DeskInputError, match=says) as refused:
        read_recording(path)
    assert str(path) in str(refused.value)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
