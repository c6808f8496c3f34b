"""The gate closes while an order waits for its connection: on a real socket it must not be written any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from breakwater.exchange.client import Credentials, Endpoint, UsdmClient, make_client
from breakwater.exchange.errors import attempt
from breakwater.exchange.parse import anything
from breakwater.exchange.wire import before_wire
from breakwater.runtime.clocks import wall_clocks


class Closed(Exception):
    pass


class Venue:
    def __init__(self) -> None:
        self.orders = 0
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def slow(self, _: web.Request) -> web.Response:
        self.asked.set()
        await self.go_on.wait()
        return web.json_response({"serverTime": 1})

    async def order(self, _: web.Request) -> web.Response:
        self.orders += 1
        return web.json_response({"orderId": 1})


@pytest.fixture
async def venue() -> AsyncIterator[tuple[Venue, Endpoint]]:
    venue, app = Venue(), web.Application()
    app.router.add_get("/fapi/v1/time", venue.slow)
    app.router.add_post("/fapi/v1/order", venue.order)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield venue, Endpoint(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}")
    await runner.cleanup()


@pytest.mark.parametrize("own_session", [True, False])
async def test_gate_that_closes_while_a_connection_is_awaited_keeps_the_order(
    venue: tuple[Venue, Endpoint], own_session: bool
) -> None:
    core, endpoint = venue
    session = None if own_session else aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
    client: UsdmClient = make_client(endpoint, Credentials("k", "s"), wall_clocks().infra, session=session)
    try:
        if session is None:
            client.open()
            client.tcp_connector._limit = 1
        # The only connection is taken; the order passes the gate and waits for it.
        busy = asyncio.ensure_future(attempt(client.fapiPublicGetTime(), anything))
        await core.asked.wait()
        closed = False

        def fence() -> None:
            if closed:
                raise Closed

        token = before_wire.set(fence)
        order = asyncio.ensure_future(attempt(client.fapiPrivatePostOrder({"symbol": "BTCUSDT"}), anything))
        before_wire.reset(token)
        await asyncio.sleep(0.05)
        closed = True
        core.go_on.set()
        assert (await busy).accepted
        result = await order
        assert isinstance(result.error, Closed)
        assert core.orders == 0
        # The next one goes.
        assert (await attempt(client.fapiPrivatePostOrder({"symbol": "BTCUSDT"}), anything)).accepted
    finally:
        await client.close()
        if session is not None:
            await session.close()
