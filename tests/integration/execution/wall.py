"""Execution on real sockets and the wall clock; whoever else is on the bus is played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import DeskId, ProposalId, Symbol
from breakwater.domain.limits import effective_limits
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.policy import PolicySpec
from breakwater.domain.refusals import Refusal
from breakwater.domain.signals import DataKind, Provenance
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView
from breakwater.exchange.client import UsdmClient
from breakwater.execution.service import ExecutionService
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Tick
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import OrderProposed, OrderRefused, StopLease
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.bus import MemoryBroker, MemoryBus

D = Decimal
BTC = Symbol("BTCUSDT")
DESK = DeskId("desk-a")


def fixed_policy() -> Any:
    """A policy reader that always says the same."""
    spec, stop = PolicySpec(symbols=(BTC,)), EmergencyStopSpec(policy_ref=PolicyRef("main"))
    in_force = PolicyInForce(1, spec, stop, effective_limits(spec, stop), None, False, None, "")  # type: ignore[arg-type]
    return type("FixedPolicy", (), {"current": lambda self: in_force})()


@dataclass
class Twin:
    venue: PaperVenue
    service: ExecutionService
    bus: MemoryBus
    broker: MemoryBroker
    clocks: Clocks

    async def until(self, condition: Callable[[], Any], seconds: float = 10) -> None:
        """Wait for something that has to come; how soon is not judged."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  looks at many things at once
                await asyncio.sleep(0.01)

    async def open(self) -> None:
        """Reconciled, with what portfolio and market data would have said: the gate is open."""
        books = self.service.books
        await self.until(lambda: books.reconciled)
        self.tell()
        await self.until(lambda: self.service.gate()[1] is None)

    def tell(self) -> None:
        now = self.clocks.market.now()
        self.service.books.snapshot = Snapshot(
            1, now, D(14000), D(0), D(14000), D(14000), now.date(), D(0), D(0), D(0), D(0), (), reconciled=True
        )
        self.service.books.take_mark(BTC, D(100000), now)

    def tick(self, price: str) -> None:
        now = venue_now(self.clocks)
        self.venue.on_tick(Tick(BTC, now.market_ms, D(price)), now)

    async def propose(self, proposal: Proposal) -> None:
        self.tell()
        await self.bus.publish(OrderProposed(proposal), time=self.clocks.market.now())

    def said(self, kind: type[Any]) -> list[Any]:
        return [e.payload for e in self.broker.stream(DESK, "execution") if isinstance(e.payload, kind)]

    def refusals(self) -> list[Refusal]:
        return [refused.refusal for refused in self.said(OrderRefused)]

    def entries(self) -> list[Any]:
        return [record for record in self.venue.ledger.state.audit if record.client_order_id.endswith("-e")]


def entry(twin: Twin, number: int, **changes: Any) -> Proposal:
    """0.12 BTC long near 100,000 with its stop at 98,000."""
    now = twin.clocks.market.now()
    base = Proposal(
        proposal_id=ProposalId(f"p-{number}"),
        symbol=BTC,
        role=OrderRole.ENTRY,
        side=Side.BUY,
        quantity=D("0.120"),
        order_type=OrderType.LIMIT,
        created_at=now,
        reduce_only=False,
        price=D("100500"),
        time_in_force=TimeInForce.IOC,
        expires_at=now + timedelta(seconds=60),
        leverage=10,
        protection=Protection(D("98000")),
        provenance=Provenance("test", DataKind.SYNTHETIC),
    )
    return msgspec.structs.replace(base, **changes)


@asynccontextmanager
async def running(
    tmp_path: Path, policy: Any, venue: PaperVenue, client: UsdmClient, clocks: Clocks
) -> AsyncIterator[Twin]:
    """Execution on ``client``, the emergency stop armed, one price in the market."""
    broker = MemoryBroker()
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
        assert not service.failed.done(), service.failed.result()
    finally:
        task.cancel()
        await service.stop()
        await client.close()
        for each in (bus, others, stop):
            await each.stop()
