"""Execution over HTTP: a person's halt, which needs neither bus nor emergency stop, and what is going on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from breakwater.domain.gate import GateState
from breakwater.domain.money import plain
from breakwater.domain.rate_budget import Lane
from breakwater.execution.service import ExecutionService, NotStarted
from breakwater.runtime.bearer import bearer_matches
from breakwater.runtime.policy_store import policy_brief


class HaltRequest(BaseModel):
    """Body of ``POST /v1/halt``."""

    model_config = ConfigDict(extra="forbid")

    requestID: str = Field(
        default="",
        max_length=253,
        description="The same as in the request to the emergency stop. An id halts once: asked again it gets the same answer.",
    )
    reason: str = Field(min_length=1, max_length=500, description="Why, in a sentence.")
    requestedBy: str = Field(min_length=1, max_length=200, description="Who asks, for the audit trail.")


def execution_router(service: ExecutionService, token: str) -> APIRouter:
    """``POST /v1/halt`` (bearer token) and ``GET /v1/execution``. ``token`` must not be empty (ValueError)."""
    if not token:
        raise ValueError("the halt endpoint needs a token: anybody could halt the desk without one")
    router = APIRouter(prefix="/v1", tags=["execution"])

    async def authorised(authorization: Annotated[str | None, Header()] = None) -> None:
        if not bearer_matches(authorization, token):
            raise HTTPException(401, "send the desk's token as 'Authorization: Bearer TOKEN'")

    @router.post("/halt", dependencies=[Depends(authorised)])
    async def halt(request: HaltRequest) -> dict[str, Any]:
        """Stop opening anything, at once, and go flat. Lifted by re-arming the emergency stop."""
        halted = await service.halt(request.requestedBy, request.reason, request.requestID)
        state, why = service.gate()
        text = "nothing is opened any more; positions are being closed"
        if over := state is GateState.OPEN:
            text = (
                f"request {request.requestID} halted this desk at {halted.time:%Y-%m-%d %H:%M:%S} UTC and a person has "
                "re-armed it since: nothing was done now; to halt again send a new requestID"
            )
        return {
            "halted": not over,
            "text": text,
            "who": halted.who,
            "reason": halted.reason,
            "time": halted.time.isoformat(),
            "gate": state.value,
            "why": why.text if why else "",
        }

    @router.get("/execution")
    async def execution() -> dict[str, Any]:
        """The gate's state and why, positions, and the orders in flight."""
        try:
            return describe(service)
        except NotStarted as error:
            raise HTTPException(503, f"{error}: ask again in a moment") from None

    return router


def describe(service: ExecutionService) -> dict[str, Any]:
    """What ``GET /v1/execution`` answers; amounts as exact strings."""
    state, why = service.gate()
    books, parts, policy = service.books, service.parts, service.policy
    return {
        "gate": state.value,
        "code": why.code.value if why else None,
        "why": why.text if why else "",
        "mode": policy.policy.trading_mode.value if policy else None,
        "venue": parts.client.failover.present.http_base,
        "policy": policy_brief(policy),
        "reconciled": books.reconciled,
        "differences": list(books.foreign),
        "halted_by": books.halt.who if books.halt else None,
        "flattening": parts.flattener.active.reason if parts.flattener.active else None,
        "positions": {symbol: plain(quantity) for symbol, quantity in sorted(books.open_positions().items())},
        "orders": [
            {
                "client_order_id": order.client_id,
                "symbol": order.symbol,
                "role": order.role.value,
                "side": order.proposal.side.value,
                "type": order.proposal.order_type.value,
                "quantity": plain(order.proposal.quantity),
                "executed": plain(order.executed),
                "price": plain(order.proposal.price) if order.proposal.price is not None else None,
                "trigger_price": plain(order.proposal.trigger_price)
                if order.proposal.trigger_price is not None
                else None,
                "state": order.state.value,
            }
            for order in service.orders_in_flight()
        ],
        "rehearsed": [
            {
                "time": r.time.isoformat(),
                "symbol": r.symbol,
                "role": r.role.value,
                "order": r.text,
                "verdict": r.verdict,
            }
            for r in (parts.staging.rehearsed if parts.staging is not None else ())
        ],
        "counters": {
            "events": parts.stream.events,
            "stream_reconnects": parts.stream.reconnects,
            "nonsense_replies": parts.calls.nonsense + parts.stream.nonsense,
            "fills_not_from_stream": parts.fills.from_rest,
            "comparisons": parts.reconciler.rounds,
            "entries_refused": parts.entries.refused,
            "entries_paced": parts.governor.waits[Lane.ENTRIES],
            "bans": parts.governor.bans,
            "gate_closings": parts.gate.closings,
            "address_changes": parts.client.failover.switches,
            "standstills": parts.dead_man.pauses,
            "pages": parts.flattener.pages,
        },
    }
