"""What the portfolio knows: ledger, baseline and the day's totals, as its records make them. Memory only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.ledger import Booked, Fill, Ledger, Position
from breakwater.domain.money import ZERO
from breakwater.domain.movements import Movement, baseline_after
from breakwater.domain.valuation import Baseline, DayTotals, day_start, trading_day
from breakwater.portfolio.records import (
    Adopted,
    BaselineSet,
    Checkpoint,
    Filled,
    Moved,
    ReconciledEquity,
    Record,
    Started,
)
from breakwater.runtime.events import BaselineReset

MOVEMENTS_KEPT = timedelta(days=7)
"""How long before the last agreement with the venue a movement's id is remembered; execution reads two days back at most."""


class PortfolioBooks:
    """``apply`` takes records, from the journal or just written to it; nothing else changes the books."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.totals = DayTotals(date.min)
        self.baseline: Baseline | None = None
        self.baseline_start: int | None = None
        """Minutes after midnight at which the baseline's day began."""
        self.rebase_epoch = 0
        self.runs = 0
        self.last: ReconciledEquity | None = None
        """The last reconciled equity as the journal knows it: newer than the file's only after a transfer."""
        self.start_minute = 0
        """Minutes after midnight at which days begin by the policy now."""
        self._set: BaselineSet | None = None
        self._settled: dict[Symbol, TradeId] = {}
        self._agreed_at: datetime | None = None
        """Market time of the last agreement by this process."""

    def apply(self, record: Record) -> None:
        """Take one record in. Raises ValueError for what cannot be booked."""
        match record:
            case Started(run=run):
                self.runs = max(self.runs, run)
            case Adopted():
                self._adopt(record)
            case Filled(fill=fill):
                self.book(fill)
            case Moved():
                self._move(record)
            case BaselineSet():
                self._set_baseline(record)
            case Checkpoint():
                self._restore(record)

    def book(self, fill: Fill) -> None:
        """Fold one fill in, and count what it realised and cost on its day."""
        realised, fees = self.ledger.realised, self.ledger.commissions
        self.ledger.record(fill)
        day = trading_day(fill.time, self.start_minute)
        self.totals = self.totals.add(day, self.ledger.realised - realised, self.ledger.commissions - fees)

    def moved(self, movement: Movement, equity: Decimal, last: ReconciledEquity | None) -> Moved:
        """The record of ``movement``; ``equity`` is the ledger's before it."""
        counts = self.ledger.adopted and not self.ledger.contains(movement)
        if not (movement.capital and counts):
            return Moved(movement)
        amount = movement.amount
        baseline = baseline_after(self.baseline.equity, equity, amount) if self.baseline else None
        after = ReconciledEquity(last.time, baseline_after(last.equity, equity, amount)) if last else None
        return Moved(movement, baseline, after)

    def rebased(self, asked: BaselineReset) -> Decimal:
        """The new baseline that was granted, moved with the transfers booked since its equity was measured."""
        since = ZERO if asked.transfers is None else self.ledger.transfers - asked.transfers
        return baseline_after(asked.equity, asked.equity, since)

    def day_of(self, time: datetime) -> date:
        """The trading day of ``time``. A day ends as it began: a policy that moves its start cannot end it early."""
        began = self.baseline_start
        if self.baseline is not None and began is not None:
            day = self.baseline.day
            if day_start(day, began) <= time < day_start(day + timedelta(days=1), began):
                return day
        return trading_day(time, self.start_minute)

    def start_of(self, day: date) -> int:
        """Minutes after midnight at which ``day`` began, or will."""
        same = self.baseline is not None and self.baseline.day == day
        return self.baseline_start if same and self.baseline_start is not None else self.start_minute

    def agreed(self, through: Mapping[str, str], time: datetime) -> None:
        """Ledger and venue agreed at ``time``, and the venue's account contained these trades: none of them can come anew."""
        self._settled = {Symbol(symbol): TradeId(trade) for symbol, trade in through.items()}
        self._agreed_at = time

    def checkpoint(self, last: ReconciledEquity | None) -> Checkpoint:
        """Forget what cannot come again, and write down the rest.

        Movements are forgotten by the last agreement, not by the clock: after a long absence old ones are yet to come.
        """
        self.ledger.settle(self._settled, self._agreed_at - MOVEMENTS_KEPT if self._agreed_at else None)
        return Checkpoint(
            self.runs, self.ledger.state(), self.totals, self._set, self.rebase_epoch, last, self._settled
        )

    def _adopt(self, record: Adopted) -> None:
        positions = (
            (held.symbol, Position(held.quantity, held.quantity * held.entry_price, held.leverage, record.time))
            for held in record.positions
        )
        through = {Symbol(symbol): TradeId(trade) for symbol, trade in record.through_trade.items()}
        self.ledger.adopt(record.wallet, positions, through, record.moved_through or record.time)

    def _move(self, record: Moved) -> None:
        funding = self.ledger.funding
        if self.ledger.record_movement(record.movement) is not Booked.APPLIED:
            return
        day = trading_day(record.movement.time, self.start_minute)
        if self.ledger.funding != funding:
            self.totals = self.totals.add(day, ZERO, ZERO, self.ledger.funding - funding)
        if record.baseline is not None and self._set is not None:
            self._set = replace(self._set, equity=record.baseline)
            self.baseline = Baseline(self._set.day, record.baseline)
        self.last = record.last or self.last

    def _set_baseline(self, record: BaselineSet) -> None:
        self._set = record
        self.baseline = Baseline(record.day, record.equity)
        self.baseline_start = record.start_minute
        self.rebase_epoch = max(self.rebase_epoch, record.epoch)

    def _restore(self, record: Checkpoint) -> None:
        self.runs = max(self.runs, record.run)
        self.ledger = Ledger.restored(record.ledger)
        self.totals, self.last, self._settled = record.totals, record.last, dict(record.settled)
        if record.baseline is not None:
            self._set_baseline(record.baseline)
        self.rebase_epoch = max(self.rebase_epoch, record.rebase_epoch)
