"""``breakwater buffer``: what waits on disk is shown and checked without being touched."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.orders import OrderRole
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.runtime.disk_buffer.buffer import DiskBuffer
from breakwater.runtime.disk_buffer.segments import Entry, segment_name
from breakwater.runtime.events import Event, OrderRefused, encode_event
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.journal import encode_line

NOW = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)


def event(producer: str, number: int) -> Entry:
    payload = OrderRefused("gate", Symbol("BTCUSDT"), OrderRole.ENTRY, Refusal(RefusalCode.EXPOSURE, "too much"))
    data = encode_event(Event(DeskId("main"), producer, 7, number, NOW, "order.refused", payload))
    return Entry(7, number, data)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two components with three events each."""
    for producer in ("execution", "risk_manager"):
        disk = FileDisk(tmp_path / "state" / "components" / f"bus-{producer}", owner=producer)

        async def fill(disk: FileDisk = disk, producer: str = producer) -> None:
            buffer = DiskBuffer(disk, desk="main", producer=producer)
            await buffer.load()
            await buffer.append([event(producer, number) for number in (1, 2, 3)])

        asyncio.run(fill())
        disk.close()
    return tmp_path / "state"


def segment(state: Path, producer: str = "execution") -> Path:
    return state / "components" / f"bus-{producer}" / segment_name(1)


def test_show_lists_what_waits_of_each_component(breakwater: Any, state: Path) -> None:
    found = breakwater("buffer", "show", "--limit", "4")
    assert found.code == 0
    assert found.out.count("order.refused") == 4
    assert "7-1" in found.out
    assert "6 events in 2 files; 4 shown" in found.out
    told = json.loads(breakwater("buffer", "show", "--producer", "execution", "--json").out)
    assert told["count"] == 3
    assert [each["id"] for each in told["events"]] == ["7-1", "7-2", "7-3"]
    assert told["events"][0]["event"]["payload"]["refusal"]["code"] == "EXPOSURE"


def test_show_without_anything_that_waits_says_so(breakwater: Any, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    found = breakwater("buffer", "show")
    assert (found.code, found.out.strip()) == (0, "No event is kept here: Redis has them all.")
    assert breakwater("buffer", "verify").code == 0


def test_verify_of_whole_files_is_ok_and_changes_nothing(breakwater: Any, state: Path) -> None:
    before = segment(state).read_bytes()
    told = json.loads(breakwater("buffer", "verify", "--json").out)
    assert told["verdict"] == "OK"
    assert [(each["verdict"], each["events"], each["first"], each["last"]) for each in told["segments"]] == [
        ("OK", 3, "7-1", "7-3")
    ] * 2
    assert segment(state).read_bytes() == before


def test_verify_names_file_and_line_of_damage(breakwater: Any, state: Path) -> None:
    segment(state).write_bytes(segment(state).read_bytes().replace(b"too much", b"too littl"))
    found = breakwater("buffer", "verify", "--producer", "execution")
    assert found.code == 1
    assert "DAMAGED" in found.out
    assert f"{segment_name(1)}: line 2: the checksum does not match" in found.err


def test_verify_of_an_unfinished_end_is_no_damage(breakwater: Any, state: Path) -> None:
    segment(state).write_bytes(segment(state).read_bytes()[:-20])
    found = breakwater("buffer", "verify", "--json")
    assert found.code == 0
    torn = json.loads(found.out)["segments"][0]
    assert (torn["verdict"], torn["events"]) == ("TORN", 2)


def test_verify_of_a_newer_version_says_which_to_run(breakwater: Any, state: Path) -> None:
    segment(state).write_bytes(encode_line(1, b'{"buffer":9,"segment":1}') + b"??\n")
    found = breakwater("buffer", "verify")
    assert found.code == 1
    assert "newer version (format 9)" in found.err


def test_directory_that_is_not_there_is_a_wrong_option(breakwater: Any, tmp_path: Path) -> None:
    found = breakwater("buffer", "show", "--dir", str(tmp_path / "nothing"))
    assert found.code == 2
    assert "no such directory" in found.err
