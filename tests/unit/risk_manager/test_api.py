"""The routes with which a person sees and opens a symbol that the repeated-order throttle closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from breakwater.domain.ids import Symbol
from breakwater.risk_manager.api import throttle_router
from breakwater.risk_manager.journal import Closed

OnDesk = Callable[[Callable[[Any], Awaitable[None]]], None]
BTC = Symbol("BTCUSDT")
ENABLE = "/v1/throttle/BTCUSDT/enable"


def http_of(desk: Any) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(throttle_router(desk.service, token="secret"))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://desk")


def asked(request_id: str, reason: str = "the loop is fixed") -> dict[str, str]:
    return {"requestID": request_id, "reason": reason, "requestedBy": "alice"}


def test_person_with_the_token_sees_and_enables_a_closed_symbol(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        await desk.service.journal.close(Closed(BTC, desk.clocks.market.now(), 10, 10))
        http = http_of(desk)
        assert (await http.get("/v1/throttle")).status_code == 401
        assert (await http.post(ENABLE, json=asked("r0"))).status_code == 401
        http.headers["Authorization"] = "Bearer secret"
        told = (await http.get("/v1/throttle")).json()
        assert [(each["symbol"], each["repeats"]) for each in told["closed"]] == [("BTCUSDT", 10)]
        assert told["limit"] == 10
        assert (await http.post(ENABLE, json=asked("r1"))).json()["accepted"]
        told = (await http.get("/v1/throttle")).json()
        assert (told["closed"], [each["requestedBy"] for each in told["answers"]]) == ([], ["alice"])
        await desk.signal()
        assert len(desk.proposals) == 1

    on_desk(play)


@pytest.mark.parametrize("wrong", [{"reason": "  "}, {"requestID": ""}, {"requestedBy": ""}, {"more": "x"}])
def test_request_without_who_why_or_id_is_not_processed(on_desk: OnDesk, wrong: dict[str, str]) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        await desk.service.journal.close(Closed(BTC, desk.clocks.market.now(), 10, 10))
        http = http_of(desk)
        http.headers["Authorization"] = "Bearer secret"
        assert (await http.post(ENABLE, json=asked("r1") | wrong)).status_code == 422
        assert "BTCUSDT" in desk.service.journal.closed()

    on_desk(play)


def test_open_symbol_answers_409_with_a_code_and_the_request_never_fires_later(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        http = http_of(desk)
        http.headers["Authorization"] = "Bearer secret"
        first = await http.post(ENABLE, json=asked("r1"))
        assert (first.status_code, first.json()["code"]) == (409, "THROTTLE_NOT_CLOSED")
        await desk.service.journal.close(Closed(BTC, desk.clocks.market.now(), 10, 10))
        again = await http.post(ENABLE, json=asked("r1"))
        assert (again.status_code, again.json()) == (409, first.json())
        assert "BTCUSDT" in desk.service.journal.closed()

    on_desk(play)


def test_empty_token_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="token"):
        throttle_router(None, token="")  # type: ignore[arg-type]
