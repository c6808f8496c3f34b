"""Bad input: a message that names what is wrong and the remedy, an exit code, and nothing lost."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from breakwater.runtime.journal import decode_line

pytestmark = pytest.mark.timeout(120)
USAGE, UNREACHABLE = 2, 4


@pytest.fixture
def up(breakwater: Any, tmp_path: Path) -> Callable[..., Any]:
    """``breakwater up`` that is expected to end by itself, at once; nothing of a desk may be left behind."""

    def run(*options: str, **more: Any) -> Any:
        result = breakwater("up", "--state-dir", "state", "--port", "0", *options, **more)
        assert "Traceback" not in result.said
        assert "fault in Breakwater" not in result.said
        assert not (tmp_path / "state" / "desk.json").exists()
        return result

    return run


def test_policy_with_an_unknown_field_names_it_and_the_nearest_one(up: Any, tmp_path: Path, profile: Any) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(profile("normal").read_text().replace("maxConcurrentPositions", "maxConcurentPositions"))
    result = up("--policy", str(wrong))
    assert result.code == USAGE
    assert "wrong.yaml" in result.said
    assert "spec.limits.maxConcurentPositions" in result.said
    assert "maxConcurrentPositions" in result.said
    assert "Nothing was changed" in result.said


def test_policy_with_a_number_out_of_bounds_names_field_value_and_bound(up: Any, tmp_path: Path, profile: Any) -> None:
    wrong = tmp_path / "wrong.yaml"
    text = profile("normal").read_text().replace("maxConcurrentPositions: 5", "maxConcurrentPositions: 5000")
    wrong.write_text(text.replace("cooldownMinutes: 15", "cooldownMinutes: 0"))
    result = up("--policy", str(wrong))
    assert result.code == USAGE
    assert "spec.limits.maxConcurrentPositions" in result.said
    assert "5000" in result.said
    assert "spec.cooldownMinutes" in result.said, "every mistake is named at once"


def candles(lines: int = 30) -> str:
    rows = ["ts,open,high,low,close,volume"]
    start = 1_700_000_100_000 - 1_700_000_100_000 % 300_000
    rows += [f"{start + i * 300_000},100,101,99,100.5,10" for i in range(lines)]
    return "\n".join(rows) + "\n"


def cut(path: Path) -> Path:
    path = path.with_suffix(".csv.gz")
    path.write_bytes(gzip.compress(candles(500).encode())[:-40])
    return path


def not_a_number(path: Path) -> Path:
    path.write_text(candles().replace("100.5", "a lot", 1))
    return path


def binary(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 4)
    return path


def unreadable(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (cut, ["BTCUSDT-5m.csv.gz", "cannot be read"]),
        (not_a_number, ["BTCUSDT-5m.csv", "line 2", "close", "'a lot' is not a number", "Correct or remove the line"]),
        (binary, ["BTCUSDT-5m.csv", "cannot be read"]),
        (unreadable, ["BTCUSDT-5m.csv", "is a directory", "Check the path"]),
        (lambda path: path, ["BTCUSDT-5m.csv", "does not exist", "Check the path"]),
    ],
)
def test_market_file_that_cannot_be_used_is_named_with_place_and_remedy(
    up: Any, tmp_path: Path, make: Callable[[Path], Path], named: list[str]
) -> None:
    result = up("--market", f"replay:{make(tmp_path / 'BTCUSDT-5m.csv')}")
    assert result.code == USAGE, result.said
    for each in named:
        assert each in result.said


def test_redis_that_does_not_answer_is_named_with_the_remedy(up: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
    result = up(environment={"REDIS_URL": url})
    assert result.code == UNREACHABLE, result.said
    assert "Redis does not answer" in result.said
    assert url.removeprefix("redis://").removesuffix("/0") in result.said
    assert "REDIS_URL" in result.said


def test_redis_url_that_is_none_is_refused_with_an_example(up: Any) -> None:
    result = up("--redis-url", "localhost:6379")
    assert result.code == USAGE, result.said
    assert "redis-url" in result.said.lower()
    assert "redis://" in result.said


def test_redis_that_wants_a_password_says_so_without_showing_one(up: Any) -> None:
    result = up("--redis-url", "redis://:hunter2@127.0.0.1:1/0")
    assert result.code == UNREACHABLE, result.said
    assert "hunter2" not in result.said


def test_port_in_use_is_named_with_the_remedy_and_leaves_no_child(
    breakwater: Any, running: Any, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = breakwater("up", "--state-dir", "state", "--port", str(port))
    assert result.code == USAGE, result.said
    assert f"port {port} on 127.0.0.1 is in use" in result.said
    assert "--port 0" in result.said
    pid_file = tmp_path / "state" / "valkey" / "server.pid"
    assert not pid_file.exists() or not running(int(pid_file.read_text().split()[0]))


def test_desk_that_trades_is_backed_up_whole_and_nothing_is_restored_over_it(traded: Any, tmp_path: Path) -> None:
    file, target = tmp_path / "desk.backup", tmp_path / "elsewhere"
    made = traded.run("backup", str(file), "--json")
    assert (made.code, made.json()["desk"], made.json()["running"]) == (0, "main", True), made.said
    assert traded.token.encode() not in file.read_bytes()
    over = traded.run("restore", str(file), "--force")
    assert (over.code, f"a desk already runs from {traded.state}" in over.said) == (2, True)
    assert traded.run("restore", str(file), "--state-dir", str(target)).code == 0
    book = type(traded.venue)(target / "venue" / "state.json")
    assert book.wrongs() == []
    assert {record.client_order_id for record in book.read().audit} <= {
        record.client_order_id for record in traded.venue.read().audit
    }
    checked = traded.run("audit", "verify", "--file", str(target / "components/emergency_stop/audit.jsonl"))
    assert (checked.code, "WHOLE" in checked.said) == (0, True)
    for journal in ("execution/execution.journal", "portfolio/portfolio.journal", "risk_manager/proposals.jsonl"):
        lines = (target / "components" / journal).read_bytes().split(b"\n")[:-1]
        assert lines
        assert all(decode_line(line) for line in lines), journal


def test_second_desk_and_other_market_on_one_directory_are_refused_and_harm_nobody(traded: Any) -> None:
    second = traded.run("up", "--port", "0")
    assert second.code == USAGE
    assert f"a desk already runs from {traded.state}" in second.said
    assert str(traded.record["pid"]) in second.said
    assert "--state-dir" in second.said
    assert traded.status()["stop"]["state"] == "ARMED"

    assert traded.interrupt() == 0
    positions, wallet = traded.venue.positions(), traded.venue.account().wallet
    other = traded.run("up", "--port", "0", "--market", "synthetic:2")
    assert other.code == USAGE, other.said
    assert "holds a desk on the market synthetic, not synthetic:2" in other.said
    assert "--state-dir" in other.said
    assert (traded.venue.positions(), traded.venue.account().wallet) == (positions, wallet)
    traded.start("--speed", "30")
    traded.until_it_agrees()


def test_malformed_signals_are_refused_field_by_field_and_the_desk_trades_on(traded: Any) -> None:
    good = {"symbol": "BTCUSDT", "direction": "LONG", "confidence": "0.7", "stop_pct": "2"}

    def post(body: Any, **parts: Any) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return traded.request("POST", "/v1/signals", content=content, **parts)

    for body, field in (
        ({**good, "confidence": "1.5"}, "confidence"),
        ({**good, "symbol": "DOGEUSDT"}, "symbol"),
        ({**good, "direction": "UP"}, "direction"),
        ({**good, "leverage": 50}, "leverage"),
        ({k: v for k, v in good.items() if k != "stop_pct"}, "stop_pct"),
    ):
        answer = post(body)
        assert answer.status_code == 422, answer.text
        (error,) = answer.json()["errors"]
        assert (error["field"], bool(error["problem"]), bool(error["remedy"])) == (field, True, True)
    assert post(b"{").status_code == 422
    assert post(b"[]").status_code == 422
    assert post(b"\xff\xfe").status_code == 422
    assert post(b" " * 20_000).status_code == 413
    assert post(good, headers={"Authorization": "Bearer wrong"}).status_code == 401
    before = traded.status()["counts"]["signals"]
    assert post(good).status_code == 202
    traded.until(lambda s: s["counts"]["signals"] > before, 5)


def test_malformed_lines_of_a_signal_file_are_named_and_the_others_trade(desk: Any, tmp_path: Path) -> None:
    file = tmp_path / "signals.jsonl"
    now = datetime.now(UTC)
    due = [
        (now + timedelta(minutes=minutes)).isoformat() for minutes in (5, 7, 9, 11)
    ]  # from ten seconds at this speed on
    good = {"direction": "LONG", "confidence": "0.7", "stop_pct": "2", "time": due[0], "horizon_seconds": 1200}
    lines = [
        json.dumps({**good, "symbol": "BTCUSDT"}),
        "{not json",
        json.dumps({**good, "symbol": "ETHUSDT", "confidence": 7}),
        json.dumps({**good, "symbol": "SOLUSDT"}),
        # Again, for a machine so busy that the desk's prices are too old at the first.
        *(json.dumps({**good, "symbol": s, "time": t}) for t in due[1:] for s in ("BTCUSDT", "SOLUSDT")),
    ]
    file.write_text("\n".join(lines) + "\n")
    desk.start("--speed", "30", "--signals", str(file))
    desk.until(lambda _: set(desk.venue.positions()) == {"BTCUSDT", "SOLUSDT"}, 30)
    log = (desk.state / "desk.log").read_text()
    assert "signals.jsonl line 2" in log
    assert "signals.jsonl line 3: confidence" in log
    shown = desk.run("status")
    assert "signals.jsonl line 2" in shown.said, "whoever looks at the desk must see that lines were skipped"
    assert desk.interrupt() == 0
    assert desk.venue.wrongs() == []
