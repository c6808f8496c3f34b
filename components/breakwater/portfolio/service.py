"""The portfolio as a component: folds fills into the ledger, checks it against the venue, values it on every mark or fill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from decimal import Decimal

import structlog
from msgspec.structs import replace

from breakwater.domain.ids import Symbol
from breakwater.domain.ledger import Booked, Fill
from breakwater.domain.money import HUNDRED, ZERO, plain
from breakwater.domain.movements import SETTLEMENT_ASSET, Movement
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_rules import market_silence
from breakwater.domain.valuation import Baseline, Mark, Valued, day_start, value
from breakwater.portfolio.books import PortfolioBooks
from breakwater.portfolio.equity import LastEquity
from breakwater.portfolio.journal import PortfolioJournal
from breakwater.portfolio.reconcile import Agreement, compare, unusable
from breakwater.portfolio.records import Adopted, BaselineSet, Filled, ReconciledEquity
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    AccountMoved,
    AccountReported,
    BaselineReset,
    Event,
    MarkPrice,
    OrderFilled,
    PortfolioUpdated,
)
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.ports import DiskError

log = structlog.get_logger(__name__)

NAME = "portfolio"
MISMATCHES_FOR_DRIFT = 2
"""Reports in a row that differ before it is drift: a fill may be at the venue and not yet here."""
AHEADS_FOR_DRIFT = 5
"""Reports in a row that fills after them would have to explain, before that is no longer believed."""
STALE_WITHOUT_POLICY = timedelta(seconds=10)
_RUN = 2**32
"""Snapshots one process can number."""


class PortfolioService(Service):
    """Subscribes when made; ``start`` restores. Whoever assembles the component starts and stops the bus."""

    name = NAME

    def __init__(self, context: ComponentContext) -> None:
        super().__init__()
        self._context, self._bus, self._market = context, context.bus, context.clocks.market
        self._books = PortfolioBooks()
        self._journal = PortfolioJournal(context.disk, self._books)
        self._marks: dict[Symbol, Mark] = {}
        self._valued: dict[Symbol, Valued] = {}
        self._last_equity = LastEquity(context.disk)
        self._unsaved: BaselineSet | None = None
        """A day's baseline that the disk did not take yet."""
        self._sequence = 0
        self._reconciled = False
        self._mismatches = 0
        self._aheads = 0
        self._report: AccountReported | None = None
        self._complete_once = False
        self._loaded = asyncio.Event()
        self._lock = asyncio.Lock()
        self.drift = ""
        """What differs from the venue, in sentences; empty while they agree."""
        self.snapshot: Snapshot | None = None
        """The last one published."""
        self.progress = 0
        """Marks and fills taken."""
        self.counters = {"fills": 0, "repeated_fills": 0, "bad_fills": 0, "bad_marks": 0, "drifts": 0, "unsent": 0}
        self.counters |= {"movements": 0, "repeated_movements": 0, "bad_movements": 0}
        subscribe = self._bus.subscribe
        subscribe(self._guard(self._on_mark), producers=("market_data",), types=(MarkPrice,), group=None)
        facts = (OrderFilled, AccountMoved, AccountReported)
        subscribe(self._guard(self._on_execution), producers=("execution",), types=facts, group=NAME)
        # A fill may be among what is missing: reduce-only until ledger and venue agree again.
        missing = ("events of execution are missing",)
        self._bus.watch_gaps(lambda _: self._alarm(missing), producers=("execution",))
        subscribe(self._guard(self._on_rebase), producers=("emergency_stop",), types=(BaselineReset,), group=NAME)

    # ------------------------------------------------------------------------------------------------ life

    async def start(self) -> None:
        """Restore ledger and baseline. Raises JournalCorrupt, DiskError: without its books the portfolio does not guess."""
        if self._loaded.is_set():
            return
        self._read_day_start()
        await self._journal.load()
        self._last_equity.load(self._books.last)
        run = await self._journal.begin(self._last_equity.value)
        self._sequence = run * _RUN
        self._loaded.set()

    async def stop(self) -> None:
        await super().stop()
        if self._loaded.is_set():
            async with self._lock:
                await self._last_equity.keep()

    def readiness(self) -> dict[str, Check]:
        agreed = self._reconciled and not self.drift
        return super().readiness() | {
            "journal": Check(self._loaded.is_set(), "" if self._loaded.is_set() else "not loaded"),
            "reconciled": Check(agreed, "" if agreed else self.drift or "not compared with the venue yet"),
            "snapshot": Check(self.snapshot is not None, "" if self.snapshot else self._waiting_for()),
        }

    # ------------------------------------------------------------------------------------------------ events in

    async def _on_mark(self, event: Event) -> None:
        assert isinstance(event.payload, MarkPrice)
        mark = event.payload
        if not mark.price.is_finite() or mark.price <= ZERO or mark.time.tzinfo is None:
            self.counters["bad_marks"] += 1
            log.warning("mark price refused", symbol=mark.symbol, price=str(mark.price), time=str(mark.time))
            return
        held = self._marks.get(mark.symbol)
        if held is not None and mark.time < held.time:
            return  # overtaken on the way
        # A time ahead of the clock would look fresh until then, and shut out every mark before it.
        self._marks[mark.symbol] = Mark(mark.price, min(mark.time, self._market.now()))
        self.progress += 1
        await self._publish()

    async def _on_execution(self, event: Event) -> None:
        if isinstance(event.payload, OrderFilled):
            try:
                await self._take_fill(event.payload)
            except DiskError:
                raise
            except Exception as error:
                # Whatever becomes of the event: the ledger lacks it.
                self._alarm((f"trade {event.payload.symbol} {event.payload.trade_id} cannot be booked: {error!r}",))
                raise
        elif isinstance(event.payload, AccountMoved):
            await self._take_movement(event.payload.movement)
        elif isinstance(event.payload, AccountReported):
            await self._take_report(event.payload)

    async def _on_rebase(self, event: Event) -> None:
        assert isinstance(event.payload, BaselineReset)
        asked = event.payload
        if asked.epoch <= self._books.rebase_epoch:
            return  # seen before
        if not asked.equity.is_finite() or asked.equity <= ZERO:
            log.error("new baseline refused: equity must be positive", equity=str(asked.equity))
            return
        async with self._lock:
            day = self._day_of(asked.time)
            if self._books.baseline is not None and day < self._books.baseline.day:
                return  # that day is over, and its baseline with it
            why, start = f"new baseline asked for by {asked.who}", self._books.start_of(day)
            record = BaselineSet(day, self._books.rebased(asked), asked.time, why, asked.epoch, start)
            await self._journal.append(record)
            self._books.apply(record)
            self._unsaved = None  # overtaken
        log.info("new baseline", day=str(day), equity=plain(record.equity), who=asked.who)
        await self._publish()

    async def _take_fill(self, filled: OrderFilled) -> None:
        fill = Fill(
            symbol=filled.symbol,
            trade_id=filled.trade_id,
            quantity=filled.quantity * filled.side.sign,
            price=filled.price,
            commission=filled.commission if filled.commission_asset == SETTLEMENT_ASSET else ZERO,
            time=filled.time,
            leverage=filled.leverage,
        )
        async with self._lock:
            try:
                verdict = self._books.ledger.judge(fill)
            except ValueError as error:
                self._refuse("bad_fills", str(error))
            else:
                if verdict is Booked.REPEATED:
                    self.counters["repeated_fills"] += 1
                    return
                if verdict is Booked.CONFLICTING:
                    text = f"trade {fill.symbol} {fill.trade_id} came twice with different numbers: {fill}"
                    self._refuse("bad_fills", text)
                else:
                    await self._journal.append(Filled(fill))
                    self._book(fill)
                    await self._booked("fills")
        await self._publish()

    async def _take_movement(self, movement: Movement) -> None:
        async with self._lock:
            try:
                verdict = self._books.ledger.judge_movement(movement)
            except ValueError as error:
                self._refuse("bad_movements", str(error))
            else:
                if verdict is Booked.REPEATED:
                    self.counters["repeated_movements"] += 1
                    return
                if verdict is Booked.CONFLICTING:
                    name = f"{movement.venue_type} {movement.tran_id}"
                    text = f"wallet movement {name} came twice with different numbers: {movement}"
                    self._refuse("bad_movements", text)
                else:
                    await self._move(movement)
        await self._publish()

    async def _move(self, movement: Movement) -> None:
        record = self._books.moved(movement, self._equity(), self._last_equity.value)
        await self._journal.append(record)
        self._books.apply(record)
        if record.last is not None:
            self._last_equity.value = record.last
        if self._unsaved is not None and record.baseline is not None:
            self._unsaved = replace(self._unsaved, equity=record.baseline)
        log.info("wallet moved", kind=movement.kind.value, amount=plain(movement.amount), asset=movement.asset)
        await self._booked("movements")

    def _refuse(self, counter: str, why: str) -> None:
        self.counters[counter] += 1
        self._alarm((why,))

    async def _booked(self, counter: str) -> None:
        """Something new is in the ledger: it may explain a report that differed."""
        self.counters[counter] += 1
        self.progress += 1
        if self._report is not None and self._mismatches:
            self._judge(self._report, again=True)
        if self._journal.grown:
            await self._journal.compact(self._last_equity.value)

    def _equity(self) -> Decimal:
        """As the ledger has it at the last marks. Just after a start some are missing: then the last that was reconciled."""
        held, marks, last = self._books.ledger.positions, self._marks, self._last_equity.value
        if last is not None and not all(symbol in marks for symbol in held):
            return last.equity
        pnl = (held[symbol].unrealised_pnl(marks[symbol].price) for symbol in held if symbol in marks)
        return self._books.ledger.wallet + sum(pnl, ZERO)

    async def _take_report(self, report: AccountReported) -> None:
        if problem := unusable(report):
            log.error("account report refused", problem=problem)
            return
        async with self._lock:
            if not self._books.ledger.adopted:
                through, moved = report.through_trade, report.moved_through or report.time
                record = Adopted(report.time, report.wallet, report.positions, through, moved)
                await self._journal.append(record)
                self._books.apply(record)
                log.info("account adopted", wallet=plain(report.wallet), positions=len(report.positions))
            self._report = report
            self._judge(report)
        await self._publish()

    def _guard(self, handler: Callable[[Event], Awaitable[None]]) -> Callable[[Event], Awaitable[None]]:
        guarded = self.guarded(handler)

        async def when_loaded(event: Event) -> None:
            await self._loaded.wait()
            await guarded(event)

        return when_loaded

    # ------------------------------------------------------------------------------------------------ state

    def _book(self, fill: Fill) -> None:
        self._books.book(fill)

    def _judge(self, report: AccountReported, *, again: bool = False) -> None:
        """Compare. ``again``: a fill came after a report that differed; it can settle the matter, not make it worse."""
        found = compare(self._books.ledger, report)
        if found.agreement is Agreement.AGREED:
            if self.drift:
                log.info("ledger and venue agree again")
            self._reconciled, self._mismatches, self._aheads, self.drift = True, 0, 0, ""
            self._books.agreed(report.through_trade, report.time)
        elif found.agreement is Agreement.AHEAD and not again and self._aheads < AHEADS_FOR_DRIFT:
            self._aheads += 1
        elif not again:
            self._mismatches += 1
            if self._mismatches >= MISMATCHES_FOR_DRIFT or not self._reconciled:
                self._alarm(found.differences)

    def _alarm(self, differences: tuple[str, ...]) -> None:
        text = "; ".join(differences)
        if text != self.drift:
            self.counters["drifts"] += 1
            log.error("ledger and venue differ: reduce-only until they agree", differences=text)
        self._reconciled, self.drift = False, text

    # ------------------------------------------------------------------------------------------------ out

    async def _publish(self) -> None:
        """Value the ledger now and say so. A snapshot is as old as its newest mark, so that a silent market shows."""
        async with self._lock:
            time = self._snapshot_time()
            if time is None or not await self._roll(time):
                return
            assert self._books.baseline is not None
            self._sequence += 1
            snapshot = value(
                self._books.ledger,
                self._marks,
                self._books.baseline,
                sequence=self._sequence,
                time=time,
                reconciled=self._reconciled,
                totals=self._books.totals,
                fresh_since=self._market.now() - self._stale_after(),
                rebase_epoch=self._books.rebase_epoch,
                memo=self._valued,
            )
            self.snapshot = snapshot
            if snapshot.reconciled and not snapshot.marks_missing:
                await self._last_equity.note(ReconciledEquity(time, snapshot.equity))
            try:
                await self._bus.publish(PortfolioUpdated(snapshot), time=self._market.now())
            except BusUnavailable:
                self.counters["unsent"] += 1  # the next one says more than this one would

    def _snapshot_time(self) -> datetime | None:
        """Market time of the newest mark, never in the future; None while there is nothing to value by."""
        if not self._books.ledger.adopted or not self._marks:
            return None
        if not self._complete_once:
            # After a start, figures without the marks of open positions would look like a loss or a gain.
            self._complete_once = all(symbol in self._marks for symbol in self._books.ledger.positions)
            if not self._complete_once:
                return None
        return min(max(mark.time for mark in self._marks.values()), self._market.now())

    async def _roll(self, time: datetime) -> bool:
        """Make sure there is a baseline for the day of ``time``: the last reconciled equity before the day began."""
        day = self._day_of(time)
        start = self._books.start_of(day)
        if self._books.baseline is not None and day <= self._books.baseline.day:
            if self._unsaved is not None:
                await self._save_baseline(self._unsaved)
            return True
        if self._books.baseline is not None:
            last, equity = self._last_equity.value, self._books.baseline.equity
            if last is not None and last.equity > ZERO:
                # One of the day itself, because its baseline was never saved, forgives no loss since.
                equity = last.equity if last.time < day_start(day, start) else max(last.equity, equity)
            why = "a new trading day: the last reconciled equity before it"
            record = BaselineSet(day, equity, time, why, start_minute=start)
        else:
            if not self._reconciled:
                return False
            first = value(
                self._books.ledger, self._marks, Baseline(day, HUNDRED), sequence=0, time=time, reconciled=True
            )
            if first.marks_missing or first.equity <= ZERO:
                return False
            record = BaselineSet(day, first.equity, time, "the first reconciled equity", start_minute=start)
        self._books.apply(record)
        log.info("baseline", day=str(day), equity=plain(record.equity), why=record.why)
        await self._save_baseline(record)
        return True

    def _day_of(self, time: datetime) -> date:
        self._read_day_start()
        return self._books.day_of(time)

    async def _save_baseline(self, record: BaselineSet) -> None:
        """A disk that refuses does not stop the valuation, which the emergency stop lives on: tried again each time."""
        refused, self._unsaved = self._unsaved is not None, record
        try:
            await self._journal.append(record)
        except DiskError as error:
            if not refused:
                log.error("the day's baseline cannot be written yet", error=str(error))
        else:
            self._unsaved = None

    def _stale_after(self) -> timedelta:
        policy = self._context.policy.current()
        if policy is None:
            return STALE_WITHOUT_POLICY
        return market_silence(policy.stop.stale_after_seconds, policy.stop, self._context.clocks.speed)

    def _read_day_start(self) -> None:
        policy = self._context.policy.current()
        if policy is not None:
            self._books.start_minute = policy.policy.day.start_minute

    def _waiting_for(self) -> str:
        if not self._books.ledger.adopted:
            return "waiting for a first account report from execution"
        missing = [symbol for symbol in self._books.ledger.positions if symbol not in self._marks]
        return f"waiting for a mark price of {', '.join(missing) or 'any symbol'}"
