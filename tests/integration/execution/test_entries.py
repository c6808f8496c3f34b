"""An entry from proposal to protected position, and every way the wire can lie about it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from breakwater.execution.journal import Halted
from breakwater.runtime.events import AccountReported, OrderFailed, OrderFilled, OrderRefused, OrderSubmitted

D = Decimal
Play = Callable[..., Any]
ORDER = "/fapi/v1/order?"


def test_entry_filled_position_has_a_stop_over_all_of_it(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        assert rig.held() == D("0.120")
        assert rig.stops() == [(D("0.120"), D("98000"))]
        fills = rig.said(OrderFilled)
        assert [(f.role, f.quantity, f.leverage) for f in fills] == [("ENTRY", D("0.120"), 10)]
        first = rig.said(OrderSubmitted)[0]
        assert (first.role, first.proposal_id) == ("ENTRY", "p-1")
        await rig.sleep(6)
        report = rig.said(AccountReported)[-1]
        assert report.positions[0].quantity == D("0.120")
        assert report.positions[0].leverage == 10
        assert report.through_trade == {"BTCUSDT": fills[0].trade_id}
        assert report.foreign == ()
        assert rig.core.ledger.state.accounts["paper"].positions["BTCUSDT"].isolated

    play(scenario)


def test_stop_hit_closes_and_leaves_nothing(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        entry = rig.entry(protection=type(rig.entry().protection)(D("98000"), D("104000")))
        await rig.propose(entry)
        assert len(rig.resting()) == 1  # the target
        await rig.move("BTCUSDT", "97900")
        await rig.sleep(0.5)
        assert rig.held() == 0
        assert rig.stops() == []
        assert rig.resting() == []
        assert [f.role for f in rig.said(OrderFilled)] == ["ENTRY", "STOP"]
        assert not rig.said(OrderFailed)

    play(scenario)


def test_target_hit_takes_the_stop_away(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(protection=type(rig.entry().protection)(D("98000"), D("104000"))))
        await rig.move("BTCUSDT", "104100")
        await rig.sleep(0.5)
        assert rig.held() == 0
        assert rig.stops() == []
        assert [f.role for f in rig.said(OrderFilled)] == ["ENTRY", "TARGET"]

    play(scenario)


@pytest.mark.parametrize(
    "fault",
    ["lost_reply", "html", "empty", "truncated", "unknown_503", "timeout_1007"],
)
def test_reply_lost_after_the_venue_took_it_sends_once_and_protects(play: Play, faults: Any, fault: str) -> None:
    made = {
        "lost_reply": faults.lost_reply,
        "html": faults.done_but(200, "<html>busy</html>"),
        "empty": faults.done_but(200, ""),
        "truncated": faults.done_but(200, '{"orderId": 1'),
        "unknown_503": faults.done_but(503, '{"code":-1000,"msg":"Unknown error, please check your request"}'),
        "timeout_1007": faults.done_but(408, '{"code":-1007,"msg":"Timeout waiting for response"}'),
    }[fault]

    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ORDER, made)
        await rig.propose(rig.entry(), wait=2)
        assert len(rig.accepted()) == 1
        assert rig.held() == D("0.120")
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert len(rig.said(OrderFilled)) == 1
        assert not rig.said(OrderFailed)

    play(scenario)


def test_request_that_never_arrived_is_sent_again_only_when_it_cannot_arrive_any_more(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ORDER, faults.never_arrived)
        await rig.propose(rig.entry(), wait=4)
        assert rig.accepted() == []
        await rig.propose(rig.entry("p-2"), wait=0.1)
        assert rig.said(OrderRefused)[-1].refusal.code == "UNRESOLVED_ORDER"
        await rig.sleep(8)
        assert len(rig.accepted()) == 1
        ids = {
            text.split("newClientOrderId=")[1].split("&")[0]
            for m, p, text in rig.venue.log
            if p.endswith("/order") and m == "POST"
        }
        assert len(ids) == 1  # the same id each time
        assert rig.held() == D("0.120")

    play(scenario)


def test_definite_no_fails_once_and_counts(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ORDER, faults.answer(400, '{"code":-2019,"msg":"Margin is insufficient."}'))
        await rig.propose(rig.entry(), wait=8)
        failed = rig.said(OrderFailed)
        assert [(f.code, f.counts_as_error, f.proposal_id) for f in failed] == [("-2019", True, "p-1")]
        assert rig.venue.count("POST", ORDER) == 1

    play(scenario)


def test_busy_venue_is_tried_again_after_1_2_4_seconds_with_the_same_id(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ORDER, faults.answer(503, '{"code":-1008,"msg":"Server is busy."}'), times=3)
        await rig.propose(rig.entry(), wait=6.9)
        assert rig.accepted() == []
        await rig.sleep(0.3)
        assert rig.held() == D("0.120")
        assert not rig.said(OrderFailed)

    play(scenario)


def test_busy_venue_four_times_fails_without_counting(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ORDER, faults.answer(503, '{"code":-1008,"msg":"Server is busy."}'), times=4)
        await rig.propose(rig.entry(), wait=9)
        assert [(f.code, f.counts_as_error) for f in rig.said(OrderFailed)] == [("-1008", False)]

    play(scenario)


def test_duplicate_client_id_means_it_is_there(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ORDER, faults.done_but(400, '{"code":-4116,"msg":"ClientOrderId is duplicated."}'))
        await rig.propose(rig.entry(), wait=1)
        assert len(rig.accepted()) == 1
        assert rig.stops() == [(D("0.120"), D("98000"))]

    play(scenario)


def test_same_proposal_twice_is_executed_once(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        proposal = rig.entry()
        await rig.propose(proposal)
        await rig.sleep(1)
        await rig.propose(proposal)
        assert len(rig.accepted()) == 1
        assert rig.said(OrderRefused)[-1].refusal.code == "DUPLICATE_PROPOSAL"

    play(scenario)


def test_partial_fill_below_ninety_percent_is_worked_with_new_ordinals(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.fill_model.most = D("0.050")
        await rig.propose(rig.entry(), wait=3)
        assert [record.qty for record in rig.accepted()] == [D("0.120"), D("0.070"), D("0.020")]
        assert rig.held() == D("0.120")
        assert rig.stops() == [(D("0.120"), D("98000"))]
        times = [record.market_ms for record in rig.accepted()]
        assert all(later - earlier >= 500 for earlier, later in itertools.pairwise(times))
        assert {s.proposal_id for s in rig.said(OrderSubmitted) if s.role == "ENTRY"} == {"p-1"}

    play(scenario)


def test_partial_fill_gives_up_after_three_tries_and_protects_what_there_is(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.fill_model.most = D("0.030")
        await rig.propose(rig.entry(), wait=4)
        assert len(rig.accepted()) == 3
        assert rig.held() == D("0.090")
        assert rig.stops() == [(D("0.090"), D("98000"))]
        assert [(f.code, f.counts_as_error) for f in rig.said(OrderFailed)] == [("PARTIALLY_FILLED", False)]

    play(scenario)


def test_ninety_percent_is_enough(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.fill_model.most = D("0.110")
        await rig.propose(rig.entry(), wait=3)
        assert len(rig.accepted()) == 1
        assert rig.stops() == [(D("0.110"), D("98000"))]

    play(scenario)


def test_price_beyond_the_limit_fills_nothing_and_is_no_error(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(price=D("100000")), wait=3)  # the taker price is 0.05 % above
        assert rig.held() == 0
        assert [(f.code, f.counts_as_error) for f in rig.said(OrderFailed)] == [("UNFILLED", False)]

    play(scenario)


def test_post_only_entry_rests_until_the_signal_expires(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(price=D("99900"), time_in_force="GTX"))
        assert [o.time_in_force for o in rig.resting()] == ["GTX"]
        await rig.sleep(61)
        assert rig.resting() == []
        assert rig.said(OrderFailed)[-1].code == "UNFILLED"

    play(scenario)


def test_gate_closed_between_approval_and_wire_is_not_sent(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        # The trip arrives while leverage is being set: after the first decision, before the order.
        def trip_now(handle: Any) -> Any:
            reply = handle()
            rig.service.books.halt = Halted("bob", "news", rig.clocks.market.now(), 1)
            return reply

        rig.venue.fail("POST", "/fapi/v1/leverage?", trip_now)
        await rig.propose(rig.entry(), wait=1)
        assert rig.venue.count("POST", ORDER) == 0
        assert rig.said(OrderRefused)[-1].refusal.code == "HALTED_BY_PERSON"
        rig.service.books.halt = None

    play(scenario)


def test_burst_of_entries_on_one_symbol_keeps_500_ms_apart(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        for number in range(3):
            await rig.propose(rig.entry(f"p-{number}", quantity=D("0.020")), wait=0.05)
        assert len(rig.accepted()) == 1
        assert {r.refusal.code for r in rig.said(OrderRefused)} == {"ENTRY_SPACING"}

    play(scenario)
