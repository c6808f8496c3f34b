"""The crash drill's market in the cluster at speed 60: the stop trips by itself, and a person resets it with kubectl."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
import yaml
from tests.cluster.desks.lab import Lab

NAMESPACE = "desk-b"
POLICY = {
    "apiVersion": "breakwater.trading/v1alpha1",
    "kind": "TradingPolicy",
    "metadata": {"name": "main"},
    "spec": {
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "signals": {"sources": ["External"]},
        "venue": {"paper": {"market": "synthetic:1", "speed": 60, "crashAfterMinutes": 40}},
        # A day that ends meanwhile would take the cause of the trip away.
        "day": {"startUTC": f"{datetime.now(UTC) - timedelta(hours=1):%H:%M}"},
    },
}
STOP = {
    "apiVersion": "breakwater.trading/v1alpha1",
    "kind": "EmergencyStop",
    "metadata": {"name": "main"},
    "spec": {"policyRef": {"name": "main"}, "cooldownMinutes": 5},
}


class Optimist:
    """Keeps asking the desk to buy, as the crash drill's trader does, until it is told to stop."""

    def __init__(self, lab: Lab, namespace: str) -> None:
        self._lab, self._namespace = lab, namespace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Optimist:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        token = self._lab.token("main", self._namespace)
        while not self._over.wait(1.0):
            for symbol in ("BTCUSDT", "ETHUSDT"):
                signal = {
                    "symbol": symbol,
                    "direction": "LONG",
                    "confidence": 0.75,
                    "stop_pct": 2,
                    "source": "optimist",
                }
                try:
                    self._lab.request(
                        self._namespace, "main", "ai-engine", "POST", "/v1/signals", token=token, json=signal
                    )
                except (httpx.HTTPError, LookupError):
                    continue


@pytest.fixture(scope="module")
def crashing(lab: Lab) -> str:
    lab.namespace(NAMESPACE)
    lab.apply(yaml.safe_dump_all([POLICY, STOP]), NAMESPACE)
    lab.ready("main", NAMESPACE)
    return NAMESPACE


def _answered(lab: Lab, request: str) -> dict[str, Any]:
    found: dict[str, Any] = lab.until(
        lambda: next(
            (r for r in lab.status("estop", "main", NAMESPACE).get("requests", []) if r["requestID"] == request), None
        ),
        what=f"an answer to {request}",
    )
    return found


def _ask(lab: Lab, request: str, **more: Any) -> dict[str, Any]:
    trip = lab.status("estop", "main", NAMESPACE)["tripID"]
    reset = {"requestID": request, "tripID": trip, "reason": "looked at it", "newBaseline": False, **more}
    lab.patch("estop", "main", NAMESPACE, {"spec": {"reset": reset}})
    return _answered(lab, request)


@pytest.mark.slow
def test_crash_trips_the_stop_and_kubectl_resets_it_when_it_may(lab: Lab, crashing: str) -> None:
    with Optimist(lab, crashing):
        lab.until(lambda: lab.execution(crashing)["positions"], 60, what="it is long before the crash")
        tripped = lab.until(
            lambda: (s := lab.status("estop", "main", crashing))["state"] != "ARMED" and s, 120, what="the stop trips"
        )
        assert tripped["trigger"] == "DAILY_DRAWDOWN"
        assert tripped["measuredPct"] >= tripped["limitPct"] == 5
        assert lab.gate(crashing)[0] == "REDUCE_ONLY"
        lab.until(lambda: lab.status("estop", "main", crashing)["state"] == "COOLING_DOWN", what="flat")
        # Whoever goes on asking gets nothing more.
        assert lab.execution(crashing)["positions"] == {}

    early = _ask(lab, "early")
    if early["code"] == "RESET_COOLING_DOWN":  # five market minutes are five seconds here
        assert early["remainingSeconds"] > 0
    assert early["accepted"] is False
    refused = lab.until(lambda: (a := _ask_again(lab))["code"] != "RESET_COOLING_DOWN" and a, 60, what="cooled down")
    assert refused["accepted"] is False, "the loss of the day still stands"
    accepted = _ask(lab, "with-new-baseline", newBaseline=True)
    assert accepted["accepted"] is True, accepted
    lab.until(lambda: lab.status("estop", "main", crashing)["state"] == "ARMED", what="armed again")
    lab.until(lambda: lab.gate(crashing)[0] == "OPEN", what="the gate opens")
    states = [(row["from"], row["to"]) for row in lab.status("estop", "main", crashing)["audit"]]
    assert states[-3:] == [("ARMED", "TRIPPED"), ("TRIPPED", "COOLING_DOWN"), ("COOLING_DOWN", "ARMED")]
    page = lab.page(crashing)
    assert Decimal(page["snapshot"]["equity"]) > 0


_again = iter(range(1000))


def _ask_again(lab: Lab) -> dict[str, Any]:
    return _ask(lab, f"again-{next(_again)}")


@pytest.mark.slow
def test_trip_asked_for_while_the_operator_dies_is_answered_once_and_done(lab: Lab, crashing: str) -> None:
    epoch = lab.status("estop", "main", crashing)["epoch"]
    lab.patch("estop", "main", crashing, {"spec": {"trip": {"requestID": "t-killed", "reason": "operator dies"}}})
    lab.kill_operator()
    answer = _answered(lab, "t-killed")
    assert answer["accepted"] is True, answer
    lab.until(lambda: lab.gate(crashing)[0] == "REDUCE_ONLY", what="the gate closes")
    stop = lab.until(
        lambda: (s := lab.status("estop", "main", crashing))["state"] == "COOLING_DOWN" and s, what="flat again"
    )
    assert stop["epoch"] == epoch + 2
    answers = [each["requestID"] for each in stop["requests"]]
    assert answers.count("t-killed") == 1


@pytest.mark.slow
def test_reset_asked_for_while_the_operator_dies_is_answered_once(lab: Lab, crashing: str) -> None:
    _cooled_down(lab)
    trip = lab.status("estop", "main", crashing)["tripID"]
    # A merge patch keeps what the request before had: newBaseline has to be said.
    reset = {"requestID": "r-killed", "tripID": trip, "reason": "operator dies", "newBaseline": False}
    lab.patch("estop", "main", crashing, {"spec": {"reset": reset}})
    lab.kill_operator()
    answer = _answered(lab, "r-killed")
    assert answer["accepted"] is True, answer
    lab.until(lambda: lab.status("estop", "main", crashing)["state"] == "ARMED", what="armed again")
    answers = [each["requestID"] for each in lab.status("estop", "main", crashing)["requests"]]
    assert answers.count("r-killed") == 1


def _cooled_down(lab: Lab) -> None:
    """Wait until the desk's own stop misses nothing for a reset any more."""
    token = lab.token("main", NAMESPACE)

    def nothing_missing() -> bool:
        answer = lab.request(NAMESPACE, "main", "emergency-stop", "GET", "/v1/stop", token=token).json()
        return bool(answer["reset"]["plain"] == [])

    lab.until(nothing_missing, 60, what="a reset may be accepted")
