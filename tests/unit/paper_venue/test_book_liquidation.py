"""Liquidation on a book of limited depth: in steps, what the book cannot take by auto-deleveraging."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from breakwater.paper_venue import events
from breakwater.paper_venue.config import AccountConfig, Fills, SymbolSpec, VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Now, Order, Position, Tick, Trade

D = Decimal
BTC, ETH = spec_for("BTCUSDT"), spec_for("ETHUSDT")


class Floor:
    """Accounts by name with their balances, on a book as deep as each symbol's liquidity says."""

    def __init__(self, *symbols: SymbolSpec, fee: str = "0.0125", **balances: int) -> None:
        accounts = tuple(AccountConfig(name, name, name, D(balance)) for name, balance in balances.items())
        self.venue = PaperVenue(
            VenueConfig(symbols=symbols, accounts=accounts, fills=Fills.BOOK, liquidation_fee=D(fee))
        )
        self.ms = 1_000_000
        self.forced: list[Order] = []
        self._publish = self.venue._liquidator.on_forced
        self.venue._liquidator.on_forced = self._on_forced
        for symbol in symbols:
            self.tick(symbol.symbol, {"BTCUSDT": "60000", "ETHUSDT": "3000"}[symbol.symbol])

    def _on_forced(self, order: Order, now: Now) -> None:
        self.forced.append(order)
        assert self._publish is not None
        self._publish(order, now)

    def tick(self, symbol: str, price: str) -> None:
        # Far enough apart for the book to be full again.
        self.ms += 20_000
        self.venue.on_tick(Tick(symbol, self.ms, D(price)), Now(self.ms, self.ms))

    def hold(
        self, name: str, symbol: str, qty: str, price: str, *, leverage: int = 100, isolated: str = ""
    ) -> Position:
        """A position as if it had been bought before, `isolated` USDT of margin set aside for it."""
        account = self.venue.ledger.account(name)
        position = self.venue.ledger.position(account, symbol)
        position.qty, position.cost, position.leverage = D(qty), D(qty) * D(price), leverage
        if isolated:
            position.isolated, position.isolated_wallet = True, D(isolated)
        return position

    def wallet(self, name: str) -> Decimal:
        return self.venue.ledger.account(name).wallet

    def trades(self, name: str, symbol: str = "BTCUSDT") -> list[Trade]:
        return [t for t in self.venue.to_state().trades if (t.account, t.symbol) == (name, symbol)]

    def income(self, name: str) -> Decimal:
        return sum((i.income for i in self.venue.to_state().incomes if i.account == name), D(0))

    def kinds(self, name: str) -> list[str]:
        return [record.kind for record in self.venue.to_state().audit if record.account == name]


def test_liquidation_walks_the_book_in_parts_that_no_order_of_the_account_made() -> None:
    floor = Floor(replace(BTC, liquidity=D(500_000)), loser=700)
    position = floor.hold("loser", "BTCUSDT", "1", "60000")
    floor.tick("BTCUSDT", "59400")
    assert position.qty == 0
    parts = floor.trades("loser")
    assert len(parts) > 2
    prices = [part.price for part in parts]
    assert prices == sorted(prices, reverse=True)
    assert all(price < D(59400) for price in prices)
    (order,) = floor.forced
    assert (order.status, order.client_order_id[:10]) == ("FILLED", "autoclose-")
    assert floor.kinds("loser") == ["liquidation"]
    assert floor.wallet("loser") == D(700) + floor.income("loser")


def test_liquidation_is_told_to_everybody_as_one_order() -> None:
    floor = Floor(replace(BTC, liquidity=D(500_000)), loser=700)
    floor.hold("loser", "BTCUSDT", "1", "60000")
    floor.tick("BTCUSDT", "59400")
    (order,) = floor.forced
    told = events.force_order(order, floor.ms)
    assert (told["e"], told["E"]) == ("forceOrder", floor.ms)
    shown = told["o"]
    assert (shown["s"], shown["S"], shown["X"]) == ("BTCUSDT", "SELL", "FILLED")
    assert D(shown["q"]) == D(shown["z"]) == 1
    assert abs(D(shown["ap"]) - order.average_price) < D("0.00001")


