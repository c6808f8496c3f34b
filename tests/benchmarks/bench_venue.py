"""The paper venue over HTTP, and execution's own work per order, against the unmodified ccxt client."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import replace as dataclass_replace
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

import aiohttp
from msgspec.structs import replace
from tests.benchmarks.harness import Bench, higher, lower
from tests.benchmarks.samples import ENTRY, STOP_SPEC
from tests.benchmarks.venue_process import OTHER_PRICE, PRICES, SYMBOLS, VenueProcess, venue_process

from breakwater.desk.ports import PAPER_CREDENTIALS
from breakwater.domain.ids import DeskId, ProposalId, Symbol
from breakwater.domain.orders import Proposal, Protection
from breakwater.domain.policy import LimitOverrides, PolicySpec
from breakwater.domain.rate_budget import VenueLimits
from breakwater.domain.signals import DataKind
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView
from breakwater.exchange.client import Endpoint, UsdmClient, make_client
from breakwater.exchange.governor import Governor
from breakwater.execution.service import ExecutionService
from breakwater.paper_venue.config import KNOWN_SYMBOLS
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
from breakwater.simulation.stores import MemoryDisk, MemoryStore

ORDERS = 400
ROUNDS = 3
BOUNDLESS = VenueLimits(
    commands=10**9, burst=10**9, weight_per_minute=10**9, orders_per_10s=10**9, orders_per_minute=10**9
)
SETTLED_S = 0.05
"""How long an entry, its stop and all they cause are given."""
DESK = DeskId("bench")


# ------------------------------------------------------------------------------------------------ the venue over HTTP


def http_orders() -> dict[str, float]:
    """Orders for each CPU-second of the venue, over the rate of one ccxt client that has the other core to itself."""

    async def main(venue: VenueProcess) -> float:
        clock = wall_clocks().infra
        governor = Governor(clock, limits=BOUNDLESS)
        client = make_client(_endpoint(venue), PAPER_CREDENTIALS, clock, governor=governor)
        try:
            await client.load_markets()
            per_core, through_ccxt = [], []
            for _ in range(ROUNDS):
                through_ccxt.append(await _ccxt_orders(client))
                began = venue.cpu_s()
                await _raw_orders(venue.url)
                per_core.append(ORDERS / (venue.cpu_s() - began))
            return sorted(per_core)[1] / sorted(through_ccxt)[1]
        finally:
            await client.close()

    with venue_process() as venue:
        return {"venue.http_orders_per_core_s_against_ccxt_client_rate": asyncio.run(main(venue))}


def _endpoint(venue: VenueProcess) -> Endpoint:
    return Endpoint(venue.url, venue.url.replace("http", "ws", 1))


async def _ccxt_orders(client: UsdmClient) -> float:
    began = time.perf_counter()
    for n in range(ORDERS):
        side = "buy" if n % 2 else "sell"
        await client.create_order("BTC/USDT:USDT", "market", side, 0.002)
    return ORDERS / (time.perf_counter() - began)


async def _raw_orders(url: str) -> None:
    bodies = []
    for n in range(ORDERS):
        stamp = int(time.time() * 1000)
        side = "BUY" if n % 2 else "SELL"
        text = f"symbol=BTCUSDT&side={side}&type=MARKET&quantity=0.002&recvWindow=60000&timestamp={stamp}"
        signature = hmac.new(PAPER_CREDENTIALS.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        bodies.append(f"{text}&signature={signature}")
    headers = {"X-MBX-APIKEY": PAPER_CREDENTIALS.api_key, "Content-Type": "application/x-www-form-urlencoded"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for body in bodies:
            async with session.post(f"{url}/fapi/v1/order", data=body) as response:
                assert response.status == 200, await response.text()
                await response.read()


# ------------------------------------------------------------------------------------------------ execution's own work


def our_cpu() -> dict[str, float]:
    """CPU of orders through execution (gate, journal, order, its stop, stream, events) beyond ccxt's own for each."""
    with venue_process() as venue:
        found = [asyncio.run(_both(venue, number)) for number in range(ROUNDS)]
    return {"exec.our_cpu_per_order_against_ccxt": sorted(max(0.0, ours - bare) / bare for bare, ours in found)[1]}


async def _both(venue: VenueProcess, number: int) -> tuple[float, float]:
    return await _bare(venue), await _through_execution(venue, number)


