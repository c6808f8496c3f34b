"""A backup of a desk that trades, restored elsewhere: it goes on as after a kill -9 at that instant."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from breakwater.backup.archive import decode_backup
from breakwater.backup.instant import hold, read
from breakwater.emergency_stop.latch import decode_latch
from breakwater.emergency_stop.verify import Verdict, check_trail
from breakwater.runtime.journal import decode_line

SPEED = "60"


def journals_of(files: dict[str, bytes]) -> dict[str, list[bytes]]:
    """Lines of the checksummed journals, torn tails left off."""
    found = {}
    for path, data in files.items():
        if path.endswith((".journal", "proposals.jsonl")) and not path.startswith("venue/"):
            found[path] = data.split(b"\n")[:-1]
    return found


def restored_elsewhere(desk: Any, file: Path, name: str) -> Any:
    """The desk of ``file`` in another directory; the fixture's desk is that one from now on."""
    target = file.parent / name / "state"
    done = desk.run("restore", str(file), "--state-dir", str(target))
    assert done.code == 0, done.said
    desk.state = target
    desk.venue = type(desk.venue)(target / "venue" / "state.json")
    return desk


def goes_on(desk: Any, *, tripped: bool) -> None:
    """Start it, and look at everything that a restored desk owes."""
    before = {record.client_order_id for record in desk.venue.read().audit}
    desk.start("--speed", SPEED, "--signals", "long")
    first = desk.until(lambda status: status["gate"], 30)
    if tripped:
        assert first["gate"]["state"] == "REDUCE_ONLY"
    status = desk.until_it_agrees(30)
    if tripped:
        assert status["stop"]["state"] in {"TRIPPED", "COOLING_DOWN"}
    assert desk.venue.wrongs() == []
    assert before <= {record.client_order_id for record in desk.venue.read().audit}
    assert desk.interrupt(30) == 0, desk.output
    assert desk.venue.wrongs() == []
    checked = desk.run("audit", "verify", "--file", str(desk.state / "components/emergency_stop/audit.jsonl"))
    assert checked.code == 0, checked.said


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_backup_of_a_trading_desk_goes_on_elsewhere_while_the_first_runs(desk: Any, tmp_path: Path) -> None:
    desk.start("--speed", SPEED, "--signals", "long")
    desk.until_it_trades(60)
    file = tmp_path / "desk.backup"
    made = desk.run("backup", str(file))
    assert made.code == 0, made.said
    assert desk.interrupt(30) == 0, desk.output
    token = desk.token
    backup = decode_backup(file.read_bytes())
    assert (backup.manifest.desk, backup.manifest.mode, backup.manifest.running) == ("main", "Paper", True)
    assert not any(token.encode() in data for data in backup.files.values())
    for path, lines in journals_of(backup.files).items():
        assert all(decode_line(line) for line in lines), path
    goes_on(restored_elsewhere(desk, file, "elsewhere"), tripped=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_backups_of_a_desk_that_trades_each_go_on_elsewhere(desk: Any, tmp_path: Path) -> None:
    desk.start("--speed", SPEED, "--signals", "long")
    desk.until_it_trades(60)
    files = []
    for number in range(20):
        if number == 14:
            assert desk.run("trip", "--reason", "backup test").code == 0
        file = tmp_path / f"{number}.backup"
        made = desk.run("backup", str(file))
        assert made.code == 0, made.said
        files.append((file, number >= 14))
        time.sleep(0.7)
    desk.until_it_agrees()
    assert desk.interrupt(30) == 0, desk.output
    for file, tripped in files:
        backup = decode_backup(file.read_bytes())
        stop = {path.rpartition("/")[2]: data for path, data in backup.files.items() if "emergency_stop/" in path}
        latch = decode_latch(stop["latch.json"])
        assert check_trail(stop["audit.jsonl"], latch=latch).verdict in {Verdict.WHOLE, Verdict.TORN}
        goes_on(restored_elsewhere(desk, file, file.stem), tripped=tripped)


@pytest.mark.slow
def test_stopped_desk_restored_elsewhere_has_the_same_files(desk: Any, tmp_path: Path) -> None:
    desk.start("--speed", SPEED)
    desk.until_it_agrees(60)
    assert desk.interrupt(30) == 0
    file, before = tmp_path / "desk.backup", read(hold(desk.state))
    assert desk.run("backup", str(file)).code == 0
    restored_elsewhere(desk, file, "elsewhere")
    assert read(hold(desk.state)) == before
