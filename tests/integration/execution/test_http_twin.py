"""The short wall-time twin: the same service, real ccxt and ccxt.pro over real HTTP and WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from breakwater.domain.ids import DeskId, ProposalId, Symbol
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.signals import DataKind, Provenance
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView
from breakwater.exchange.client import Credentials, Endpoint, make_client
from breakwater.execution.api import execution_router
from breakwater.execution.service import ExecutionService
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.http import serve_http
from breakwater.paper_venue.model import Tick
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import OrderFilled, OrderProposed, StopLease
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.simulation.bus import MemoryBroker, MemoryBus

D = Decimal
BTC = Symbol("BTCUSDT")
DESK = DeskId("desk-a")


@dataclass
class Twin:
    venue: PaperVenue
    service: ExecutionService
    bus: MemoryBus
    broker: MemoryBroker
    clocks: Any

    async def until(self, condition: Any, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  looks at many things at once
                await asyncio.sleep(0.01)

    def tick(self, price: str) -> None:
        now = venue_now(self.clocks)
        self.venue.on_tick(Tick(BTC, now.market_ms, D(price)), now)


@asynccontextmanager
async def running(tmp_path: Path, policy: Any) -> AsyncIterator[Twin]:
    clocks = wall_clocks()
    venue = PaperVenue(VenueConfig())
    broker = MemoryBroker()
    server = await serve_http(venue, "127.0.0.1", 0, clocks)
    endpoint = Endpoint(server.url, server.url.replace("http", "ws"))
    client = make_client(endpoint, Credentials("paper-key", "paper-secret"), clocks.infra, timeout_s=3.0)
    bus = MemoryBus(broker, DESK, "execution", clocks.infra)
    others = MemoryBus(broker, DESK, "risk_manager", clocks.infra)
    stop = MemoryBus(broker, DESK, "emergency_stop", clocks.infra)
    context = ComponentContext(DESK, clocks, bus, FileDisk(tmp_path), policy, DataKind.SYNTHETIC)
    service = ExecutionService(context, client, InstrumentBook())
    twin = Twin(venue, service, others, broker, clocks)
    twin.tick("100000")
    sequence = 0

    async def leases() -> None:
        nonlocal sequence
        while True:
            sequence += 1
            view = StopView(StopState.ARMED, 1, sequence, clocks.infra.utc_now(), D(1), reduce_only=False)
            await stop.set_state(StopLease(view), time=clocks.market.now())
            await asyncio.sleep(0.3)

    for each in (bus, others, stop):
        await each.start()
    task = asyncio.create_task(leases())
    try:
        await service.start()
        yield twin
        assert not service.failed.done()
    finally:
        task.cancel()
        await service.stop()
        await client.close()
        for each in (bus, others, stop):
            await each.stop()
        await server.stop()


@pytest.fixture
def policy() -> Any:
    from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
    from breakwater.domain.limits import effective_limits
    from breakwater.domain.policy import PolicySpec
    from breakwater.runtime.policy_store import PolicyInForce

    spec, stop = PolicySpec(symbols=(BTC,)), EmergencyStopSpec(policy_ref=PolicyRef("main"))
    in_force = PolicyInForce(1, spec, stop, effective_limits(spec, stop), None, False, None, "")  # type: ignore[arg-type]
    return type("FixedPolicy", (), {"current": lambda self: in_force})()


async def test_entry_stop_out_and_halt_over_real_http(tmp_path: Path, policy: Any) -> None:
    async with running(tmp_path, policy) as twin:
        books, clocks = twin.service.books, twin.clocks
        await twin.until(lambda: books.reconciled)
        now = clocks.market.now()
        # What portfolio and market data would have said.
        books.snapshot = Snapshot(
            1, now, D(14000), D(0), D(14000), D(14000), now.date(), D(0), D(0), D(0), D(0), (), reconciled=True
        )
        books.take_mark(BTC, D(100000), now)
        await twin.until(lambda: twin.service.gate()[1] is None)

        async def enter(number: int) -> None:
            proposal = Proposal(
                proposal_id=ProposalId(f"p-{number}"),
                symbol=BTC,
                role=OrderRole.ENTRY,
                side=Side.BUY,
                quantity=D("0.120"),
                order_type=OrderType.LIMIT,
                created_at=clocks.market.now(),
                reduce_only=False,
                price=D("100500"),
                time_in_force=TimeInForce.IOC,
                expires_at=clocks.market.now() + timedelta(seconds=60),
                leverage=10,
                protection=Protection(D("98000")),
                provenance=Provenance("test", DataKind.SYNTHETIC),
            )
            await twin.bus.publish(OrderProposed(proposal), time=clocks.market.now())
            await twin.until(lambda: twin.venue.ledger.open_algo_orders("paper"))

        await enter(1)
        twin.tick("97900")
        await twin.until(lambda: not books.open_positions() and len(fills(twin)) == 2)
        assert [f.role for f in fills(twin)] == ["ENTRY", "STOP"]
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


def fills(twin: Twin) -> list[OrderFilled]:
    return [e.payload for e in twin.broker.stream(DESK, "execution") if isinstance(e.payload, OrderFilled)]
