"""The portfolio as a component: folds fills into the ledger, checks it against the venue, values it on every mark or fill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta

import structlog

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.ledger import Booked, Fill, Ledger, Position
from breakwater.domain.money import HUNDRED, ZERO, plain
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_rules import market_silence
from breakwater.domain.valuation import Baseline, DayTotals, Mark, day_start, trading_day, value
from breakwater.portfolio.equity import LastEquity
from breakwater.portfolio.reconcile import Agreement, compare, unusable
from breakwater.portfolio.records import (
    JOURNAL,
    Adopted,
    BaselineSet,
    Filled,
    ReconciledEquity,
    Record,
    Started,
)
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    AccountReported,
    BaselineReset,
    Event,
    MarkPrice,
    OrderFilled,
    PortfolioUpdated,
)
from breakwater.runtime.journal import TypedJournal
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
        self._journal: TypedJournal[Record] = TypedJournal(context.disk, JOURNAL, Record)
        self._ledger = Ledger()
        self._marks: dict[Symbol, Mark] = {}
        self._baseline: Baseline | None = None
        self._baseline_start: int | None = None
        """Minutes after midnight at which the baseline's day began."""
        self._rebase_epoch = 0
        self._totals = DayTotals(date.min)
        self._last_equity = LastEquity(context.disk)
        self._unsaved: BaselineSet | None = None
        """A day's baseline that the disk did not take yet."""
        self._start_minute = 0
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
        subscribe = self._bus.subscribe
        subscribe(self._guard(self._on_mark), producers=("market_data",), types=(MarkPrice,), group=None)
        subscribe(
            self._guard(self._on_execution), producers=("execution",), types=(OrderFilled, AccountReported), group=NAME
        )
        subscribe(self._guard(self._on_rebase), producers=("emergency_stop",), types=(BaselineReset,), group=NAME)

    # ------------------------------------------------------------------------------------------------ life

    async def start(self) -> None:
        """Restore ledger and baseline. Raises JournalCorrupt, DiskError: without its books the portfolio does not guess."""
        if self._loaded.is_set():
            return
        self._read_day_start()
        runs = 0
        for record in await self._journal.load():
            match record:
                case Started(run=run):
                    runs = max(runs, run)
                case Adopted():
                    self._adopt(record)
                case Filled(fill=fill):
                    self._book(fill)
                case BaselineSet():
                    self._set_baseline(record)
        await self._journal.append(Started(runs + 1))
        self._sequence = (runs + 1) * _RUN
        self._last_equity.load()
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
        elif isinstance(event.payload, AccountReported):
            await self._take_report(event.payload)

    async def _on_rebase(self, event: Event) -> None:
        assert isinstance(event.payload, BaselineReset)
        asked = event.payload
        if asked.epoch <= self._rebase_epoch:
            return  # seen before
        if not asked.equity.is_finite() or asked.equity <= ZERO:
            log.error("new baseline refused: equity must be positive", equity=str(asked.equity))
            return
        async with self._lock:
            day = self._day_of(asked.time)
            if self._baseline is not None and day < self._baseline.day:
                return  # that day is over, and its baseline with it
            why, start = f"new baseline asked for by {asked.who}", self._start_of(day)
            record = BaselineSet(day, asked.equity, asked.time, why, asked.epoch, start)
            await self._journal.append(record)
            self._set_baseline(record)
            self._unsaved = None  # overtaken
        log.info("new baseline", day=str(day), equity=plain(asked.equity), who=asked.who)
        await self._publish()

    async def _take_fill(self, filled: OrderFilled) -> None:
        fill = Fill(
            symbol=filled.symbol,
            trade_id=filled.trade_id,
            quantity=filled.quantity * filled.side.sign,
            price=filled.price,
            commission=filled.commission,
            time=filled.time,
            leverage=filled.leverage,
        )
        async with self._lock:
            try:
                verdict = self._ledger.judge(fill)
            except ValueError as error:
                self.counters["bad_fills"] += 1
                self._alarm((str(error),))
                return
            if verdict is Booked.REPEATED:
                self.counters["repeated_fills"] += 1
                return
            if verdict is Booked.CONFLICTING:
                self.counters["bad_fills"] += 1
                self._alarm((f"trade {fill.symbol} {fill.trade_id} came twice with different numbers: {fill}",))
            else:
                await self._journal.append(Filled(fill))
                self._book(fill)
                self.counters["fills"] += 1
                self.progress += 1
                if self._report is not None and self._mismatches:
                    self._judge(self._report, again=True)
        await self._publish()

    async def _take_report(self, report: AccountReported) -> None:
        if problem := unusable(report):
            log.error("account report refused", problem=problem)
            return
        async with self._lock:
            if not self._ledger.adopted:
                record = Adopted(report.time, report.wallet, report.positions, report.through_trade)
                await self._journal.append(record)
                self._adopt(record)
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

    def _adopt(self, record: Adopted) -> None:
        positions = (
            (held.symbol, Position(held.quantity, held.quantity * held.entry_price, held.leverage, record.time))
            for held in record.positions
        )
        through = {Symbol(symbol): TradeId(trade) for symbol, trade in record.through_trade.items()}
        self._ledger.adopt(record.wallet, positions, through)

    def _book(self, fill: Fill) -> None:
        realised, fees = self._ledger.realised, self._ledger.commissions
        self._ledger.record(fill)
        self._totals = self._totals.add(
            trading_day(fill.time, self._start_minute),
            self._ledger.realised - realised,
            self._ledger.commissions - fees,
        )

    def _set_baseline(self, record: BaselineSet) -> None:
        self._baseline = Baseline(record.day, record.equity)
        self._baseline_start = record.start_minute
        self._rebase_epoch = max(self._rebase_epoch, record.epoch)

    def _judge(self, report: AccountReported, *, again: bool = False) -> None:
        """Compare. ``again``: a fill came after a report that differed; it can settle the matter, not make it worse."""
        found = compare(self._ledger, report)
        if found.agreement is Agreement.AGREED:
            if self.drift:
                log.info("ledger and venue agree again")
            self._reconciled, self._mismatches, self._aheads, self.drift = True, 0, 0, ""
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
            assert self._baseline is not None
            self._sequence += 1
            snapshot = value(
                self._ledger,
                self._marks,
                self._baseline,
                sequence=self._sequence,
                time=time,
                reconciled=self._reconciled,
                totals=self._totals,
                fresh_since=self._market.now() - self._stale_after(),
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
        if not self._ledger.adopted or not self._marks:
            return None
        if not self._complete_once:
            # After a start, figures without the marks of open positions would look like a loss or a gain.
            self._complete_once = all(symbol in self._marks for symbol in self._ledger.positions)
            if not self._complete_once:
                return None
        return min(max(mark.time for mark in self._marks.values()), self._market.now())

    async def _roll(self, time: datetime) -> bool:
        """Make sure there is a baseline for the day of ``time``: the last reconciled equity before the day began."""
        day = self._day_of(time)
        start = self._start_of(day)
        if self._baseline is not None and day <= self._baseline.day:
            if self._unsaved is not None:
                await self._save_baseline(self._unsaved)
            return True
        if self._baseline is not None:
            last, equity = self._last_equity.value, self._baseline.equity
            if last is not None and last.equity > ZERO:
                # One of the day itself, because its baseline was never saved, forgives no loss since.
                equity = last.equity if last.time < day_start(day, start) else max(last.equity, equity)
            why = "a new trading day: the last reconciled equity before it"
            record = BaselineSet(day, equity, time, why, start_minute=start)
        else:
            if not self._reconciled:
                return False
            first = value(self._ledger, self._marks, Baseline(day, HUNDRED), sequence=0, time=time, reconciled=True)
            if first.marks_missing or first.equity <= ZERO:
                return False
            record = BaselineSet(day, first.equity, time, "the first reconciled equity", start_minute=start)
        self._set_baseline(record)
        log.info("baseline", day=str(day), equity=plain(record.equity), why=record.why)
        await self._save_baseline(record)
        return True

    def _day_of(self, time: datetime) -> date:
        """The trading day of ``time``. A day ends as it began: a policy that moves its start cannot end it early."""
        asked = self._read_day_start()
        began = self._baseline_start
        if self._baseline is not None and began is not None:
            day = self._baseline.day
            if day_start(day, began) <= time < day_start(day + timedelta(days=1), began):
                return day
        return trading_day(time, asked)

    def _start_of(self, day: date) -> int:
        same = self._baseline is not None and self._baseline.day == day
        return self._baseline_start if same and self._baseline_start is not None else self._start_minute

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

    def _read_day_start(self) -> int:
        policy = self._context.policy.current()
        if policy is not None:
            self._start_minute = policy.policy.day.start_minute
        return self._start_minute

    def _waiting_for(self) -> str:
        if not self._ledger.adopted:
            return "waiting for a first account report from execution"
        missing = [symbol for symbol in self._ledger.positions if symbol not in self._marks]
        return f"waiting for a mark price of {', '.join(missing) or 'any symbol'}"
