"""The order state machine, ids, fills counted once, the stop's lease: pure memory, no venue."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.ids import ClientOrderId, DeskId, ProposalId, Symbol, TradeId, VenueOrderId
from breakwater.domain.orders import OrderRole, OrderStatus, OrderType, Proposal, Protection, Side
from breakwater.domain.stop_state import StopState, StopView
from breakwater.exchange.messages import OrderReport, TradeReport
from breakwater.execution.books import Books
from breakwater.execution.client_ids import PATTERN, child_id, client_order_id, desk_prefix, role_of, root_id
from breakwater.execution.journal import AnyRecord, Booked, Intent, Outcome
from breakwater.execution.orders import OrderState, TrackedOrder
from breakwater.execution.stop_lease import StopLeaseBook
from breakwater.runtime.clocks import Clocks

D = Decimal
NOW = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
BTC = Symbol("BTCUSDT")
DESK = DeskId("desk-a")


class HandClock:
    """Both clocks, moved by the test."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.utc_now()

    def monotonic(self) -> float:
        return self.seconds

    def utc_now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    async def sleep_until(self, moment: datetime) -> None:
        self.seconds = (moment - NOW).total_seconds()


def books() -> Books:
    clock = HandClock()
    made = Books(DESK, Clocks(clock, clock))
    made.positions_known = True
    return made


def proposal(
    number: int = 1, quantity: str = "1", side: Side = Side.BUY, role: OrderRole = OrderRole.ENTRY
) -> Proposal:
    return Proposal(
        ProposalId(f"p-{number}"),
        BTC,
        role,
        side,
        D(quantity),
        OrderType.LIMIT,
        NOW,
        role is not OrderRole.ENTRY,
        protection=Protection(D(90)) if role is OrderRole.ENTRY else None,
        leverage=10,
    )


def trade(number: int, quantity: str = "1", side: Side = Side.BUY) -> TradeReport:
    return TradeReport(
        BTC,
        TradeId(str(number)),
        VenueOrderId("9"),
        None,
        side,
        D(100),
        D(quantity),
        D(0),
        D("0.05"),
        "USDT",
        False,
        NOW,
    )


def report(status: OrderStatus, executed: str) -> OrderReport:
    return OrderReport(
        BTC,
        VenueOrderId("9"),
        ClientOrderId("c"),
        Side.BUY,
        "LIMIT",
        status,
        D(1),
        D(executed),
        None,
        None,
        False,
        "BOTH",
        NOW,
    )


@given(desk=st.text(max_size=80), name=st.text(max_size=300), role=st.sampled_from(OrderRole))
def test_client_ids_fit_the_venue_and_say_whose_they_are(desk: str, name: str, role: OrderRole) -> None:
    made = client_order_id(DeskId(desk), ProposalId(name), role)
    assert PATTERN.match(made)
    assert made == client_order_id(DeskId(desk), ProposalId(name), role)
    assert made.startswith(desk_prefix(DeskId(desk)))
    assert role_of(made) is role


def test_client_ids_differ_between_proposals_roles_desks_and_ordinals() -> None:
    made = {
        client_order_id(DeskId(desk), child_id(ProposalId(name), ordinal), role)
        for desk, name, role, ordinal in itertools.product("ab", ("p", "q", "p~2x"), OrderRole, (1, 2, 3))
    }
    assert len(made) == 2 * 3 * len(OrderRole) * 3
    assert root_id(child_id(ProposalId("p-1"), 3)) == "p-1"


@given(states=st.lists(st.sampled_from(OrderState), max_size=12))
def test_no_report_ever_leaves_a_terminal_state_or_goes_back(states: list[OrderState]) -> None:
    order = TrackedOrder(ClientOrderId("c"), proposal())
    seen_by_venue = False
    for state in states:
        before = order.state
        order.move(state)
        if before.terminal:
            assert order.state is before
        if seen_by_venue:
            assert order.state not in {OrderState.JOURNALED, OrderState.SENT, OrderState.UNKNOWN}
        seen_by_venue = seen_by_venue or order.state.resting


def test_executed_but_not_yet_booked_still_counts_as_outstanding() -> None:
    order = TrackedOrder(ClientOrderId("c"), proposal())
    order.take_plain(report(OrderStatus.FILLED, "1"))
    assert order.state.terminal
    assert order.outstanding == 1
    assert not order.settled
    order.booked = D(1)
    assert order.settled


