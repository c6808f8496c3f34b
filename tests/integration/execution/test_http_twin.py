"""The short wall-time twin: the same service, real ccxt and ccxt.pro over real HTTP and WebSocket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from fastapi import FastAPI
from tests.integration.execution.wall import BTC, entry, fixed_policy, running

from breakwater.exchange.client import Credentials, Endpoint, make_client
from breakwater.execution.api import execution_router
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.http import VenueServer
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.events import OrderFilled


async def test_entry_stop_out_and_halt_over_real_http(tmp_path: Path) -> None:
    clocks, venue = wall_clocks(), PaperVenue(VenueConfig())
    async with VenueServer(venue, "127.0.0.1", 0, clocks) as server:
        endpoint = Endpoint(server.url, server.url.replace("http", "ws"))
        client = make_client(endpoint, Credentials("paper-key", "paper-secret"), clocks.infra, timeout_s=3.0)
        async with running(tmp_path, fixed_policy(), venue, client, clocks) as twin:
            books = twin.service.books
            await twin.open()

            async def enter(number: int) -> None:
                await twin.propose(entry(twin, number))
                await twin.until(lambda: twin.venue.ledger.open_algo_orders("paper"))

            await enter(1)
            twin.tick("97900")
            await twin.until(lambda: not books.open_positions() and len(twin.said(OrderFilled)) == 2)
            assert [f.role for f in twin.said(OrderFilled)] == ["ENTRY", "STOP"]
            assert twin.service.parts.fills.from_rest == 0  # the stream brought them

            twin.tick("100000")
            await asyncio.sleep(0.5)
            await enter(2)
            app = FastAPI()
            app.include_router(execution_router(twin.service, "secret"))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk") as http:
                body = {"requestID": "r1", "reason": "news", "requestedBy": "alice"}
                assert (await http.post("/v1/halt", json=body)).status_code == 401
                headers = {"Authorization": "Bearer secret"}
                assert (await http.post("/v1/halt", json={"reason": ""}, headers=headers)).status_code == 422
                answered = await http.post("/v1/halt", json=body, headers=headers)
                assert answered.status_code == 200
                assert answered.json()["gate"] == "REDUCE_ONLY"
                assert answered.json()["halted"] is True
                repeated = await http.post("/v1/halt", json=body, headers=headers)
                assert (repeated.status_code, repeated.json()["halted"]) == (200, True)
                await twin.until(
                    lambda: (
                        not twin.venue.ledger.open_algo_orders("paper")
                        and not twin.venue.ledger.state.accounts["paper"].positions[BTC].qty
                    )
                )
                shown = (await http.get("/v1/execution")).json()
                assert shown["halted_by"] == "alice"
                assert shown["code"] == "HALTED_BY_PERSON"
                assert shown["positions"] == {}
                assert shown["mode"] == "Paper"
                assert shown["policy"] == {"version": 1, "stale": False, "hold": ""}
                # As if re-armed: the same request again halts nothing, and says so.
                twin.service.books.halt = None
                await twin.until(lambda: twin.service.gate()[1] is None)
                late = (await http.post("/v1/halt", json=body, headers=headers)).json()
                assert (late["halted"], late["gate"], late["who"]) == (False, "OPEN", "alice")
                assert "send a new requestID" in late["text"]
