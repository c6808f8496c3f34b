"""HTTP for people and the operator: ask for a trip or a reset, and see what the stop says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from breakwater.domain.ids import RequestId, TripId
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopRequestKind
from breakwater.emergency_stop.service import EmergencyStopService
from breakwater.runtime.bearer import bearer_matches
from breakwater.runtime.policy_store import policy_brief
from breakwater.runtime.ports import DiskError

_Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]
_Id = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^\S+$")]


class RequestBody(BaseModel):
    """Body of ``POST /v1/stop/requests``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["trip", "reset"]
    requestID: _Id
    reason: _Text
    requestedBy: _Text
    tripID: _Id | None = None
    newBaseline: bool = False

    def request(self) -> StopRequest:
        return StopRequest(
            kind=StopRequestKind(self.kind.upper()),
            request_id=RequestId(self.requestID),
            reason=self.reason,
            who=self.requestedBy,
            trip_id=TripId(self.tripID) if self.tripID else None,
            new_baseline=self.newBaseline,
        )


def stop_router(service: EmergencyStopService, token: str) -> APIRouter:
    """Routes of one emergency stop. Every call needs ``Authorization: Bearer <token>``; an empty token lets nobody in."""
    router = APIRouter()

    @router.post("/v1/stop/requests")
    async def ask(request: Request, authorization: str = Header(default="")) -> Response:
        """200 accepted, 409 refused (both with the outcome), 401, 422 naming each field, 503 not processed: ask again."""
        if not bearer_matches(authorization, token):
            return _unauthorised()
        try:
            body = RequestBody.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"code": RefusalCode.REQUEST_INVALID.value, "errors": _fields(error)}, 422)
        if body.kind == "reset" and body.tripID is None:
            text = "say which trip you have looked at: GET /v1/stop shows its id"
            errors = [{"field": "tripID", "text": text}]
            return JSONResponse({"code": RefusalCode.REQUEST_INVALID.value, "errors": errors}, 422)
        try:
            outcome = await service.submit(body.request())
        except DiskError as error:
            text = f"the answer could not be made durable and nothing was done: {error}"
            return JSONResponse({"code": "UNAVAILABLE", "text": text}, 503)
        return _json(outcome, 200 if outcome.accepted else 409)

    @router.get("/v1/stop")
    async def show(authorization: str = Header(default="")) -> Response:
        """The state, why, and what a reset (without and with newBaseline) would still need now. 503 while starting."""
        if not bearer_matches(authorization, token):
            return _unauthorised()
        if not service.settled:
            text = "the stop is starting: what it was before is not known yet"
            return JSONResponse({"code": "UNAVAILABLE", "text": text}, 503)
        return _json(status_of(service), 200)

    @router.get("/v1/audit")
    async def audit(authorization: str = Header(default="")) -> Response:
        """The whole audit as it lies on the volume, one JSON line per record. 503 when it cannot be read."""
        if not bearer_matches(authorization, token):
            return _unauthorised()
        try:
            return Response(service.trail.audit_lines(), media_type="application/x-ndjson")
        except DiskError as error:
            return JSONResponse({"code": "UNAVAILABLE", "text": str(error)}, 503)

    @router.get("/v1/audit/head")
    async def head(authorization: str = Header(default="")) -> Response:
        """The signed end of the audit, to be kept elsewhere; why it is unsigned; what the check at the start found."""
        if not bearer_matches(authorization, token):
            return _unauthorised()
        if not service.settled:
            return JSONResponse({"code": "UNAVAILABLE", "text": "the stop is starting"}, 503)
        trail = service.trail
        found = {"ok": trail.audit.ok, "problem": trail.audit.problem}
        return _json({"head": trail.signed_head, "problem": trail.signer.problem, "atStart": found}, 200)

    return router


def status_of(service: EmergencyStopService) -> dict[str, Any]:
    """What ``GET /v1/stop`` answers.

    ``{view, reset: {plain: [...], newBaseline: [...]}, outcomes: [...], audit: [...], head, measured, policy}``.
    """
    view = service.view()
    needs: dict[str, Any] = {}
    for name, new_baseline in (("plain", False), ("newBaseline", True)):
        trip_id = view.trip.trip_id if view.trip else None
        probe = StopRequest(StopRequestKind.RESET, RequestId("?"), "?", "?", trip_id, new_baseline)
        needs[name] = service.missing(probe)
    outcomes: list[RequestOutcome] = list(service.outcomes[-20:])
    return {
        "view": view,
        "reset": needs,
        "outcomes": outcomes,
        "audit": tuple(service.trail.transitions),
        "head": service.trail.signed_head,
        "measured": service.measured,
        "policy": policy_brief(service.policy),
    }


def _unauthorised() -> Response:
    text = "send the header 'Authorization: Bearer <token>' with this desk's token"
    return JSONResponse({"code": "UNAUTHORIZED", "text": text}, 401)


def _fields(error: ValidationError) -> list[dict[str, str]]:
    return [
        {"field": ".".join(map(str, entry["loc"])) or "body", "text": entry["msg"]}
        for entry in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _json(value: Any, status: int) -> Response:
    return Response(_encoder.encode(value), status, media_type="application/json")


_encoder = msgspec.json.Encoder(decimal_format="string")
