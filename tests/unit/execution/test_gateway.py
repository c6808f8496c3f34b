"""The type that keeps anything but an approval from being sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from breakwater.domain.gate import Approval, decide
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.exchange.client import Credentials, make_client
from breakwater.exchange.errors import Outcome
from breakwater.execution.gateway import FenceClosedError, VenueGateway
from breakwater.execution.venue_calls import VenueCalls
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Tick
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.transport import MEMORY_ENDPOINT, MemorySession

START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)


def virtually(main: Callable[[Simulation], Any]) -> Any:
    return run_virtual(main, seed=1, start=START)


def test_gateway_sends_approvals_only_and_the_fence_keeps_them_off_the_wire(
    entry: Callable[..., Any], facts: Callable[..., Any]
) -> None:
    async def main(simulation: Simulation) -> None:
        venue = PaperVenue(VenueConfig())
        session = MemorySession(venue, simulation.clocks)
        venue.on_tick(Tick("BTCUSDT", session.now().market_ms, cast(Any, 100000)), session.now())
        client = make_client(
            MEMORY_ENDPOINT, Credentials("paper-key", "paper-secret"), simulation.clocks.infra, session=session
        )
        await client.load_markets()
        refusal: Refusal | None = None
        gateway = VenueGateway(cast(Any, "desk"), client, VenueCalls(client), lambda _: refusal)
        before = session.requests_sent
        for wrong in (entry(), facts(), None, "approval"):
            with pytest.raises(TypeError, match="only an Approval"):
                await gateway.send(cast(Any, wrong))
        approval = decide(entry(), facts())
        assert isinstance(approval, Approval)
        refusal = Refusal(RefusalCode.STOP_TRIPPED, "tripped")
        kept = await gateway.send(approval)
        assert kept.outcome is Outcome.NOT_SENT
        assert isinstance(kept.error, FenceClosedError)
        assert session.requests_sent == before
        refusal = None
        assert (await gateway.send(approval)).accepted
        assert session.requests_sent == before + 1
        await client.close()
        await session.close()

    virtually(main)
