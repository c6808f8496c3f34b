"""The commands of the CLI against a desk that runs: what people and scripts do with it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(120)


def with_cooldown_of_a_minute(path: Path, profile: Any) -> Path:
    """The NORMAL profile's EmergencyStop alone, with the shortest cooldown."""
    stop = profile("normal").read_text().partition("---\n")[2]
    path.write_text(stop.replace("cooldownMinutes: 15", "cooldownMinutes: 1"))
    return path


def limit(status: Any, name: str) -> Decimal:
    (found,) = [row for row in status["policy"]["limits"] if row["name"] == name]
    return Decimal(found["value"])


def test_trip_and_reset_by_command_stop_the_desk_and_start_it_again(desk: Any, tmp_path: Path, profile: Any) -> None:
    stop_file = with_cooldown_of_a_minute(tmp_path / "stop.yaml", profile)
    # Slow enough to be too early, quick enough to wait for: a minute of cooldown takes six seconds.
    desk.start("--speed", "10", "--emergency-stop", str(stop_file))
    desk.until_it_trades()

    told = desk.run("status", "--json")
    assert told.code == 0, told.said
    assert (told.json()["desk"], told.json()["stop"]["state"]) == ("main", "ARMED")
    assert told.err == ""
    nothing = desk.run("reset", "--reason", "nothing to reset")
    assert (nothing.code, "RESET_NOT_TRIPPED" in nothing.said) == (3, True)

    trip = desk.run("trip", "--reason", "the news", "--json")
    assert trip.code == 0, trip.said
    assert trip.json()["emergency_stop"]["answer"]["code"] == "ACCEPTED"
    assert trip.json()["execution"]["answer"]["halted"] is True
    desk.until(lambda s: s["stop"]["state"] == "COOLING_DOWN" and not desk.venue.positions(), 20)
    entries = len(desk.venue.entries())

    early = desk.run("reset", "--reason", "too early")
    assert early.code == 3, early.said
    assert "RESET_COOLING_DOWN" in early.said
    assert "of the cooldown remain" in early.said
    assert "at speed 10" in early.said

    desk.until(lambda s: s["stop"]["remaining_seconds"] == 0, 20)
    status = desk.status()
    assert status["stop"]["state"] == "COOLING_DOWN", "nothing re-arms by itself, and no refused request fires later"
    assert len(desk.venue.entries()) == entries
    late = desk.run("reset", "--reason", "checked, the news is over")
    assert late.code == 0, late.said
    desk.until(lambda s: s["stop"]["state"] == "ARMED" and s["gate"]["state"] == "OPEN", 15)
    signal = desk.run("signal", "send", "BTCUSDT", "long", "--confidence", "0.9")
    assert signal.code == 0, signal.said
    desk.until(lambda _: len(desk.venue.entries()) > entries, 20)
    desk.until_it_agrees()
    assert desk.interrupt() == 0
    assert desk.venue.wrongs() == []


@pytest.mark.slow
def test_policy_applied_while_the_desk_runs_is_followed_by_everything(desk: Any, tmp_path: Path, profile: Any) -> None:
    silent = tmp_path / "none.jsonl"
    silent.write_text("")
    desk.start("--speed", "30", "--signals", str(silent))
    before = desk.until(lambda s: s["gate"]["state"] == "OPEN")
    send = ("signal", "send", "--confidence", "0.7", "--stop-pct", "2")
    assert desk.run(*send, "BTCUSDT", "long").code == 0
    desk.until(lambda _: desk.venue.positions().get("BTCUSDT"), 20)

    defensive = str(profile("defensive"))
    shown = desk.run("policy", "diff", defensive)
    assert shown.code == 0, shown.said
    assert "spec.profile: NORMAL -> DEFENSIVE" in shown.said
    assert desk.status()["policy"]["version"] == before["policy"]["version"], "a diff changes nothing"

    applied = desk.run("policy", "apply", defensive)
    assert applied.code == 0, applied.said
    version = before["policy"]["version"] + 1
    assert f"version {version} is in force" in applied.said
    after = desk.until(lambda s: s["policy"]["version"] == version, 10)
    assert after["policy"]["profile"] == "DEFENSIVE"
    assert limit(before, "maxRiskPerTradePct") == 2
    assert limit(after, "maxRiskPerTradePct") == 1
    assert limit(after, "maxLeverage") < limit(before, "maxLeverage")

    again = desk.run("policy", "apply", defensive)
    assert (again.code, f"Nothing differs: version {version}" in again.said) == (0, True), again.said
    history = desk.run("policy", "history", "--json").json()["history"]
    assert [entry["version"] for entry in history[:2]] == [version, version - 1]
    assert any("DEFENSIVE" in change for change in history[0]["changes"])
    assert "(cli)" in history[0]["who"]

    (tmp_path / "typo.yaml").write_text(Path(defensive).read_text().replace("maxConcurrentPositions", "maxPositons"))
    typo = desk.run("policy", "apply", str(tmp_path / "typo.yaml"))
    assert typo.code == 2, typo.said
    assert "maxPositons" in typo.said
    assert "did you mean" in typo.said.lower()
    assert desk.status()["policy"]["version"] == version

    (tmp_path / "small.yaml").write_text(
        Path(defensive).read_text().replace("    maxConcurrentPositions: 5", "    maxPositionMarginUSD: 120")
    )
    assert desk.run("policy", "apply", str(tmp_path / "small.yaml")).code == 0
    assert desk.run(*send, "ETHUSDT", "long").code == 0
    desk.until(lambda _: desk.venue.positions().get("ETHUSDT"), 20)
    status = desk.until_it_agrees()
    margin = {row["symbol"]: Decimal(row["notional"]) / row["leverage"] for row in status["positions"]}
    assert margin["ETHUSDT"] < 125 < margin["BTCUSDT"], "the next entry is sized by the policy that is in force"
    assert desk.interrupt() == 0

    desk.start("--speed", "30", "--signals", str(silent))
    status = desk.until_it_agrees()
    assert status["policy"]["version"] == version + 1
    assert limit(status, "maxPositionMarginUSD") == Decimal(120)
    assert desk.interrupt() == 0
    assert desk.venue.wrongs() == []
