"""Emergency stop and execution of any desk as the operator sees them over HTTP, with faults. Decides as simply as it can."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from breakwater_operator.desk.link import Desk, desk_token


@dataclass
class FakeDesk:
    """One desk. ``away``: the components that refuse connections in effect (they answer nothing)."""

    token: str
    state: str = "ARMED"
    epoch: int = 1
    trip: dict[str, Any] | None = None
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    halts: list[dict[str, Any]] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    refuse_reset: str = ""
    positions: dict[str, str] = field(default_factory=dict)
    policy: dict[str, Any] | None = None
    drawdown: str = "0"
    audit: list[dict[str, Any]] = field(default_factory=list)
    reject_trips: bool = False
    """Whether a trip is answered with 503, while everything else works."""
    rejected: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def move(self, to: str, who: str, reason: str) -> None:
        """One transition, audited."""
        self.epoch += 1
        row = {"time": _now(), "epoch": self.epoch, "from": self.state, "to": to, "who": who, "reason": reason}
        self.audit = [*self.audit, row][-20:]
        self.state = to

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append(request)
        kind, name = request["kind"].upper(), request["requestID"]
        for known in self.outcomes:
            if (known["kind"], known["request_id"]) == (kind, name):
                return (200 if known["accepted"] else 409), known
        code, text = "ACCEPTED", "done"
        if kind == "TRIP" and self.state in ("ARMED", "COOLING_DOWN"):
            self.trip = {
                "trip_id": f"t{self.epoch + 1}",
                "trigger": "PERSON",
                "time": _now(),
                "measured": None,
                "limit": None,
                "binding": "person",
                "who": request["requestedBy"],
                "reason": request["reason"],
            }
            self.move("TRIPPED", request["requestedBy"], request["reason"])
        elif kind == "RESET":
            if self.refuse_reset:
                code, text = self.refuse_reset, "not yet: the cooldown runs"
            elif self.trip is None or request["tripID"] != self.trip["trip_id"]:
                code, text = "RESET_TRIP_UNKNOWN", "that is not the trip that stopped the desk"
            else:
                if self.state == "TRIPPED":
                    self.move("COOLING_DOWN", "emergency_stop", "flat")
                self.move("ARMED", request["requestedBy"], request["reason"])
                self.trip = None
        outcome = {
            "request_id": name,
            "kind": kind,
            "accepted": code == "ACCEPTED",
            "code": code,
            "text": text,
            "time": _now(),
            "who": request["requestedBy"],
        }
        self.outcomes = [*self.outcomes, outcome]
        return (200 if outcome["accepted"] else 409), outcome

    def report(self) -> dict[str, Any]:
        stopped = self.state in ("TRIPPED", "COOLING_DOWN")
        return {
            "view": {
                "state": self.state,
                "epoch": self.epoch,
                "sequence": 1,
                "issued_at": _now(),
                "lease_seconds": "1",
                "reduce_only": stopped,
                "reduce_only_reason": "tripped" if stopped else "",
                "trip": self.trip,
                "flat_at": None,
                "cooling_down_until": None,
                "day_baseline_used": False,
            },
            "reset": {"plain": [], "newBaseline": []},
            "outcomes": self.outcomes[-20:],
            "audit": self.audit,
            "measured": {"time": _now(), "dailyDrawdownPct": self.drawdown, "equityUSD": "14000", "openPositions": 0},
            "policy": self.policy,
        }

    def execution(self) -> dict[str, Any]:
        closed = self.state != "ARMED"
        return {
            "gate": "REDUCE_ONLY" if closed else "OPEN",
            "code": "STOP_TRIPPED" if closed else None,
            "why": "the emergency stop fired" if closed else "",
            "reconciled": True,
            "halted_by": None,
            "positions": self.positions,
            "policy": self.policy,
            "mode": "Paper",
        }


class FakeDesks:
    """All desks of a test behind one port: ``/<namespace>/<policy>/<component>/...``."""

    def __init__(self, operator_key: str) -> None:
        self._key = operator_key
        self._desks: dict[tuple[str, str], FakeDesk] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{namespace}/{policy}/{component}/v1/{rest:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert self._runner.addresses
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def locate(self, desk: Desk, component: str) -> str:
        return f"http://127.0.0.1:{self._port}/{desk.namespace}/{desk.policy}/{component}"

    def add(self, namespace: str, policy: str, uid: str = "") -> FakeDesk:
        """The desk answers from now on; with ``uid`` only to its own token."""
        desk = FakeDesk(desk_token(self._key, uid) if uid else "")
        self._desks[namespace, policy] = desk
        return desk

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        info = request.match_info
        desk = self._desks.get((info["namespace"], info["policy"]))
        if desk is None or info["component"] in desk.away:
            return web.json_response({"code": "UNAVAILABLE", "text": "starting"}, status=503)
        if desk.token and request.headers.get("Authorization") != f"Bearer {desk.token}":
            return web.json_response({"code": "UNAUTHORIZED", "text": "wrong token"}, status=401)
        what = (request.method, info["component"], info["rest"])
        if what == ("GET", "emergency-stop", "stop"):
            return web.json_response(desk.report())
        if what == ("GET", "execution", "execution"):
            return web.json_response(desk.execution())
        if what == ("POST", "emergency-stop", "stop/requests"):
            asked = await request.json()
            if desk.reject_trips and asked["kind"] == "trip":
                desk.rejected += 1
                return web.json_response({"code": "UNAVAILABLE", "text": "disk full"}, status=503)
            status, body = desk.answer(asked)
            desk.heard.set()
            return web.json_response(body, status=status)
        if what == ("POST", "execution", "halt"):
            desk.halts.append(await request.json())
            return web.json_response({"halted": True})
        return web.json_response({}, status=404)


def _now() -> str:
    return datetime.now(UTC).isoformat()
