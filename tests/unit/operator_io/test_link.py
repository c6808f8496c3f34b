"""HTTP to a desk: what counts as an answer, and what is only silence."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from breakwater.domain.stop_state import StopRequestKind
from breakwater.runtime.clocks import WallInfraClock
from breakwater_operator.desk.link import MOST_BYTES, Desk, DeskLink, Unreachable, desk_token, service_url
from breakwater_operator.verdict.requests import Request

DESK = Desk("ns", "main", "uid", "token")
TRIP = Request(StopRequestKind.TRIP, "t1", "news", "ann")
OUTCOME = {
    "request_id": "t1", "kind": "TRIP", "accepted": True, "code": "ACCEPTED", "text": "done", "time": "2025-10-10T20:00:00Z",
}  # fmt: skip


class Component:
    """Answers every request the same way and keeps what it was sent."""

    def __init__(self) -> None:
        self.status, self.body, self.hang = 200, b"{}", False
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[str, str, str, bytes]] = []

    async def handle(self, request: web.Request) -> web.Response:
        data = await request.read()
        self.requests.append((request.method, request.path, request.headers.get("Authorization", ""), data))
        if self.hang:
            await asyncio.sleep(3600)
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def component() -> AsyncIterator[Component]:
    component = Component()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", component.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    component.url = f"http://127.0.0.1:{runner.addresses[0][1]}"  # type: ignore[attr-defined]
    yield component
    await runner.cleanup()


@pytest.fixture
async def link(component: Any) -> AsyncIterator[DeskLink]:
    link = DeskLink(WallInfraClock(), lambda *_: str(component.url), budget=0.2)
    yield link
    await link.close()


def test_token_is_the_hmac_of_the_uid_and_the_url_the_service_of_the_component() -> None:
    assert desk_token("key", "uid") == hmac.new(b"key", b"uid", hashlib.sha256).hexdigest()
    assert service_url(DESK, "execution") == "http://main-execution.ns.svc:8080"


async def test_request_carries_the_token_and_gets_the_outcome(component: Component, link: DeskLink) -> None:
    component.body = msgspec.json.encode(OUTCOME)
    outcome = await link.ask(DESK, TRIP)
    assert (outcome.accepted, outcome.code) == (True, "ACCEPTED")
    ((method, path, authorization, data),) = component.requests
    assert (method, path, authorization) == ("POST", "/v1/stop/requests", "Bearer token")
    assert msgspec.json.decode(data)["requestedBy"] == "ann"


async def test_request_that_can_never_be_taken_is_answered_with_a_refusal(component: Component, link: DeskLink) -> None:
    component.status = 422
    component.body = b'{"code": "REQUEST_INVALID", "errors": [{"field": "reason", "text": "too long"}]}'
    outcome = await link.ask(DESK, TRIP)
    assert (outcome.accepted, outcome.code) == (False, "REQUEST_INVALID")
    assert "reason: too long" in outcome.text


@pytest.mark.parametrize(
    ("status", "body"), [(503, b'{"text": "starting"}'), (401, b""), (200, b"<html>"), (404, b"no")]
)
async def test_anything_else_is_no_answer(component: Component, link: DeskLink, status: int, body: bytes) -> None:
    component.status, component.body = status, body
    with pytest.raises(Unreachable):
        await link.ask(DESK, TRIP)


async def test_silence_ends_within_the_budget(component: Component, link: DeskLink) -> None:
    component.hang = True
    with pytest.raises(Unreachable, match="no answer within"):
        await link.ask(DESK, TRIP)
    report = await link.report(DESK)
    assert report.stop is None
    assert "emergency-stop" in report.stop_problem
    assert report.execution is None


@pytest.mark.parametrize("other", [{"request_id": "t0"}, {"kind": "RESET"}])
async def test_answer_to_another_request_is_no_answer(
    component: Component, link: DeskLink, other: dict[str, str]
) -> None:
    component.body = msgspec.json.encode(OUTCOME | other)
    with pytest.raises(Unreachable, match="was not asked"):
        await link.ask(DESK, TRIP)


async def test_redirect_is_not_followed_so_the_token_stays_here(component: Component, link: DeskLink) -> None:
    component.status, component.headers = 307, {"Location": "/elsewhere"}
    with pytest.raises(Unreachable, match="307"):
        await link.ask(DESK, TRIP)
    assert [path for _, path, _, _ in component.requests] == ["/v1/stop/requests"]


async def test_packed_answer_is_not_unpacked(component: Component, link: DeskLink) -> None:
    component.headers = {"Content-Encoding": "gzip"}
    component.body = gzip.compress(msgspec.json.encode(OUTCOME | {"text": " " * 50_000_000}))
    with pytest.raises(Unreachable):
        await link.ask(DESK, TRIP)


async def test_huge_answer_is_a_problem_not_an_error(component: Component, link: DeskLink) -> None:
    component.body = b" " * (MOST_BYTES + 1)
    report = await link.report(DESK)
    assert "more than" in report.stop_problem


async def test_halt_needs_a_yes(component: Component, link: DeskLink) -> None:
    component.body = b'{"halted": true}'
    await link.halt(DESK, TRIP)
    component.body = b"<html>welcome</html>"
    with pytest.raises(Unreachable):
        await link.halt(DESK, TRIP)
    component.status = 503
    with pytest.raises(Unreachable):
        await link.halt(DESK, TRIP)


async def test_report_of_nonsense_is_a_problem_not_an_error(component: Component, link: DeskLink) -> None:
    component.body = b'{"view": {"state": "WONDERFUL"}}'
    report = await link.report(DESK)
    assert report.stop is None
    assert report.stop_problem
