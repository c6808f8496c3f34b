"""Execution with the real venue core and unmodified ccxt in virtual time; bus, stop and portfolio are played by the test.

Faults sit between ccxt and the venue, where they happen in life.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar, cast

import aiohttp
import msgspec
import pytest

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import DeskId, ProposalId, Symbol, TripId
from breakwater.domain.limits import effective_limits
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.policy import LimitOverrides, PolicySpec, TradingMode
from breakwater.domain.signals import DataKind, Provenance
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView, Trigger, Trip
from breakwater.exchange.client import Credentials, UsdmClient, make_client
from breakwater.execution.service import ExecutionService
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.config import Fills, SymbolSpec, VenueConfig
from breakwater.paper_venue.core import PaperVenue, Response
from breakwater.paper_venue.faults.wire import FaultWire
from breakwater.paper_venue.matching import FullFill
from breakwater.paper_venue.model import Level, Now, Present, Tick
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    Event,
    FlatConfirmed,
    MarkPrice,
    OrderProposed,
    Payload,
    PortfolioUpdated,
    StopLease,
)
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk
from breakwater.simulation.transport import MEMORY_ENDPOINT, Latency, MemorySession

D = Decimal
SEED = int(os.environ.get("BREAKWATER_TEST_SEED", "1"))
START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
DESK = DeskId("desk-a")
BTC = Symbol("BTCUSDT")
ETH = Symbol("ETHUSDT")
CREDENTIALS = Credentials("paper-key", "paper-secret")
P = TypeVar("P", bound=Payload)
T = TypeVar("T")

Fault = Callable[[Callable[[], Response]], Response]
"""Gets the venue's own handling and may call it, or not, before it answers or raises an aiohttp error."""


class FixedPolicy:
    """A policy reader whose answer the test sets."""

    def __init__(self) -> None:
        self.spec: PolicySpec | None = PolicySpec(
            symbols=(BTC, ETH), limits=LimitOverrides(max_order_notional_usd=D(60_000))
        )
        self.stale = False

    def current(self) -> PolicyInForce | None:
        if self.spec is None:
            return None
        stop = EmergencyStopSpec(policy_ref=PolicyRef("main"))
        limits = effective_limits(self.spec, stop)
        return PolicyInForce(1, self.spec, stop, limits, START, self.stale, cast(Any, None), "")


class PartialFill(FullFill):
    """Takers get at most ``most`` per order; None: everything."""

    def __init__(self, config: VenueConfig) -> None:
        super().__init__(config)
        self.most: Decimal | None = None

    def offered(
        self, spec: SymbolSpec, side: str, quantity: Decimal, limit: Decimal | None, present: Present
    ) -> list[Level]:
        return super().offered(spec, side, quantity if self.most is None else min(quantity, self.most), limit, present)


class FaultyVenue:
    """The venue behind a wire on which the next matching requests can go wrong."""

    def __init__(self, venue: PaperVenue) -> None:
        self.core = venue
        self.faults: list[tuple[str, str, Fault, list[int]]] = []
        self.log: list[tuple[str, str, str]] = []

    def handle(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: Now) -> Response:
        text = f"{query}&{body.decode()}"
        self.log.append((method, path, text))
        for fault_method, fragment, fault, left in self.faults:
            if left[0] > 0 and fault_method == method and fragment in f"{path}?{text}":
                left[0] -= 1
                return fault(lambda: self.core.handle(method, path, query, headers, body, now))
        return self.core.handle(method, path, query, headers, body, now)

    def open_stream(self, path: str, now: Now, *callbacks: Any) -> Any:
        return self.core.open_stream(path, now, *callbacks)

    def fail(self, method: str, fragment: str, fault: Fault, *, times: int = 1) -> list[int]:
        """``fault`` for the next ``times`` requests whose path and parameters contain ``fragment``. Clear with ``[0] = 0``."""
        left = [times]
        self.faults.append((method, fragment, fault, left))
        return left

    def count(self, method: str, fragment: str) -> int:
        return sum(1 for m, path, text in self.log if m == method and fragment in f"{path}?{text}")


class SlowSession(MemorySession):
    """A wire on which requests that contain a fragment reach the venue late (seconds); ``rig.slow[fragment] = seconds``."""

    slow: Mapping[str, float] = {}
    _late = 0.0

    def _request(self, method: str, url: Any, options: dict[str, Any]) -> Any:
        body = options.get("data") or b""
        text = f"{method} {url}&{body.decode() if isinstance(body, bytes) else body}"
        self._late = max((seconds for part, seconds in self.slow.items() if part in text), default=0.0)
        return super()._request(method, url, options)

    def delay(self) -> float:
        late, self._late = self._late, 0.0
        return super().delay() + late


