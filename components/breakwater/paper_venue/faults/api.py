"""``/paper/faults``: the plan at run time. POST adds rules, GET tells what happened, DELETE takes everything back."""

from __future__ import annotations

import msgspec

from breakwater.paper_venue.core import Response
from breakwater.paper_venue.faults.plan import FaultPlanError, parse_plan
from breakwater.paper_venue.faults.wire import FaultWire
from breakwater.paper_venue.model import Now

PATH = "/paper/faults"


def answer(wire: FaultWire, method: str, body: bytes, now: Now) -> Response:
    """200 with every rule and how often it happened; 400 with what is wrong with the plan; 405."""
    if method == "POST":
        try:
            wire.load(parse_plan(body, "plan"), now)
        except FaultPlanError as error:
            return _json(400, {"error": "BAD_FAULT_PLAN", "text": str(error)})
    elif method == "DELETE":
        wire.clear(now)
    elif method != "GET":
        return _json(405, {"error": "METHOD", "text": f"{PATH} takes GET, POST and DELETE, not {method}"})
    wire.pass_time(now)
    rules = [{"rule": rule, "matched": matched, "happened": happened} for rule, matched, happened in wire.report()]
    return _json(200, {"rules": rules})


def _json(status: int, content: object) -> Response:
    return Response(status, {"Content-Type": "application/json"}, msgspec.json.encode(content))
