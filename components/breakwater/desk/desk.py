"""Assembles all components of one desk and runs them together.

Buses start first, so that no component misses what another says while starting; then the components, those first that others
listen to. Stopping goes the other way round: whoever can send orders stops first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import structlog

from breakwater.ai_engine.service import AiEngine
from breakwater.ai_engine.source import SignalSource
from breakwater.desk.ports import DeskPorts
from breakwater.domain.ids import Symbol
from breakwater.domain.orders import OrderRole
from breakwater.domain.policy import TradingMode
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.service import EmergencyStopService
from breakwater.exchange.governor import Governor
from breakwater.execution.gate_watch import GateClosed
from breakwater.execution.service import ExecutionService
from breakwater.health_monitor.service import HealthMonitor
from breakwater.market_data.service import MarketData
from breakwater.portfolio.service import PortfolioService
from breakwater.risk_manager.service import RiskManager
from breakwater.runtime.bus import Bus
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.heartbeat import send_heartbeats
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.lifecycle import Service
from breakwater.runtime.manifests import DeskManifests
from breakwater.runtime.policy_events import policy_announcer
from breakwater.runtime.policy_store import PolicyStore

log = structlog.get_logger(__name__)

POLICY_PRODUCER = "policy"


class Desk:
    """One desk: its policy store and components, on the ports it is given.

    ``sources`` are the signal sources to host; ``end_signals_at_first_trip`` silences them for good once the stop tripped;
    ``on_gate_closed`` hears each time execution's gate goes to REDUCE_ONLY.
    """

    def __init__(
        self,
        ports: DeskPorts,
        sources: Sequence[SignalSource],
        *,
        end_signals_at_first_trip: bool = False,
        on_gate_closed: GateClosed | None = None,
    ) -> None:
        self.ports = ports
        policy_bus = ports.bus(POLICY_PRODUCER)
        self.policy = PolicyStore(
            ports.kv,
            ports.disk(POLICY_PRODUCER),
            ports.clocks.infra,
            desk=ports.desk,
            writer=True,
            on_change=policy_announcer(policy_bus, ports.clocks.market),
        )
        self.instruments = InstrumentBook()
        self._buses: dict[str, Bus] = {POLICY_PRODUCER: policy_bus}
        self._clients = [ports.client(None), ports.client(ports.credentials)]
        public, trading = self._clients
        self.market_data = MarketData(self.context(MarketData.name), public, self.instruments)
        self.portfolio = PortfolioService(self.context(PortfolioService.name))
        self.emergency_stop = EmergencyStopService(self.context(EmergencyStopService.name), entropy=ports.entropy)
        self.risk_manager = RiskManager(self.context(RiskManager.name), self.instruments)
        self.ai_engine = AiEngine(self.context(AiEngine.name), sources, end_at_first_trip=end_signals_at_first_trip)
        self.execution = ExecutionService(
            self.context(ExecutionService.name), trading, self.instruments, mode=TradingMode.PAPER
        )
        self.execution.on_gate_closed = on_gate_closed
        self.health_monitor = HealthMonitor(self.context(HealthMonitor.name))
        self.components: list[Service] = [
            self.portfolio,
            self.emergency_stop,
            self.risk_manager,
            self.execution,
            self.ai_engine,
            self.market_data,
            self.health_monitor,
        ]
        self._started: list[Service] = []

    def context(self, component: str) -> ComponentContext:
        """What ``component`` gets handed in; its bus is started and stopped with the desk."""
        bus = self._buses.setdefault(component, self.ports.bus(component))
        return ComponentContext(
            desk=self.ports.desk,
            clocks=self.ports.clocks,
            bus=bus,
            disk=self.ports.disk(component),
            policy=self.policy,
            data=self.ports.data,
            random=self.ports.random(component),
        )

    @property
    def governor(self) -> Governor:
        """Where execution's requests to the venue wait for their turn."""
        return self._clients[1].governor

    def add(self, component: Service) -> None:
        """Run one more component with the desk (its page, an observer). Before ``start``."""
        self.components.append(component)

    async def start(self, manifests: DeskManifests | None, *, who: str, otherwise: DeskManifests | None = None) -> None:
        """Bring ``manifests`` into force, then start everything.

        None: what was in force before goes on, or ``otherwise`` where nothing was.
        """
        try:
            for bus in self._buses.values():
                await bus.start()
            await self.policy.refresh()
            chosen = manifests or (otherwise if self.policy.current() is None else None)
            if chosen is not None:
                await self.policy.apply(chosen, who=who)
            for component in self.components:
                await component.start()
                self._started.append(component)
                self._beat(component)
        except BaseException:
            await self.stop()
            raise

    async def run(self) -> None:
        """Keep the policy fresh and wait until a component or a bus fails; raises what made it fail."""
        fresh = asyncio.ensure_future(self.policy.keep_fresh())
        # A bus on a real server is a service with tasks of its own; it fails, for one, when another process took its place.
        buses = [bus for bus in self.buses if isinstance(bus, Service)]
        failing = [asyncio.ensure_future(part.raise_when_failed()) for part in (*self.components, *buses)]
        try:
            done, _ = await asyncio.wait([fresh, *failing], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (fresh, *failing):
                task.cancel()
            await asyncio.gather(fresh, *failing, return_exceptions=True)

    async def stop(self) -> None:
        """Stop in the reverse order of starting; what each holds is durable afterwards."""
        while self._started:
            await self._started.pop().stop()
        for bus in self._buses.values():
            await bus.stop()
        for client in self._clients:
            await client.close()

    @property
    def buses(self) -> tuple[Bus, ...]:
        return tuple(self._buses.values())

    @property
    def stop_state(self) -> StopState | None:
        """The emergency stop's state; None while it has not read its own latch and copies."""
        return self.emergency_stop.view().state if self.emergency_stop.settled else None

    @property
    def open_positions(self) -> int | None:
        """How many positions are open; None while that is not known, or the venue says otherwise than the ledger."""
        snapshot = self.portfolio.snapshot
        return len(snapshot.positions) if snapshot is not None and snapshot.reconciled else None

    @property
    def protective_stops(self) -> dict[Symbol, Decimal]:
        """Trigger price of the stop that rests at the venue, by symbol."""
        return {
            order.symbol: order.proposal.trigger_price
            for order in self.execution.orders_in_flight()
            if order.role is OrderRole.STOP and order.proposal.trigger_price is not None
        }

    def _beat(self, component: Service) -> None:
        bus = self._buses[component.name]
        component.spawn(send_heartbeats(component, bus, self.ports.clocks, lambda: component.progress), "heartbeat")
