"""Components in processes of their own: they trade together, and whichever dies, the desk stays safe and recovers."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(120)

RESTARTED = (
    "paper_venue",
    "policy",
    "market_data",
    "ai_engine",
    "risk_manager",
    "execution",
    "portfolio",
    "health_monitor",
    "dashboard",
)


def closed(desk: Any, code: str | None = None) -> bool:
    gate = desk.execution()
    return gate["gate"] == "REDUCE_ONLY" and code in (None, gate["code"])


def test_desk_whose_venue_policy_and_redis_come_last_waits_for_each_and_becomes_whole(desk: Any) -> None:
    for name, waited in desk.waited.items():
        assert f"{name}.clock failed: waiting for" in waited, waited
        assert "/v1/clock" in waited
    assert "no trading policy is known yet" in desk.waited["ai_engine"]
    assert "settled" in desk.waited["emergency_stop"]
    desk.until(lambda: not desk.unready(), 60, what="everything ready")
    desk.until(lambda: desk.whole() and desk.venue.positions(), 60, what="a whole desk that trades")
    # Nobody was restarted on the way (`until` looks after that), and nobody is unready for a moment now.
    assert [desk.unready() for _ in range(20)] == [{}] * 20
    assert desk.venue.wrongs() == []


def test_fresh_desk_of_processes_trades_and_answers_its_probes(desk: Any) -> None:
    desk.until(lambda: desk.status()["snapshot"]["positions"], 60, what="a first position")
    desk.until(desk.whole, 30)
    for name in desk.components:
        for path in ("/livez", "/readyz", "/healthz"):
            answer = desk.request(name, "GET", path)
            assert answer.status_code == 200, f"{name} {path}: {answer.text}"
        metrics = desk.request(name, "GET", "/metrics").text
        assert "breakwater_" in metrics, f"{name}: {metrics[:200]}"
    assert desk.venue.wrongs() == []


@pytest.mark.parametrize("name", RESTARTED)
def test_killed_component_started_again_leaves_the_desk_whole(desk: Any, name: str) -> None:
    desk.until(desk.whole, 30)
    clock = desk.request("paper_venue", "GET", "/v1/clock").json()
    desk.kill(name)
    desk.start(name)
    desk.until(lambda: desk.request(name, "GET", "/readyz").status_code == 200, 30)
    desk.until(
        desk.worked_anew(compared=name in ("paper_venue", "execution")), 30, what=f"works anew after {name} was killed"
    )
    assert desk.request("paper_venue", "GET", "/v1/clock").json() == clock, "everybody lives by these anchors"
    price = desk.request("paper_venue", "GET", "/fapi/v1/ticker/price", params={"symbol": "BTCUSDT"}).json()
    # A tick each 15 s of the market: the price is of now, not of when the venue died.
    assert abs(price["time"] / 1000 - desk.market_at(datetime.now(UTC)).timestamp()) < 90
    assert desk.venue.wrongs() == []


def test_emergency_stop_dead_for_longer_than_its_lease_closes_the_gate_until_it_is_back(desk: Any) -> None:
    desk.until(desk.whole, 30)
    desk.kill("emergency_stop")
    began = time.monotonic()
    desk.until(lambda: closed(desk, "STOP_LEASE_EXPIRED"), 5)
    assert time.monotonic() - began < 3
    entries = len(desk.venue.entries())
    time.sleep(0.5)
    assert len(desk.venue.entries()) == entries
    desk.start("emergency_stop")
    desk.until(desk.whole, 30)
    assert desk.venue.wrongs() == []


def test_redis_dead_closes_the_gate_exits_still_work_and_it_recovers(desk: Any) -> None:
    desk.until(lambda: desk.whole() and desk.venue.positions(), 30, what="whole, with positions")
    desk.kill("valkey")
    desk.until(lambda: closed(desk, "STOP_LEASE_EXPIRED"), 5)
    entries = len(desk.venue.entries())
    for name in desk.components:
        if name != "paper_venue":
            assert desk.request(name, "GET", "/livez").status_code == 200, (
                f"{name} must not be restarted for Redis' sake"
            )

    halted = desk.request("execution", "POST", "/v1/halt", json={"reason": "Redis is gone", "requestedBy": "test"})
    assert halted.status_code == 200, halted.text
    desk.until(lambda: not desk.venue.positions(), 15, what="flat at the venue without Redis")

    desk.start_valkey()
    desk.until(lambda: desk.execution()["reconciled"] and desk.status()["snapshot"]["reconciled"], 30)
    desk.until(lambda: desk.status()["stop"]["lease_fresh"], 15, what="the stop is heard again")
    assert desk.execution()["halted_by"] == "test", "a person's halt holds until the stop is re-armed"
    assert closed(desk)
    assert len(desk.venue.entries()) == entries
    assert desk.venue.positions() == {}
    rearm(desk)
    assert desk.execution()["halted_by"] is None
    desk.until(desk.worked_anew(), 30, what="trades again")
    assert desk.venue.wrongs() == []


def ask(desk: Any, **request: Any) -> Any:
    body = {"reason": "test", "requestedBy": "test", "requestID": f"r-{time.monotonic_ns()}", **request}
    return desk.request("emergency_stop", "POST", "/v1/stop/requests", json=body)


def rearm(desk: Any) -> None:
    """Trip the stop, wait until it has cooled down (a minute of market time), and reset it."""
    assert ask(desk, kind="trip").status_code == 200
    trip_id = desk.until(lambda: desk.status()["stop"]["trip_id"], 10)
    desk.until(lambda: desk.status()["stop"]["state"] == "COOLING_DOWN", 15)
    line = desk.status()["stop"]["kubectl_command"]
    assert line.startswith("kubectl patch estop guard -n desk-a --type merge -p"), line
    early = ask(desk, kind="reset", tripID=trip_id)
    assert (early.status_code, early.json()["code"]) == (409, "RESET_COOLING_DOWN")
    desk.until(lambda: ask(desk, kind="reset", tripID=trip_id).status_code == 200, 15, what="reset accepted")
    desk.until(lambda: desk.execution()["gate"] == "OPEN", 15)


def test_redis_back_without_its_data_is_filled_again_and_the_desk_trades_on(desk: Any) -> None:
    desk.until(desk.whole, 30)
    desk.kill("valkey")
    desk.until(lambda: closed(desk, "STOP_LEASE_EXPIRED"), 5)
    desk.start_valkey(empty=True)
    desk.until(desk.worked_anew(), 30, what="works on an empty Redis")
    assert desk.venue.wrongs() == []


def test_everything_killed_at_once_and_started_again_goes_on(desk: Any) -> None:
    desk.until(desk.whole, 30)
    desk.kill_all()
    desk.start_all()
    desk.until(desk.worked_anew(), 60, what="works anew after a power cut")
    assert desk.venue.wrongs() == []


def test_everything_ends_cleanly_on_sigterm_and_loses_nothing(desk: Any) -> None:
    desk.until(desk.whole, 30)
    before = desk.venue.account().wallet, desk.venue.positions()
    assert desk.terminate("paper_venue") == 0
    assert (desk.venue.account().wallet, desk.venue.positions()) == before
    codes = {name: desk.terminate(name) for name in reversed(desk.components) if name != "paper_venue"}
    assert set(codes.values()) == {0}, codes