def test_largest_loss_goes_first_and_the_rest_stays_when_the_margin_suffices() -> None:
    # Bitcoin loses 300, ether 20: without bitcoin's maintenance margin the account can carry ether.
    floor = Floor(BTC, ETH, fee="0.0005", loser=560)
    ether = floor.hold("loser", "ETHUSDT", "1", "3020")
    bitcoin = floor.hold("loser", "BTCUSDT", "1", "60000")
    floor.tick("BTCUSDT", "59700")
    assert (bitcoin.qty, ether.qty) == (D(0), D(1))
    assert floor.trades("loser", "ETHUSDT") == []


def test_large_position_goes_down_to_the_lower_bracket_first() -> None:
    floor = Floor(BTC, whale=7_000)
    position = floor.hold("whale", "BTCUSDT", "10", "60000")
    floor.tick("BTCUSDT", "59550")
    # 595,500 USDT are in the bracket up to 800,000: the first step leaves at most 300,000, which the margin carries.
    (step,) = floor.venue.to_state().audit
    assert (step.qty, position.qty) == (D("4.963"), D("5.037"))
    assert floor.wallet("whale") > 0


def test_what_the_book_cannot_take_is_deleveraged_against_the_accounts_that_gain_most() -> None:
    # 2,500 USDT within 0.1 %: all that is within 5 % of the price is about two bitcoin.
    thin = replace(BTC, liquidity=D(2_500))
    floor = Floor(thin, loser=2_000, small=10_000, rich=10_000, same=10_000)
    loser = floor.hold("loser", "BTCUSDT", "4", "60000")
    small = floor.hold("small", "BTCUSDT", "-2", "60100", leverage=10)
    rich = floor.hold("rich", "BTCUSDT", "-2", "63000", leverage=10)
    same = floor.hold("same", "BTCUSDT", "1", "60000", leverage=10)
    floor.tick("BTCUSDT", "59700")
    assert loser.qty == 0
    absorbed = sum(t.qty for t in floor.trades("loser")) - floor.trades("loser")[-1].qty
    assert D("1") < absorbed < D("2")
    assert same.qty == 1
    assert rich.qty == 0
    assert small.qty == -2 + (4 - absorbed - 2)
    assert floor.kinds("rich") == ["adl"]
    (closed,) = floor.trades("rich")
    assert closed.price == floor.trades("loser")[-1].price
    for name, start in (("loser", 2_000), ("small", 10_000), ("rich", 10_000)):
        assert floor.wallet(name) == D(start) + floor.income(name)
    assert floor.wallet("loser") >= 0


def test_what_nobody_holds_on_the_other_side_is_the_houses() -> None:
    floor = Floor(replace(BTC, liquidity=D(2_500)), loser=2_000)
    position = floor.hold("loser", "BTCUSDT", "-4", "60000")
    floor.tick("BTCUSDT", "60300")
    assert position.qty == 0
    assert floor.kinds("loser") == ["liquidation"]
    assert sum(t.qty for t in floor.trades("loser")) == 4
    assert floor.wallet("loser") == D(2_000) + floor.income("loser") >= 0


@pytest.mark.parametrize("liquidity", [5_000, 15_000_000])
def test_isolated_position_costs_no_more_than_its_margin_however_thin_the_book(liquidity: int) -> None:
    floor = Floor(replace(BTC, liquidity=D(liquidity)), loser=10_000)
    position = floor.hold("loser", "BTCUSDT", "2", "60000", isolated="1200")
    floor.tick("BTCUSDT", "58000")
    assert (position.qty, position.isolated_wallet) == (D(0), D(0))
    assert floor.wallet("loser") == D(8_800)
    assert floor.wallet("loser") == D(10_000) + floor.income("loser")


def test_cross_account_ends_at_nothing_at_worst() -> None:
    floor = Floor(BTC, loser=500)
    position = floor.hold("loser", "BTCUSDT", "1", "60000")
    floor.tick("BTCUSDT", "57000")
    assert position.qty == 0
    assert floor.wallet("loser") == 0 == D(500) + floor.income("loser")
