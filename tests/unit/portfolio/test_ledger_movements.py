"""Fills and wallet movements together against an oracle in fractions, in any order, across forgetting and restoring."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater.domain.ids import Symbol, TradeId, TranId
from breakwater.domain.ledger import Booked, Fill, Ledger, LedgerState, Position
from breakwater.domain.movements import Movement, MovementKind, baseline_after
from breakwater.domain.valuation import daily_drawdown_pct

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
START = datetime(2025, 10, 10, tzinfo=UTC)
TINY = Fraction(1, 10**18)
"""What 24 decimals can leave of 5,000 partial closes; gone once a position is flat."""
Item = Fill | Movement


def fill(number: int, quantity: Decimal, price: Decimal, fee: Decimal, symbol: Symbol = BTC) -> Fill:
    return Fill(symbol, TradeId(str(number)), quantity, price, fee, START + timedelta(seconds=number))


def movement(number: int, kind: MovementKind, amount: Decimal, *, asset: str = "USDT", after_s: int = 0) -> Movement:
    time = START + timedelta(seconds=after_s or number)
    return Movement(TranId(str(number)), kind.value, kind, amount, time, BTC, asset)


def adopted(wallet: str = "14000") -> Ledger:
    ledger = Ledger()
    ledger.adopt(Decimal(wallet), (), {}, START)
    return ledger


def take(ledger: Ledger, item: Item) -> Booked:
    return ledger.record(item) if isinstance(item, Fill) else ledger.record_movement(item)


class Oracle:
    """The textbook account in exact fractions: average entry, and one sum for each kind of money."""

    def __init__(self) -> None:
        self.held: dict[Symbol, tuple[Fraction, Fraction]] = {}
        """Quantity and average entry."""
        self.realised = self.fees = self.funding = self.capital = self.other = Fraction(0)

    def take(self, item: Item) -> None:
        if isinstance(item, Movement):
            amount = Fraction(item.amount)
            if item.asset != "USDT":
                return
            if item.kind is MovementKind.FUNDING:
                self.funding += amount
            elif item.kind is MovementKind.TRANSFER or (item.kind is MovementKind.OTHER and amount > 0):
                self.capital += amount
            else:
                self.other += amount
            return
        quantity, price = Fraction(item.quantity), Fraction(item.price)
        held, average = self.held.get(item.symbol, (Fraction(0), Fraction(0)))
        self.fees += Fraction(item.commission)
        if held * quantity < 0:
            sign = 1 if held > 0 else -1
            closed = min(abs(quantity), abs(held))
            self.realised += (price - average) * closed * sign
            held -= sign * closed
            quantity += sign * closed
        if quantity:
            average = (average * held + price * quantity) / (held + quantity)
            held += quantity
        self.held[item.symbol] = (held, average)

    @property
    def wallet(self) -> Fraction:
        return 14000 + self.realised - self.fees + self.funding + self.capital + self.other


def agrees(ledger: Ledger, oracle: Oracle, tolerance: Fraction = TINY) -> None:
    for ours, theirs in (
        (ledger.realised, oracle.realised), (ledger.commissions, oracle.fees), (ledger.funding, oracle.funding),
        (ledger.transfers, oracle.capital), (ledger.other, oracle.other), (ledger.wallet, oracle.wallet),
    ):  # fmt: skip
        assert abs(Fraction(ours) - theirs) <= tolerance
    assert Fraction(ledger.funding) == oracle.funding
    assert Fraction(ledger.transfers) == oracle.capital
    for symbol, (quantity, average) in oracle.held.items():
        position = ledger.positions.get(symbol, Position())
        assert Fraction(position.quantity) == quantity
        if quantity:
            assert abs(Fraction(position.cost) - average * quantity) <= tolerance


decimals = st.decimals("-3", "3", places=3, allow_nan=False).filter(lambda value: value != 0)
trades = st.tuples(
    st.sampled_from([BTC, ETH]),
    decimals,
    st.decimals("0.01", "120000", places=2, allow_nan=False),
    st.decimals("-0.5", "30", places=8, allow_nan=False),
)
moves = st.tuples(
    st.sampled_from(MovementKind),
    st.decimals("-900", "900", places=8, allow_nan=False),
    st.sampled_from(["USDT", "BNB"]),
)
histories = st.lists(st.one_of(trades, moves), max_size=30)


def items_of(rows: list[tuple[object, ...]]) -> list[Item]:
    made: list[Item] = []
    for number, row in enumerate(rows, start=1):
        if len(row) == 4:
            symbol, quantity, price, fee = row
            made.append(fill(number, quantity, price, fee, symbol))  # type: ignore[arg-type]
        else:
            kind, amount, asset = row
            made.append(movement(number, kind, amount, asset=asset))  # type: ignore[arg-type]
    return made


@settings(max_examples=150, deadline=None)
@given(rows=histories)
def test_any_fills_and_movements_agree_with_fractions(rows: list[tuple[object, ...]]) -> None:
    ledger, oracle = adopted(), Oracle()
    for item in items_of(rows):
        assert take(ledger, item) is Booked.APPLIED
        oracle.take(item)
    agrees(ledger, oracle)


def seeded_history(count: int, seed: int) -> list[Item]:
    """Both sides, partial closes, flips, funding; positions are never flat for long."""
    draw = random.Random(seed)
    items: list[Item] = []
    price = {BTC: Decimal("100000.0"), ETH: Decimal("4000.00")}
    for number in range(1, count + 1):
        symbol = draw.choice([BTC, ETH])
        price[symbol] += Decimal(draw.randrange(-500, 501)) / 10
        quantity = Decimal(draw.choice([-1, 1]) * draw.randrange(1, 2000)).scaleb(-3)
        items.append(fill(number, quantity, price[symbol], Decimal(draw.randrange(1, 10**9)).scaleb(-8), symbol))
        if number % 100 == 0:
            amount = Decimal(draw.randrange(-(10**9), 10**9)).scaleb(-8)
            items.append(movement(10**6 + number, MovementKind.FUNDING, amount, after_s=number))
    return items


def test_5000_fills_with_funding_equal_an_oracle_in_exact_fractions() -> None:
    items, ledger, oracle = seeded_history(5000, seed=20), adopted(), Oracle()
    for item in items:
        take(ledger, item)
        oracle.take(item)
    agrees(ledger, oracle)
    for number, (symbol, held) in enumerate(ledger.positions.items(), start=10_000):
        last = fill(number, -held.quantity, Decimal("1234.56"), Decimal(0), symbol)
        take(ledger, last)
        oracle.take(last)
    assert ledger.positions == {}
    assert Fraction(ledger.realised) == oracle.realised
    assert Fraction(ledger.wallet) == oracle.wallet


@settings(max_examples=100, deadline=None)
@given(rows=histories, order=st.randoms(use_true_random=False))
def test_movements_may_arrive_at_any_place_among_fills(rows: list[tuple[object, ...]], order: random.Random) -> None:
    items = items_of(rows)
    in_order, mixed = adopted(), adopted()
    for item in items:
        take(in_order, item)
    shuffled = list(items)
    order.shuffle(shuffled)
    fills = iter([item for item in items if isinstance(item, Fill)])
    for item in shuffled:  # fills keep their order, as one stream brings them
        take(mixed, next(fills) if isinstance(item, Fill) else item)
    assert (mixed.wallet, mixed.realised, mixed.positions) == (in_order.wallet, in_order.realised, in_order.positions)
    assert (mixed.funding, mixed.transfers, mixed.other) == (in_order.funding, in_order.transfers, in_order.other)


@settings(max_examples=100, deadline=None)
@given(rows=histories, cut=st.integers(0, 30), again=st.data())
def test_forgetting_and_restoring_change_nothing(
    rows: list[tuple[object, ...]], cut: int, again: st.DataObject
) -> None:
    items = items_of(rows)
    whole, cut_short = adopted(), adopted()
    for item in items:
        take(whole, item)
    early = items[:cut]
    for item in early:
        take(cut_short, item)
    through = {item.symbol: item.trade_id for item in early if isinstance(item, Fill)}
    cut_short.settle(through, max((item.time for item in early), default=None))
    written = msgspec.json.encode(cut_short.state())
    cut_short = Ledger.restored(msgspec.json.decode(written, type=LedgerState))
    assert msgspec.json.encode(cut_short.state()) == written
    assert not cut_short.state().seen
    assert not cut_short.state().moved
    for item in early:
        if again.draw(st.booleans()):
            assert take(cut_short, item) is Booked.REPEATED
    for item in items[cut:]:
        assert take(cut_short, item) is Booked.APPLIED
    assert (cut_short.wallet, cut_short.positions) == (whole.wallet, whole.positions)
    assert (cut_short.realised, cut_short.commissions, cut_short.funding, cut_short.transfers, cut_short.other) == (
        whole.realised, whole.commissions, whole.funding, whole.transfers, whole.other,
    )  # fmt: skip


def test_what_is_held_in_memory_does_not_grow_with_history() -> None:
    ledger = adopted()
    sizes = []
    for item in seeded_history(3000, seed=3):
        take(ledger, item)
        if isinstance(item, Fill) and int(item.trade_id) % 500 == 0:
            ledger.settle(dict.fromkeys((BTC, ETH), item.trade_id), item.time)
            sizes.append(len(msgspec.json.encode(ledger.state())))
    assert max(sizes[1:]) < sizes[0] * 1.2
    assert max(sizes) < 2000


def test_the_same_movement_counts_once_and_other_numbers_are_a_conflict() -> None:
    ledger = adopted()
    paid = movement(7, MovementKind.FUNDING, Decimal("-1.2"))
    assert ledger.record_movement(paid) is Booked.APPLIED
    assert ledger.record_movement(paid) is Booked.REPEATED
    assert ledger.record_movement(msgspec.structs.replace(paid, amount=Decimal("-2"))) is Booked.CONFLICTING
    assert ledger.record_movement(msgspec.structs.replace(paid, venue_type="TRANSFER")) is Booked.APPLIED
    assert ledger.wallet == Decimal("13997.6")


def test_an_adopted_wallet_contains_the_movements_up_to_its_watermark() -> None:
    ledger = Ledger()
    before, after = (movement(n, MovementKind.FUNDING, Decimal(-1)) for n in (10, 30))
    for one in (before, after):
        assert ledger.record_movement(one) is Booked.APPLIED
    ledger.adopt(Decimal(1000), (), {}, START + timedelta(seconds=20))
    assert ledger.wallet == 999
    assert ledger.record_movement(movement(15, MovementKind.TRANSFER, Decimal(50))) is Booked.REPEATED
    assert ledger.record_movement(movement(21, MovementKind.TRANSFER, Decimal(50))) is Booked.APPLIED
    assert (ledger.wallet, ledger.transfers) == (Decimal(1049), Decimal(50))


@pytest.mark.parametrize(
    ("amount", "tran_id", "says"), [("NaN", "1", "amount"), ("Infinity", "1", "amount"), ("1", "", "id")]
)
def test_what_cannot_be_a_movement_is_refused_by_name(amount: str, tran_id: str, says: str) -> None:
    ledger = adopted()
    bad = Movement(TranId(tran_id), "FUNDING_FEE", MovementKind.FUNDING, Decimal(amount), START)
    with pytest.raises(ValueError, match=says):
        ledger.record_movement(bad)
    assert ledger.wallet == 14000


def test_an_unknown_kind_is_judged_strictly() -> None:
    ledger = adopted()
    ledger.record_movement(movement(1, MovementKind.OTHER, Decimal(-5)))
    ledger.record_movement(movement(2, MovementKind.OTHER, Decimal(40)))
    assert (ledger.other, ledger.transfers, ledger.wallet) == (Decimal(-5), Decimal(40), Decimal(14035))


# ------------------------------------------------------------------------------------------------ transfers and the day


money = st.decimals("0.01", "1000000", places=8, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(baseline=money, equity=money, amount=st.decimals("-1000000", "1000000", places=8, allow_nan=False))
def test_a_transfer_never_changes_the_days_drawdown(baseline: Decimal, equity: Decimal, amount: Decimal) -> None:
    if equity + amount < Decimal("0.01"):
        return
    before = daily_drawdown_pct(baseline, equity)
    after = daily_drawdown_pct(baseline_after(baseline, equity, amount), equity + amount)
    assert abs(after - before) < Decimal("1e-9")


@pytest.mark.parametrize(
    ("baseline", "equity", "amount", "after"),
    [("14000", "14000", "1000", "15000"), ("14000", "14000", "-1000", "13000"), ("14000", "13300", "13300", "28000"),
     ("14000", "14000", "-14000", "0"), ("0", "0", "5000", "5000"), ("0", "0.5", "5000", "5000"),
     ("100", "-20", "500", "600"), ("100", "-20", "10", "0")],
)  # fmt: skip
def test_the_baseline_after_a_transfer(baseline: str, equity: str, amount: str, after: str) -> None:
    assert baseline_after(Decimal(baseline), Decimal(equity), Decimal(amount)) == Decimal(after)


def test_without_capital_a_debt_is_a_loss_of_everything() -> None:
    assert daily_drawdown_pct(Decimal(0), Decimal(0)) == 0
    assert daily_drawdown_pct(Decimal(0), Decimal(-1)) == 100
