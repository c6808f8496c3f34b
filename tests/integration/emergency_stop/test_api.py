"""People and the operator over HTTP."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from breakwater.domain.orders import Side
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.api import stop_router
from breakwater.emergency_stop.service import EmergencyStopService

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


def test_what_is_told_holds_answers_transitions_figures_and_the_policy(in_world: Any) -> None:
    async def story(world: Any) -> None:
        async with client(world) as http:
            await world.fill(Side.BUY, "0.1", "100000")
            await world.mark("99000")
            await asyncio.sleep(1)
            before = (await http.get("/v1/stop")).json()
            assert before["policy"] == {"version": 1, "stale": False, "hold": ""}
            figures = before["measured"]
            assert (figures["equityUSD"], figures["openPositions"], figures["consecutiveErrors"]) == ("13900.0", 1, 0)
            assert Decimal(figures["openLossPct"]).quantize(Decimal("0.01")) == Decimal("0.71")
            assert Decimal(figures["dailyDrawdownPct"]) == Decimal(figures["openLossPct"])
            assert Decimal(figures["exposurePct"]).quantize(Decimal("0.1")) == Decimal("71.2")
            assert datetime.fromisoformat(figures["time"]).tzinfo is not None
            assert [(row["from"], row["to"]) for row in before["audit"]] == [("DISABLED", "ARMED")]
            await world.mark("92000")
            await asyncio.sleep(1.1)
            await world.mark("92000")
            await asyncio.sleep(1)
            after = (await http.get("/v1/stop")).json()
            trip = after["audit"][-1]
            assert (trip["from"], trip["to"], trip["who"], trip["limitPct"]) == (
                "ARMED", "TRIPPED", "emergency_stop", "5",
            )  # fmt: skip
            assert Decimal(trip["measuredPct"]) > 5
            assert (trip["epoch"], trip["reason"]) == (after["view"]["epoch"], after["view"]["trip"]["reason"])
            assert len(trip["hash"]) == 64
            asked = (await http.post("/v1/stop/requests", json=GOOD)).json()
            assert asked["who"] == "ada"
            assert (await http.get("/v1/stop")).json()["outcomes"] == [asked]
            world.policies.value = None
            assert (await http.get("/v1/stop")).json()["policy"] is None

    in_world(story)


def test_transitions_are_still_told_after_a_restart(in_world: Any) -> None:
    async def story(world: Any) -> None:
        async with client(world) as http:
            await http.post("/v1/stop/requests", json=GOOD)
            before = (await http.get("/v1/stop")).json()["audit"]
        await world.kill(world.stop)
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        async with client(world) as http:
            after = (await http.get("/v1/stop")).json()["audit"]
        assert after == before
        assert [row["to"] for row in after] == ["ARMED", "TRIPPED"]

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
