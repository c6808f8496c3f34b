"""Commands against a desk that answers, refuses, hangs up, or is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from breakwater.runtime.manifests import load_manifests
from breakwater.runtime.policy_copy import PolicyCopy, encode_copy
from breakwater.runtime.resources import profile_file

NO_TRIP: dict[str, Any] = {"stop": {"state": "ARMED", "trip_id": None}, "market": {"speed": "1"}}
COOLING: dict[str, Any] = {"stop": {"state": "COOLING_DOWN", "trip_id": "main-7"}, "market": {"speed": "20"}}
TAKEN = {"accepted": True, "code": "ACCEPTED", "text": "tripped"}


def test_status_without_a_desk_says_how_to_start_one(breakwater: Any) -> None:
    found = breakwater("status")
    assert found.code == 4
    assert "No desk runs from" in found.err
    assert "breakwater up" in found.err


def test_status_after_a_desk_died_says_so(breakwater: Any, tmp_path: Path) -> None:
    script = (
        "import os, sys; from datetime import UTC, datetime; from pathlib import Path; from breakwater.desk.rundir import RunDir\n"
        "d = RunDir(Path(sys.argv[1])); d.claim(); d.token()\n"
        "d.publish(url='http://127.0.0.1:9', desk='main', started_at=datetime.now(UTC)); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "state")], check=False)
    found = breakwater("status")
    assert found.code == 4
    assert "has ended without saying so" in found.err
    assert "breakwater up" in found.err


def test_status_when_nothing_answers_names_pid_and_address(breakwater: Any, desk: Any, tmp_path: Path) -> None:
    record = json.loads((tmp_path / "state" / "desk.json").read_text())
    record["url"] = "http://127.0.0.1:9"
    (tmp_path / "state" / "desk.json").write_text(json.dumps(record))
    found = breakwater("status")
    assert found.code == 4
    assert f"pid {record['pid']}" in found.err
    assert "http://127.0.0.1:9" in found.err
    assert "Traceback" not in found.err


def test_status_json_prints_the_object_and_nothing_else(breakwater: Any, desk: Any) -> None:
    desk.answers["GET", "/v1/status"] = (200, COOLING)
    found = breakwater("status", "--json")
    assert (found.code, json.loads(found.out), found.err) == (0, COOLING, "")


def test_status_when_the_desk_answers_nonsense_says_so(breakwater: Any, desk: Any) -> None:
    desk.answers["GET", "/v1/status"] = (500, b"<html>oops")
    found = breakwater("status")
    assert found.code == 4
    assert "500" in found.err
    assert "oops" in found.err


def test_trip_goes_to_emergency_stop_and_execution_with_one_request_id(breakwater: Any, desk: Any) -> None:
    desk.answers["POST", "/v1/stop/requests"] = (200, TAKEN)
    desk.answers["POST", "/v1/halt"] = (200, {})
    found = breakwater("trip", "--reason", "news")
    assert found.code == 0
    assert "✓ emergency stop: tripped" in found.out
    assert "✓ execution" in found.out
    bodies = {path: json.loads(body) for _, path, _, body in desk.received}
    assert bodies["/v1/stop/requests"]["kind"] == "trip"
    assert bodies["/v1/stop/requests"]["reason"] == bodies["/v1/halt"]["reason"] == "news"
    assert bodies["/v1/stop/requests"]["requestID"] == bodies["/v1/halt"]["requestID"]


def test_trip_when_only_execution_answers_reports_both_and_fails(breakwater: Any, desk: Any) -> None:
    desk.answers["POST", "/v1/stop/requests"] = (503, {"code": "UNAVAILABLE", "text": "the disk is full"})
    desk.answers["POST", "/v1/halt"] = (200, {})
    found = breakwater("trip", "--reason", "news")
    assert found.code == 3
    assert "✗ emergency stop: UNAVAILABLE: the disk is full" in found.err
    assert "✓ execution" in found.out
    assert "One of the two is enough" in found.out


def test_trip_with_a_wrong_token_exits_4_and_names_the_file(breakwater: Any, desk: Any, tmp_path: Path) -> None:
    (tmp_path / "state" / "token").write_text("not-the-token-of-this-desk-but-long-enough\n")
    found = breakwater("trip", "--reason", "news")
    assert found.code == 4
    assert "does not take the token" in found.err
    assert str(tmp_path / "state" / "token") in found.err


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_trip_without_a_reason_is_a_usage_error(breakwater: Any, desk: Any, reason: str) -> None:
    found = breakwater("trip", "--reason", reason)
    assert (found.code, desk.received) == (2, [])


def test_reset_too_early_prints_code_sentence_and_remaining_time(breakwater: Any, desk: Any) -> None:
    desk.answers["GET", "/v1/status"] = (200, COOLING)
    refused = {
        "accepted": False,
        "code": "RESET_COOLING_DOWN",
        "text": "the cooldown is not over",
        "remaining_seconds": 820,
    }
    desk.answers["POST", "/v1/stop/requests"] = (409, refused)
    found = breakwater("reset", "--reason", "checked")
    assert found.code == 3
    assert "RESET_COOLING_DOWN: the cooldown is not over" in found.err
    assert "13:40 of the cooldown remain (0:41 here, at speed 20)" in found.err
    body = json.loads(desk.received[-1][3])
    assert (body["kind"], body["tripID"], body["newBaseline"]) == ("reset", "main-7", False)


def test_reset_accepted_with_new_baseline_says_so(breakwater: Any, desk: Any) -> None:
    desk.answers["GET", "/v1/status"] = (200, COOLING)
    desk.answers["POST", "/v1/stop/requests"] = (200, {**TAKEN, "text": "re-armed after main-7"})
    found = breakwater("reset", "--reason", "checked", "--new-baseline")
    assert found.code == 0
    assert "✓ re-armed after main-7" in found.out
    assert json.loads(desk.received[-1][3])["newBaseline"] is True


def test_reset_when_nothing_is_tripped_is_refused_without_asking(breakwater: Any, desk: Any) -> None:
    desk.answers["GET", "/v1/status"] = (200, NO_TRIP)
    found = breakwater("reset", "--reason", "checked")
    assert found.code == 3
    assert "RESET_NOT_TRIPPED" in found.err
    assert [method for method, *_ in desk.received] == ["GET"]


def test_policy_apply_of_a_wrong_file_names_every_field_and_asks_nobody(
    breakwater: Any, desk: Any, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text(
        "apiVersion: breakwater.trading/v1alpha1\nkind: TradingPolicy\nmetadata: {name: main}\n"
        "spec:\n  symbols: [BTCUSDT]\n  limits: {maxLevrage: 5, maxExposurePct: 5000}\n"
    )
    found = breakwater("policy", "apply", "p.yaml")
    assert (found.code, desk.received) == (2, [])
    assert "p.yaml:6" in found.err
    assert "did you mean maxLeverage?" in found.err
    assert "maxExposurePct" in found.err


def test_policy_apply_that_the_desk_refuses_exits_3(breakwater: Any, desk: Any) -> None:
    profile = Path(__file__).resolve().parents[3] / "profiles" / "defensive.yaml"
    problem = {
        "field": "spec.tradingMode",
        "problem": "cannot change while 2 positions are open",
        "remedy": "make it flat",
    }
    desk.answers["POST", "/v1/policy"] = (409, {"errors": [problem]})
    found = breakwater("policy", "apply", str(profile))
    assert found.code == 3
    assert "spec.tradingMode cannot change while 2 positions are open: make it flat" in found.err
    assert "Nothing was changed." in found.err
    assert b"kind: TradingPolicy" in desk.received[0][3]


def test_signal_send_posts_exact_numbers(breakwater: Any, desk: Any) -> None:
    desk.answers["POST", "/v1/signals"] = (202, {"signal_id": "http:cli:1"})
    found = breakwater("signal", "send", "btcusdt", "long", "--confidence", "0.75")
    assert found.code == 0
    body = json.loads(desk.received[0][3])
    assert (body["symbol"], body["direction"], body["confidence"]) == ("BTCUSDT", "LONG", "0.75")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("up", "--market", "moon"),
            "Give synthetic, synthetic:SEED, replay:FILE[,FILE], capture:FILE[,FILE] or live.",
        ),
        (("up", "--market", "synthetic:x"), "not a seed"),
        (("up", "--market", "replay:nowhere.csv"), "does not exist"),
        (("up", "--speed", "61"), "at most 60"),
        (("up", "--speed", "max"), "at most 60"),
        (("up", "--profile", "BOLD"), "NORMAL, DEFENSIVE, AGGRESSIVE"),
        (("up", "--port", "70000"), "65535"),
        (("drill", "crash", "--market", "a.csv"), "need --start and --end"),
        (("drill", "crash", "--market", "synthetic:1", "--start", "2025-10-10T20:00:00"), "has no time zone"),
        (("drill", "crash", "--market", "synthetic:1", "--start", "2025-10-10T20:00:00+02:00"), "is not UTC"),
        (("drill", "crash", "--market", "synthetic:1", "--end", "2020-01-01T00:00:00Z"), "is not after"),
        (("drill", "crash", "--market", "synthetic:1", "--speed", "fast"), "or max"),
        (("run", "coffee_machine"), "is not a component"),
        (("no-such-command",), "No such command"),
        (("status", "--no-such-option"), "No such option"),
    ],
)
def test_wrong_usage_exits_2_with_the_remedy(breakwater: Any, arguments: tuple[str, ...], said: str) -> None:
    found = breakwater(*arguments)
    assert found.code == 2
    assert said in found.err
    assert "Traceback" not in found.err


def test_unexpected_error_is_a_message_and_a_traceback_only_with_debug(
    breakwater: Any, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("breakwater.cli.status.DeskClient", broken)
    found = breakwater("status")
    assert found.code == 1
    assert "Unexpected ZeroDivisionError: planted" in found.err
    assert "--debug" in found.err
    assert "Traceback" not in found.err
    assert "Traceback" in breakwater("status", "--debug").err


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["audit", "show"], ["up", "--help"]])
def test_light_commands_import_neither_exchange_nor_server(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import sys; from breakwater.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'ccxt', 'redis', 'uvicorn', 'fastapi', 'aiohttp'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", script, *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def snapshot_bytes(version: int = 3) -> bytes:
    manifests = load_manifests(profile_file("NORMAL"))
    return encode_copy(PolicyCopy(version, manifests, ()))


def test_policy_snapshot_is_written_whole_and_replaces_nothing_unasked(
    breakwater: Any, desk: Any, tmp_path: Path
) -> None:
    desk.answers["GET", "/v1/policy/snapshot"] = (200, snapshot_bytes())
    found = breakwater("policy", "snapshot", "kept.json")
    assert (found.code, found.out.strip()) == (0, "✓ version 3 is in kept.json")
    assert (tmp_path / "kept.json").read_bytes() == snapshot_bytes()
    again = breakwater("policy", "snapshot", "kept.json")
    assert again.code == 2
    assert "there is one already" in again.err
    assert breakwater("policy", "snapshot", "kept.json", "--force").code == 0


def test_policy_restore_sends_the_snapshot_and_names_who_and_from_what(
    breakwater: Any, desk: Any, tmp_path: Path
) -> None:
    (tmp_path / "kept.json").write_bytes(snapshot_bytes())
    answer = {
        "version": 9,
        "snapshot": 3,
        "changed": True,
        "changes": ["x: 1 -> 2"],
        "effective": [],
        "waits": [],
        "notes": [],
    }
    desk.answers["POST", "/v1/policy/restore"] = (200, answer)
    found = breakwater("policy", "restore", "kept.json", "--yes")
    assert found.code == 0
    assert "version 9 is in force" in found.out
    assert "x: 1 -> 2" in found.out
    assert desk.received[-1][3] == snapshot_bytes()


def test_policy_restore_without_anybody_to_ask_changes_nothing(breakwater: Any, desk: Any, tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_bytes(snapshot_bytes())
    found = breakwater("policy", "restore", "kept.json")
    assert found.code == 2
    assert "--yes" in found.err
    assert desk.received == []


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_policy_restore_of_a_snapshot_cut_short_says_so_and_asks_nobody(
    breakwater: Any, desk: Any, tmp_path: Path, cut: int
) -> None:
    (tmp_path / "kept.json").write_bytes(snapshot_bytes()[: -cut or None].replace(b'"NORMAL"', b'"AGGRESSIVE"'))
    found = breakwater("policy", "restore", "kept.json", "--yes")
    assert found.code == 2
    assert "no whole snapshot" in found.err
    assert "Nothing was changed" in found.err
    assert desk.received == []


RUN = [sys.executable, "-c", "import sys; from breakwater.cli.main import main; main(sys.argv[1:])", "run"]


def test_paper_venue_with_a_bad_fault_plan_says_line_and_field_and_does_not_start(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"rules": [\n{"fault": "hagn"}]}')
    command = [*RUN, "paper-venue", "--faults", str(plan)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "plan.json: line 2: rules[0].fault: " in ended.stderr.replace("\n", "")
    assert list(tmp_path.iterdir()) == [plan]


def test_faults_for_another_component_are_refused(tmp_path: Path) -> None:
    command = [*RUN, "portfolio", "--faults-api"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Give --accounts and --faults to paper_venue only." in ended.stderr


def test_paper_venue_with_a_bad_accounts_file_says_line_and_field_and_does_not_start(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.json"
    accounts.write_text('{"accounts": [\n{"name": "a", "apiKey": "k"}]}')
    command = [*RUN, "paper-venue", "--accounts", str(accounts)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "accounts.json: line 2: accounts[0]: " in ended.stderr.replace("\n", "")
    assert list(tmp_path.iterdir()) == [accounts]
