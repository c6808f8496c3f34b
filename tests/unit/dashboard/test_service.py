"""The service on a bus, its frames, and its HTTP interface."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from breakwater.dashboard.api import routes_for_address
from breakwater.dashboard.equity_curve import EquityCurve
from breakwater.domain.ids import Symbol
from breakwater.runtime import events as e


async def test_service_hears_streams_and_states_of_every_producer(harness: Any, make: Any) -> None:
    market, stop, portfolio = [await harness.bus(n) for n in ("market_data", "emergency_stop", "portfolio")]
    await market.publish(e.MarkPrice(Symbol("BTCUSDT"), Decimal(5), make.noon), time=make.noon)
    await stop.set_state(e.StopLease(make.view()), time=make.noon)
    await portfolio.publish(e.PortfolioUpdated(make.snapshot(make.position())), time=make.noon)
    await portfolio.set_state(make.heartbeat("portfolio"), time=make.noon)
    await asyncio.sleep(0.02)
    found = harness.status()
    assert found.stop.state == "ARMED"
    assert found.marks[0].price == 5
    assert found.snapshot is not None
    assert [c.name for c in found.components] == ["portfolio"]
    assert harness.service.progress == 4


async def test_frames_are_full_first_then_only_what_is_new_and_at_most_each_quarter_second(
    harness: Any, make: Any
) -> None:
    execution = await harness.bus("policy")
    await execution.publish(e.PolicyUpdated(1, "a", "anna", ()), time=make.noon)
    await asyncio.sleep(0.02)
    frames = harness.service.feed.frames(lambda: False)
    first = json.loads(await anext(frames))
    assert first["full"] is True
    assert len(first["events"]) == 1
    loop = asyncio.get_running_loop()
    began = loop.time()
    for version in range(2, 12):
        await execution.publish(e.PolicyUpdated(version, "a", "anna", ()), time=make.noon)
    second = json.loads(await anext(frames))
    assert loop.time() - began >= 0.24
    assert second["full"] is False
    assert [row["number"] for row in second["events"]] == list(range(2, 12))
    await frames.aclose()
    assert harness.service.feed.readers == 0


async def test_stop_ends_every_open_stream(harness: Any) -> None:
    async def read() -> int:
        return len([frame async for frame in harness.service.feed.frames(lambda: harness.service.stopping)])

    reading = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.sleep(0.3)
    await harness.service.stop()
    assert await asyncio.wait_for(asyncio.gather(*reading), 2) == [1, 1, 1]


def test_equity_curve_is_bounded_and_keeps_its_ends() -> None:
    from datetime import UTC, datetime

    curve, begin = EquityCurve(most=100, spacing=1.0), datetime(2025, 1, 1, tzinfo=UTC)
    for second in range(100_000):
        curve.add(begin + timedelta(seconds=second), Decimal(second), now=float(second))
    points = curve.since(0)
    assert 50 <= len(points) <= 100
    assert points[0].equity == 0
    assert points[-1].equity > 98_000
    assert [p.time_ms for p in points] == sorted(p.time_ms for p in points)
    assert not curve.add(begin, Decimal(1), now=1e9), "an older point is not taken"


def client_of(harness: Any, host: str = "127.0.0.1", token: str = "") -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(routes_for_address(harness.service, host, token))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080")


async def test_status_and_page_on_loopback_need_no_token_and_carry_the_policy_header(harness: Any) -> None:
    async with client_of(harness) as client:
        status = await client.get("/v1/status")
        assert status.json()["desk"] == "main"
        page = await client.get("/")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["content-type"].startswith("text/html")
        for name in ("app.js", "format.js", "chart.js", "style.css", "favicon.svg"):
            assert (await client.get(f"/page/{name}")).status_code == 200, name
        assert (await client.get("/page/..%2fservice.py")).status_code == 404
        assert (await client.get("/page/service.py")).status_code == 404


def test_page_holds_no_outside_address_and_no_inline_code() -> None:
    import re
    from importlib.resources import files

    page = files("breakwater.dashboard") / "page"
    for name in ("index.html", "app.js", "format.js", "chart.js", "style.css"):
        text = (page / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z0-9-]+\.", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
    html = (page / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|<style", html)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
async def test_foreign_host_name_is_refused(harness: Any, host: str) -> None:
    async with client_of(harness) as client:
        for path in ("/", "/v1/status", "/v1/events", "/v1/stream", "/page/app.js"):
            answer = await client.get(path, headers={"Host": host})
            assert answer.status_code == 421, path


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost", "localhost:8080", "[::1]:8080", "[::1]"])
async def test_loopback_names_are_served(harness: Any, host: str) -> None:
    async with client_of(harness) as client:
        assert (await client.get("/v1/status", headers={"Host": host})).status_code == 200


async def test_with_a_read_token_nothing_is_shown_without_it(harness: Any) -> None:
    async with client_of(harness, host="0.0.0.0", token="s3cret") as client:
        for path in ("/", "/v1/status", "/v1/events", "/v1/stream", "/page/app.js", "/?token=wrong"):
            assert (await client.get(path)).status_code == 401, path
        allowed = await client.get("/v1/status", headers={"Authorization": "Bearer s3cret"})
        assert allowed.status_code == 200
        moved = await client.get("/?token=s3cret")
        assert (moved.status_code, moved.headers["location"]) == (303, "/")
        assert "HttpOnly" in moved.headers["set-cookie"]
        assert "SameSite=strict" in moved.headers["set-cookie"]
        assert (await client.get("/v1/status")).status_code == 200, "the cookie is enough from now on"


async def test_listening_beyond_loopback_without_a_token_is_refused(harness: Any) -> None:
    with pytest.raises(ValueError, match="needs a token"):
        routes_for_address(harness.service, "0.0.0.0", "")


async def test_readiness_follows_the_bus(harness: Any) -> None:
    assert harness.service.readiness()["bus"].ok
