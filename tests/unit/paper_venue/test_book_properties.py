"""What holds for every book and every run of orders and ticks on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater.paper_venue.book import REFILL_MS, Book
from breakwater.paper_venue.config import AccountConfig, Fills, VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.model import Level, Now, Order, Present, Tick
from breakwater.paper_venue.orders import NewOrder

D = Decimal
SPEC = replace(spec_for("BTCUSDT"), liquidity=D(50_000))
ACCOUNTS = ("one", "two")

SIDES = st.sampled_from(("BUY", "SELL"))
PRICES = st.integers(598_000, 602_000).map(lambda tenths: D(tenths) / 10)
QUANTITIES = st.integers(2, 900).map(lambda steps: D(steps) / 1000)
ORDERS = st.tuples(
    st.sampled_from(ACCOUNTS),
    SIDES,
    QUANTITIES,
    st.one_of(st.none(), PRICES),
    st.sampled_from(("GTC", "IOC", "FOK", "GTX")),
)
TICKS = st.tuples(PRICES, st.integers(0, 500).map(lambda steps: D(steps) / 1000))
RUNS = st.lists(st.one_of(ORDERS, TICKS), min_size=1, max_size=25)


def cost(levels: list[Level]) -> Decimal:
    return sum((level.price * level.quantity for level in levels), D(0))


def size(levels: list[Level]) -> Decimal:
    return sum((level.quantity for level in levels), D(0))


class Run:
    """Plays orders and ticks, one a second, on a venue of two accounts. `watch` is called around every order."""

    def __init__(self, seed: int = 1) -> None:
        accounts = tuple(AccountConfig(name, name, name, D(1_000_000)) for name in ACCOUNTS)
        self.venue = PaperVenue(VenueConfig(symbols=(SPEC,), accounts=accounts, fills=Fills.BOOK, book_seed=seed))
        self.ms = 1_000
        self.tick(D(60_000), D(0))

    def tick(self, price: Decimal, volume: Decimal) -> None:
        self.ms += 1_000
        self.venue.on_tick(Tick("BTCUSDT", self.ms, price, volume), Now(self.ms, self.ms))

    def order(self, account: str, request: NewOrder) -> Order | None:
        try:
            return self.venue._orders.place(self.venue.ledger.account(account), request, Now(self.ms, self.ms))[1]
        except VenueError:
            return None

    def play(
        self, steps: list[Any], around: Callable[[NewOrder, Callable[[], Order | None]], None] | None = None
    ) -> None:
        for step in steps:
            if len(step) == 2:
                self.tick(*step)
                continue
            account, side, quantity, price, time_in_force = step
            if price is None:
                request = NewOrder("BTCUSDT", side, "MARKET", quantity)
            else:
                request = NewOrder("BTCUSDT", side, "LIMIT", quantity, price, time_in_force)
            request = replace(request, self_trade_prevention="NONE")
            if around is None:
                self.order(account, request)
            else:
                around(request, lambda account=account, request=request: self.order(account, request))  # type: ignore[misc]

    def trades(self) -> list[Any]:
        return [(t.account, t.side, t.price, t.qty, t.maker, t.time) for t in self.venue.to_state().trades]


@settings(deadline=None)
@given(
    last=st.integers(1, 10**9).map(lambda ticks: D(ticks) / 10),
    quantity=st.integers(1, 10**7).map(lambda steps: D(steps) / 1000),
    side=SIDES,
    seed=st.integers(0, 9),
)
def test_levels_of_any_price_are_apart_ordered_and_on_the_tick(
    last: Decimal, quantity: Decimal, side: str, seed: int
) -> None:
    book = Book(seed)
    book.stand(SPEC, Present(last, 0))
    bids, asks = book.levels("BUY", 50), book.levels("SELL", 50)
    assert [level.price for level in bids] == sorted({level.price for level in bids}, reverse=True)
    assert [level.price for level in asks] == sorted({level.price for level in asks})
    assert all(0 < level.price < last for level in bids)
    assert len(asks) == 50
    assert all(level.price > last for level in asks)
    for level in bids + asks:
        assert level.price % SPEC.tick_size == level.quantity % SPEC.step_size == 0
        assert level.quantity > 0
    offered = book.offered(side, quantity, None)
    assert book.take(side, quantity, None) == offered
    assert size(offered) <= quantity


@settings(max_examples=60, deadline=None)
@given(takes=st.lists(st.tuples(SIDES, QUANTITIES, st.integers(0, 4_000)), max_size=12))
def test_what_is_taken_is_what_is_missing_and_time_brings_it_back(takes: list[tuple[str, Decimal, int]]) -> None:
    book, ms = Book(3), 0
    book.stand(SPEC, Present(D(60_000), ms))
    untouched = {side: book.levels(side, 1000) for side in ("BUY", "SELL")}
    for side, quantity, pause_ms in takes:
        ms += pause_ms
        book.stand(SPEC, Present(D(60_000), ms))
        other = "SELL" if side == "BUY" else "BUY"
        before = book.levels(other, 1000)
        taken = book.take(side, quantity, None)
        after = book.levels(other, 1000)
        assert size(taken) == min(quantity, size(before)) == size(before) - size(after)
        assert cost(taken) == cost(before) - cost(after)
    book.stand(SPEC, Present(D(60_000), ms + REFILL_MS * 13))
    assert {side: book.levels(side, 1000) for side in ("BUY", "SELL")} == untouched


@settings(max_examples=60, deadline=None)
@given(steps=RUNS)
def test_taker_gets_the_best_of_the_book_within_its_limit_and_that_is_gone(steps: list[Any]) -> None:
    run = Run()

    def around(request: NewOrder, place: Callable[[], Order | None]) -> None:
        other = "SELL" if request.side == "BUY" else "BUY"
        shown = run.venue.levels("BTCUSDT", other, 2000)
        prices = {level.price for level in shown}
        passed = [o for o in run.venue.ledger.open_orders() if o.side == other and o.price not in prices]
        count = len(run.venue.to_state().trades)
        order = place()
        new = [trade for trade in run.venue.to_state().trades[count:] if order and trade.order_id == order.order_id]
        made = [
            Level(price, sum((trade.qty for trade in parts), D(0)))
            for price, parts in itertools.groupby(new, key=lambda trade: trade.price)
        ]
        if passed:  # resting orders that the price has gone through are not shown, and filled first
            return
        left = run.venue.levels("BTCUSDT", other, 2000)
        assert (size(made), cost(made)) == (size(shown) - size(left), cost(shown) - cost(left))
        # Best first and whole levels: all but the last part took everything that was shown there.
        assert made[:-1] == shown[: len(made)][:-1]
        if order is None:
            assert made == []
            return
        for level in made if request.type == "LIMIT" else []:
            assert level.price <= request.price if request.side == "BUY" else level.price >= request.price
        assert order.executed_qty == size(made)
        assert order.cum_quote == cost(made)
        if request.time_in_force == "FOK" and request.type == "LIMIT":
            assert order.status == "FILLED"
        if request.time_in_force == "GTX" and request.type == "LIMIT":
            assert made == []
        if request.type == "MARKET" or request.time_in_force == "IOC":
            assert not order.is_open

    run.play(steps, around)


@settings(max_examples=60, deadline=None)
@given(steps=RUNS)
def test_wallets_are_start_plus_published_amounts_whatever_the_parts(steps: list[Any]) -> None:
    run = Run()
    run.play(steps)
    run.venue.pay_funding(D("0.0003"), Now(run.ms, run.ms))
    state = run.venue.to_state()
    for name in ACCOUNTS:
        account = state.accounts[name]
        trades = [trade for trade in state.trades if trade.account == name]
        funding = sum((i.income for i in state.incomes if i.account == name and i.income_type == "FUNDING_FEE"), D(0))
        realized = sum((trade.realized_pnl for trade in trades), D(0))
        assert account.wallet == D(1_000_000) + realized + funding - sum((t.commission for t in trades), D(0))
        held = sum((t.qty if t.side == "BUY" else -t.qty for t in trades), D(0))
        assert run.venue.ledger.position(account, "BTCUSDT").qty == held
    for order in state.orders.values():
        parts = [Level(t.price, t.qty) for t in state.trades if t.order_id == order.order_id]
        assert (order.executed_qty, order.cum_quote) == (size(parts), cost(parts))
        assert order.executed_qty <= order.orig_qty
        if order.type == "LIMIT":
            makers = [t.price for t in state.trades if t.order_id == order.order_id and t.maker]
            assert set(makers) <= {order.price}


@settings(max_examples=30, deadline=None)
@given(steps=RUNS, seed=st.integers(0, 3))
def test_same_seed_and_ticks_give_the_same_fills(steps: list[Any], seed: int) -> None:
    one, other = Run(seed), Run(seed)
    one.play(steps)
    other.play(steps)
    assert one.trades() == other.trades()


def test_another_seed_gives_another_book() -> None:
    assert Run(1).venue.levels("BTCUSDT", "BUY", 5) != Run(2).venue.levels("BTCUSDT", "BUY", 5)
