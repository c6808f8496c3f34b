"""Open loss before drawdown: only a position that was carried over the day's start gets there. From marks to the trip."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.domain import emergency_stop as machine
from breakwater.domain.ids import Symbol
from breakwater.domain.ledger import Ledger, Position
from breakwater.domain.stop_state import StopState, Trigger
from breakwater.domain.valuation import Baseline, Mark, value

BTC = Symbol("BTCUSDT")
WALLET, ENTRY, QUANTITY = Decimal(14000), Decimal(100_000), Decimal("0.1")


class Book:
    """Long 0.1 BTC from 100,000 on a wallet of 14,000; the baseline is the equity at each day's start."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk
        self.ledger = Ledger()
        self.ledger.adopt(WALLET, [(BTC, Position(QUANTITY, ENTRY * QUANTITY, 10))], {})
        self.baseline = Baseline(desk.now.date(), WALLET)
        self.sequence = 1000

    def tick(self, price: Decimal) -> None:
        self.sequence += 1
        desk = self.desk
        snapshot = value(
            self.ledger, {BTC: Mark(price, desk.now)}, self.baseline, sequence=self.sequence, time=desk.now, reconciled=True
        )  # fmt: skip
        desk.take(machine.on_snapshot(desk.memory, snapshot, desk.rules, desk.now))
        self.equity = snapshot.equity
        desk.wait(1)

    def next_day(self) -> None:
        self.desk.now += timedelta(days=1)
        self.baseline = Baseline(self.desk.now.date(), self.equity)


def test_position_carried_over_two_nights_trips_by_open_loss_before_any_drawdown(desk: Any) -> None:
    book = Book(desk)
    for price in ("96000", "94000"):  # 4.3 % down that day
        book.tick(Decimal(price))
    book.next_day()
    for price in ("92000", "88000"):  # 4.5 % down that day, 8.6 % of open loss
        book.tick(Decimal(price))
    assert desk.state is StopState.ARMED
    book.next_day()
    for price in ("86000", "86000"):
        book.tick(Decimal(price))
    trip = desk.memory.latched.trip
    assert (trip.trigger, trip.measured, trip.limit) == (Trigger.OPEN_LOSS, Decimal(10), Decimal(10))
    desk.flat()
    desk.wait(15 * 60)
    desk.report()
    book.tick(Decimal(86000))
    assert desk.reset("r1").code == "RESET_CAUSE_NOT_GONE"  # the snapshot still shows the position


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prices=st.lists(st.integers(80_000, 101_000), min_size=2, max_size=20))
def test_position_opened_the_same_day_never_trips_by_open_loss(
    make_desk: Callable[..., Any], prices: list[int]
) -> None:
    desk = make_desk()
    book = Book(desk)
    for price in [*prices, 80_000, 80_000]:
        book.tick(Decimal(price))
    assert desk.memory.latched.trip.trigger is Trigger.DAILY_DRAWDOWN