def test_order_given_up_as_lost_is_revived_by_a_report() -> None:
    order = TrackedOrder(ClientOrderId("c"), proposal(), OrderState.NOT_SENT)
    order.take_plain(report(OrderStatus.NEW, "0"))
    assert order.state is OrderState.NEW


@given(numbers=st.lists(st.integers(1, 6), max_size=30), verify_at=st.integers(0, 30))
def test_each_trade_is_booked_once_in_any_order(numbers: list[int], verify_at: int) -> None:
    made = books()
    booked: set[int] = set()
    highest_verified = 0
    for index, number in enumerate(numbers):
        if index == verify_at and booked:
            made.verified(())
            highest_verified = max(booked)
        expected = number not in booked and number > highest_verified
        assert made.book(trade(number), None) is expected
        if expected:
            booked.add(number)
    assert made.positions.get(BTC, D(0)) == len(booked)


def test_journal_restores_orders_positions_plans_and_compacts_to_the_same() -> None:
    original = books()
    order = original.open(proposal())
    records: list[AnyRecord] = [
        Intent(order.client_id, order.proposal),
        Outcome(order.client_id, OrderState.FILLED, D(1), VenueOrderId("9")),
        Booked(BTC, TradeId("5"), D("0.4"), order.client_id),
        Booked(BTC, TradeId("6"), D("0.6"), order.client_id),
    ]
    half, whole = books(), books()
    half.restore(records[:3])
    assert half.positions[BTC] == D("0.4")
    assert half.orders[order.client_id].outstanding == D("0.6")
    whole.restore(records)
    assert whole.plans[BTC] == Protection(D(90))
    assert whole.leverage[BTC] == 10
    for made in (half, whole):
        again = books()
        again.restore(made.compacted())
        assert again.positions == made.positions
        assert again.plans == made.plans
        assert again.executed == made.executed
        assert again.seen == made.seen
        assert {o.client_id: (o.state, o.outstanding) for o in again.live()} == {
            o.client_id: (o.state, o.outstanding) for o in made.live()
        }
        assert not again.book(trade(5), None)


def test_intent_without_outcome_is_unknown_after_a_restart() -> None:
    made = books()
    order = made.open(proposal())
    again = books()
    again.restore([Intent(order.client_id, order.proposal)])
    assert again.orders[order.client_id].state is OrderState.UNKNOWN
    assert ProposalId("p-1") in again.executed


def test_command_numbers_go_on_after_a_restart() -> None:
    made = books()
    first = made.command_id("stop", BTC)
    made.command_id("stop", BTC)  # refused, never journaled
    used = made.command_id("stop", BTC)
    again = books()
    stop = Proposal(used, BTC, OrderRole.STOP, Side.SELL, D(1), OrderType.STOP_MARKET, NOW, True)
    again.restore([Intent(client_order_id(DESK, used, OrderRole.STOP), stop)])
    assert again.command_id("stop", BTC) not in {first, used}


def view(epoch: int, sequence: int, issued: float, state: StopState = StopState.ARMED) -> StopView:
    return StopView(state, epoch, sequence, NOW + timedelta(seconds=issued), D(1), reduce_only=False)


def test_lease_runs_out_and_a_replay_does_not_renew_it() -> None:
    clock = HandClock()
    lease = StopLeaseBook(clock)
    assert not lease.fresh
    first = view(1, 1, 0)
    assert lease.take(first)
    clock.seconds = 0.9
    assert lease.fresh
    assert not lease.take(first)
    clock.seconds = 1.0
    assert not lease.fresh


@pytest.mark.parametrize("issued", [-1.0, 5.0])
def test_view_issued_too_long_ago_or_in_the_future_is_not_fresh(issued: float) -> None:
    lease = StopLeaseBook(HandClock())
    lease.take(view(1, 1, issued))
    assert not lease.fresh


def test_stop_whose_clock_was_ahead_is_heard_again_once_it_is_right() -> None:
    clock = HandClock()
    book = StopLeaseBook(clock)
    book.take(view(1, 1, 3600.0))
    assert not book.fresh
    assert book.take(view(1, 2, 0.0))
    assert book.fresh


def test_highest_epoch_wins_and_a_restarted_stop_is_heard() -> None:
    clock = HandClock()
    lease = StopLeaseBook(clock)
    lease.take(view(3, 900, 0, StopState.TRIPPED))
    assert not lease.take(view(2, 901, 0.1))
    assert lease.take(view(3, 1, 0.2, StopState.TRIPPED))  # its process restarted: sequence begins again
    assert lease.take(view(4, 2, 0.1))
    assert lease.view is not None
    assert lease.view.epoch == 4
