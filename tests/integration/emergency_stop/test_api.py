"""People and the operator over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.api import stop_router

GOOD = {"kind": "trip", "requestID": "p1", "reason": "news", "requestedBy": "ada"}


def client(world: Any, token: str = "secret") -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(stop_router(world.stop, "secret"))
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stop", headers=headers)


def test_a_person_trips_and_asks_too_early_for_a_reset(in_world: Any) -> None:
    async def story(world: Any) -> None:
        async with client(world) as http:
            tripped = await http.post("/v1/stop/requests", json=GOOD)
            assert (tripped.status_code, tripped.json()["accepted"]) == (200, True)
            await asyncio.sleep(0.01)
            assert world.state is StopState.TRIPPED
            again = await http.post("/v1/stop/requests", json=GOOD)
            assert again.json() == tripped.json()
            await world.flat()
            shown = (await http.get("/v1/stop")).json()
            assert shown["view"]["state"] == "COOLING_DOWN"
            needs = [(entry["code"], entry["remaining_seconds"]) for entry in shown["reset"]["plain"]]
            assert needs == [("RESET_COOLING_DOWN", 900)]
            reset = {**GOOD, "kind": "reset", "requestID": "r1", "tripID": shown["view"]["trip"]["trip_id"]}
            refused = await http.post("/v1/stop/requests", json=reset)
            assert (refused.status_code, refused.json()["code"]) == (409, "RESET_COOLING_DOWN")
            assert refused.json()["remaining_seconds"] == 900

    in_world(story)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "explode"}, "kind"),
        ({"reason": "  "}, "reason"),
        ({"reason": None}, "reason"),
        ({"requestID": ""}, "requestID"),
        ({"requestedBy": 7}, "requestedBy"),
        ({"newBaseline": "yes"}, "newBaseline"),
        ({"surprise": 1}, "surprise"),
        ({"kind": "reset"}, "tripID"),
    ],
)
def test_a_bad_body_names_the_field_and_does_nothing(in_world: Any, change: dict[str, Any], field: str) -> None:
    async def story(world: Any) -> None:
        async with client(world) as http:
            answer = await http.post("/v1/stop/requests", json={**GOOD, **change})
            assert answer.status_code == 422
            assert answer.json()["code"] == "REQUEST_INVALID"
            assert [error["field"] for error in answer.json()["errors"]] == [field]
        await asyncio.sleep(1)
        assert world.state is StopState.ARMED

    in_world(story)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", json.dumps("trip").encode()])
def test_what_is_no_json_object_is_refused(in_world: Any, body: bytes) -> None:
    async def story(world: Any) -> None:
        async with client(world) as http:
            answer = await http.post("/v1/stop/requests", content=body)
            assert answer.status_code == 422
            assert answer.json()["errors"]

    in_world(story)


@pytest.mark.parametrize("token", ["", "Secret", "secret2"])
def test_without_the_token_nothing_is_told_or_done(in_world: Any, token: str) -> None:
    async def story(world: Any) -> None:
        async with client(world, token) as http:
            assert (await http.post("/v1/stop/requests", json=GOOD)).status_code == 401
            assert (await http.get("/v1/stop")).status_code == 401
        assert world.state is StopState.ARMED

    in_world(story)
