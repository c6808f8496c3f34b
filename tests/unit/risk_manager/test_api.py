"""The routes with which a person opens a symbol again that the repeated-order throttle closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from breakwater.domain.ids import Symbol
from breakwater.risk_manager.api import throttle_router

OnDesk = Callable[[Callable[[Any], Awaitable[None]]], None]


def test_person_with_the_token_sees_and_enables_a_closed_symbol(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        await desk.service.journal.block(Symbol("BTCUSDT"), desk.clocks.market.now())
        app = FastAPI()
        app.include_router(throttle_router(desk.service, token="secret"))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://desk")
        assert (await http.get("/v1/throttle")).status_code == 401
        http.headers["Authorization"] = "Bearer secret"
        assert list((await http.get("/v1/throttle")).json()) == ["BTCUSDT"]
        assert (await http.post("/v1/throttle/BTCUSDT/enable", json={"who": ""})).status_code == 422
        assert (await http.post("/v1/throttle/BTCUSDT/enable", json={"who": "alice"})).status_code == 200
        assert (await http.post("/v1/throttle/BTCUSDT/enable", json={"who": "alice"})).status_code == 404
        await desk.signal()
        assert len(desk.proposals) == 1

    on_desk(play)


def test_empty_token_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="token"):
        throttle_router(None, token="")  # type: ignore[arg-type]