class Rig:
    """One desk's execution with everything around it. ``kill`` and ``start`` again: same disk, broker and venue."""

    def __init__(self, simulation: Simulation, config: VenueConfig | None = None) -> None:
        self.simulation = simulation
        self.clocks = simulation.clocks
        config = config or VenueConfig()
        self.mode: TradingMode | None = None
        self.data = DataKind.SYNTHETIC
        self.credentials = CREDENTIALS
        self.fill_model = PartialFill(config)
        self.core = PaperVenue(config, fill_model=None if config.fills is Fills.BOOK else self.fill_model)
        self.venue = FaultyVenue(self.core)
        self.faults = FaultWire(self.core)
        self.broker = MemoryBroker()
        self.disk = MemoryDisk()
        self.policy = FixedPolicy()
        self.slow: dict[str, float] = {}
        self.latency: Latency | None = None
        self.hears_flat = True
        """Whether the stop cools down once the account is confirmed flat, as the real one does."""
        self.gate_closed: list[datetime | None] = []
        self._buses: dict[str, MemoryBus] = {}
        self._state = StopState.ARMED
        self._epoch = 1
        self._sequence = 0
        self._trip: Trip | None = None
        self._lease_runs = False
        self._session: SlowSession | None = None
        self._client: UsdmClient | None = None
        self._service: ExecutionService | None = None
        self.tick(BTC, "100000")
        self.tick(ETH, "4000")

    # The desk's process.

    @property
    def service(self) -> ExecutionService:
        assert self._service is not None
        return self._service

    async def start(self) -> None:
        bus = MemoryBus(self.broker, DESK, "execution", self.clocks.infra)
        self._buses["execution"] = bus
        context = ComponentContext(DESK, self.clocks, bus, self.disk, self.policy, self.data)
        self._session = SlowSession(self.venue, self.clocks, latency=self.latency, faults=self.faults)
        self._session.slow = self.slow
        self._client = make_client(
            MEMORY_ENDPOINT,
            self.credentials,
            self.clocks.infra,
            session=self._session,
            timeout_s=3.0,
            test_orders_only=self.mode is TradingMode.STAGING,
        )
        self._service = ExecutionService(context, self._client, InstrumentBook(), mode=self.mode)
        self._service.on_gate_closed = lambda tick, why: self.gate_closed.append(tick)
        await bus.start()
        await self._service.start()

    async def kill(self) -> None:
        """As kill -9: nothing is said to anybody, memory is gone."""
        service, self._service = self.service, None
        for task in list(service._tasks):
            task.cancel()
        await self._buses.pop("execution").stop()
        await self.sleep(0)
        assert self._session is not None
        assert self._client is not None
        await self._session.close()
        await self._client.close()
        await self.sleep(0.01)

    async def restart(self) -> None:
        """Start again after ``kill``, with the others talking."""
        await self.start()
        await self.sleep(0.5)
        await self.snapshot()
        for symbol in (BTC, ETH):
            await self.mark(symbol)

    async def ready(self) -> None:
        """Started, reconciled, stop armed, portfolio and marks known: the gate is open."""
        await self.begin()
        state, why = self.service.gate()
        assert why is None, why
        assert state.value == "OPEN"

    async def begin(self) -> None:
        """What `ready` does, whatever the gate says then."""
        await self.start()
        self.simulation.loop.create_task(self._leases(), name="leases")
        await self.sleep(0.5)
        await self.snapshot()
        for symbol in (BTC, ETH):
            await self.mark(symbol)
        await self.sleep(0.1)

    async def close(self) -> None:
        self._lease_runs = False
        if self._service is not None:
            assert not self.service.failed.done(), self.service.failed.result()
            await self.service.stop()
            assert self._session is not None
            assert self._client is not None
            await self._client.close()
            await self._session.close()
        for bus in self._buses.values():
            await bus.stop()
        assert not self.broker.failures, self.broker.failures

    # Who else is on the bus.

    async def say(self, producer: str, payload: Payload, *, state: bool = False) -> None:
        if producer not in self._buses:
            self._buses[producer] = MemoryBus(self.broker, DESK, producer, self.clocks.infra)
            await self._buses[producer].start()
        bus = self._buses[producer]
        await (bus.set_state if state else bus.publish)(payload, time=self.clocks.market.now())

    async def _leases(self) -> None:
        self._lease_runs = True
        while self._lease_runs:
            if self.hears_flat and self._trip is not None and self._state is StopState.TRIPPED:
                heard = {(flat.trip_id, flat.epoch) for flat in self.said(FlatConfirmed)}
                if (self._trip.trip_id, self._epoch) in heard:
                    await self.stop_state(StopState.COOLING_DOWN, trip=self._trip)
            with contextlib.suppress(BusUnavailable):
                await self.lease()
            await self.clocks.infra.sleep(0.3)

    async def lease(self) -> None:
        self._sequence += 1
        view = StopView(
            self._state,
            self._epoch,
            self._sequence,
            self.clocks.infra.utc_now(),
            D(1),
            reduce_only=False,
            trip=self._trip,
        )
        await self.say("emergency_stop", StopLease(view), state=True)

    def silence_stop(self) -> None:
        self._lease_runs = False

    async def stop_state(self, state: StopState, *, trip: Trip | None = None) -> None:
        self._state, self._trip = state, trip
        self._epoch += 1
        await self.lease()

    async def trip(self, *, close_positions: bool = True) -> Trip:
        trip = Trip(
            TripId(f"t-{self._epoch + 1}"),
            Trigger.DAILY_DRAWDOWN,
            self.clocks.market.now(),
            D("5.1"),
            D(5),
            "emergencyStop",
            "emergency_stop",
            "daily drawdown 5.1 % over 5 %",
            close_positions,
        )
        await self.stop_state(StopState.TRIPPED, trip=trip)
        return trip

    async def snapshot(self, equity: str = "14000") -> None:
        now = self.clocks.market.now()
        value = D(equity)
        await self.say(
            "portfolio",
            PortfolioUpdated(
                Snapshot(1, now, value, D(0), value, value, now.date(), D(0), D(0), D(0), D(0), (), reconciled=True)
            ),
        )

    # The market.

    def tick(self, symbol: Symbol, price: str) -> None:
        now = venue_now(self.clocks)
        self.faults.pass_time(now)
        self.core.on_tick(Tick(symbol, now.market_ms, D(price)), now)

    async def mark(self, symbol: Symbol) -> None:
        price = self.core.ledger.last_price(symbol)
        await self.say("market_data", MarkPrice(symbol, price, self.clocks.market.now()))

    async def move(self, symbol: Symbol, price: str) -> None:
        self.tick(symbol, price)
        await self.mark(symbol)
        await self.sleep(0.05)

    async def sleep(self, seconds: float) -> None:
        await self.clocks.infra.sleep(seconds)

    # Asking.

    def entry(self, proposal_id: str = "p-1", **changes: Any) -> Proposal:
        """0.12 BTC long near 100,000: margin 1,200 at leverage 10, stop 2 %."""
        now = self.clocks.market.now()
        base = Proposal(
            proposal_id=ProposalId(proposal_id),
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
            provenance=Provenance("heuristic:long", DataKind.SYNTHETIC),
        )
        return msgspec.structs.replace(base, **changes)

    async def propose(self, proposal: Proposal, *, wait: float = 0.1) -> None:
        await self.say("risk_manager", OrderProposed(proposal))
        await self.sleep(wait)

    # Evidence.

    def said(self, kind: type[P]) -> list[P]:
        return [e.payload for e in self.broker.stream(DESK, "execution") if isinstance(e.payload, kind)]

    def events(self) -> tuple[Event, ...]:
        return self.broker.stream(DESK, "execution")

    def held(self, symbol: Symbol = BTC) -> Decimal:
        position = self.core.ledger.state.accounts["paper"].positions.get(symbol)
        return position.qty if position else D(0)

    def stops(self, symbol: Symbol = BTC) -> list[tuple[Decimal, Decimal]]:
        """Quantity and trigger of the open conditional orders at the venue."""
        return [(a.quantity, a.trigger_price) for a in self.core.ledger.open_algo_orders("paper", symbol)]

    def resting(self, symbol: Symbol = BTC) -> list[Any]:
        return list(self.core.ledger.open_orders("paper", symbol))

    def accepted(self, kind: str = "order") -> list[Any]:
        return [record for record in self.core.ledger.state.audit if record.kind == kind]


