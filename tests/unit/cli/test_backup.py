"""``breakwater backup|restore``: what they refuse, and in which words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from breakwater.backup.archive import decode_backup, encode_backup
from breakwater.desk.rundir import RunDir
from breakwater.emergency_stop.heads import HEAD_FILE
from breakwater.runtime.manifests import load_manifests
from breakwater.runtime.policy_copy import PolicyCopy, encode_copy
from breakwater.runtime.resources import profile_file

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The state directory of a desk that does not run."""
    root = tmp_path / "stopped"
    stop, policy = root / "components/emergency_stop", root / "components/policy"
    for folder in (stop, policy):
        folder.mkdir(parents=True)
    (stop / HEAD_FILE).write_text('{"desk":"main"}')
    (policy / "policy.json").write_bytes(encode_copy(PolicyCopy(1, load_manifests(profile_file("NORMAL")), ())))
    (root / "token").write_text("secret")
    return root


def archive(path: Path, **changes: Any) -> Path:
    facts: dict[str, Any] = {"desk": "main", "mode": "Paper", "time": NOW, "version": "1", "running": True}
    path.write_bytes(encode_backup({"components/policy/policy.json": b"{}"}, **facts | changes))
    return path


def test_stopped_desk_is_backed_up_and_restored_elsewhere(breakwater: Any, stopped: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "b.tar", tmp_path / "elsewhere"
    made = breakwater("backup", str(file), "--state-dir", str(stopped), "--json")
    assert made.code == 0, made.err
    told = json.loads(made.out)
    assert (told["desk"], told["mode"], told["running"], told["files"]) == ("main", "Paper", False, 2)
    assert file.stat().st_mode & 0o077 == 0
    assert b"secret" not in file.read_bytes()
    done = breakwater("restore", str(file), "--state-dir", str(target))
    assert done.code == 0, done.err
    assert "nothing but you keeps the two from trading one account" in " ".join(done.out.split())
    assert (target / "components/emergency_stop" / HEAD_FILE).read_text() == '{"desk":"main"}'


def test_running_desk_is_asked_for_its_backup(breakwater: Any, desk: Any, tmp_path: Path) -> None:
    source = archive(tmp_path / "source.tar")
    desk.answers["POST", "/v1/backup"] = (200, source.read_bytes())
    assert breakwater("backup", str(tmp_path / "b.tar")).code == 0
    assert decode_backup((tmp_path / "b.tar").read_bytes()).manifest.running
    assert desk.received[-1][1] == "/v1/backup?recording=false"


def test_damaged_answer_of_a_running_desk_is_not_written(breakwater: Any, desk: Any, tmp_path: Path) -> None:
    desk.answers["POST", "/v1/backup"] = (200, archive(tmp_path / "source.tar").read_bytes()[:2000])
    found = breakwater("backup", str(tmp_path / "b.tar"))
    assert found.code == 2
    assert "The backup is damaged" in found.err
    assert not (tmp_path / "b.tar").exists()


def test_desk_that_refuses_leaves_no_file(breakwater: Any, desk: Any, tmp_path: Path) -> None:
    desk.answers["POST", "/v1/backup"] = (503, {"detail": "the server rewrites its files all the time"})
    found = breakwater("backup", str(tmp_path / "b.tar"))
    assert found.code == 4
    assert "rewrites its files" in found.err
    assert not (tmp_path / "b.tar").exists()


def test_directory_without_a_desk_is_refused(breakwater: Any, tmp_path: Path) -> None:
    assert "There is no state directory" in breakwater("backup", "b", "--state-dir", str(tmp_path / "no")).err
    (tmp_path / "empty").mkdir()
    assert "No desk ever ran" in breakwater("backup", "b", "--state-dir", str(tmp_path / "empty")).err


def test_another_desks_backup_needs_its_name(breakwater: Any, tmp_path: Path) -> None:
    file, target = archive(tmp_path / "b.tar", desk="other"), str(tmp_path / "t")
    found = breakwater("restore", str(file), "--state-dir", target)
    assert found.code == 3
    assert "is of desk 'other', not of 'main'" in found.err
    assert breakwater("restore", str(file), "--state-dir", target, "--desk", "other").code == 0


@pytest.mark.parametrize("mode", ["Live", "Staging", ""])
def test_backup_that_is_not_of_a_paper_desk_needs_the_operators_word(
    breakwater: Any, tmp_path: Path, mode: str
) -> None:
    file, target = archive(tmp_path / "b.tar", mode=mode), tmp_path / "t"
    found = breakwater("restore", str(file), "--state-dir", str(target))
    assert found.code == 3
    assert "does not share a Redis" in " ".join(found.err.split())
    assert "--old-desk-is-stopped" in found.err
    assert not target.exists()
    assert breakwater("restore", str(file), "--state-dir", str(target), "--old-desk-is-stopped").code == 0


@pytest.mark.parametrize("ready", [True, False])
def test_directory_of_a_desk_that_runs_or_starts_is_refused_even_with_force(
    breakwater: Any, tmp_path: Path, ready: bool
) -> None:
    file, target = archive(tmp_path / "b.tar"), tmp_path / "t"
    running = RunDir(target)
    running.claim()
    if ready:
        running.publish(url="http://127.0.0.1:1", desk="main", started_at=NOW)
    try:
        found = breakwater("restore", str(file), "--state-dir", str(target), "--force")
        assert (found.code, "a desk already runs from" in found.err) == (2, True)
    finally:
        running.release()
    assert not list(target.rglob("policy.json"))


def test_damaged_backup_is_refused_and_nothing_made(breakwater: Any, tmp_path: Path) -> None:
    file, target = archive(tmp_path / "b.tar"), tmp_path / "t"
    file.write_bytes(file.read_bytes().replace(b"{}", b"[]"))
    found = breakwater("restore", str(file), "--state-dir", str(target))
    assert found.code == 2
    assert "components/policy/policy.json is not what the manifest says" in " ".join(found.err.split())
    assert not target.exists()
