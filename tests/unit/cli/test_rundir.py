"""The state directory: one desk at a time, found by commands, its secrets its owner's."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from breakwater.desk.rundir import DeskAlreadyRuns, NoDeskRuns, RunDir, RunDirError, find_desk, state_dir_from

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def test_state_dir_without_variable_is_in_the_working_directory() -> None:
    assert state_dir_from({}) == Path(".breakwater")
    assert state_dir_from({"BREAKWATER_HOME": "/srv/desk"}) == Path("/srv/desk")


def test_find_while_a_desk_runs_gives_address_and_token(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "a")
    run.claim()
    token = run.token()
    run.publish(url="http://127.0.0.1:8080/", desk="main", started_at=STARTED)
    found = find_desk(tmp_path / "a")
    assert (found.record.url, found.record.desk, found.token) == ("http://127.0.0.1:8080", "main", token)
    run.release()
    with pytest.raises(NoDeskRuns, match="No desk runs from"):
        find_desk(tmp_path / "a")


def test_claim_while_another_desk_runs_is_refused_and_names_it(tmp_path: Path) -> None:
    first, second = RunDir(tmp_path), RunDir(tmp_path)
    first.claim()
    first.publish(url="http://127.0.0.1:8080", desk="main", started_at=STARTED)
    with pytest.raises(DeskAlreadyRuns, match=r"http://127\.0\.0\.1:8080"):
        second.claim()
    first.release()
    second.claim()
    second.release()


def test_find_while_a_desk_starts_says_try_again(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.claim()
    with pytest.raises(NoDeskRuns, match="Try again"):
        find_desk(tmp_path)
    run.release()


def test_token_is_kept_over_restarts_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = RunDir(tmp_path).token()
    (tmp_path / "token").chmod(0o644)
    assert RunDir(tmp_path).token() == first
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_token_that_is_cut_short_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc")
    assert len(RunDir(tmp_path).token()) >= 32


def test_publish_without_the_lock_is_a_fault_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="claim"):
        RunDir(tmp_path).publish(url="x", desk="main", started_at=STARTED)


def test_claim_where_a_file_stands_names_path_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(RunDirError, match="--state-dir"):
        RunDir(tmp_path / "f").claim()