# Faults.


def lost_reply(handle: Callable[[], Response]) -> Response:
    """The venue did it; the connection breaks before the reply."""
    handle()
    raise aiohttp.ServerDisconnectedError


def never_arrived(handle: Callable[[], Response]) -> Response:
    """The connection breaks before the venue sees anything; from here it looks just like a lost reply."""
    raise aiohttp.ServerDisconnectedError


def answer(status: int, body: str) -> Fault:
    """The venue does nothing and says this."""
    return lambda _: Response(status, {"Content-Type": "application/json"}, body.encode())


def done_but(status: int, body: str) -> Fault:
    """The venue does it and says this."""

    def fault(handle: Callable[[], Response]) -> Response:
        handle()
        return Response(status, {"Content-Type": "application/json"}, body.encode())

    return fault


class Faults:
    lost_reply = staticmethod(lost_reply)
    never_arrived = staticmethod(never_arrived)
    answer = staticmethod(answer)
    done_but = staticmethod(done_but)


Scenario = Callable[[Rig], Awaitable[T]]


@pytest.fixture
def faults() -> type[Faults]:
    return Faults


@pytest.fixture
def play() -> Callable[..., Any]:
    """``play(scenario)``: run it on a ready rig in virtual time and close the rig."""

    def run(scenario: Scenario[T], *, ready: bool = True, seed: int = SEED, config: VenueConfig | None = None) -> T:
        async def main(simulation: Simulation) -> T:
            rig = Rig(simulation, config)
            if ready:
                await rig.ready()
            result = await scenario(rig)
            await rig.close()
            return result

        return run_virtual(main, seed=seed, start=START)

    return run
