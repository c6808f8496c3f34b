"""HTTP routes of the risk manager: which symbols the repeated-order throttle closed, and a person's word to open them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException
from pydantic import BaseModel, Field

from breakwater.domain.ids import Symbol
from breakwater.risk_manager.service import RiskManager
from breakwater.runtime.bearer import bearer_matches


class EnableRequest(BaseModel):
    who: str = Field(min_length=1, max_length=100)


def throttle_router(risk_manager: RiskManager, *, token: str) -> APIRouter:
    """``GET /v1/throttle`` and ``POST /v1/throttle/{symbol}/enable``, both with ``Authorization: Bearer <token>``."""
    if not token:
        raise ValueError("a token is needed: without one anybody could enable entries again")

    async def authorised(authorization: Annotated[str, Header()] = "") -> None:
        if not bearer_matches(authorization, token):
            raise HTTPException(401, "send the desk's token as 'Authorization: Bearer <token>'")

    router = APIRouter(dependencies=[Depends(authorised)])

    @router.get("/v1/throttle")
    async def closed() -> dict[str, str]:
        """Closed symbols, each with the market time since when."""
        return {symbol: since.isoformat() for symbol, since in risk_manager.journal.blocked().items()}

    @router.post("/v1/throttle/{symbol}/enable")
    async def enable(symbol: str, request: EnableRequest) -> dict[str, str]:
        """A person has looked: entries on the symbol may be sent again."""
        if not await risk_manager.enable(Symbol(symbol), request.who):
            raise HTTPException(404, f"entries on {symbol} are not closed by the repeated-order throttle")
        return {"symbol": symbol, "status": "enabled"}

    return router
