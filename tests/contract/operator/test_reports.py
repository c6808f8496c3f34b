"""What the components say over HTTP is what the operator reads."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ids import DeskId, RequestId, TripId
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_reset import Missing as TheirMissing
from breakwater.domain.stop_state import RequestOutcome, StopRequestKind, StopState, StopView, Trigger, Trip
from breakwater.domain.stop_view import Measured as TheirMeasured
from breakwater.emergency_stop.api import RequestBody
from breakwater.emergency_stop.audit import AuditedTransition
from breakwater.execution.api import HaltRequest
from breakwater_operator.verdict.report import AuditRow, Measured, Missing, Outcome, outcome, stop_report
from breakwater_operator.verdict.requests import requests_in

NOW = datetime(2025, 10, 10, 20, 50, tzinfo=UTC)
SPEC = {
    "trip": {"requestID": "t1", "reason": "x" * 1024, "requestedBy": "y" * 256},
    "reset": {"requestID": "r1", "tripID": "main-4", "reason": "checked", "newBaseline": True},
}


def names(struct: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def test_every_field_the_operator_reads_is_one_the_stop_writes() -> None:
    assert names(Outcome) <= names(RequestOutcome)
    assert names(AuditRow) <= names(AuditedTransition)
    assert names(Missing) <= names(TheirMissing)
    assert names(Measured) <= names(TheirMeasured)


def test_answer_as_the_stop_encodes_it_is_read_whole() -> None:
    trip = Trip(TripId("main-4"), Trigger.OPEN_LOSS, NOW, Decimal("10.02"), Decimal(10), "emergencyStop", "s", "why")
    view = StopView(StopState.TRIPPED, 4, 9, NOW, Decimal(1), True, "tripped", trip, flat_at=NOW)
    answered = RequestOutcome(RequestId("r1"), StopRequestKind.RESET, False, "RESET_NOT_FLAT", "not flat", NOW, 7)
    row = AuditedTransition(NOW, 4, StopState.ARMED, StopState.TRIPPED, "s", "why", Decimal("10.02"), None, "ab" * 32)
    head = StopHead(DeskId("desk-a/main"), 7, "ab" * 32, 4, StopState.TRIPPED, NOW, "01" * 8, "cd" * 32, "ef" * 64)
    said = {
        "view": view,
        "reset": {"plain": [TheirMissing(RefusalCode.RESET_NOT_FLAT, "not flat")], "newBaseline": []},
        "outcomes": [answered],
        "audit": [row],
        "head": head,
        "measured": None,
        "policy": {"version": 4, "stale": False, "hold": ""},
    }
    report = stop_report(msgspec.json.Encoder(decimal_format="string").encode(said))
    assert report.view == view
    assert report.head == head
    assert [missing.code for missing in report.needs] == ["RESET_NOT_FLAT"]
    assert report.outcomes == (Outcome("r1", StopRequestKind.RESET, False, "RESET_NOT_FLAT", "not flat", NOW, 7),)
    assert (report.audit[0].was, report.audit[0].measured, report.audit[0].hash) == (
        StopState.ARMED,
        Decimal("10.02"),
        "ab" * 32,
    )
    assert report.policy is not None
    assert report.policy.version == 4
    assert outcome(msgspec.json.encode(answered)).request_id == "r1"


def test_requests_are_taken_by_both_components_at_their_longest() -> None:
    for request in requests_in(SPEC):
        body = RequestBody.model_validate_json(msgspec.json.encode(request.body()))
        assert body.request().kind is request.kind
        HaltRequest.model_validate_json(msgspec.json.encode(request.halt_body()))
