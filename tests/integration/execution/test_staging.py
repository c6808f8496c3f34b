"""Staging: every order is checked by the venue's test endpoint, and none can be placed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from breakwater.domain.orders import TimeInForce
from breakwater.domain.policy import TradingMode
from breakwater.domain.refusals import RefusalCode
from breakwater.exchange.client import Credentials, Endpoint, make_client
from breakwater.exchange.errors import Outcome, attempt
from breakwater.exchange.parse import anything
from breakwater.execution.api import describe
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.events import OrderFailed, OrderRefused

from .test_going_live import live

D = Decimal
Play = Callable[..., Any]


def changes(rig: Any) -> list[tuple[str, str]]:
    """Everything that was sent to the venue and could change something there."""
    return [(method, path) for method, path, _ in rig.venue.log if method != "GET" and "listenKey" not in path]


def test_staging_entry_is_tested_at_the_venue_and_shown_and_places_nothing(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        live(rig, mode=TradingMode.STAGING)
        await rig.begin()
        await rig.sleep(1)
        await rig.snapshot()
        await rig.mark("BTCUSDT")
        await rig.mark("ETHUSDT")
        await rig.propose(rig.entry("p-1"), wait=2)
        assert changes(rig) == [("POST", "/fapi/v1/order/test")]
        sent = next(text for method, path, text in rig.venue.log if path == "/fapi/v1/order/test")
        for part in ("symbol=BTCUSDT", "side=BUY", "type=LIMIT", "quantity=0.12", "price=100500", "timeInForce=IOC"):
            assert part in sent
        refusal = rig.said(OrderRefused)[-1].refusal
        assert refusal.code is RefusalCode.STAGING_TESTED
        assert "LIMIT BUY 0.12 BTCUSDT at 100500 would have been sent" in refusal.text
        shown = describe(rig.service)
        assert shown["mode"] == "Staging"
        assert [(row["role"], row["order"]) for row in shown["rehearsed"]] == [
            ("ENTRY", "LIMIT BUY 0.12 BTCUSDT at 100500"),
            ("STOP", "STOP_MARKET SELL 0.12 BTCUSDT at 98000, reduce-only"),
        ]
        assert "accepted by the venue's test endpoint" in shown["rehearsed"][0]["verdict"]
        assert rig.accepted() == []
        assert (rig.held(), rig.resting(), rig.stops()) == (0, [], [])
        assert rig.said(OrderFailed) == []

    play(scenario, ready=False)


def test_staging_order_that_the_venue_would_refuse_is_reported_with_its_words(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        live(rig, mode=TradingMode.STAGING)
        await rig.begin()
        await rig.sleep(1)
        await rig.snapshot()
        await rig.mark("BTCUSDT")
        await rig.mark("ETHUSDT")
        rig.venue.fail("POST", "/order/test", faults.answer(400, '{"code":-2019,"msg":"Margin is insufficient."}'))
        await rig.propose(rig.entry("p-1"), wait=2)
        assert [f.code for f in rig.said(OrderFailed)] == ["-2019"]
        assert "-2019 Margin is insufficient." in describe(rig.service)["rehearsed"][0]["verdict"]

    play(scenario, ready=False)


def test_staging_trip_and_resting_entries_send_nothing_that_changes_anything(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        live(rig, mode=TradingMode.STAGING)
        await rig.begin()
        await rig.sleep(1)
        await rig.snapshot()
        await rig.mark("BTCUSDT")
        await rig.mark("ETHUSDT")
        resting = rig.entry("p-1", price=D(99900), time_in_force=TimeInForce.GTX)
        await rig.propose(resting, wait=2)
        await rig.trip()
        await rig.sleep(10)
        assert {path for _, path in changes(rig)} == {"/fapi/v1/order/test"}
        assert not rig.service.parts.flattener.active

    play(scenario, ready=False)


def test_staging_on_a_client_that_could_place_orders_does_not_start(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.start()
        service = rig.service
        await rig.kill()
        service._parts, service._mode = None, TradingMode.STAGING
        with pytest.raises(ValueError, match="this one could place real orders"):
            await service.start()
        rig._service = None

    play(scenario, ready=False)


@pytest.fixture
async def venue() -> AsyncIterator[tuple[list[str], Endpoint]]:
    seen: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(f"{request.method} {request.path}")
        if request.path == "/fapi/v1/redirected":
            raise web.HTTPTemporaryRedirect("/fapi/v1/order")
        return web.json_response({"orderId": 1})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield seen, Endpoint(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}")
    await runner.cleanup()


async def test_no_way_of_placing_an_order_leaves_a_staging_client(venue: tuple[list[str], Endpoint]) -> None:
    seen, endpoint = venue
    client = make_client(endpoint, Credentials("k", "s"), wall_clocks().infra, test_orders_only=True)
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
    try:
        ways = [
            client.fapiPrivatePostOrder(order),
            client.fapiPrivatePostBatchOrders({"batchOrders": "[]"}),
            client.fapiPrivatePostAlgoOrder(order),
            client.fapiPrivatePutOrder(order),
            client.fapiPrivateDeleteOrder({"symbol": "BTCUSDT", "orderId": "1"}),
            client.fapiPrivateDeleteAllOpenOrders({"symbol": "BTCUSDT"}),
            client.fapiPrivatePostLeverage({"symbol": "BTCUSDT", "leverage": "5"}),
            client.dapiPrivatePostOrder(order),
            client.papiPostUmOrder(order),
            client.sapiPostMarginOrder(order),
        ]
        for way in ways:
            assert (await attempt(way, anything)).outcome is Outcome.NOT_SENT
        client.open()
        async with client.session.get(f"{endpoint.http_base}/fapi/v1/ping") as reply:
            assert reply.status == 200
        with pytest.raises(Exception, match="Staging places, changes and cancels nothing"):
            await client.session.post(f"{endpoint.http_base}/fapi/v1/order")
        assert (await attempt(client.fapiPrivatePostOrderTest(order), anything)).accepted
        assert seen == ["GET /fapi/v1/ping", "POST /fapi/v1/order/test"]
    finally:
        await client.close()


async def test_redirect_to_an_order_is_not_followed(
    venue: tuple[list[str], Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, endpoint = venue
    client = make_client(endpoint, Credentials("k", "s"), wall_clocks().infra, test_orders_only=True)
    monkeypatch.setattr(
        "breakwater.exchange.fence.TEST_ORDERS", {"POST": frozenset({"/fapi/v1/order/test", "/fapi/v1/redirected"})}
    )
    try:
        client.open()
        with pytest.raises(Exception, match="Staging places, changes and cancels nothing"):
            await client.session.post(f"{endpoint.http_base}/fapi/v1/redirected")
        assert seen == ["POST /fapi/v1/redirected"]
    finally:
        await client.close()
