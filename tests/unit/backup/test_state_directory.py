"""Reading a state directory at one instant, and making one again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from breakwater.backup.archive import Backup, BackupError, decode_backup, encode_backup
from breakwater.backup.instant import hold, read, user_of
from breakwater.backup.volume import restore_into
from breakwater.runtime.file_disk import FileDisk

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with everything that may stand in one."""
    root = tmp_path / "state"
    for path in (
        "desk.lock", "desk.json", "token", "desk.log",
        "components/execution/.lock", "components/execution/execution.journal", "components/execution/x.json.new",
        "components/emergency_stop/audit.key", "components/bus-execution/buffer-00000001.jsonl",
        "components/recorder/recording-0.jsonl", "market/market.json", "venue/state.json", "venue/state.json.journal",
        "valkey/server.log", "valkey/server.pid", "valkey/appendonlydir/appendonly.aof.manifest",
        "valkey/appendonlydir/appendonly.aof.1.incr.aof", "valkey/appendonlydir/temp-1.aof",
    ):  # fmt: skip
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return root


KEPT = {
    "components/execution/execution.journal",
    "components/emergency_stop/audit.key",
    "components/bus-execution/buffer-00000001.jsonl",
    "market/market.json",
    "venue/state.json",
    "venue/state.json.journal",
    "valkey/appendonlydir/appendonly.aof.manifest",
    "valkey/appendonlydir/appendonly.aof.1.incr.aof",
}


def backup_of(root: Path) -> Backup:
    return decode_backup(
        encode_backup(read(hold(root)), desk="main", mode="Paper", time=NOW, version="1", running=False)
    )


def test_backup_holds_what_a_desk_needs_and_neither_token_nor_logs_nor_locks(state: Path) -> None:
    assert set(read(hold(state))) == KEPT
    assert set(read(hold(state, recording=True))) == KEPT | {"components/recorder/recording-0.jsonl"}


def test_what_is_written_after_the_instant_is_not_in_it(state: Path) -> None:
    journal, replaced, removed = (
        state / path for path in ("components/execution/execution.journal", "venue/state.json", "market/market.json")
    )
    held = hold(state)
    with journal.open("a") as file:
        file.write("later")
    draft = replaced.with_name("state.json.new")
    draft.write_text("later, and longer than before")
    draft.replace(replaced)
    removed.unlink()
    (state / "components/execution/later.json").write_text("later")
    found = read(held)
    assert set(found) == KEPT
    assert all(data.decode() == path for path, data in found.items())


def test_file_that_is_cut_while_it_is_read_makes_no_backup(state: Path) -> None:
    held = hold(state)
    (state / "venue/state.json").write_text("")
    with pytest.raises(BackupError, match=r"venue/state\.json was cut while it was being read"):
        read(held)


def test_server_that_begins_other_files_meanwhile_is_read_again(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from breakwater.backup import instant

    manifest = state / "valkey/appendonlydir/appendonly.aof.manifest"
    opened: list[Path] = []
    real: Callable[[Path], int | None] = instant._open

    def rewriting(path: Path) -> int | None:
        opened.append(path)
        if path == manifest and opened.count(manifest) == 1:
            manifest.write_text("another")
        return real(path)

    monkeypatch.setattr(instant, "_open", rewriting)
    assert read(hold(state))["valkey/appendonlydir/appendonly.aof.manifest"] == b"another"
    assert opened.count(manifest) == 2


def test_restored_directory_is_the_one_that_was_backed_up_and_its_owners_alone(state: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "restored"
    assert restore_into(backup_of(state), target, replace=False, now=NOW) is None
    assert read(hold(target)) == read(hold(state))
    assert {path.stat().st_mode & 0o077 for path in target.rglob("*")} == {0}
    assert [path.name for path in target.parent.iterdir()] == ["restored"]


def test_directory_that_holds_something_is_refused_and_left_alone(state: Path, tmp_path: Path) -> None:
    target = tmp_path / "other"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(BackupError, match="is not empty"):
        restore_into(backup_of(state), target, replace=False, now=NOW)
    assert [path.name for path in target.iterdir()] == ["mine"]
    aside = restore_into(backup_of(state), target, replace=True, now=NOW)
    assert aside is not None
    assert (aside / "mine").read_text() == "mine"
    assert set(read(hold(target))) == KEPT


def test_directory_in_use_is_refused_even_with_force_and_its_user_named(state: Path, tmp_path: Path) -> None:
    backup = backup_of(state)
    (state / "components/execution/.lock").unlink()
    disk = FileDisk(state / "components/execution", owner="execution")
    try:
        assert "components/execution is in use by execution (process" in user_of(state)
        with pytest.raises(BackupError, match="is in use by execution"):
            restore_into(backup, state, replace=True, now=NOW)
    finally:
        disk.close()
    assert user_of(state) == ""


def test_restore_that_fails_half_way_leaves_nothing_behind(state: Path, tmp_path: Path) -> None:
    whole = backup_of(state)
    # A file where another one needs a directory: the second write fails.
    clashing = Backup(whole.manifest, {"venue": b"x", **whole.files})
    target = tmp_path / "restored"
    with pytest.raises(BackupError, match="Nothing was restored"):
        restore_into(clashing, target, replace=False, now=NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]
