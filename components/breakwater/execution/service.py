"""Execution: the only component that holds the venue's keys. Proposals in; orders, fills and the account's state out."""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from breakwater.domain.gate import GateState
from breakwater.domain.policy import TradingMode
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.exchange.client import UsdmClient
from breakwater.execution.books import Books
from breakwater.execution.gate_watch import GateClosed
from breakwater.execution.journal import ExecutionJournal, Halted
from breakwater.execution.lookup import RECEIVE_WINDOW_S
from breakwater.execution.orders import TrackedOrder
from breakwater.execution.parts import Parts
from breakwater.execution.startup import account_problems, keep_clock, keep_key_checked, measure_clock
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    Event,
    MarkPrice,
    OrderProposed,
    PolicyUpdated,
    PortfolioUpdated,
    StopLease,
    StopRearmed,
    ThrottleEnabled,
)
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.runtime.ports import DiskError

log = structlog.get_logger(__name__)

NAME = "execution"


class NotStarted(RuntimeError):
    """Asked before ``start`` had restored what execution knows."""


class ExecutionService(Service):
    """``client`` is a ccxt client of its own (see ``exchange.client.make_client``), closed by whoever made it. ``mode`` is
    what the process was started for, and the policy has to say the same; a bench has None.

    Subscribes when made, restores in ``start``. The bus has to be started before ``start``: the account is reported at once.
    """

    name = NAME

    def __init__(
        self,
        context: ComponentContext,
        client: UsdmClient,
        instruments: InstrumentBook,
        *,
        mode: TradingMode | None = None,
    ) -> None:
        super().__init__()
        self._mode = mode
        self._context = context
        self._client = client
        self._instruments = instruments
        self.on_gate_closed: GateClosed | None = None
        """Told the market time of the last tick, and why, whenever the gate goes from OPEN to REDUCE_ONLY."""
        self._journal = ExecutionJournal(context.disk)
        self.books = Books(context.desk, context.clocks)
        self._parts: Parts | None = None
        self._loaded = asyncio.Event()
        bus = context.bus
        bus.subscribe(
            self._on_risk_manager, producers=("risk_manager",), types=(OrderProposed, ThrottleEnabled), group=NAME
        )
        bus.subscribe(self._on_rearmed, producers=("emergency_stop",), types=(StopRearmed,), group=NAME)
        bus.subscribe(self._on_mark, producers=("market_data",), types=(MarkPrice,), group=None)
        bus.subscribe(self._on_snapshot, producers=("portfolio",), types=(PortfolioUpdated,), group=None)
        bus.subscribe(self._on_policy, producers=("policy",), types=(PolicyUpdated,), group=None)
        bus.watch_state(self._on_lease, types=(StopLease,))

    # ------------------------------------------------------------------------------------------------ life

    async def start(self) -> None:
        """Restore from the journal and begin; the gate stays REDUCE_ONLY until the account was compared. Raises DiskError."""
        if self._parts is not None:
            return
        self.books.restore(await self._journal.load())
        if self._journal.damaged:
            self.books.entries_allowed_from = self._context.clocks.market.now()
        try:
            await self._journal.compact(self.books.compacted())
        except DiskError as error:  # positions have to be looked after all the same
            log.error("journal not compacted", error=str(error))
        client = self._client
        client.options["recvWindow"] = round(RECEIVE_WINDOW_S * 1000)
        if self._mode is TradingMode.STAGING and not client.fence.test_orders_only:
            raise ValueError("Staging needs a client made with test_orders_only: this one could place real orders")
        parts = self._parts = Parts(
            self._context, self.books, self._journal, client, self._instruments, self.spawn, self._mode
        )
        parts.gate.closed_listener = self._gate_closed
        for work, name in (
            (parts.outbox.run(), "outbox"),
            (parts.gate.watch_lease(), "lease"),
            (parts.flattener.run(), "flatten"),
            (self._bring_up(parts), "bring-up"),
        ):
            self.spawn(work, name)
        parts.halts.resume()
        self._loaded.set()
        # A view that came while the journal was read has to be obeyed now.
        if self.books.stop.view is not None:
            parts.flattener.take_view(self.books.stop.view)
            parts.gate.heard_stop()

    async def _bring_up(self, parts: Parts) -> None:
        infra, clearance, rules = self._context.clocks.infra, parts.clearance, parts.rules
        parts.reconciler.account_problems = ("how the account is set up has not been read yet",)
        self.spawn(parts.change.run(), "address-change")
        self.spawn(parts.client.return_home(), "return-home")
        self.spawn(parts.go_live.run(), "go-live")
        await measure_clock(parts.client, parts.calls, infra, clearance)
        await rules.read()
        # Positions are looked after from here on, whatever else cannot be read yet; nothing opens until it is.
        self.spawn(parts.stream.apply(), "stream.apply")
        self.spawn(parts.stream.watch(), "stream.watch")
        self.spawn(parts.stream.keep_alive(), "stream.keep-alive")
        self.spawn(keep_clock(parts.client, parts.calls, infra, clearance), "clock")
        self.spawn(keep_key_checked(parts.client, parts.calls, infra, clearance), "key")
        self.spawn(parts.dead_man.run(), "dead-man")
        self.spawn(parts.reconciler.run(), "reconcile")
        while True:
            # Again and again: rules change, symbols are halted, and people switch modes at the venue.
            parts.reconciler.account_problems = await account_problems(parts.client, parts.calls, infra, clearance)
            parts.reconciler.request()
            await rules.until_due()
            await rules.read()
            parts.protection.wake_all()  # a stop refused by the old rules is laid by the new ones

    async def stop(self) -> None:
        await super().stop()
        await self._journal.flush()
        if self._parts is not None:
            await self._parts.stream.close()

    def _gate_closed(self, tick: datetime | None, why: Refusal) -> None:
        if self.on_gate_closed is not None:
            self.on_gate_closed(tick, why)

    # ------------------------------------------------------------------------------------------------ events in

    async def _on_risk_manager(self, event: Event) -> None:
        await self._loaded.wait()
        match event.payload:
            case OrderProposed(proposal):
                await self.parts.entries.take(proposal)
            case ThrottleEnabled(symbol):
                self.books.repeats.pop(symbol, None)  # a person has looked: the gate counts afresh
            case _:
                pass

    async def _on_mark(self, event: Event) -> None:
        assert isinstance(event.payload, MarkPrice)
        mark = event.payload
        self.books.take_mark(mark.symbol, mark.price, mark.time)
        if self._parts is not None and self.books.positions.get(mark.symbol):
            self._parts.gate.evaluate()

    async def _on_snapshot(self, event: Event) -> None:
        assert isinstance(event.payload, PortfolioUpdated)
        self.books.snapshot = event.payload.snapshot
        if self._parts is not None:
            self._parts.gate.evaluate()

    async def _on_policy(self, event: Event) -> None:
        if self._parts is not None:
            gate_open = self._parts.gate.evaluate() is GateState.OPEN
            self.spawn(self._parts.entries.sweep(gate_open=gate_open), "sweep")
            self._parts.reconciler.request()  # a symbol that is new is compared before anything is opened on it

    async def _on_lease(self, event: Event) -> None:
        assert isinstance(event.payload, StopLease)
        view = event.payload.view
        if not self.books.stop.take(view) or self._parts is None:
            return
        self._parts.gate.heard_stop()
        self._parts.flattener.take_view(view)
        await self._parts.halts.take_view(view)

    async def _on_rearmed(self, event: Event) -> None:
        assert isinstance(event.payload, StopRearmed)
        await self._loaded.wait()
        await self.parts.halts.take_rearm(event.payload)

    # ------------------------------------------------------------------------------------------------ for people

    @property
    def parts(self) -> Parts:
        """The wired parts. Raises NotStarted before ``start``."""
        if self._parts is None:
            raise NotStarted("execution is not started")
        return self._parts

    async def halt(self, who: str, reason: str, request_id: str = "") -> Halted:
        """A person's halt: REDUCE_ONLY at once, then flat; holds until the emergency stop has taken over or is re-armed.

        The same ``request_id`` again gets the same answer and halts nothing again.
        """
        await self._loaded.wait()
        return await self.parts.halts.halt(who, reason, request_id)

    def gate(self) -> tuple[GateState, Refusal | None]:
        """The gate's state now, and why it is not open."""
        parts = self._parts
        if parts is None:
            return GateState.REDUCE_ONLY, Refusal(RefusalCode.NOT_RECONCILED, "execution is starting")
        return parts.gate.evaluate(), parts.gate.why

    @property
    def policy(self) -> PolicyInForce | None:
        return self._context.policy.current()

    def orders_in_flight(self) -> list[TrackedOrder]:
        return self.books.working()

    @property
    def progress(self) -> int:  # type: ignore[override]
        """Comparisons with the venue, stream events and events published so far."""
        if self._parts is None:
            return 0
        return self._parts.reconciler.rounds + self._parts.stream.events + self._parts.outbox.published

    def readiness(self) -> dict[str, Check]:
        if self._parts is None:
            return super().readiness() | {"journal": Check(False, "not restored yet")}
        problem = self._parts.clearance.trouble() or self._parts.reconciler.problem
        return super().readiness() | {
            "journal": Check(True, self._journal.damaged),
            "instruments": Check(len(self._instruments) > 0, "" if len(self._instruments) else "not loaded"),
            "account": Check(self.books.reconciled, problem),
        }
