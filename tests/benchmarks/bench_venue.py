"""The paper venue over HTTP, and execution's own work per order, against the unmodified ccxt client."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import replace as dataclass_replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_UP, Decimal

import aiohttp
from msgspec.structs import replace
from tests.benchmarks.harness import Bench, higher, lower
from tests.benchmarks.samples import ENTRY, STOP_SPEC

from breakwater.desk.ports import PAPER_CREDENTIALS
from breakwater.domain.ids import DeskId, ProposalId, Symbol
from breakwater.domain.orders import Proposal, Protection
from breakwater.domain.policy import LimitOverrides, PolicySpec
from breakwater.domain.signals import DataKind
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView
from breakwater.exchange.client import Endpoint, UsdmClient, make_client
from breakwater.execution.service import ExecutionService
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.config import KNOWN_SYMBOLS, VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.http import serve_http
from breakwater.paper_venue.model import Tick
from breakwater.runtime.clocks import Clocks, wall_clocks
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    MarkPrice,
    OrderFailed,
    OrderProposed,
    OrderRefused,
    OrderSubmitted,
    PortfolioUpdated,
    StopLease,
)
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.manifests import DeskManifests, load_manifests
from breakwater.runtime.policy_store import PolicyStore
from breakwater.runtime.resources import profile_file
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk, MemoryStore
from breakwater.simulation.transport import MEMORY_ENDPOINT, MemorySession

ORDERS = 400
DESK = DeskId("bench")
SYMBOLS = tuple(KNOWN_SYMBOLS)[:18]
CONFIG = VenueConfig(
    symbols=tuple(KNOWN_SYMBOLS[s] for s in SYMBOLS),
    weight_limit_per_minute=10**9,
    order_limit_per_10s=10**9,
    order_limit_per_minute=10**9,
)
PRICES = {"BTCUSDT": Decimal(60000), "ETHUSDT": Decimal(3000)}


def venue_with_prices(clocks: Clocks) -> PaperVenue:
    venue, now = PaperVenue(CONFIG), venue_now(clocks)
    for symbol in SYMBOLS:
        venue.on_tick(Tick(symbol, now.market_ms, PRICES.get(symbol, Decimal(10))), now)
    return venue


# ------------------------------------------------------------------------------------------------ the venue over HTTP


def http_orders() -> dict[str, float]:
    """Orders a second with requests signed beforehand, over those of one ccxt client on the same server."""

    async def main() -> float:
        clocks = wall_clocks()
        server = await serve_http(venue_with_prices(clocks), "127.0.0.1", 0, clocks)
        endpoint = Endpoint(server.url, server.url.replace("http", "ws", 1))
        client = make_client(endpoint, PAPER_CREDENTIALS, clocks.infra)
        try:
            await client.load_markets()
            raw, through_ccxt = [], []
            for _ in range(3):
                through_ccxt.append(await _ccxt_orders(client))
                raw.append(await _raw_orders(server.url))
            return sorted(raw)[1] / sorted(through_ccxt)[1]
        finally:
            await client.close()
            await server.stop()

    return {"venue.http_orders_per_s_against_ccxt_client_rate": asyncio.run(main())}


async def _ccxt_orders(client: UsdmClient) -> float:
    began = time.perf_counter()
    for n in range(ORDERS):
        side = "buy" if n % 2 else "sell"
        await client.create_order("BTC/USDT:USDT", "market", side, 0.002)
    return ORDERS / (time.perf_counter() - began)


async def _raw_orders(url: str) -> float:
    bodies = []
    for n in range(ORDERS):
        stamp = int(time.time() * 1000)
        side = "BUY" if n % 2 else "SELL"
        text = f"symbol=BTCUSDT&side={side}&type=MARKET&quantity=0.002&recvWindow=60000&timestamp={stamp}"
        signature = hmac.new(PAPER_CREDENTIALS.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        bodies.append(f"{text}&signature={signature}")
    headers = {"X-MBX-APIKEY": PAPER_CREDENTIALS.api_key, "Content-Type": "application/x-www-form-urlencoded"}
    async with aiohttp.ClientSession(headers=headers) as session:
        began = time.perf_counter()
        for body in bodies:
            async with session.post(f"{url}/fapi/v1/order", data=body) as response:
                assert response.status == 200, await response.text()
                await response.read()
        return ORDERS / (time.perf_counter() - began)


# ------------------------------------------------------------------------------------------------ execution's own work


def our_cpu() -> dict[str, float]:
    """CPU of entries through execution (gate, journal, leverage, entry, stop, stream, events), in orders of bare ccxt."""
    bare = run_virtual(_bare, seed=1, start=datetime(2026, 3, 2, 12, tzinfo=UTC), shuffle=False)
    ours = run_virtual(_through_execution, seed=1, start=datetime(2026, 3, 2, 12, tzinfo=UTC), shuffle=False)
    return {"exec.our_cpu_per_order_against_ccxt": max(0.0, ours - bare) / bare}


async def _bare(simulation: Simulation) -> float:
    """CPU-seconds of one ``create_order`` with the venue in memory."""
    session = MemorySession(venue_with_prices(simulation.clocks), simulation.clocks)
    client = make_client(MEMORY_ENDPOINT, PAPER_CREDENTIALS, simulation.clocks.infra, session=session)
    await client.load_markets()
    began = time.process_time()
    for n in range(ORDERS):
        await client.create_order("BTC/USDT:USDT", "market", "buy" if n % 2 else "sell", 0.002)
    spent = time.process_time() - began
    await client.close()
    await session.close()
    return spent / ORDERS


async def _through_execution(simulation: Simulation) -> float:
    """CPU-seconds of one order (an entry or its stop) through the whole component."""
    clocks = simulation.clocks
    venue, broker = venue_with_prices(clocks), MemoryBroker()
    shipped = load_manifests(profile_file("NORMAL"))
    limits = LimitOverrides(max_concurrent_positions=len(SYMBOLS), min_position_margin_usd=Decimal(10))
    spec = PolicySpec(symbols=tuple(Symbol(s) for s in SYMBOLS), limits=limits)
    desk = DeskManifests(dataclass_replace(shipped.policy, spec=spec), dataclass_replace(shipped.stop, spec=STOP_SPEC))
    policy = PolicyStore(MemoryStore(), None, clocks.infra, desk=DESK, writer=True)
    await policy.apply(desk, who="bench")
    buses = {
        name: MemoryBus(broker, DESK, name, clocks.infra)
        for name in ("execution", "emergency_stop", "risk_manager", "market_data", "portfolio")
    }
    session = MemorySession(venue, clocks)
    client = make_client(MEMORY_ENDPOINT, PAPER_CREDENTIALS, clocks.infra, session=session)
    context = ComponentContext(DESK, clocks, buses["execution"], MemoryDisk(), policy, DataKind.SYNTHETIC)
    service = ExecutionService(context, client, InstrumentBook())
    for bus in buses.values():
        await bus.start()
    await service.start()
    leases = asyncio.create_task(_leases(buses["emergency_stop"], clocks))
    await asyncio.sleep(2)
    await asyncio.sleep(0.5)
    spent = 0.0
    for number, symbol in enumerate(SYMBOLS):
        now = clocks.market.now()
        await buses["portfolio"].publish(PortfolioUpdated(_worth(number + 1, now)), time=now)
        for known in SYMBOLS[: number + 1]:  # marks grow stale within seconds
            mark = MarkPrice(Symbol(known), PRICES.get(known, Decimal(10)), now)
            await buses["market_data"].publish(mark, time=now)
        await asyncio.sleep(0.1)
        began = time.process_time()
        await buses["risk_manager"].publish(OrderProposed(_entry(symbol, clocks.market.now())), time=now)
        await asyncio.sleep(0.2)
        spent += time.process_time() - began
        await asyncio.sleep(0.4)
    orders = [e for e in broker.stream(DESK, "execution") if isinstance(e.payload, OrderSubmitted)]
    refused = [e.payload for e in broker.stream(DESK, "execution") if isinstance(e.payload, OrderRefused | OrderFailed)]
    assert len(orders) == 2 * len(SYMBOLS), f"{len(orders)} orders for {len(SYMBOLS)} entries with stops: {refused}"
    leases.cancel()
    await asyncio.gather(leases, return_exceptions=True)
    await service.stop()
    await client.close()
    await session.close()
    for bus in buses.values():
        await bus.stop()
    return spent / len(orders)


def _worth(sequence: int, now: datetime) -> Snapshot:
    equity, zero = Decimal(14_000), Decimal(0)
    return Snapshot(
        sequence, now, equity, zero, equity, equity, now.date(), zero, zero, zero, zero, (), reconciled=True
    )


async def _leases(bus: MemoryBus, clocks: Clocks) -> None:
    sequence = 0
    while True:
        sequence += 1
        view = StopView(StopState.ARMED, 1, sequence, clocks.infra.utc_now(), Decimal(1), reduce_only=False)
        await bus.set_state(StopLease(view), time=clocks.market.now())
        await clocks.infra.sleep(0.3)


def _entry(symbol: str, now: datetime) -> Proposal:
    spec, price = KNOWN_SYMBOLS[symbol], PRICES.get(symbol, Decimal(10))
    lots = (Decimal(600) / price / spec.step_size).to_integral_value(rounding=ROUND_UP)
    return replace(
        ENTRY,
        proposal_id=ProposalId(f"bench-{symbol}"),
        symbol=Symbol(symbol),
        quantity=lots * spec.step_size,
        created_at=now,
        price=(price * Decimal("1.004")).quantize(spec.tick_size),
        expires_at=now + timedelta(seconds=60),
        protection=Protection(stop_price=(price * Decimal("0.98")).quantize(spec.tick_size)),
    )


BENCHES = [
    Bench(
        (
            higher(
                "venue.http_orders_per_s_against_ccxt_client_rate",
                1,
                2,
                "orders/s of one ccxt client on the same server",
            ),
        ),
        http_orders,
        3,
    ),
    Bench(
        (lower("exec.our_cpu_per_order_against_ccxt", 4, 2, "CPU of one bare ccxt create_order, venue in memory"),),
        our_cpu,
        5,
    ),
]
