"""The Redis drill on its real parts: nothing lost, nothing doubled, the gate closed, the exit done; and it fails when it should."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from breakwater.desk.sources import DeskInputError
from breakwater.drills import redis_outage
from breakwater.drills.redis_outage import RedisOutageOptions, run_redis_outage
from breakwater.drills.report import RedisOutageReport
from breakwater.execution.gate_watch import GateWatch
from breakwater.runtime.redis_lanes import Lane


def assert_whole(report: RedisOutageReport) -> None:
    assert (report.verdict, report.problems) == ("PASSED", ())
    assert (report.events.lost, report.events.duplicates, report.out_of_order) == (0, 0, 0)
    assert report.events.delivered == report.events.published > 100
    assert report.gate_during_outage == "REDUCE_ONLY"
    assert report.risk_increasing_orders_accepted_during_outage == 0
    assert report.exit is not None
    assert report.exit.positions_before
    assert report.exit.flat_during_outage
    assert report.recovered_in_s is not None
    assert report.ledger.difference == 0


@pytest.mark.timeout(180)
def test_killed_server_costs_no_event_and_no_exit() -> None:
    report = run_redis_outage(RedisOutageOptions(seconds=4, kill=True, per_second=100))
    assert_whole(report)
    assert list(json.loads(report.to_json()))[:5] == ["verdict", "problems", "outage", "outage_s", "events"]
    assert report.gate_closed_because == "STOP_LEASE_EXPIRED"


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kill", [False, True])
def test_ten_seconds_under_load_cost_nothing(kill: bool) -> None:
    assert_whole(run_redis_outage(RedisOutageOptions(seconds=10, kill=kill, per_second=1000, seed=2)))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_drill_finds_a_lane_that_forgets_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Lane._handle
    seen = 0

    async def forgetful(self: Lane, *arguments: Any) -> None:
        nonlocal seen
        seen += self.producer == "drill_load"
        if self.producer != "drill_load" or seen != 50:
            await real(self, *arguments)

    monkeypatch.setattr(Lane, "_handle", forgetful)
    monkeypatch.setattr(redis_outage, "RECOVERY_SECONDS", 6.0)
    report = run_redis_outage(RedisOutageOptions(seconds=4, per_second=100))
    assert report.verdict == "FAILED"
    assert report.events.lost == 1


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_drill_finds_a_gate_that_nobody_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    from breakwater.domain.gate import GateState

    monkeypatch.setattr(GateWatch, "evaluate", lambda self: GateState.OPEN)
    report = run_redis_outage(RedisOutageOptions(seconds=4, per_second=0))
    assert report.verdict == "FAILED"
    assert report.gate_during_outage == "OPEN"


def test_outage_too_short_to_judge_is_refused() -> None:
    with pytest.raises(DeskInputError, match="give 4 to 120 seconds"):
        run_redis_outage(RedisOutageOptions(seconds=1))


def test_directory_with_something_in_it_is_refused(tmp_path: Any) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(DeskInputError, match="is not empty"):
        run_redis_outage(RedisOutageOptions(state_dir=tmp_path))


@pytest.mark.slow
def test_nothing_is_left_running_when_the_drill_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    servers: list[Any] = []
    real = redis_outage._Drill

    class Interrupted(real):  # type: ignore[valid-type,misc]
        async def _while_away(self, until: float) -> None:
            servers.append(self._stage.server)
            raise asyncio.CancelledError

    monkeypatch.setattr(redis_outage, "_Drill", Interrupted)
    with pytest.raises(asyncio.CancelledError):
        run_redis_outage(RedisOutageOptions(seconds=4, per_second=0))
    assert servers[0]._process.returncode is not None
