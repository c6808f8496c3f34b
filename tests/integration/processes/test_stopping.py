"""Every component ends cleanly when it is asked to, whatever else is gone."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest


def test_execution_ends_cleanly_when_redis_and_the_venue_died_before(processes: Any) -> None:
    processes.start_valkey()
    for name in ("paper_venue", "policy", "execution"):
        processes.start(name)
    processes.until(lambda: processes.execution()["counters"]["comparisons"] > 0, 30, what="compared with the venue")
    processes.kill("valkey")
    processes.kill("paper_venue")
    processes.until(lambda: processes.execution()["counters"]["stream_reconnects"] > 0, what="stream lost")
    assert processes.interrupt("execution") == 0, processes.log("execution")
    assert processes.interrupt("policy") == 0, processes.log("policy")


def test_everything_ends_cleanly_when_redis_and_the_venue_hang(processes: Any) -> None:
    processes.start_all()
    processes.until(lambda: not processes.unready(), 60, what="everything ready")
    for name in ("paper_venue", "valkey"):
        processes.running[name].send_signal(signal.SIGSTOP)
    asked = [name for name in processes.components if name != "paper_venue"]
    for name in asked:
        processes.running[name].send_signal(signal.SIGTERM)
    codes = {name: processes.interrupt(name, 15, by=signal.SIGTERM) for name in asked}  # a second one changes nothing
    assert set(codes.values()) == {0}, codes


def test_sigterm_while_a_component_waits_for_the_venue_is_a_clean_end(make_processes: Callable[..., Any]) -> None:
    desk = make_processes(venue_clock=True)
    for name in ("execution", "emergency_stop"):
        desk.start(name)
    for name in ("execution", "emergency_stop"):
        desk.until(lambda name=name: desk.request(name, "GET", "/readyz").status_code == 503, 30, what=f"{name} waits")
        assert desk.request(name, "GET", "/v1/stop").json()["code"] == "UNAVAILABLE"
        assert desk.terminate(name) == 0, desk.log(name)


@pytest.mark.parametrize("hangs", [False, True])
def test_sigterm_while_redis_is_awaited_at_the_start_is_a_clean_end(processes: Any, hangs: bool) -> None:
    if hangs:
        processes.start_valkey()
        processes.until((processes.root / "r.sock").exists, what="Redis listens")
        processes.running["valkey"].send_signal(signal.SIGSTOP)
    names = ("emergency_stop", "execution", "portfolio", "policy")
    for name in names:
        processes.start(name)
    for name in names:
        processes.until(
            lambda name=name: processes.request(name, "GET", "/readyz").status_code == 503, 30, what=f"{name} waits"
        )
        assert processes.terminate(name) == 0, processes.log(name)


def test_sigterm_in_the_middle_of_flattening_is_a_clean_end_and_the_halt_goes_on_after_it(processes: Any) -> None:
    processes.start_valkey()
    for name in ("paper_venue", "policy", "execution"):
        processes.start(name)
    processes.until(lambda: processes.execution()["reconciled"], 30, what="compared with the venue")
    processes.running["paper_venue"].send_signal(signal.SIGSTOP)
    body = {"requestID": "t1", "reason": "news", "requestedBy": "alice"}
    assert processes.request("execution", "POST", "/v1/halt", json=body).json()["halted"] is True
    assert processes.execution()["flattening"] == "halt by alice: news"
    assert processes.terminate("execution") == 0, processes.log("execution")
    processes.start("execution")
    processes.until(lambda: processes.execution()["flattening"] == "halt by alice: news", 30, what="it goes on")
    processes.running["paper_venue"].send_signal(signal.SIGCONT)
    processes.until(lambda: processes.execution()["flattening"] is None, 30, what="the venue has confirmed it flat")
    assert processes.execution()["code"] == "HALTED_BY_PERSON"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_process_that_listens_on_every_address_is_reached_on_loopback(
    make_processes: Callable[..., Any], host: str
) -> None:
    desk = make_processes(host=host)
    desk.start_valkey()
    for name in ("paper_venue", "dashboard"):
        desk.start(name)
    for name in ("paper_venue", "dashboard"):
        desk.until(lambda name=name: desk.request(name, "GET", "/readyz").status_code == 200, 30, what=name)
    page = f"http://127.0.0.1:{desk.ports['dashboard']}/v1/status"
    assert httpx.get(page, trust_env=False).status_code == 401
    assert desk.request("dashboard", "GET", "/v1/status").status_code == 200
    for name in ("paper_venue", "dashboard"):
        assert desk.terminate(name) == 0, desk.log(name)


@pytest.mark.parametrize(
    ("component", "variables", "words"),
    [
        ("dashboard", {"BREAKWATER_HTTP_HOST": "0.0.0.0", "BREAKWATER_TOKEN_FILE": ""}, "BREAKWATER_TOKEN_FILE"),
        ("portfolio", {"BREAKWATER_CLOCK": "venue", "BREAKWATER_VENUE_URL": ""}, "needs BREAKWATER_VENUE_URL"),
        ("execution", {"BREAKWATER_API_KEY_FILE": "/nowhere"}, "/nowhere cannot be read"),
        ("paper_venue", {"BREAKWATER_MARKET_START": "2025-10-10T20:00:00Z"}, "only a replay has a start"),
    ],
)
def test_wrong_settings_alone_end_a_component_by_itself(
    processes: Any, component: str, variables: dict[str, str], words: str
) -> None:
    assert processes.run(component, **variables) == 2, processes.log(component)
    assert words in processes.log(component)
