"""How execution's parts are put together. No behaviour of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from breakwater.domain.gate import GateState
from breakwater.domain.ids import Symbol
from breakwater.domain.orders import OrderRole, Proposal
from breakwater.domain.policy import TradingMode
from breakwater.domain.refusals import Refusal
from breakwater.exchange.client import UsdmClient
from breakwater.execution.address_change import AddressChange
from breakwater.execution.books import Books
from breakwater.execution.clearance import Clearance, GoLive
from breakwater.execution.dead_man import DeadManSwitch
from breakwater.execution.entries import Entries
from breakwater.execution.exits import Exits
from breakwater.execution.facts import FactFinder
from breakwater.execution.fills import FillKeeper
from breakwater.execution.flatten import Flattener
from breakwater.execution.gate_watch import GateWatch
from breakwater.execution.gateway import VenueGateway
from breakwater.execution.halt import HaltKeeper
from breakwater.execution.journal import ExecutionJournal
from breakwater.execution.lookup import Lookup
from breakwater.execution.orders import TrackedOrder
from breakwater.execution.outbox import Outbox
from breakwater.execution.protection import ProtectionKeeper
from breakwater.execution.reconcile import Reconciler
from breakwater.execution.rules_keeper import RulesKeeper
from breakwater.execution.sender import OrderSender
from breakwater.execution.staging import StagingGateway
from breakwater.execution.startup import measure_clock
from breakwater.execution.stream import UserStream
from breakwater.execution.venue_calls import VenueCalls
from breakwater.execution.wallet_movements import WalletMovements
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.instrument_book import InstrumentBook

Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class Parts:
    """Everything between the bus and the venue, wired. ``books`` and ``journal`` are restored by the caller before use."""

    def __init__(
        self,
        context: ComponentContext,
        books: Books,
        journal: ExecutionJournal,
        client: UsdmClient,
        instruments: InstrumentBook,
        spawn: Spawn,
        mode: TradingMode | None = None,
    ) -> None:
        clocks, policy = context.clocks, context.policy
        self._context = context
        self._instruments = instruments
        self.books = books
        self.client = client
        self.governor = client.governor
        self.calls = VenueCalls(client)
        self.outbox = Outbox(context.bus, clocks)
        self.clearance = Clearance(mode, policy)
        self.calls.measure = partial(measure_clock, client, self.calls, clocks.infra, self.clearance)
        self.go_live = GoLive(self.clearance, books.stop, policy, context.data, context.disk, clocks)
        self.facts = FactFinder(
            books,
            policy,
            instruments,
            clocks,
            events_trouble=lambda: context.bus.trouble,
            venue_trouble=self.clearance.trouble,
            venue_ban=self.governor.ban,
        )
        self.gate = GateWatch(books, self.facts)
        self.governor.on_ban.append(self.gate.evaluate)
        self.fills = FillKeeper(books, self.calls, journal, self.outbox, clocks.infra)
        self.movements = WalletMovements(books, self.calls, journal, self.outbox, clocks)
        self.lookup = Lookup(self.calls, clocks.infra)
        self.staging: StagingGateway | None = None
        if mode is TradingMode.STAGING:
            self.staging = StagingGateway(client, self.calls, self._last_look, instruments, clocks.market, context.desk)
        self.gateway = self.staging or VenueGateway(context.desk, client, self.calls, self._last_look)
        self.rules = RulesKeeper(client, self.calls, instruments, self.clearance, clocks.infra)
        self.sender = OrderSender(
            books,
            self.facts,
            self.gateway,
            self.lookup,
            journal,
            self.governor,
            self.fills,
            self.outbox,
            clocks,
        )
        self.entries = Entries(
            books,
            self.sender,
            self.fills,
            self.calls,
            journal,
            self.outbox,
            instruments,
            policy,
            clocks,
            spawn,
        )
        self.exits = Exits(books, self.sender, self.fills, instruments, clocks)
        self.protection = ProtectionKeeper(
            books, self.sender, self.exits, self.fills, self.calls, journal, instruments, clocks, spawn
        )
        self.reconciler = Reconciler(
            books, self.calls, self.fills, self.movements, self.lookup, journal, self.outbox, clocks, self.symbols
        )
        self.flattener = Flattener(
            books, self.entries, self.exits, self.protection, self.reconciler, self.calls, self.outbox, clocks
        )
        self.halts = HaltKeeper(books, journal, self.gate, self.flattener, clocks)
        self.stream = UserStream(client, books, self.fills, self.calls, journal, clocks.infra)
        self.dead_man = DeadManSwitch(client, self.calls, books, clocks.infra)
        self.change = AddressChange(client, self.clearance, self.reconciler, clocks.infra)
        self._wire(spawn)

    def _last_look(self, proposal: Proposal) -> Refusal | None:
        return self.sender.last_look(proposal)

    def symbols(self) -> set[Symbol]:
        """Symbols that may have orders or trades of ours. One that the venue does not know would fail every comparison."""
        in_force = self._context.policy.current()
        wanted = in_force.policy.symbols if in_force else ()
        loaded = len(self._instruments) > 0
        named = {symbol for symbol in wanted if not loaded or self._instruments.get(symbol) is not None}
        return named | set(self.books.open_positions()) | {order.symbol for order in self.books.live()}

    def _wire(self, spawn: Spawn) -> None:
        def filled(symbol: Symbol) -> None:
            self.protection.wake(symbol)
            self.gate.evaluate()

        def compared() -> None:
            gate_open = self.gate.evaluate() is GateState.OPEN
            self.protection.wake_all()
            if any(order.state.resting for order in self.books.working(None, OrderRole.ENTRY)):
                spawn(self.entries.sweep(gate_open=gate_open), "sweep")
            if self.stream.lags_behind(self.fills.from_rest):
                spawn(self.stream.restart(), "stream.restart")
            if self.books.open_positions():
                self.flattener.again()

        async def cancel(order: TrackedOrder) -> None:
            await self.protection.cancel(order)

        self.fills.on_fill = filled

        def moved() -> None:
            self.movements.expect()
            self.reconciler.request()

        self.stream.on_gap = self.reconciler.request
        self.stream.on_moved = moved
        self.stream.on_order = lambda symbol: self.protection.wake(Symbol(symbol))
        self.reconciler.on_done = compared

        def cancel_orphan(order: TrackedOrder) -> None:
            spawn(cancel(order), f"orphan.{order.client_id}")

        def closed() -> None:
            spawn(self.entries.cancel_resting(), "cancel-resting")

        def cleared() -> None:
            self.gate.evaluate()

        self.clearance.on_change = cleared
        self.dead_man.on_pause = self.reconciler.request
        self.client.on_switch = self.change.happened
        self.reconciler.cancel_orphan = cancel_orphan
        self.gate.on_closed = closed
        self.protection.flattening = self.flattener.closing
