"""A file of recorded signals counts whole or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.desk.sources import DeskInputError
from breakwater.domain.signals import Direction
from breakwater.whatif.signals import read_signals

GOOD: dict[str, Any] = {
    "symbol": "BTCUSDT", "direction": "LONG", "confidence": 0.75, "stop_pct": 2, "time": "2025-10-10T20:00:00Z",
}  # fmt: skip


def written(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_signals_are_taken_in_order_with_all_their_fields(tmp_path: Path) -> None:
    later = {**GOOD, "time": "2025-10-10T20:05:00Z", "direction": "SHORT", "target_pct": "3.5", "horizon_seconds": 90}
    found = read_signals(written(tmp_path / "mine.jsonl", GOOD, "", later), ["BTCUSDT"])
    assert [given.time for given in found] == [datetime(2025, 10, 10, 20, m, tzinfo=UTC) for m in (0, 5)]
    signal = found[1].signal
    assert (signal.direction, signal.target_pct) == (Direction.SHORT, Decimal("3.5"))
    assert (signal.horizon.total_seconds(), signal.provenance.source) == (90, "file:mine.jsonl")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("{", "whole signal"),
        ({**GOOD, "stop_pct": 0}, "stop_pct"),
        ({**GOOD, "confidence": "much"}, "confidence"),
        ({key: value for key, value in GOOD.items() if key != "time"}, "time: is missing"),
        ({**GOOD, "symbol": "DOGEUSDT"}, "symbol: DOGEUSDT has no candles; the market has BTCUSDT"),
        ({**GOOD, "time": "2025-10-10T19:00:00Z"}, "time: 2025-10-10T19:00:00\\+00:00 is before the line above"),
        ({**GOOD, "size": 3}, "size"),
    ],
)
def test_line_that_cannot_be_replayed_is_refused_with_file_line_and_field(
    tmp_path: Path, line: Any, field: str
) -> None:
    path = written(tmp_path / "mine.jsonl", GOOD, line)
    with pytest.raises(DeskInputError, match=rf"mine\.jsonl line 2: .*{field}"):
        read_signals(path, ["BTCUSDT"])


def test_many_bad_lines_are_named_up_to_five_and_counted(tmp_path: Path) -> None:
    with pytest.raises(DeskInputError, match="and 3 more"):
        read_signals(written(tmp_path / "mine.jsonl", *["x"] * 8), ["BTCUSDT"])


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DeskInputError, match=r"none\.jsonl: No such file"):
        read_signals(tmp_path / "none.jsonl", ["BTCUSDT"])


def test_id_given_twice_is_named_because_a_desk_would_take_the_first_only(tmp_path: Path) -> None:
    twice = {**GOOD, "id": "one"}
    with pytest.raises(DeskInputError, match="line 2: id: 'one' stands on line 1, too"):
        read_signals(written(tmp_path / "mine.jsonl", twice, {**twice, "time": "2025-10-10T20:05:00Z"}), ["BTCUSDT"])
