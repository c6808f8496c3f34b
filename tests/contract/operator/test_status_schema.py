"""Every status we write is one that the API server takes: schema, bounds, and the rules on transitions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.crds.conftest import FILES, ApiServer

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import Symbol
from breakwater.domain.policy import PolicySpec, Profile
from breakwater.domain.stop_state import StopRequestKind, StopState, Trigger
from breakwater_operator.verdict.components import ComponentsVerdict, apply_failed, diagnose
from breakwater_operator.verdict.guard import Guard
from breakwater_operator.verdict.patch import status_patch
from breakwater_operator.verdict.readiness import Publication, Standing
from breakwater_operator.verdict.reasons import Reason
from breakwater_operator.verdict.report import DeskReport, answers, execution_report, stop_report
from breakwater_operator.verdict.requests import merged_answers
from breakwater_operator.verdict.status import policy_status, stop_status, stop_writes

NOW = datetime(2025, 10, 10, 20, 50, tzinfo=UTC)
LONG = "x" * 5000
texts = st.sampled_from(["", "a reason", LONG, "naïve ₿ text", "12 s ago"])
times = st.datetimes(datetime(2025, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)).map(lambda t: t.isoformat())  # noqa: DTZ001
amounts = st.decimals(min_value=-(10**15), max_value=10**15, places=6).map(str)
ids = st.sampled_from(["r1", "t1", "x" * 253, "reset-4-1"])
maybe_policy = st.none() | st.fixed_dictionaries({"version": st.integers(0, 9), "stale": st.booleans(), "hold": texts})
trips = st.fixed_dictionaries(
    {
        "trip_id": st.sampled_from(["main-4", "y" * 300]),
        "trigger": st.sampled_from([*Trigger, "ONE_OF_A_PLUGIN"]).map(str),
        "time": times,
        "measured": st.none() | amounts,
        "limit": st.none() | amounts,
        "binding": st.sampled_from(["emergencyStop", "z" * 99]),
        "who": texts,
        "reason": texts,
    }
)
stop_answers = st.fixed_dictionaries(
    {
        "view": st.fixed_dictionaries(
            {
                "state": st.sampled_from(StopState).map(str),
                "epoch": st.integers(0, 50),
                "sequence": st.integers(0, 9),
                "issued_at": times,
                "lease_seconds": st.just("1"),
                "reduce_only": st.booleans(),
                "reduce_only_reason": texts,
                "trip": st.none() | trips,
                "flat_at": st.none() | times,
                "cooling_down_until": st.none() | times,
            }
        ),
        "outcomes": st.lists(
            st.fixed_dictionaries(
                {
                    "request_id": ids,
                    "kind": st.sampled_from(StopRequestKind).map(str),
                    "accepted": st.booleans(),
                    "code": st.sampled_from(["ACCEPTED", "C" * 99]),
                    "text": texts,
                    "time": times,
                    "remaining_seconds": st.none() | st.integers(-5, 10**6),
                    "who": texts,
                }
            ),
            max_size=40,
        ),
        "audit": st.lists(
            st.fixed_dictionaries(
                {
                    "time": times,
                    "epoch": st.none() | st.integers(-1, 50),
                    "from": st.sampled_from(StopState).map(str),
                    "to": st.sampled_from(StopState).map(str),
                    "who": texts,
                    "reason": texts,
                    "measuredPct": st.none() | amounts,
                    "limitPct": st.none() | amounts,
                    "hash": st.sampled_from([None, "", "ab" * 32, "no hash"]),
                }
            ),
            max_size=30,
        ),
        "head": st.none()
        | st.fixed_dictionaries(
            {
                "desk": st.sampled_from(["desk-a/main", "d" * 600]),
                "number": st.integers(-1, 2**60),
                "hash": st.sampled_from(["ab" * 32, "no hash"]),
                "epoch": st.integers(-1, 50),
                "state": st.sampled_from(StopState).map(str),
                "time": times,
                "keyID": st.sampled_from(["", "01" * 8, "23" * 8]),
                "publicKey": st.just("cd" * 32),
                "signature": st.sampled_from(["", "ef" * 64, "EF" * 64]),
            }
        ),
        "measured": st.none()
        | st.fixed_dictionaries(
            {
                "time": times,
                "dailyDrawdownPct": st.none() | amounts,
                "openLossPct": st.none() | amounts,
                "consecutiveErrors": st.none() | st.integers(-1, 10**9),
                "equityUSD": st.none() | amounts,
                "exposurePct": st.none() | amounts,
                "openPositions": st.none() | st.integers(-1, 10**6),
            }
        ),
        "policy": maybe_policy,
    }
)
execution_answers = st.fixed_dictionaries(
    {
        "gate": st.sampled_from(["OPEN", "REDUCE_ONLY", "ODD"]),
        "code": st.sampled_from([None, "STOP_LEASE_EXPIRED", "POLICY_ON_HOLD"]),
        "why": texts,
        "halted_by": st.none() | texts,
        "positions": st.dictionaries(st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.just("1")),
        "policy": maybe_policy,
        "mode": st.sampled_from([None, "Paper", "Live", "Odd"]),
    }
)
reports = st.none() | st.builds(
    lambda stop, execution, ago: DeskReport(
        asked_at=NOW - timedelta(seconds=ago),
        stop=stop_report(json.dumps(stop).encode()) if stop is not None else None,
        execution=execution_report(json.dumps(execution).encode()) if execution is not None else None,
        stop_problem=LONG,
        stop_heard_at=NOW - timedelta(seconds=ago),
    ),
    st.none() | stop_answers,
    st.none() | execution_answers,
    st.sampled_from([0, 100]),
)
publications = st.builds(
    Publication,
    published=st.booleans(),
    reason=st.sampled_from([Reason.PUBLISHED, Reason.INVALID, Reason.STORE_UNAVAILABLE, Reason.ON_HOLD]),
    message=texts,
    version=st.none() | st.integers(1, 9),
    digest=st.sampled_from(["", "ab" * 32]),
    policy=st.none() | st.builds(PolicySpec, symbols=st.just((Symbol("BTCUSDT"),)), profile=st.sampled_from(Profile)),
    stop=st.none() | st.just(EmergencyStopSpec(policy_ref=PolicyRef("main"))),
)
components = st.sampled_from(
    [
        None,
        ComponentsVerdict(True, Reason.ALL_READY, "all 9 components are ready"),
        apply_failed("Deployment main-execution", LONG),
        diagnose(["execution"], [], []),
    ]
)
standings = st.builds(
    Standing,
    now=st.integers(0, 10**6).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    publication=publications,
    problem=st.sampled_from([None, None, None, (Reason.SEVERAL_EMERGENCY_STOPS, LONG)]),
    components=components,
    report=reports,
)
guards = st.sampled_from([Guard({"metadata": {"name": "main"}}), Guard(None, Reason.NO_EMERGENCY_STOP, "none")])


class Server(Protocol):
    def problems(self, resource: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]: ...


@pytest.fixture(scope="module")
def api_server() -> Server:
    schemas = {
        kind: yaml.safe_load(path.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for kind, path in FILES.items()
    }
    return ApiServer(schemas)


def policy(status: dict[str, Any]) -> dict[str, Any]:
    return resource("TradingPolicy", {"symbols": ["BTCUSDT"]}, status)


def stop(status: dict[str, Any]) -> dict[str, Any]:
    return resource("EmergencyStop", {"policyRef": {"name": "main"}}, status)


def resource(kind: str, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    head = {"apiVersion": "breakwater.trading/v1alpha1", "kind": kind, "metadata": {"name": "main"}}
    return {**head, "spec": spec, **({"status": status} if status else {})}


def merged(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """What a merge patch makes of a status."""
    return {key: value for key, value in {**old, **patch}.items() if value is not None}


MANY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@MANY
@given(st.lists(st.tuples(standings, guards), min_size=1, max_size=4))
def test_any_sequence_of_policy_statuses_is_taken(api_server: Server, sequence: list[tuple[Standing, Guard]]) -> None:
    old: dict[str, Any] = {}
    for standing, guard in sequence:
        new = policy_status(old, name="main", namespace="desk-a", generation=3, guard=guard, standing=standing)
        patch = status_patch(old, new)
        if patch is None:
            continue
        after = merged(old, patch)
        assert after == new
        assert api_server.problems(policy(after), policy(old)) == []
        old = after


@MANY
@given(st.lists(standings, min_size=1, max_size=4))
def test_any_sequence_of_stop_statuses_is_taken_write_by_write(api_server: Server, sequence: list[Standing]) -> None:
    old: dict[str, Any] = {}
    spec = {"trip": {"requestID": "t1", "reason": "news"}}
    for standing in sequence:
        outcomes = answers(standing.report.stop) if standing.report else ()
        requests = merged_answers(old.get("requests", []), outcomes, spec)
        new = stop_status(
            old,
            name="main",
            namespace="desk-a",
            generation=3,
            standing=standing,
            requests=requests,
            policy_status={},
        )
        for write in stop_writes(old, new):
            patch = status_patch(old, write)
            if patch is None:
                continue
            after = merged(old, patch)
            assert after == write
            assert api_server.problems(stop(after), stop(old)) == []
            old = after
        assert old == new


@MANY
@given(st.lists(st.sampled_from(StopState), min_size=1, max_size=8))
def test_walking_any_sequence_of_reported_states_breaks_no_rule(api_server: Server, states: list[StopState]) -> None:
    old: dict[str, Any] = {}
    for epoch, state in enumerate(states):
        for write in stop_writes(old, {"state": state.value, "epoch": epoch}):
            assert api_server.problems(stop(write), stop(old)) == []
            old = write
        assert old["state"] == state.value


def test_rules_do_refuse_a_jump(api_server: Server) -> None:
    assert api_server.problems(stop({"state": "ARMED", "epoch": 2}), stop({"state": "TRIPPED", "epoch": 1}))
    assert api_server.problems(stop({"state": "TRIPPED", "epoch": 0}), stop({"state": "ARMED", "epoch": 1}))
