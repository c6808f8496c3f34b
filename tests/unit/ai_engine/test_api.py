"""POST /v1/signals over FastAPI: validated, authorised, idempotent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from breakwater.ai_engine.api import signals_router

Stage = Any
OnStage = Callable[[Callable[[Stage], Awaitable[None]]], None]
GOOD = {"symbol": "BTCUSDT", "direction": "LONG", "confidence": 0.7, "stop_pct": 1.5}


async def client_of(stage: Stage) -> httpx.AsyncClient:
    engine = await stage.start()
    app = FastAPI()
    app.include_router(signals_router(engine, stage.clocks.market, token="secret"))
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://desk", headers={"Authorization": "Bearer secret"}
    )


def test_good_signal_is_accepted_and_published_with_provenance(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        http = await client_of(stage)
        reply = await http.post("/v1/signals", json=GOOD | {"id": "a1", "source": "alice", "models": ["tree-7"]})
        assert (reply.status_code, reply.json()) == (202, {"signal_id": "http:alice:a1", "duplicate": False})
        [signal] = stage.signals
        assert signal.signal_id == "http:alice:a1"
        assert (signal.provenance.source, signal.provenance.models) == ("http:alice", ("tree-7",))
        assert signal.time == stage.now

    on_stage(play)


def test_same_id_again_is_answered_but_not_published_again(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        http = await client_of(stage)
        first = await http.post("/v1/signals", json=GOOD | {"id": "a1"})
        again = await http.post("/v1/signals", json=GOOD | {"id": "a1"})
        assert again.json() == first.json() | {"duplicate": True}
        other = await http.post("/v1/signals", json=GOOD | {"id": "a1", "confidence": 0.9})
        assert other.status_code == 409
        assert len(stage.signals) == 1

    on_stage(play)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"symbol": "btc"}, "symbol"),
        ({"symbol": "DOGEUSDT"}, "symbol"),
        ({"direction": "UP"}, "direction"),
        ({"confidence": 1.01}, "confidence"),
        ({"confidence": "NaN"}, "confidence"),
        ({"stop_pct": 0}, "stop_pct"),
        ({"stop_pct": None}, "stop_pct"),
        ({"target_pct": -1}, "target_pct"),
        ({"horizon_seconds": 0}, "horizon_seconds"),
        ({"time": "2025-10-10T20:00:00"}, "time"),
        ({"time": "2025-10-10T21:00:00Z"}, "time"),
        ({"time": "2025-10-10T19:58:00Z"}, "time"),
        ({"id": "a b"}, "id"),
        ({"size": 3}, "size"),
    ],
)
def test_malformed_signal_is_refused_naming_field_and_remedy(on_stage: OnStage, change: Any, field: str) -> None:
    async def play(stage: Stage) -> None:
        http = await client_of(stage)
        reply = await http.post("/v1/signals", json=GOOD | change)
        assert reply.status_code == 422
        [error] = reply.json()["errors"]
        assert error["field"] == field
        assert error["problem"]
        assert error["remedy"]
        assert stage.signals == []

    on_stage(play)


def test_every_wrong_field_is_named_at_once(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        http = await client_of(stage)
        reply = await http.post("/v1/signals", json={"symbol": "x", "direction": "UP"})
        assert {error["field"] for error in reply.json()["errors"]} == {"symbol", "direction", "confidence", "stop_pct"}

    on_stage(play)


@pytest.mark.parametrize(("body", "status"), [(b"{", 422), (b"[]", 422), (b'{"a":"' + b"x" * 20_000 + b'"}', 413)])
def test_body_that_is_no_signal_is_refused(on_stage: OnStage, body: bytes, status: int) -> None:
    async def play(stage: Stage) -> None:
        http = await client_of(stage)
        assert (await http.post("/v1/signals", content=body)).status_code == status

    on_stage(play)


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Bearer sécret"])
def test_wrong_token_is_refused(on_stage: OnStage, header: str) -> None:
    async def play(stage: Stage) -> None:
        http = await client_of(stage)
        headers = {b"Authorization": header.encode()}
        reply = await http.post("/v1/signals", json=GOOD, headers=headers)
        assert (reply.status_code, stage.signals) == (401, [])

    on_stage(play)


def test_bus_away_is_503_and_the_same_id_can_be_sent_again(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        http = await client_of(stage)
        stage.broker.up = False
        assert (await http.post("/v1/signals", json=GOOD | {"id": "a1"})).status_code == 503
        stage.broker.up = True
        assert (await http.post("/v1/signals", json=GOOD | {"id": "a1"})).status_code == 202
        assert len(stage.signals) == 1

    on_stage(play)


def test_empty_token_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="token"):
        signals_router(None, None, token="")  # type: ignore[arg-type]
