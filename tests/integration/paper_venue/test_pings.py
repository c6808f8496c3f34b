"""Pings over real sockets: every so often, and who does not answer is dropped."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import aiohttp

from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.model import Tick
from breakwater.runtime.clocks import wall_clocks

PING_S, SILENCE_S = 0.1, 0.4
PATH = "/public/ws/btcusdt@bookTicker"


async def test_peer_that_answers_pings_stays_and_one_that_does_not_is_dropped() -> None:
    clocks, venue = wall_clocks(), PaperVenue(VenueConfig())
    now = venue_now(clocks)
    async with (
        VenueServer(venue, "127.0.0.1", 0, clocks, ping_s=PING_S, silence_s=SILENCE_S) as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url + PATH) as answering,
        session.ws_connect(server.url + PATH, autoping=False) as silent,
    ):
        seen: list[aiohttp.WSMsgType] = []

        async def watch() -> None:
            seen.extend([message.type async for message in silent])

        reading = asyncio.ensure_future(answering.receive())
        async with asyncio.timeout(10):
            await watch()
        assert aiohttp.WSMsgType.PING in seen
        assert silent.closed
        venue.on_tick(Tick("BTCUSDT", now.market_ms, Decimal(60000)), venue_now(clocks))
        async with asyncio.timeout(5):
            assert (await reading).type is aiohttp.WSMsgType.TEXT
