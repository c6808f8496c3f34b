"""``breakwater up`` from the outside: it trades, stops cleanly, and goes on where it was, however it ended."""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

SPEED = "30"


def held(status: Any) -> dict[str, Decimal]:
    return {row["symbol"]: Decimal(row["quantity"]) for row in status["snapshot"]["positions"]}


def test_fresh_directory_trades_within_thirty_seconds_and_goes_on_after_ctrl_c(desk: Any, running: Any) -> None:
    desk.start("--speed", SPEED)
    began = time.monotonic()
    desk.until_it_trades(30)
    assert time.monotonic() - began < 30
    before = desk.until_it_agrees()
    server = desk.server_pid()
    assert running(server)

    assert desk.interrupt() == 0, desk.output
    assert not running(server), "the embedded server outlived the desk"
    assert "trading  first order" in desk.output
    assert not (desk.state / "desk.json").exists()
    entries = {record.client_order_id for record in desk.venue.entries()}
    positions, wallet = desk.venue.positions(), desk.venue.account().wallet
    assert desk.venue.wrongs() == []

    desk.start("--speed", SPEED)
    after = desk.until_it_agrees()
    assert after["policy"]["version"] == before["policy"]["version"]
    assert (after["stop"]["state"], after["stop"]["epoch"] >= before["stop"]["epoch"]) == ("ARMED", True)
    # Half an hour of market passes in a minute: the day may have ended.
    if after["snapshot"]["baseline_day"] == before["snapshot"]["baseline_day"]:
        assert Decimal(after["snapshot"]["baseline"]) == Decimal(before["snapshot"]["baseline"])
    # Stops and targets may have fired meanwhile; nothing else may have happened to what was there.
    for symbol, quantity in held(after).items():
        if symbol in positions and positions[symbol] == quantity:
            continue
        assert desk.venue.account().wallet != wallet
    assert {record.client_order_id for record in desk.venue.entries()} >= entries
    assert desk.venue.wrongs() == []
    assert desk.venue.unprotected() == []
    assert desk.interrupt() == 0


SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT")


def busy_signals(path: Path, *, every_s: int, lines: int) -> Path:
    """Signals close to each other with near stops and targets, so that something is on its way at any moment."""
    start = datetime.now(UTC)
    with path.open("w") as file:
        for number in range(lines):
            signal = {
                "symbol": SYMBOLS[number % len(SYMBOLS)],
                "direction": "LONG" if number // len(SYMBOLS) % 2 else "SHORT",
                "confidence": "0.8",
                "stop_pct": "0.2",
                "target_pct": "0.2",
                "time": (start + timedelta(seconds=every_s * number)).isoformat(),
            }
            file.write(json.dumps(signal) + "\n")
    return path


def busy_policy(path: Path, normal: Path) -> Path:
    """Five small positions with a narrow collar, so that stops and targets can be near."""
    limits = ("maxConcurrentPositions: 5", "maxPositionMarginUSD: 150", "priceCollarPct: 0.1", "maxRepeatedOrders: 100")
    text = normal.read_text()
    text = text.replace("symbols: [BTCUSDT, ETHUSDT, SOLUSDT]", f"symbols: [{', '.join(SYMBOLS)}]")
    path.write_text(text.replace("    maxConcurrentPositions: 5\n", "".join(f"    {limit}\n" for limit in limits)))
    return path


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(
    desk: Any, tmp_path: Path, running: Any, profile: Any
) -> None:
    chance = random.Random(20251010)
    signals = busy_signals(tmp_path / "busy.jsonl", every_s=3, lines=4000)
    policy = busy_policy(tmp_path / "busy.yaml", profile("normal"))
    options = ("--speed", "60", "--signals", str(signals), "--policy", str(policy))
    servers = []
    for _ in range(4):
        desk.start(*options)
        desk.until(lambda status: status["snapshot"], 30)
        time.sleep(chance.uniform(0.0, 3.0))
        servers.append(desk.server_pid())
        desk.kill()
        assert desk.venue.wrongs() == []
    desk.start(*options)
    desk.until_it_trades()
    desk.until_it_agrees()
    deadline = time.monotonic() + 10
    while desk.venue.unprotected() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert desk.venue.unprotected() == []
    assert desk.interrupt() == 0
    assert desk.venue.wrongs() == []
    assert len(desk.venue.entries()) > 10, "too quiet to prove anything"
    assert not any(running(server) for server in servers), "an embedded server outlived its desk"


@pytest.mark.slow
def test_trip_then_kill_9_at_once_is_still_tripped_and_flat(desk: Any) -> None:
    desk.start("--speed", SPEED)
    desk.until_it_trades()
    body = {"kind": "trip", "requestID": "t-1", "reason": "test", "requestedBy": "test"}
    answer = desk.request("POST", "/v1/stop/requests", json=body)
    desk.kill()
    assert answer.status_code == 200, answer.text

    desk.start("--speed", SPEED)
    status = desk.until(lambda s: s["stop"]["state"] != "UNKNOWN" and s["stop"]["lease_fresh"])
    assert status["stop"]["state"] in ("TRIPPED", "COOLING_DOWN")
    assert status["gate"]["state"] == "REDUCE_ONLY"
    desk.until(lambda s: s["stop"]["state"] == "COOLING_DOWN" and not desk.venue.positions())
    entries = len(desk.venue.entries())
    desk.until_it_agrees()
    assert desk.interrupt() == 0

    desk.start("--speed", SPEED)
    status = desk.until(lambda s: s["stop"]["state"] != "UNKNOWN" and s["stop"]["lease_fresh"])
    assert status["stop"]["state"] == "COOLING_DOWN"
    desk.until_it_agrees()
    assert desk.interrupt() == 0
    assert "stopped  the emergency stop is COOLING_DOWN" in desk.output
    assert desk.venue.positions() == {}
    assert len(desk.venue.entries()) == entries
    assert desk.venue.wrongs() == []
