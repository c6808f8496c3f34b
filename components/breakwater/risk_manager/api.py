"""HTTP routes of the risk manager: which symbols the repeated-order throttle closed, and a person's word to open them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from breakwater.domain.ids import Symbol
from breakwater.domain.refusals import RefusalCode
from breakwater.risk_manager.journal import Enabling
from breakwater.risk_manager.service import RiskManager
from breakwater.runtime.bearer import bearer_matches
from breakwater.runtime.ports import DiskError

SHOWN_ANSWERS = 20


class EnableRequest(BaseModel):
    """Body of ``POST /v1/throttle/{symbol}/enable``."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    requestID: str = Field(min_length=1, max_length=253, description="Answered once: again, it gets the same answer.")
    reason: str = Field(min_length=1, max_length=500, description="What was found, in a sentence.")
    requestedBy: str = Field(min_length=1, max_length=200, description="Who asks, for the audit trail.")


def throttle_router(risk_manager: RiskManager, *, token: str) -> APIRouter:
    """``GET /v1/throttle`` and ``POST /v1/throttle/{symbol}/enable``, both with ``Authorization: Bearer <token>``."""
    if not token:
        raise ValueError("a token is needed: without one anybody could enable entries again")

    async def authorised(authorization: Annotated[str, Header()] = "") -> None:
        if not bearer_matches(authorization, token):
            raise HTTPException(401, "send the desk's token as 'Authorization: Bearer <token>'")

    router = APIRouter(dependencies=[Depends(authorised)])

    @router.get("/v1/throttle")
    async def show() -> dict[str, Any]:
        """Closed symbols, how often each symbol's last entry was repeated, and the last answers to requests."""
        journal = risk_manager.journal
        return {
            "limit": risk_manager.most_repeated,
            "closed": [
                {"symbol": each.symbol, "since": each.time.isoformat(), "repeats": each.repeats, "limit": each.limit}
                for each in sorted(journal.closed().values(), key=lambda each: each.symbol)
            ],
            "counts": dict(sorted(journal.counts().items())),
            "answers": [_told(each) for each in reversed(journal.answers()[-SHOWN_ANSWERS:])],
        }

    @router.post("/v1/throttle/{symbol}/enable")
    async def enable(symbol: str, request: EnableRequest) -> JSONResponse:
        """A person has looked: entries on the symbol may be made again. 409 when the throttle did not close it."""
        try:
            answer = await risk_manager.enable(Symbol(symbol), request.requestID, request.requestedBy, request.reason)
        except DiskError as error:
            raise HTTPException(503, f"not processed, ask again: {error}") from None
        return JSONResponse(_told(answer), 200 if answer.accepted else 409)

    return router


def _told(answer: Enabling) -> dict[str, Any]:
    text = (
        f"entries on {answer.symbol} are enabled again by {answer.who}"
        if answer.accepted
        else f"entries on {answer.symbol} were not closed by the repeated-order throttle: nothing was done"
    )
    return {
        "symbol": answer.symbol,
        "accepted": answer.accepted,
        "code": None if answer.accepted else RefusalCode.THROTTLE_NOT_CLOSED.value,
        "text": text,
        "time": answer.time.isoformat(),
        "requestedBy": answer.who,
        "reason": answer.reason,
        "requestID": answer.request_id,
    }
