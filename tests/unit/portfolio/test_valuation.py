"""Equity, drawdown, open loss and exposure by the definitions of R0."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.ledger import Ledger, Position
from breakwater.domain.valuation import (
    Baseline,
    DayTotals,
    Mark,
    daily_drawdown_pct,
    day_start,
    exposure_pct,
    open_loss_pct,
    trading_day,
    value,
)

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
NOW = datetime(2025, 10, 10, 21, 0, tzinfo=UTC)


def test_the_figures_follow_from_wallet_marks_and_baseline() -> None:
    ledger = Ledger()
    held = [(BTC, Position(Decimal("0.1"), Decimal(10000), 10)), (ETH, Position(Decimal(-2), Decimal(-8000), 10))]
    ledger.adopt(Decimal(14000), held, {BTC: TradeId("1")})
    marks = {BTC: Mark(Decimal(92000), NOW), ETH: Mark(Decimal(4100), NOW)}
    day = NOW.date()
    snapshot = value(
        ledger,
        marks,
        Baseline(day, Decimal(14500)),
        sequence=7,
        time=NOW,
        reconciled=True,
        totals=DayTotals(day, Decimal(3), Decimal(1)),
    )
    assert snapshot.unrealised_pnl == Decimal(-1000)
    assert snapshot.equity == Decimal(13000)
    assert snapshot.daily_drawdown_pct == Decimal(1500) / Decimal(14500) * 100
    assert snapshot.open_loss_pct == Decimal(1000) / Decimal(14000) * 100
    assert snapshot.gross_notional == Decimal(17400)
    assert snapshot.exposure_pct == Decimal(17400) / Decimal(13000) * 100
    assert (snapshot.realised_today, snapshot.fees_today) == (Decimal(3), Decimal(1))
    assert [view.entry_price for view in snapshot.positions] == [100000, 4000]


def test_a_position_without_a_mark_is_named_and_counts_at_entry() -> None:
    ledger = Ledger()
    ledger.adopt(Decimal(14000), [(BTC, Position(Decimal(1), Decimal(100)))], {})
    snapshot = value(ledger, {}, Baseline(NOW.date(), Decimal(14000)), sequence=1, time=NOW, reconciled=True)
    assert snapshot.marks_missing == (BTC,)
    assert (snapshot.unrealised_pnl, snapshot.gross_notional) == (Decimal(0), Decimal(100))


@pytest.mark.parametrize(
    ("wallet", "unrealised", "percent"),
    [("1000", "50", "0"), ("1000", "-100", "10"), ("0", "0", "0"), ("0", "-1", "100"), ("-50", "-300", "300")],
)
def test_open_loss_never_divides_by_an_empty_wallet(wallet: str, unrealised: str, percent: str) -> None:
    assert open_loss_pct(Decimal(wallet), Decimal(unrealised)) == Decimal(percent)


def test_gains_are_no_drawdown_and_negative_equity_is_more_than_all() -> None:
    assert daily_drawdown_pct(Decimal(100), Decimal(120)) == 0
    assert daily_drawdown_pct(Decimal(100), Decimal(-20)) == 120
    assert exposure_pct(Decimal(10), Decimal(-1)) == 1_000_000
    assert exposure_pct(Decimal(0), Decimal(-1)) == 0


@pytest.mark.parametrize(
    ("moment", "start", "day"),
    [
        (datetime(2025, 10, 11, 0, 0, tzinfo=UTC), 0, date(2025, 10, 11)),
        (datetime(2025, 10, 10, 23, 59, 59, 999999, tzinfo=UTC), 0, date(2025, 10, 10)),
        (datetime(2025, 10, 11, 7, 59, tzinfo=UTC), 480, date(2025, 10, 10)),
        (datetime(2025, 10, 11, 8, 0, tzinfo=UTC), 480, date(2025, 10, 11)),
    ],
)
def test_a_day_begins_at_its_start_exactly(moment: datetime, start: int, day: date) -> None:
    assert trading_day(moment, start) == day
    assert day_start(day, start) <= moment


def test_totals_begin_anew_with_a_later_day_and_ignore_an_earlier_one() -> None:
    totals = DayTotals(date(2025, 10, 10), Decimal(5), Decimal(1))
    assert totals.add(date(2025, 10, 10), Decimal(1), Decimal(1)).realised == 6
    assert totals.add(date(2025, 10, 11), Decimal(1), Decimal(2)) == DayTotals(
        date(2025, 10, 11), Decimal(1), Decimal(2)
    )
    assert totals.add(date(2025, 10, 9), Decimal(1), Decimal(1)) is totals
