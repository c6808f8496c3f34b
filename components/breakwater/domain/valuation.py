"""The ledger at mark prices: equity, drawdown, open loss and exposure as REQUIREMENTS R0 defines them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec

from breakwater.domain.ids import Symbol
from breakwater.domain.ledger import Ledger
from breakwater.domain.money import HUNDRED, ZERO
from breakwater.domain.positions import Position
from breakwater.domain.snapshot import PositionView, Snapshot

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Mark(msgspec.Struct, frozen=True):
    """Mark price of a symbol at a market time."""

    price: Decimal
    time: datetime


class Baseline(msgspec.Struct, frozen=True):
    """Equity (USDT) that the drawdown of trading day ``day`` is measured from."""

    day: date
    equity: Decimal


class DayTotals(msgspec.Struct, frozen=True):
    """What one trading day has realised and cost so far."""

    day: date
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO

    def add(self, day: date, realised: Decimal, fees: Decimal, funding: Decimal = ZERO) -> DayTotals:
        """With one more fill or funding payment of ``day``; a later day begins anew, an earlier one no longer counts."""
        if day < self.day:
            return self
        base = self if day == self.day else DayTotals(day)
        return DayTotals(day, base.realised + realised, base.fees + fees, base.funding + funding)


def trading_day(moment: datetime, start_minute: int) -> date:
    """The day ``moment`` belongs to when days begin ``start_minute`` minutes after midnight UTC."""
    return (moment.astimezone(UTC) - timedelta(minutes=start_minute)).date()


def day_start(day: date, start_minute: int) -> datetime:
    """The instant at which ``day`` begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=start_minute)


def daily_drawdown_pct(baseline: Decimal, equity: Decimal) -> Decimal:
    """max(0, baseline - equity) / baseline, in percent. Without a baseline (all capital left) a debt is a loss of all of it."""
    if baseline <= ZERO:
        return HUNDRED if equity < ZERO else ZERO
    return max(ZERO, baseline - equity) / baseline * HUNDRED


def open_loss_pct(wallet: Decimal, unrealised: Decimal) -> Decimal:
    """max(0, -unrealised) / wallet, in percent. A loss on a wallet that is used up counts as all of it: 100."""
    loss = max(ZERO, -unrealised)
    if not loss:
        return ZERO
    return loss / wallet * HUNDRED if wallet > ZERO else max(HUNDRED, loss)


def exposure_pct(gross_notional: Decimal, equity: Decimal) -> Decimal:
    """|notional| over equity in percent. Positions on no equity are beyond any limit: reported as a million percent."""
    if not gross_notional:
        return ZERO
    return gross_notional / equity * HUNDRED if equity > ZERO else Decimal(1_000_000)


class Valued(msgspec.Struct, frozen=True, gc=False):
    """One position at one mark, kept so that only what has moved is valued again."""

    position: Position
    mark: Mark | None
    view: PositionView
    notional: Decimal


def value(
    ledger: Ledger,
    marks: Mapping[Symbol, Mark],
    baseline: Baseline,
    *,
    sequence: int,
    time: datetime,
    reconciled: bool,
    totals: DayTotals | None = None,
    fresh_since: datetime | None = None,
    rebase_epoch: int = 0,
    memo: dict[Symbol, Valued] | None = None,
) -> Snapshot:
    """The snapshot at ``marks``. A position without a mark counts at its entry price and is named in ``marks_missing``.

    So is one whose mark is from before ``fresh_since``; it counts at that old mark, the best that is known. ``memo`` is
    the caller's, empty at first: it spares valuing again what neither traded nor got another mark, and changes no result.
    """
    views: list[PositionView] = []
    missing: list[Symbol] = []
    unrealised = gross = ZERO
    for symbol, position in ledger.positions.items():
        mark = marks.get(symbol)
        if mark is None or (fresh_since is not None and mark.time < fresh_since):
            missing.append(symbol)
        known = memo.get(symbol) if memo is not None else None
        if known is None or known.position is not position or known.mark is not mark:
            known = _value_one(symbol, position, mark)
            if memo is not None:
                memo[symbol] = known
        views.append(known.view)
        unrealised += known.view.unrealised_pnl
        gross += known.notional
    equity = ledger.wallet + unrealised
    today = totals if totals is not None and totals.day == baseline.day else DayTotals(baseline.day)
    return Snapshot(
        sequence=sequence,
        time=time,
        wallet=ledger.wallet,
        unrealised_pnl=unrealised,
        equity=equity,
        baseline=baseline.equity,
        baseline_day=baseline.day,
        daily_drawdown_pct=daily_drawdown_pct(baseline.equity, equity),
        open_loss_pct=open_loss_pct(ledger.wallet, unrealised),
        gross_notional=gross,
        exposure_pct=exposure_pct(gross, equity),
        positions=tuple(views),
        reconciled=reconciled,
        marks_missing=tuple(missing),
        realised_today=today.realised,
        fees_today=today.fees,
        funding_today=today.funding,
        rebase_epoch=rebase_epoch,
        transfers=ledger.transfers,
    )


def _value_one(symbol: Symbol, position: Position, mark: Mark | None) -> Valued:
    price = mark.price if mark else position.entry_price
    view = PositionView(
        symbol=symbol,
        quantity=position.quantity,
        entry_price=position.entry_price,
        mark_price=price,
        unrealised_pnl=position.unrealised_pnl(price) if mark else ZERO,
        leverage=position.leverage,
        opened_at=position.opened_at or _EPOCH,
    )
    return Valued(position, mark, view, view.notional)
