"""Turns signals into sized, protected proposals, one entry at a time per symbol; says no with a reason otherwise.

In: signals, the portfolio, marks, what became of proposals, the stop's lease. Out: OrderProposed, OrderRefused.
The gate in execution decides in the end; nothing here is needed to reduce a position.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from breakwater.domain.ids import ProposalId, SignalId, Symbol
from breakwater.domain.liquidity import Liquidity, LiquidityReading
from breakwater.domain.mathematician.advice import Advice
from breakwater.domain.money import plain
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.policy import MathematicianRules
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import Direction, Signal
from breakwater.domain.sizing import Sized, SizingInput, size
from breakwater.domain.snapshot import Snapshot
from breakwater.risk_manager.in_flight import InFlight
from breakwater.risk_manager.intake import AT_ONCE, Intake
from breakwater.risk_manager.journal import Enabling, Journal
from breakwater.risk_manager.mathematician import History, Mathematician
from breakwater.risk_manager.screening import Knowledge, Lease, screen
from breakwater.risk_manager.throttle import Throttle
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    CandleClosed,
    Event,
    MarketLiquidity,
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
from breakwater.runtime.lifecycle import Check, Service

log = structlog.get_logger(__name__)

NAME = "risk_manager"


def proposal_id_of(signal_id: SignalId) -> ProposalId:
    """The same signal always gives the same proposal, so a signal that is delivered twice is executed at most once."""
    return ProposalId(f"p-{signal_id.replace('~', '_')}")  # execution marks children of a proposal with ~


class RiskManager(Service):
    """``instruments`` are the venue's rules, brackets included; ``history`` loads closed candles for the mathematician,
    in a process that did not hear market_data's own backfill.
    """

    name = NAME

    def __init__(
        self, context: ComponentContext, instruments: InstrumentBook, *, history: History | None = None
    ) -> None:
        super().__init__()
        self._context = context
        self._bus = context.bus
        self._clocks = context.clocks
        self._instruments = instruments
        self.journal = Journal(context.disk)
        self.throttle = Throttle(self.journal, self._bus, self._clocks)
        self.mathematician = Mathematician(context.disk, self._mathematics, history=history, spawn=self.spawn)
        self._in_flight = InFlight()
        self._intake = Intake(context.clocks.market)
        self._marks: dict[Symbol, Decimal] = {}
        self._liquidity: dict[Symbol, LiquidityReading] = {}
        self._snapshot: Snapshot | None = None
        self._lease: Lease | None = None
        self._published: set[ProposalId] = set()
        self._waiting: dict[Symbol, tuple[Signal, Refusal]] = {}
        """Signals that could not be judged yet because something was not known; judged again until they expire."""
        self._unsettled: dict[SignalId, int] = {}
        """Of those that wait so, the intake's number."""
        self._deciding = asyncio.Lock()
        self._loaded = asyncio.Event()
        self.progress = 0
        """Signals judged."""
        subscribe = self._bus.subscribe
        subscribe(self._on_signal, producers=("ai_engine",), types=(SignalGenerated,), group=NAME, at_once=AT_ONCE)
        subscribe(
            self._on_outcome, producers=("execution",), types=(OrderRefused, OrderFailed, OrderFilled), group=NAME
        )
        subscribe(self._on_snapshot, producers=("portfolio",), types=(PortfolioUpdated,), group=None)
        subscribe(self._on_market, producers=("market_data",), types=(MarkPrice, CandleClosed), group=None)
        self._bus.watch_state(self._on_lease, types=(StopLease,))
        self._bus.watch_state(self._on_liquidity, types=(MarketLiquidity,))

    async def start(self) -> None:
        """Restore what was proposed before; events wait until then. Raises JournalCorrupt, DiskError."""
        if self._loaded.is_set():
            return
        await self.journal.load()
        await self.mathematician.load()
        now = self._clocks.market.now()
        for entry in self.journal.all():
            if (until := entry.proposal.expires_at) is not None and until > now:
                self._in_flight.add(entry.proposal, entry.mark, until)
        self._loaded.set()
        self.spawn(self.throttle.run(), "throttle")
        self.spawn(self._judge_what_waits(), "judge")

    def readiness(self) -> dict[str, Check]:
        closed = ", ".join(sorted(self.journal.closed()))
        waits = f"entries wait for a person, see breakwater throttle show: {closed}" if closed else ""
        return super().readiness() | {
            "portfolio": Check(self._snapshot is not None, "" if self._snapshot else "no snapshot heard yet"),
            "journal": Check(self._loaded.is_set(), "" if self._loaded.is_set() else "not loaded"),
            "throttle": Check(not closed, waits),
            "signals": Check(True, f"{len(self._intake)} wait to be judged"),
        }

    @property
    def most_repeated(self) -> int | None:
        """Identical entries in a row after which a symbol closes; None while no policy is known."""
        in_force = self._context.policy.current()
        return in_force.limits.max_repeated_orders.value if in_force else None

    async def enable(self, symbol: Symbol, request_id: str, who: str, reason: str) -> Enabling:
        """A person's word to the repeated-order throttle: entries on ``symbol`` may be made again. Raises DiskError."""
        await self._loaded.wait()
        async with self._deciding:
            return await self.throttle.enable(symbol, request_id, who, reason)

    # ------------------------------------------------------------------------------------------------ events in

    async def _on_signal(self, event: Event) -> None:
        assert isinstance(event.payload, SignalGenerated)
        signal = event.payload.signal
        await self._loaded.wait()
        dropped = await self._intake.settled(signal, self._expiry(signal))
        if dropped is None:
            return
        if self.journal.find(proposal_id_of(signal.signal_id)) is None:
            await self._refuse(signal, dropped)
            return
        async with self._deciding:  # delivered again: it was proposed before
            await self._consider(signal)

    async def _on_outcome(self, event: Event) -> None:
        await self._loaded.wait()
        match event.payload:
            case OrderRefused(by, symbol, OrderRole.ENTRY, refusal, proposal_id) if proposal_id:
                if refusal.code is not RefusalCode.DUPLICATE_PROPOSAL:  # that one is under way
                    self._in_flight.refused(proposal_id)
                if refusal.code is RefusalCode.REPEATED_ORDER and by == "gate":
                    async with self._deciding:
                        await self.throttle.gate_refused(symbol, event.time)
            case OrderFailed(role=OrderRole.ENTRY, proposal_id=proposal_id):
                self._in_flight.failed(proposal_id)
            case OrderFilled(role=OrderRole.ENTRY, symbol=symbol, quantity=quantity, time=time):
                self._in_flight.filled(symbol, quantity, time)
            case _:
                pass
        if isinstance(event.payload, OrderFilled):
            await self.mathematician.take_fill(event.payload, self.journal.all())

    async def _on_snapshot(self, event: Event) -> None:
        assert isinstance(event.payload, PortfolioUpdated)
        self._snapshot = event.payload.snapshot
        self._in_flight.seen(self._snapshot)
        await self._retry_waiting()

    async def _on_market(self, event: Event) -> None:
        match event.payload:
            case MarkPrice(symbol, price):
                self._marks[symbol] = price
                if symbol in self._waiting:
                    await self._retry_waiting()
            case CandleClosed() as candle:
                self.mathematician.take_candles((candle,))
            case _:
                pass

    async def _on_liquidity(self, event: Event) -> None:
        assert isinstance(event.payload, MarketLiquidity)
        self._liquidity = {reading.symbol: reading for reading in event.payload.readings}

    async def _on_lease(self, event: Event) -> None:
        assert isinstance(event.payload, StopLease)
        self._lease = Lease(event.payload.view, self._clocks.infra.monotonic())
        await self._retry_waiting()

    # ------------------------------------------------------------------------------------------------ deciding

    async def _judge_what_waits(self) -> None:
        """One after the other, the best first, whatever else goes on."""
        while True:
            number, signal = await self._intake.next()
            try:
                async with self._deciding:
                    await self._take(signal)
            except Exception as error:  # noqa: BLE001  whoever brought it is told, and the bus brings it again
                self._intake.settle(number, error)
                continue
            held = self._waiting.get(signal.symbol)
            if held is not None and held[0].signal_id == signal.signal_id and signal.signal_id not in self._unsettled:
                self._unsettled[signal.signal_id] = number  # not decided yet
            else:
                self._intake.settle(number)

    async def _take(self, signal: Signal) -> None:
        held = self._waiting.get(signal.symbol)
        if held is not None and held[0].signal_id != signal.signal_id:
            waits, why = held
            if (signal.time, signal.confidence) < (waits.time, waits.confidence):
                await self._refuse(signal, _superseded(waits, ""))
                return
            await self._refuse(waits, _superseded(signal, f"; until then this one waited: {why.text}"))
        await self._consider(signal)

    async def _retry_waiting(self) -> None:
        if not self._waiting:
            return
        async with self._deciding:
            for signal, _ in list(self._waiting.values()):
                await self._consider(signal)

    async def _consider(self, signal: Signal) -> None:
        proposal_id = proposal_id_of(signal.signal_id)
        if proposal_id in self._published:
            return  # delivered again
        made = self.journal.find(proposal_id)
        if made is None:
            await self._judge(signal)
        # Made before a crash or an outage of the bus, and perhaps never published: execution drops one it already has.
        elif made.proposal.expires_at is not None and self._clocks.market.now() < made.proposal.expires_at:
            await self._publish(made.proposal)

    async def _judge(self, signal: Signal) -> None:
        now = self._clocks.market.now()
        self._in_flight.expire(now)
        knowledge = self._knowledge(signal.symbol, now)
        expires_at = self._expiry(signal)
        refusal, may_change = screen(signal, expires_at, knowledge)
        if refusal is None:
            assert knowledge.mark is not None  # `screen` let none pass
            advice = self.mathematician.advise(signal, knowledge.mark, now)
            sized = advice if isinstance(advice, Refusal) else self._size(signal, knowledge, advice)
            if isinstance(sized, Sized):
                await self._propose(signal, expires_at, knowledge, sized)
                return
            refusal, may_change = sized, sized.code is RefusalCode.VOLATILITY_UNKNOWN
        held = self._waiting.get(signal.symbol)
        if may_change and now < expires_at:
            self._waiting[signal.symbol] = (signal, refusal)
            return
        if refusal.code is RefusalCode.EXPIRED and held is not None:
            refusal = held[1]  # what it waited for says more than that it expired
        await self._refuse(signal, refusal)

    def _expiry(self, signal: Signal) -> datetime:
        in_force = self._context.policy.current()
        if in_force is None:
            return signal.expires_at
        oldest = timedelta(seconds=in_force.policy.signals.max_age_seconds)
        return min(signal.expires_at, signal.time + oldest)

    def _knowledge(self, symbol: Symbol, now: datetime) -> Knowledge:
        return Knowledge(
            now=now,
            monotonic=self._clocks.infra.monotonic(),
            in_force=self._context.policy.current(),
            lease=self._lease,
            snapshot=self._snapshot,
            instrument=self._instruments.get(symbol),
            mark=self._marks.get(symbol),
            in_flight=self._in_flight.symbols(),
            closed_since=self.throttle.closed_since(symbol),
        )

    def _mathematics(self) -> MathematicianRules | None:
        in_force = self._context.policy.current()
        return in_force.policy.mathematician if in_force else None

    def _size(self, signal: Signal, known: Knowledge, advice: Advice | None) -> Sized | Refusal:
        snapshot, instrument, mark, in_force = known.snapshot, known.instrument, known.mark, known.in_force
        assert snapshot is not None  # `screen` let none of these pass
        assert instrument is not None
        assert mark is not None
        assert in_force is not None
        reading = self._liquidity.get(signal.symbol)
        return size(
            SizingInput(
                side=_side_of(signal),
                confidence=signal.confidence,
                stop_pct=advice.stop_pct if advice else signal.stop_pct,
                target_pct=advice.target_pct if advice else signal.target_pct,
                volatility_leverage=advice.leverage if advice else None,
                edge_risk_pct=advice.risk_pct if advice else None,
                mark=mark,
                equity=snapshot.equity,
                gross_notional=snapshot.gross_notional,
                in_flight_notional=self._in_flight.notional(snapshot),
                instrument=instrument,
                limits=in_force.limits,
                rules=in_force.policy.signals,
                fallback=signal.provenance.fallback,
                liquidity=reading.at(known.now) if reading else Liquidity(),
            )
        )

    async def _propose(self, signal: Signal, expires_at: datetime, known: Knowledge, sized: Sized) -> None:
        in_force, mark = known.in_force, known.mark
        assert in_force is not None
        assert mark is not None
        proposal = Proposal(
            proposal_id=proposal_id_of(signal.signal_id),
            symbol=signal.symbol,
            role=OrderRole.ENTRY,
            side=_side_of(signal),
            quantity=sized.quantity,
            order_type=OrderType.LIMIT,
            created_at=signal.time,
            reduce_only=False,
            price=sized.collar_price,
            time_in_force=TimeInForce.IOC,
            expires_at=expires_at,
            leverage=sized.leverage,
            protection=Protection(sized.stop_price, sized.target_price),
            signal_id=signal.signal_id,
            provenance=signal.provenance,
            reason="signal",
            bound_by=sized.bound_by,
        )
        refusal = await self.throttle.check(proposal, in_force.limits.max_repeated_orders.value, known.now)
        if refusal is not None:
            await self._refuse(signal, refusal)
            return
        await self.journal.add(proposal, mark)
        self._in_flight.add(proposal, mark, expires_at)
        await self._publish(proposal)

    async def _publish(self, proposal: Proposal) -> None:
        await self._bus.publish(OrderProposed(proposal), time=self._clocks.market.now())
        self._published.add(proposal.proposal_id)
        self.progress += 1
        self._stop_waiting(proposal.symbol, proposal.proposal_id)
        log.info(
            "proposed",
            symbol=proposal.symbol,
            side=str(proposal.side),
            quantity=plain(proposal.quantity),
            bound_by=proposal.bound_by,
        )

    async def _refuse(self, signal: Signal, refusal: Refusal) -> None:
        self.progress += 1
        await self._bus.publish(
            OrderRefused(NAME, signal.symbol, OrderRole.ENTRY, refusal, proposal_id_of(signal.signal_id)),
            time=self._clocks.market.now(),
        )
        self._stop_waiting(signal.symbol, proposal_id_of(signal.signal_id))

    def _stop_waiting(self, symbol: Symbol, proposal_id: ProposalId) -> None:
        held = self._waiting.get(symbol)
        if held is not None and proposal_id_of(held[0].signal_id) == proposal_id:
            del self._waiting[symbol]
            if (number := self._unsettled.pop(held[0].signal_id, None)) is not None:
                self._intake.settle(number)


def _superseded(by: Signal, more: str) -> Refusal:
    text = f"a newer or surer signal for {by.symbol}, of {by.time:%H:%M:%S} UTC, takes its place{more}"
    return Refusal(RefusalCode.SIGNAL_SUPERSEDED, text)


def _side_of(signal: Signal) -> Side:
    return Side.BUY if signal.direction is Direction.LONG else Side.SELL
