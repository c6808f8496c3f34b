"""Builders: a desk, the platform it runs on, and what its components say of themselves."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import Symbol
from breakwater.domain.policy import PolicySpec
from breakwater_operator.desired.inputs import DeskFacts, Platform
from breakwater_operator.verdict.components import ComponentsVerdict
from breakwater_operator.verdict.readiness import Publication, Standing
from breakwater_operator.verdict.reasons import Reason
from breakwater_operator.verdict.report import DeskReport, execution_report, stop_report

NOW = datetime(2025, 10, 10, 20, 50, tzinfo=UTC)
UID = "0a1b2c3d-5e6f-4711-8a9b-0c1d2e3f4a5b"
POLICY = PolicySpec(symbols=(Symbol("BTCUSDT"), Symbol("ETHUSDT")))
STOP = EmergencyStopSpec(policy_ref=PolicyRef("main"))

MakeDesk = Callable[..., DeskFacts]
MakeReport = Callable[..., DeskReport]
MakeStanding = Callable[..., Standing]

STOP_ANSWER: dict[str, Any] = {
    "view": {
        "state": "ARMED",
        "epoch": 3,
        "sequence": 70,
        "issued_at": "2025-10-10T20:49:59Z",
        "lease_seconds": "1",
        "reduce_only": False,
        "reduce_only_reason": "",
        "trip": None,
        "flat_at": None,
        "cooling_down_until": None,
        "day_baseline_used": False,
    },
    "reset": {"plain": [], "newBaseline": []},
    "outcomes": [],
    "audit": [],
    "measured": {
        "time": "2025-10-10T20:49:59Z",
        "dailyDrawdownPct": "1.23456",
        "openLossPct": "0.4",
        "consecutiveErrors": 0,
        "equityUSD": "13827.155",
        "exposurePct": "57.1",
        "openPositions": 2,
    },
    "policy": {"version": 4, "stale": False, "hold": ""},
}
EXECUTION_ANSWER: dict[str, Any] = {
    "gate": "OPEN",
    "code": None,
    "why": "",
    "halted_by": None,
    "positions": {"BTCUSDT": "0.1", "ETHUSDT": "-2"},
    "policy": {"version": 4, "stale": False, "hold": ""},
    "mode": "Paper",
}
TRIP: dict[str, Any] = {
    "trip_id": "main-4",
    "trigger": "DAILY_DRAWDOWN",
    "time": "2025-10-10T20:48:00Z",
    "measured": "5.004",
    "limit": "5",
    "binding": "emergencyStop",
    "who": "emergency_stop",
    "reason": "the day's drawdown is 5.004 %, at or above the limit of 5 %.",
    "close_positions": True,
}


def answer(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, map by map."""
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = answer(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


@pytest.fixture
def desk() -> MakeDesk:
    base = DeskFacts(
        name="main",
        namespace="desk-a",
        uid=UID,
        policy=POLICY,
        stop_name="main",
        token="t" * 64,
        redis_url="redis://:secret@breakwater-valkey:6379/0",
    )

    def make(**changes: Any) -> DeskFacts:
        return msgspec.structs.replace(base, **changes)

    return make


@pytest.fixture
def platform() -> Platform:
    return Platform(image="breakwater:0.1.0")


@pytest.fixture
def report() -> MakeReport:
    """``report(stop={...}, execution={...})``: changes to the answers of a healthy desk; None for one that is silent."""

    def make(
        stop: Mapping[str, Any] | None = {},
        execution: Mapping[str, Any] | None = {},
        **fields: Any,
    ) -> DeskReport:
        stop_part = stop_report(json.dumps(answer(STOP_ANSWER, stop)).encode()) if stop is not None else None
        execution_part = (
            execution_report(json.dumps(answer(EXECUTION_ANSWER, execution)).encode())
            if execution is not None
            else None
        )
        return DeskReport(asked_at=fields.pop("asked_at", NOW), stop=stop_part, execution=execution_part, **fields)

    return make


@pytest.fixture
def standing(report: MakeReport) -> MakeStanding:
    """A desk that runs as it should, with changes."""

    def make(**changes: Any) -> Standing:
        fields: dict[str, Any] = {
            "now": NOW,
            "publication": Publication(
                published=True,
                reason=Reason.PUBLISHED,
                message="version 4 of the policy is in force",
                version=4,
                digest="ab" * 32,
                policy=POLICY,
                stop=STOP,
            ),
            "components": ComponentsVerdict(True, Reason.ALL_READY, "all 9 components are ready"),
            "report": report(),
        }
        return Standing(**(fields | changes))

    return make


@pytest.fixture
def tripped(report: MakeReport) -> MakeReport:
    """The report of a desk whose stop fired on the day's drawdown."""

    def make(state: str = "TRIPPED", epoch: int = 4, trip_id: str = "main-4", **stop: Any) -> DeskReport:
        trip = TRIP | {"trip_id": trip_id}
        view: dict[str, Any] = {"state": state, "epoch": epoch, "reduce_only": True, "trip": trip}
        if state == "COOLING_DOWN":
            view |= {"flat_at": "2025-10-10T20:48:10Z", "cooling_down_until": "2025-10-10T21:03:10Z"}
        execution = {"gate": "REDUCE_ONLY", "code": f"STOP_{state}", "why": "the emergency stop has fired"}
        return report({"view": view, **stop}, execution)

    return make
