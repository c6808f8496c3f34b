"""Execution on a book of limited depth: fills in parts, worked remainders, a flatten that takes several goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from breakwater.domain.orders import Protection
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.config import DEFAULT_ACCOUNT, AccountConfig, Fills, VenueConfig, spec_for
from breakwater.paper_venue.orders import NewOrder
from breakwater.runtime.events import FlatConfirmed, OrderFailed, OrderFilled

D = Decimal
Play = Callable[..., Any]


def thin(multiplier_down: str = "0.95", *, liquidity: int = 20_000) -> VenueConfig:
    """About 0.01 BTC on each level, one every 5 USDT: a twelfth of the usual entry. Sales reach down to the multiplier."""
    btc = replace(spec_for("BTCUSDT"), liquidity=D(liquidity), multiplier_down=D(multiplier_down))
    return VenueConfig(symbols=(btc, spec_for("ETHUSDT")), fills=Fills.BOOK)


def fills(rig: Any, side: str) -> list[tuple[Decimal, Decimal]]:
    return [(t.price, t.qty) for t in rig.core.to_state().trades if t.side == side]


def test_entry_above_the_top_level_is_filled_in_parts_and_protected_whole(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        shown = rig.core.levels("BTCUSDT", "SELL", 1)[0]
        await rig.propose(rig.entry(), wait=1)
        parts = fills(rig, "BUY")
        assert parts[0] == shown
        assert len(parts) > 5
        assert len(rig.accepted()) == 1
        assert rig.held() == D("0.120")
        assert rig.stops() == [(D("0.120"), D("98000"))]
        told = rig.said(OrderFilled)
        assert [(fill.price, fill.quantity) for fill in told] == parts
        assert rig.service.books.positions["BTCUSDT"] == D("0.120")

    play(scenario, config=thin())


def test_entry_whose_limit_ends_in_the_book_is_worked_and_its_stop_is_as_large_as_what_it_got(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        third = rig.core.levels("BTCUSDT", "SELL", 3)[2].price
        await rig.propose(rig.entry(price=third), wait=5)
        assert 2 <= len(rig.accepted()) <= 3
        assert all(price <= third for price, _ in fills(rig, "BUY"))
        got = sum(quantity for _, quantity in fills(rig, "BUY"))
        assert D("0.020") < got < D("0.108")
        assert rig.held() == got
        assert rig.stops() == [(got, D("98000"))]
        assert [(f.code, f.counts_as_error) for f in rig.said(OrderFailed)] == [("PARTIALLY_FILLED", False)]

    play(scenario, config=thin())


def test_flatten_through_a_thin_book_goes_on_until_flat(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        assert rig.held() == D("0.120")
        await rig.trip()
        await rig.sleep(30)
        assert rig.held() == 0
        assert rig.resting() == rig.stops() == []
        exits = [record for record in rig.accepted() if record.side == "SELL"]
        # No order found enough within reach: the rest of each expired and was sent again.
        assert len(exits) > 2
        assert all(record.reduce_only for record in exits)
        assert sum(quantity for _, quantity in fills(rig, "SELL")) == D("0.120")
        assert len(rig.said(FlatConfirmed)) == 1
        assert rig.service.books.positions.get("BTCUSDT", D(0)) == 0

    # A market order reaches no further than 0.03 %: six levels of twelve.
    play(scenario, config=thin("0.9997"))


def test_market_exit_refused_because_others_emptied_the_book_gets_out_as_it_refills(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        other = rig.core.ledger.account("other")
        rig.core._orders.place(other, NewOrder("BTCUSDT", "SELL", "MARKET", D("5")), venue_now(rig.clocks))
        await rig.trip()
        await rig.sleep(60)
        assert rig.held() == 0
        # The chase stays within PERCENT_PRICE: no other code than the one it answers.
        assert {failure.code for failure in rig.said(OrderFailed)} == {"-4131"}
        kinds = {record.type for record in rig.accepted() if (record.account, record.side) == ("paper", "SELL")}
        assert "LIMIT" in kinds
        assert len(rig.said(FlatConfirmed)) == 1

    accounts = (DEFAULT_ACCOUNT, AccountConfig("other", "other-key", "other-secret", D(100_000)))
    play(scenario, config=replace(thin("0.9997", liquidity=10_000), accounts=accounts))


@pytest.mark.parametrize("price", ["98995", "97990"])
def test_stop_in_a_thin_book_leaves_nothing_behind(play: Play, price: str) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(protection=Protection(D("99000"))), wait=1)
        await rig.move("BTCUSDT", price)
        await rig.sleep(30)
        assert rig.held() == 0
        assert rig.stops() == []
        assert rig.service.books.positions.get("BTCUSDT", D(0)) == 0

    play(scenario, config=thin("0.9997"))


def test_stop_that_the_venue_rejects_when_it_triggers_is_followed_by_an_exit(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(protection=Protection(D("99000"))), wait=1)
        # Nobody buys within PERCENT_PRICE: the stop's order is refused in the moment that it is needed.
        rig.core.change_symbol("BTCUSDT", multiplier_down=D("0.99999"))
        await rig.move("BTCUSDT", "98990")
        assert list(rig.core.to_state().algo_orders.values())[-1].status == "REJECTED"
        assert rig.held() == D("0.120")
        await rig.sleep(1)
        rig.core.change_symbol("BTCUSDT", multiplier_down=D("0.95"))
        await rig.sleep(10)
        assert rig.held() == 0
        assert rig.service.books.positions.get("BTCUSDT", D(0)) == 0

    play(scenario, config=thin())
