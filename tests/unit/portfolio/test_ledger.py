"""The fold over fills against an oracle in fractions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.ledger import Booked, Fill, Ledger, Position

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
START = datetime(2025, 10, 10, tzinfo=UTC)


def fill(number: int, quantity: str | Decimal, price: str | Decimal, fee: str = "0", symbol: Symbol = BTC) -> Fill:
    return Fill(
        symbol, TradeId(str(number)), Decimal(quantity), Decimal(price), Decimal(fee), START + timedelta(seconds=number)
    )


def adopted(wallet: str = "14000") -> Ledger:
    ledger = Ledger()
    ledger.adopt(Decimal(wallet), (), {})
    return ledger


class Oracle:
    """Average-entry accounting in exact fractions, written the textbook way."""

    def __init__(self) -> None:
        self.quantity = Fraction(0)
        self.average = Fraction(0)
        self.realised = Fraction(0)
        self.fees = Fraction(0)

    def add(self, one: Fill) -> None:
        quantity, price = Fraction(one.quantity), Fraction(one.price)
        self.fees += Fraction(one.commission)
        if self.quantity * quantity < 0:
            sign = 1 if self.quantity > 0 else -1
            closed = min(abs(quantity), abs(self.quantity))
            self.realised += (price - self.average) * closed * sign
            self.quantity -= sign * closed
            quantity += sign * closed
        if quantity:
            total = self.quantity + quantity
            self.average = (self.average * self.quantity + price * quantity) / total
            self.quantity = total


quantities = st.decimals("-3", "3", places=3, allow_nan=False).filter(lambda value: value != 0)
prices = st.decimals("0.01", "120000", places=2, allow_nan=False)
fees = st.decimals("-0.5", "30", places=8, allow_nan=False)
trades = st.lists(st.tuples(st.sampled_from([BTC, ETH]), quantities, prices, fees), max_size=30)


def make_fills(rows: list[tuple[Symbol, Decimal, Decimal, Decimal]]) -> list[Fill]:
    return [fill(number, q, p, str(f), symbol) for number, (symbol, q, p, f) in enumerate(rows, start=1)]


@settings(max_examples=200, deadline=None)
@given(rows=trades)
def test_any_fills_agree_with_fractions(rows: list[tuple[Symbol, Decimal, Decimal, Decimal]]) -> None:
    ledger, oracles = adopted(), {BTC: Oracle(), ETH: Oracle()}
    for one in make_fills(rows):
        assert ledger.record(one) is Booked.APPLIED
        oracles[one.symbol].add(one)
    realised = sum((oracle.realised for oracle in oracles.values()), Fraction(0))
    paid = sum((oracle.fees for oracle in oracles.values()), Fraction(0))
    tiny = Fraction(1, 10**20)
    assert abs(Fraction(ledger.realised) - realised) < tiny
    assert abs(Fraction(ledger.wallet) - (14000 + realised - paid)) < tiny
    assert Fraction(ledger.commissions) == paid
    for symbol, oracle in oracles.items():
        held = ledger.positions.get(symbol, Position())
        assert Fraction(held.quantity) == oracle.quantity
        if oracle.quantity:
            assert abs(Fraction(held.entry_price) - oracle.average) < tiny


@settings(max_examples=100, deadline=None)
@given(rows=trades, price=prices)
def test_once_flat_the_wallet_is_exact(rows: list[tuple[Symbol, Decimal, Decimal, Decimal]], price: Decimal) -> None:
    ledger, fills = adopted(), make_fills(rows)
    for one in fills:
        ledger.record(one)
    for number, (symbol, held) in enumerate(ledger.positions.items(), start=100):
        fills.append(fill(number, -held.quantity, price, symbol=symbol))
        ledger.record(fills[-1])
    assert not ledger.positions
    cash = sum((-Fraction(one.quantity) * Fraction(one.price) - Fraction(one.commission) for one in fills), Fraction(0))
    assert Fraction(ledger.wallet) == 14000 + cash


@settings(max_examples=100, deadline=None)
@given(rows=trades)
def test_the_order_of_independent_symbols_does_not_matter(
    rows: list[tuple[Symbol, Decimal, Decimal, Decimal]],
) -> None:
    fills = make_fills(rows)
    mixed, sorted_ = adopted(), adopted()
    for one in fills:
        mixed.record(one)
    for one in sorted(fills, key=lambda one: (one.symbol != ETH, int(one.trade_id))):
        sorted_.record(one)
    assert (mixed.wallet, mixed.positions, mixed.realised) == (sorted_.wallet, sorted_.positions, sorted_.realised)


@settings(max_examples=100, deadline=None)
@given(rows=trades, again=st.data())
def test_repeated_fills_change_nothing(
    rows: list[tuple[Symbol, Decimal, Decimal, Decimal]], again: st.DataObject
) -> None:
    once, twice = adopted(), adopted()
    for one in make_fills(rows):
        once.record(one)
        twice.record(one)
        if again.draw(st.booleans()):
            assert twice.record(one) is Booked.REPEATED
    assert (once.wallet, once.positions) == (twice.wallet, twice.positions)


def test_an_overtaken_fill_is_put_in_its_place() -> None:
    in_order, overtaken = adopted(), adopted()
    first, second, third = fill(1, "1", "100"), fill(2, "1", "200"), fill(3, "-1", "300")
    for one in (first, second, third):
        in_order.record(one)
    for one in (first, third, second):
        overtaken.record(one)
    assert overtaken.realised == in_order.realised == Decimal(150)
    assert overtaken.positions[BTC].entry_price == Decimal(150)
    assert overtaken.last_trade(BTC) == "3"


def test_a_flip_closes_then_opens() -> None:
    ledger = adopted()
    ledger.record(fill(1, "1", "100", "0.05"))
    ledger.record(fill(2, "-3", "110", "0.165"))
    held = ledger.positions[BTC]
    assert (held.quantity, held.entry_price) == (Decimal(-2), Decimal(110))
    assert held.opened_at == START + timedelta(seconds=2)
    assert ledger.wallet == Decimal("14009.785")
    assert held.unrealised_pnl(Decimal(100)) == Decimal(20)


def test_a_trade_with_other_numbers_is_a_conflict_and_the_first_stays() -> None:
    ledger = adopted()
    ledger.record(fill(1, "1", "100"))
    assert ledger.record(fill(1, "1", "101")) is Booked.CONFLICTING
    assert ledger.positions[BTC].entry_price == Decimal(100)


@pytest.mark.parametrize(
    ("quantity", "price", "fee", "field"),
    [("NaN", "1", "0", "quantity"), ("0", "1", "0", "quantity"), ("1", "0", "0", "price"), ("1", "-2", "0", "price"),
     ("1", "Infinity", "0", "price"), ("1", "1", "NaN", "commission")],
)  # fmt: skip
def test_numbers_that_cannot_be_a_trade_are_refused_by_name(quantity: str, price: str, fee: str, field: str) -> None:
    ledger = adopted()
    with pytest.raises(ValueError, match=field):
        ledger.record(fill(1, quantity, price, fee))
    assert ledger.wallet == 14000
    assert not ledger.positions


def test_adoption_takes_only_the_trades_the_report_lacks() -> None:
    ledger = Ledger()
    for one in (fill(5, "1", "100", "1"), fill(6, "1", "100", "1"), fill(7, "1", "130", "1")):
        ledger.record(one)
    assert ledger.wallet == 0
    ledger.adopt(Decimal(1000), [(BTC, Position(Decimal(2), Decimal(200)))], {BTC: TradeId("6")})
    assert ledger.wallet == Decimal(999)
    assert ledger.positions[BTC].cost == Decimal(330)
    ledger.record(fill(4, "1", "100", "1"))  # older than what was adopted: contained
    assert ledger.wallet == Decimal(999)
    with pytest.raises(ValueError, match="already"):
        ledger.adopt(Decimal(1), (), {})
