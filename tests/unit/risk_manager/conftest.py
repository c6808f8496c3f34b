"""A risk manager in virtual time, on the memory bus, with everybody else played by the test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.ids import ClientOrderId, DeskId, ProposalId, SignalId, Symbol, TradeId, VenueOrderId
from breakwater.domain.instruments import Instrument, LeverageBracket
from breakwater.domain.limits import effective_limits
from breakwater.domain.orders import OrderRole, OrderStatus, Proposal, Side
from breakwater.domain.policy import PolicySpec
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import DataKind, Direction, Provenance, Signal
from breakwater.domain.snapshot import PositionView, Snapshot
from breakwater.domain.stop_state import StopState, StopView
from breakwater.risk_manager.service import RiskManager
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    MarkPrice,
    OrderFailed,
    OrderFilled,
    OrderProposed,
    OrderRefused,
    PortfolioUpdated,
    SignalGenerated,
    StopLease,
)
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk

D = Decimal
START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
DESK = DeskId("desk-a")
BTC = Symbol("BTCUSDT")


class FixedPolicy:
    """A policy reader whose answer the test sets."""

    def __init__(self) -> None:
        self.spec: PolicySpec | None = PolicySpec(symbols=(BTC, Symbol("ETHUSDT")))
        self.stale = False
        self.hold = ""

    def current(self) -> PolicyInForce | None:
        if self.spec is None:
            return None
        stop = EmergencyStopSpec(policy_ref=PolicyRef("main"))
        limits = effective_limits(self.spec, stop)
        return PolicyInForce(1, self.spec, stop, limits, START, self.stale, cast(Any, None), "", hold=self.hold)


class Desk:
    """Plays market data, portfolio, execution, signals and the stop; records what the risk manager says."""

    def __init__(self, simulation: Simulation) -> None:
        self.clocks = simulation.clocks
        self.broker = MemoryBroker()
        self.disk = MemoryDisk()
        self.policy = FixedPolicy()
        self.book = InstrumentBook([self.instrument(BTC), self.instrument(Symbol("ETHUSDT"))])
        self._buses: dict[str, MemoryBus] = {}
        self._sequence = 0
        self.service: RiskManager | None = None

    @staticmethod
    def instrument(symbol: Symbol) -> Instrument:
        brackets = (LeverageBracket(D(300_000), 125, D("0.004")),)
        return Instrument(symbol, D("0.1"), D("0.001"), D("0.001"), D(1000), D(120), D(5), brackets=brackets)

    async def start(self) -> None:
        bus = MemoryBus(self.broker, DESK, "risk_manager", self.clocks.infra)
        context = ComponentContext(DESK, self.clocks, bus, self.disk, self.policy, DataKind.REPLAY)
        self.service = RiskManager(context, self.book)
        await bus.start()
        await self.service.start()
        self._buses["risk_manager"] = bus

    async def kill(self) -> None:
        """As kill -9: the process and its memory are gone, disk and broker stay."""
        assert self.service is not None
        await self._buses.pop("risk_manager").stop()
        await self.service.stop()

    async def ready(self) -> None:
        """Start, and let everything be known and open."""
        await self.start()
        await self.lease()
        await self.snapshot()
        await self.mark()

    async def say(self, producer: str, payload: Any, *, state: bool = False) -> None:
        if producer not in self._buses:
            self._buses[producer] = MemoryBus(self.broker, DESK, producer, self.clocks.infra)
            await self._buses[producer].start()
        bus = self._buses[producer]
        await (bus.set_state if state else bus.publish)(payload, time=self.clocks.market.now())
        await self.settle()

    async def settle(self) -> None:
        await self.clocks.infra.sleep(0.01)

    async def lease(self, state: StopState = StopState.ARMED, *, reduce_only: bool = False) -> None:
        now = self.clocks.infra.utc_now()
        view = StopView(state, 1, 1, now, D(3600), reduce_only, "boot" if reduce_only else "")
        await self.say("emergency_stop", StopLease(view), state=True)

    async def snapshot(self, *held: Symbol, reconciled: bool = True, equity: str = "14000") -> None:
        self._sequence += 1
        now = self.clocks.market.now()
        positions = tuple(PositionView(s, D("0.1"), D(100_000), D(100_000), D(0), 10, now) for s in held)
        gross = sum((p.notional for p in positions), D(0))
        snapshot = Snapshot(
            sequence=self._sequence,
            time=now,
            wallet=D(equity),
            unrealised_pnl=D(0),
            equity=D(equity),
            baseline=D(equity),
            baseline_day=now.date(),
            daily_drawdown_pct=D(0),
            open_loss_pct=D(0),
            gross_notional=gross,
            exposure_pct=gross / D(equity) * 100,
            positions=positions,
            reconciled=reconciled,
        )
        await self.say("portfolio", PortfolioUpdated(snapshot))

    async def mark(self, price: str = "100000", symbol: Symbol = BTC) -> None:
        await self.say("market_data", MarkPrice(symbol, D(price), self.clocks.market.now()))

    async def signal(self, name: str = "s1", symbol: Symbol = BTC, **changes: Any) -> Signal:
        signal = Signal(
            SignalId(name),
            symbol,
            Direction.LONG,
            D("0.75"),
            self.clocks.market.now(),
            timedelta(seconds=60),
            Provenance("heuristic:test", DataKind.REPLAY),
            stop_pct=D(2),
        )
        signal = msgspec.structs.replace(signal, **changes)
        await self.say("ai_engine", SignalGenerated(signal))
        return signal

    async def gate_refuses(self, name: str, code: RefusalCode) -> None:
        refusal = Refusal(code, "test")
        await self.say("execution", OrderRefused("gate", BTC, OrderRole.ENTRY, refusal, ProposalId(f"p-{name}")))

    async def fails(self, name: str) -> None:
        failed = OrderFailed(
            ClientOrderId("c"), ProposalId(f"p-{name}"), BTC, OrderRole.ENTRY, OrderStatus.EXPIRED, "x", "x", False
        )
        await self.say("execution", failed)

    async def fills(self, quantity: str, symbol: Symbol = BTC, role: OrderRole = OrderRole.ENTRY) -> None:
        now = self.clocks.market.now()
        fill = OrderFilled(
            TradeId(str(now.timestamp())), ClientOrderId("c"), VenueOrderId("1"), symbol, role, Side.BUY, D(quantity),
            D(100_000), D(0), D(0), now,
        )  # fmt: skip
        await self.say("execution", fill)

    @property
    def proposals(self) -> list[Proposal]:
        said = [event.payload for event in self.broker.stream(DESK, "risk_manager")]
        return [payload.proposal for payload in said if isinstance(payload, OrderProposed)]

    @property
    def refusals(self) -> list[Refusal]:
        said = [event.payload for event in self.broker.stream(DESK, "risk_manager")]
        return [payload.refusal for payload in said if isinstance(payload, OrderRefused)]

    @property
    def codes(self) -> list[RefusalCode]:
        return [refusal.code for refusal in self.refusals]


Play = Callable[[Desk], Awaitable[None]]


@pytest.fixture
def on_desk() -> Callable[[Play], None]:
    """on_desk(play): run ``play(desk)`` in virtual time; a handler that raised fails the test."""

    def run(play: Play) -> None:
        async def main(simulation: Simulation) -> None:
            desk = Desk(simulation)
            await play(desk)
            assert [str(failure.error) for failure in desk.broker.failures] == []

        run_virtual(main, seed=1, start=START)

    return run
