"""The audit's signed end is told to others, and what others were told is held against the audit."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.api import stop_router
from breakwater.emergency_stop.audit import FILE as AUDIT
from breakwater.emergency_stop.audit import AuditHead, chain, verify_audit
from breakwater.emergency_stop.heads import KEY_FILE, signature_problem
from breakwater.emergency_stop.latch import COPY, FILE, decode_latch, encode_latch
from breakwater.emergency_stop.service import EmergencyStopService
from breakwater.emergency_stop.verify import Verdict, check_trail
from breakwater.runtime.ports import DiskError


def client(world: Any, token: str = "secret") -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(stop_router(world.stop, "secret"))
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stop", headers=headers)


def on_the_bus(world: Any) -> StopHead:
    """The last one broadcast, which the server holds for whoever comes later."""
    head = world.heads[-1]
    assert isinstance(head, StopHead)
    return head


async def restart(world: Any) -> None:
    world.stop = await world.begin(EmergencyStopService)
    await asyncio.sleep(1)


async def stopped(world: Any) -> None:
    """Tripped by a person, and flat: three records, and the bus knows the third."""
    await world.ask("TRIP", "p1")
    await world.flat()
    await asyncio.sleep(1)
    await world.kill(world.stop)


def rewrite(world: Any, records: list[dict[str, Any]]) -> None:
    """What the volume's owner can do: another history, latched and, at the next start, signed with the desk's own key."""
    disk = world.disks["emergency_stop"]
    for record in records:
        record.pop("n")
    end, lines = chain(AuditHead(), records)
    disk._files[AUDIT] = bytearray("".join(f"{line}\n" for line in lines).encode())
    for name in (FILE, COPY):
        content = decode_latch(disk.read(name))
        disk._files[name] = bytearray(encode_latch(msgspec.structs.replace(content, head=end, audit_tail=())))


def told_of(world: Any) -> list[dict[str, Any]]:
    data = world.disks["emergency_stop"].read(AUDIT)
    return [json.loads(line)["record"] for line in data.splitlines()]


def test_every_transition_moves_the_signed_head_that_others_see(in_world: Any) -> None:
    async def story(world: Any) -> None:
        first = on_the_bus(world)
        await world.ask("TRIP", "p1")
        await asyncio.sleep(1)
        head = on_the_bus(world)
        assert (head.number, head.state) == (first.number + 2, StopState.TRIPPED)
        assert signature_problem(head) == ""
        async with client(world) as http:
            answer = (await http.get("/v1/audit/head")).json()
            assert (answer["problem"], answer["atStart"]) == ("", {"ok": True, "problem": ""})
            assert msgspec.convert(answer["head"], StopHead) == head
            assert (await http.get("/v1/stop")).json()["head"] == answer["head"]
            audit = (await http.get("/v1/audit")).content
        assert audit == world.disks["emergency_stop"].read(AUDIT)
        assert check_trail(audit, head=head, kept=[first]).verdict is Verdict.WHOLE

    in_world(story)


@pytest.mark.parametrize("path", ["/v1/audit", "/v1/audit/head"])
def test_audit_without_the_token_is_not_told(in_world: Any, path: str) -> None:
    async def story(world: Any) -> None:
        async with client(world, "wrong") as http:
            assert (await http.get(path)).status_code == 401

    in_world(story)


def test_audit_cut_and_signed_again_while_the_stop_was_away_is_found_by_what_the_bus_kept(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await stopped(world)
        kept = on_the_bus(world)
        rewrite(world, told_of(world)[:-1])
        await restart(world)
        assert "cut" in world.stop.readiness()["audit"].detail
        assert any(record["what"] == "audit_damaged" for record in told_of(world))
        assert world.state is StopState.COOLING_DOWN  # the stop itself goes on where it was
        audit = world.disks["emergency_stop"].read(AUDIT)
        head = world.stop.trail.signed_head
        assert check_trail(audit, head=head).verdict is Verdict.WHOLE
        assert check_trail(audit, head=head, kept=[kept]).verdict is Verdict.BROKEN

    in_world(story)


def test_audit_rewritten_and_signed_again_is_found_by_what_the_bus_kept(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await stopped(world)
        records = told_of(world)
        next(each for each in records if each["kind"] == "request")["who"] = "somebody else"
        rewrite(world, records)
        await restart(world)
        assert "rewritten" in world.stop.readiness()["audit"].detail

    in_world(story)


def test_restart_with_nothing_wrong_finds_nothing(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await stopped(world)
        before = told_of(world)
        await restart(world)
        assert world.stop.readiness()["audit"].ok
        assert told_of(world) == before

    in_world(story)


@pytest.mark.parametrize("damage", ["rubbish", "unreadable"])
def test_stop_whose_key_cannot_be_used_trips_latches_and_says_so(in_world: Any, damage: str) -> None:
    async def story(world: Any) -> None:
        await world.kill(world.stop)
        disk = world.disks["emergency_stop"]
        if damage == "rubbish":
            disk._files[KEY_FILE] = bytearray(b"rubbish")
        else:
            read = disk.read

            def refuse(name: str) -> bytes | None:
                if name == KEY_FILE:
                    raise DiskError(f"{name}: permission denied")
                return read(name)  # type: ignore[no-any-return]

            disk.read = refuse
        await restart(world)
        await world.mark("100000")
        assert not world.leases[-1].reduce_only  # an alarm, not a stop
        signing = world.stop.readiness()["signing"]
        assert not signing.ok
        assert KEY_FILE in signing.detail
        assert (await world.ask("TRIP", "p1")).accepted
        assert world.state is StopState.TRIPPED
        assert decode_latch(disk.read(FILE)).latched.state is StopState.TRIPPED
        async with client(world) as http:
            answer = (await http.get("/v1/audit/head")).json()
        assert KEY_FILE in answer["problem"]
        assert answer["head"]["signature"] == ""
        await world.flat()
        assert world.stop.view().state is StopState.COOLING_DOWN

    world = in_world(story)
    assert verify_audit(world.disks["emergency_stop"].read(AUDIT)).ok
    assert "audit_unsigned" in [record["what"] for record in told_of(world)]


def test_lost_key_gets_a_successor_that_the_audit_names(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await stopped(world)
        before = on_the_bus(world)
        world.disks["emergency_stop"]._files.pop(KEY_FILE)
        await restart(world)
        after = on_the_bus(world)
        assert after.key_id != before.key_id
        noted = told_of(world)[-1]
        assert (noted["what"], noted["values"]["keyID"]) == ("audit_key", after.key_id)
        assert before.key_id in noted["why"]
        assert world.stop.readiness()["audit"].ok
        audit = world.disks["emergency_stop"].read(AUDIT)
        assert check_trail(audit, head=after, kept=[before]).verdict is Verdict.WHOLE

    in_world(story)
