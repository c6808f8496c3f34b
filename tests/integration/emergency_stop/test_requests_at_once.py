"""Requests that come together, again, or too early: each is answered once, and what was refused never fires later."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.api import stop_router
from breakwater.emergency_stop.audit import FILE as AUDIT
from breakwater.emergency_stop.audit import verify_audit
from breakwater.emergency_stop.service import EmergencyStopService
from breakwater.runtime.events import StopRearmed, StopRequestAnswered, StopTripped

TRIP = {"kind": "trip", "requestID": "p1", "reason": "news", "requestedBy": "ada"}


def client(world: Any) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(stop_router(world.stop, "secret"))
    headers = {"Authorization": "Bearer secret"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stop", headers=headers)


async def at_once(world: Any, *bodies: dict[str, Any]) -> list[httpx.Response]:
    async with client(world) as http:
        answers = await asyncio.gather(*(http.post("/v1/stop/requests", json=body) for body in bodies))
    await asyncio.sleep(0.5)
    return list(answers)


async def ready_to_rearm(world: Any) -> dict[str, Any]:
    """Pulled by a person, flat, cooled down; the body of a reset that would be granted."""
    await world.ask("TRIP", "p0")
    await world.flat()
    await asyncio.sleep(901)
    await world.report("14000")
    await world.mark("100000")
    return {**TRIP, "kind": "reset", "requestID": "r1", "tripID": world.leases[-1].trip.trip_id}


def test_same_trip_twenty_times_at_once_trips_once(in_world: Any) -> None:
    async def story(world: Any) -> None:
        answers = await at_once(world, *[TRIP] * 20)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert world.state is StopState.TRIPPED

    world = in_world(story)
    assert len(world.published("emergency_stop", StopTripped)) == 1
    assert len(world.published("emergency_stop", StopRequestAnswered)) == 1


def test_ten_people_trip_at_once_and_all_are_answered_with_the_one_trip(in_world: Any) -> None:
    async def story(world: Any) -> None:
        answers = await at_once(world, *({**TRIP, "requestID": f"p{number}"} for number in range(10)))
        assert all(answer.json()["accepted"] for answer in answers)
        assert all(world.leases[-1].trip.trip_id in answer.json()["text"] for answer in answers)

    world = in_world(story)
    assert len(world.published("emergency_stop", StopTripped)) == 1
    assert len(world.published("emergency_stop", StopRequestAnswered)) == 10


@pytest.mark.parametrize("same", [True, False])
def test_resets_at_once_rearm_once(in_world: Any, same: bool) -> None:
    async def story(world: Any) -> None:
        body = await ready_to_rearm(world)
        bodies = [body if same else {**body, "requestID": f"r{number}"} for number in range(8)]
        answers = [answer.json() for answer in await at_once(world, *bodies)]
        granted = [answer for answer in answers if answer["accepted"]]
        assert len(granted) == (8 if same else 1)
        assert {a["code"] for a in answers if not a["accepted"]} <= {"RESET_NOT_TRIPPED"}
        assert world.state is StopState.ARMED

    world = in_world(story)
    assert len(world.published("emergency_stop", StopRearmed)) == 1


@pytest.mark.parametrize("order", ["trip first", "reset first"])
def test_trip_and_reset_at_once_always_end_tripped(in_world: Any, order: str) -> None:
    async def story(world: Any) -> None:
        reset = await ready_to_rearm(world)
        bodies = (TRIP, reset) if order == "trip first" else (reset, TRIP)
        await at_once(world, *bodies)
        assert world.state is StopState.TRIPPED
        assert world.leases[-1].trip.who == "ada"

    world = in_world(story)
    assert verify_audit(world.disks["emergency_stop"].read(AUDIT)).ok


def test_reset_refused_as_too_early_never_fires_though_all_comes_true_later(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.ask("TRIP", "p0")
        await world.flat()
        body = {**TRIP, "kind": "reset", "requestID": "r1", "tripID": world.leases[-1].trip.trip_id}
        (early,) = await at_once(world, body)
        assert early.json()["code"] == "RESET_COOLING_DOWN"
        await asyncio.sleep(901)
        for _ in range(3):
            await world.report("14000")
            await world.mark("100000")
            await asyncio.sleep(5)
        (again,) = await at_once(world, body)
        assert again.content == early.content
        await world.kill(world.stop)
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        await world.mark("100000")
        (after_restart,) = await at_once(world, body)
        assert after_restart.content == early.content
        assert world.state is StopState.COOLING_DOWN

    world = in_world(story)
    assert not world.published("emergency_stop", StopRearmed)


def test_trip_repeated_after_the_rearm_and_a_restart_trips_no_more(in_world: Any) -> None:
    async def story(world: Any) -> None:
        (reset,) = await at_once(world, await ready_to_rearm(world))
        assert reset.json()["accepted"]
        await world.kill(world.stop)
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        (old,) = await at_once(world, {**TRIP, "requestID": "p0"})
        assert old.json()["accepted"]  # the answer of then
        assert world.state is StopState.ARMED

    in_world(story)
