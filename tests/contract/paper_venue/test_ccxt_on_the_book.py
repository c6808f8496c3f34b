"""Unmodified ccxt over HTTP on a book of limited depth, two accounts at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from breakwater.paper_venue.config import AccountConfig, Fills, VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Now, Tick

BTC = "BTC/USDT:USDT"
START_MS = 1_759_276_800_000
Move = Callable[[str, str, int], None]


@pytest.fixture
def venue() -> PaperVenue:
    """About 0.055 BTC on each level, one every 2 USDT."""
    config = VenueConfig(
        symbols=(replace(spec_for("BTCUSDT"), liquidity=Decimal(100_000)),),
        accounts=(
            AccountConfig("desk", "desk-key", "desk-secret"),
            AccountConfig("other", "other-key", "other-secret"),
        ),
        fills=Fills.BOOK,
    )
    venue = PaperVenue(config)
    venue.on_tick(Tick("BTCUSDT", START_MS, Decimal(60000)), Now(START_MS, START_MS))
    return venue


async def test_order_book_is_what_a_market_order_is_filled_from(exchange: Any) -> None:
    asks = (await exchange.fetch_order_book(BTC, 5))["asks"]
    amount = float(Decimal(str(asks[0][1])) + Decimal("0.010"))
    order = await exchange.create_order(BTC, "market", "buy", amount)
    trades = await exchange.fetch_my_trades(BTC)
    assert [(t["price"], t["amount"]) for t in trades] == [tuple(asks[0]), (asks[1][0], 0.01)]
    assert len({t["id"] for t in trades}) == 2
    assert (order["status"], order["filled"]) == ("closed", amount)
    assert asks[0][0] < order["average"] < asks[1][0]
    quote = (await exchange.fetch_bids_asks([BTC]))[BTC]
    assert quote["ask"] == asks[1][0]


async def test_ioc_beyond_its_limit_expires_and_post_only_that_crosses_is_refused(exchange: Any) -> None:
    asks = (await exchange.fetch_order_book(BTC, 5))["asks"]
    ioc = await exchange.create_order(BTC, "limit", "buy", 0.2, asks[0][0], {"timeInForce": "IOC"})
    assert (ioc["status"], ioc["filled"]) == ("expired", asks[0][1])
    with pytest.raises(ccxt.OrderNotFillable, match="-5022"):
        await exchange.create_order(BTC, "limit", "buy", 0.01, asks[1][0], {"postOnly": True})
    with pytest.raises(ccxt.OrderNotFillable, match="-5021"):
        await exchange.create_order(BTC, "limit", "buy", 0.2, asks[1][0], {"timeInForce": "FOK"})


async def test_market_order_beyond_the_percent_price_is_refused(exchange: Any, venue: PaperVenue) -> None:
    venue.change_symbol("BTCUSDT", multiplier_up=Decimal("1.00001"))
    with pytest.raises(ccxt.OperationRejected, match="-4131"):
        await exchange.create_order(BTC, "market", "buy", 0.01)


async def test_two_clients_share_the_book_and_nothing_else(
    exchange: Any, connect: Callable[..., Any], move: Move
) -> None:
    other = connect("other-key", "other-secret")
    await other.load_markets()
    asks = (await exchange.fetch_order_book(BTC, 5))["asks"]
    await exchange.create_order(BTC, "market", "buy", asks[0][1])
    order = await other.create_order(BTC, "market", "buy", 0.01)
    # The first took the best level: the second pays the next.
    assert (order["status"], order["average"]) == ("closed", asks[1][0])
    await other.create_order(BTC, "limit", "buy", 0.01, 59000)
    assert len(await other.fetch_open_orders(BTC)) == 1
    assert await exchange.fetch_open_orders(BTC) == []
    assert [t["amount"] for t in await exchange.fetch_my_trades(BTC)] == [asks[0][1]]
    assert [t["amount"] for t in await other.fetch_my_trades(BTC)] == [0.01]
    move("BTCUSDT", "58900", 60)
    assert await other.fetch_open_orders(BTC) == []
    (mine,), (theirs,) = await exchange.fetch_positions([BTC]), await other.fetch_positions([BTC])
    assert (mine["contracts"], theirs["contracts"]) == (asks[0][1], 0.02)
