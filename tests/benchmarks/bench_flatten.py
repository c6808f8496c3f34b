"""From a trip to an account that is proved flat, on a virtual clock with a wire of 30 to 60 ms."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal

from tests.benchmarks.harness import Bench, lower
from tests.integration.execution.conftest import BTC, ETH, Rig

from breakwater.domain.ids import Symbol
from breakwater.domain.rate_budget import VenueLimits
from breakwater.paper_venue.config import KNOWN_SYMBOLS, VenueConfig
from breakwater.runtime.events import FlatConfirmed
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.transport import Latency

POSITIONS, RESTING_EACH = 20, 3
LONGEST_S = 60.0
SYMBOLS = tuple(KNOWN_SYMBOLS)[:POSITIONS]
LIMITS = VenueLimits()


def bound_s() -> float:
    """A command for each order that rests and for each position, at the pace that never exceeds 1200 in any minute."""
    commands = POSITIONS * (RESTING_EACH + 1)
    return (commands - LIMITS.burst) / LIMITS.refill_per_s


def flatten() -> dict[str, float]:
    """Trip -> all cancelled, all closed, verified by the account in both order spaces, over the limits' own time."""
    took = run_virtual(_tripped, seed=1, start=datetime(2026, 3, 2, 12, tzinfo=UTC), shuffle=False)
    return {"stop.all_cancelled_against_the_venues_limits": took / bound_s()}


async def _tripped(simulation: Simulation) -> float:
    rig = Rig(simulation, VenueConfig(symbols=tuple(KNOWN_SYMBOLS[name] for name in SYMBOLS)))
    for name in SYMBOLS:
        if name not in (BTC, ETH):
            rig.tick(Symbol(name), "10")
    rig.latency = Latency(0.03, 0.06, simulation.random("wire"))
    await rig.begin()
    await asyncio.gather(*(_held(rig, name) for name in SYMBOLS))
    assert rig._client is not None
    assert len(await rig._client.fapiPrivateGetOpenOrders()) == POSITIONS * RESTING_EACH
    await rig.sleep(60)  # the minute in which they were placed is over for every limit
    began = simulation.clocks.infra.monotonic()
    await rig.trip()
    async with asyncio.timeout(LONGEST_S):
        while not rig.said(FlatConfirmed):
            await rig.sleep(0.01)
    took = simulation.clocks.infra.monotonic() - began
    assert await rig._client.fapiPrivateGetOpenOrders() == []
    assert await rig._client.fapiPrivateV3GetPositionRisk() == []
    assert rig.service.parts.governor.bans == 0
    await rig.close()
    return took


async def _held(rig: Rig, name: str) -> None:
    """A position with orders that rest on both sides of the market."""
    assert rig._client is not None
    spec = KNOWN_SYMBOLS[name]
    price = rig.core.ledger.state.prices[name].price
    lots = (Decimal(200) / price / spec.step_size).to_integral_value(rounding=ROUND_UP) * spec.step_size
    order = {"symbol": name, "quantity": str(lots)}
    await rig._client.fapiPrivatePostOrder(order | {"side": "BUY", "type": "MARKET"})
    for percent in range(1, RESTING_EACH + 1):
        limit = (price * (100 - percent) / 100).quantize(spec.tick_size)
        await rig._client.fapiPrivatePostOrder(
            order | {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": str(limit)}
        )


BENCHES = [
    Bench(
        (
            lower(
                "stop.all_cancelled_against_the_venues_limits",
                2,
                1.2,
                f"a command for each of {POSITIONS} positions and {POSITIONS * RESTING_EACH} orders at 1200 a minute",
            ),
        ),
        flatten,
        1,
    )
]