async def _bare(venue: VenueProcess) -> float:
    """CPU-seconds of one ``create_order`` over HTTP, in the rhythm in which the component gets its own."""
    client = make_client(_endpoint(venue), PAPER_CREDENTIALS, wall_clocks().infra)
    await client.load_markets()
    spent = 0.0
    for n in range(2 * len(SYMBOLS)):
        await asyncio.sleep(SETTLED_S)
        began = time.process_time()
        await client.create_order("BTC/USDT:USDT", "market", "buy" if n % 2 else "sell", 0.002)
        await asyncio.sleep(SETTLED_S)
        spent += time.process_time() - began
    await client.close()
    return spent / (2 * len(SYMBOLS))


async def _through_execution(venue: VenueProcess, number: int) -> float:
    """CPU-seconds of one order (an entry or its stop) through the whole component over HTTP; flat afterwards."""
    clocks, broker = wall_clocks(), MemoryBroker()
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
    client = make_client(_endpoint(venue), PAPER_CREDENTIALS, clocks.infra)
    context = ComponentContext(DESK, clocks, buses["execution"], MemoryDisk(), policy, DataKind.SYNTHETIC)
    service = ExecutionService(context, client, InstrumentBook())
    for bus in buses.values():
        await bus.start()
    await service.start()
    leases = asyncio.create_task(_leases(buses["emergency_stop"], clocks))
    async with asyncio.timeout(30):
        while not service.books.reconciled:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.1)
    assert ENTRY.leverage is not None
    for symbol in SYMBOLS:  # once for each symbol, not for each order
        assert (await service.parts.gateway.prepare(Symbol(symbol), ENTRY.leverage)).accepted
    spent = 0.0
    for index, symbol in enumerate(SYMBOLS):
        now = clocks.market.now()
        await buses["portfolio"].publish(PortfolioUpdated(_worth(index + 1, now)), time=now)
        for known in SYMBOLS[: index + 1]:  # marks grow stale within seconds
            await buses["market_data"].publish(MarkPrice(Symbol(known), _price(known), now), time=now)
        await asyncio.sleep(SETTLED_S)
        compared = service.parts.reconciler.rounds
        began = time.process_time()
        await buses["risk_manager"].publish(OrderProposed(_entry(symbol, number, clocks.market.now())), time=now)
        await asyncio.sleep(SETTLED_S)
        took = time.process_time() - began
        # A comparison of the whole account comes every 5 s, with or without orders.
        spent += took if service.parts.reconciler.rounds == compared else spent / max(1, index)
    orders = [e for e in broker.stream(DESK, "execution") if isinstance(e.payload, OrderSubmitted)]
    refused = [e.payload for e in broker.stream(DESK, "execution") if isinstance(e.payload, OrderRefused | OrderFailed)]
    assert len(orders) == 2 * len(SYMBOLS), f"{len(orders)} orders for {len(SYMBOLS)} entries with stops: {refused}"
    leases.cancel()
    await asyncio.gather(leases, return_exceptions=True)
    await service.stop()
    await _flat(client)
    await client.close()
    for bus in buses.values():
        await bus.stop()
    return spent / len(orders)


async def _flat(client: UsdmClient) -> None:
    for row in await client.fapiPrivateV3GetPositionRisk():
        amount = Decimal(row["positionAmt"])
        await client.fapiPrivateDeleteAlgoOpenOrders({"symbol": row["symbol"]})
        order = {"symbol": row["symbol"], "side": "SELL" if amount > 0 else "BUY", "type": "MARKET"}
        await client.fapiPrivatePostOrder(order | {"quantity": str(abs(amount)), "reduceOnly": "true"})


def _price(symbol: str) -> Decimal:
    return PRICES.get(symbol, OTHER_PRICE)


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


def _entry(symbol: str, number: int, now: datetime) -> Proposal:
    spec, price = KNOWN_SYMBOLS[symbol], _price(symbol)
    lots = (Decimal(600) / price / spec.step_size).to_integral_value(rounding=ROUND_UP)
    return replace(
        ENTRY,
        proposal_id=ProposalId(f"bench-{number}-{symbol}"),
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
                "venue.http_orders_per_core_s_against_ccxt_client_rate",
                2,
                4,
                "orders/s of one ccxt client on the same venue",
            ),
        ),
        http_orders,
        3,
    ),
    Bench(
        (lower("exec.our_cpu_per_order_against_ccxt", 1, 0.5, "CPU of one bare ccxt create_order over HTTP"),),
        our_cpu,
        1,
    ),
]
