"""The wallet is the starting balance plus published profits minus published commissions, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.paper_venue.fills import book_position
from breakwater.paper_venue.model import Position

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("BUY", "SELL")),
        st.integers(2, 60),
        st.integers(590_000, 610_000),
        st.sampled_from(("BTCUSDT", "ETHUSDT")),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, isolated=st.booleans())
def test_wallet_equals_start_plus_published_profit_minus_published_commission(
    make_client: Callable[..., Any], steps: list[Any], isolated: bool
) -> None:
    client = make_client()
    events = client.listen()
    if isolated:
        client.ok("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    for side, lots, price, symbol, reduce_only in steps:
        value = Decimal(price) / 10 if symbol == "BTCUSDT" else Decimal(price) / 200
        client.tick(str(value), symbol)
        qty = Decimal(lots) / 1000 if symbol == "BTCUSDT" else Decimal(lots) / 100
        params = client.order_params(side, str(qty), symbol=symbol, reduceOnly=reduce_only)
        client.call("POST", "/fapi/v1/order", **params)
    trades = [t for s in ("BTCUSDT", "ETHUSDT") for t in client.ok("GET", "/fapi/v1/userTrades", symbol=s)]
    expected = Decimal(14000) + sum((Decimal(t["realizedPnl"]) - Decimal(t["commission"]) for t in trades), Decimal(0))
    report = client.venue.account_report("k")
    assert report.wallet == expected
    streamed = [e["o"] for e in events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["x"] == "TRADE"]
    assert report.wallet == Decimal(14000) + sum((Decimal(o["rp"]) - Decimal(o["n"]) for o in streamed), Decimal(0))
    incomes = client.ok("GET", "/fapi/v1/income", limit=1000)
    assert report.wallet == Decimal(14000) + sum((Decimal(i["income"]) for i in incomes), Decimal(0))
    # Cash flows alone give the same equity: nothing hides in an average.
    cash = sum(
        (Decimal(t["quoteQty"]) * (-1 if t["buyer"] else 1) - Decimal(t["commission"]) for t in trades), Decimal(0)
    )
    held = sum((p.qty * client.venue.ledger.last_price(p.symbol) for p in report.positions), Decimal(0))
    assert report.equity == Decimal(14000) + cash + held


@given(fills=st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 10**7)), min_size=1, max_size=30))
def test_profit_of_a_position_that_ends_flat_is_its_cash_flow(fills: list[tuple[int, int]]) -> None:
    position = Position(symbol="X")
    realized = cash = Decimal(0)
    for lots, price in fills:
        qty, paid = Decimal(lots) / 1000, Decimal(price) / 1000
        realized += book_position(position, qty, paid)
        cash -= qty * paid
    if position.qty:
        paid = Decimal("3.333")
        cash += position.qty * paid
        realized += book_position(position, -position.qty, paid)
    assert position.qty == position.cost == 0
    assert realized == cash


def test_isolated_margin_is_set_aside_and_released_in_proportion(client: Any) -> None:
    client.ok("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=10)
    client.ok("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    client.order("BUY", "0.02")
    (row,) = client.ok("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")
    assert Decimal(row["isolatedWallet"]) == Decimal("120.06")
    client.order("SELL", "0.01")
    (row,) = client.ok("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")
    assert Decimal(row["isolatedWallet"]) == Decimal("60.03")
    client.order("SELL", "0.01")
    assert client.ok("GET", "/fapi/v3/positionRisk") == []
    account = client.ok("GET", "/fapi/v3/account")
    assert account["availableBalance"] == account["totalWalletBalance"]


def test_isolated_liquidation_costs_no_more_than_the_margin(client: Any) -> None:
    client.ok("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=50)
    client.ok("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    events = client.listen()
    client.order("BUY", "0.1")
    before = client.venue.account_report("k").wallet
    margin = client.venue.account_report("k").positions[0].isolated_wallet
    (row,) = client.ok("GET", "/fapi/v3/positionRisk")
    liquidation = Decimal(row["liquidationPrice"])
    client.tick(str(liquidation + 20))
    assert client.position() == Decimal("0.1")
    client.tick("50000")
    assert client.position() == 0
    after = client.venue.account_report("k").wallet
    assert before - margin <= after < before
    order = next(e["o"] for e in events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["x"] == "CALCULATED")
    assert order["c"].startswith("autoclose-")
    report = client.venue.account_report("k")
    assert report.wallet == 14000 + report.realized_total - report.commission_total


def test_cross_liquidation_closes_everything_and_never_leaves_debt(client: Any) -> None:
    client.ok("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=50)
    client.order("BUY", "5")
    client.order("BUY", "1", symbol="ETHUSDT")
    client.order("BUY", "0.01", price="58000")
    client.tick("50000")
    report = client.venue.account_report("k")
    assert report.positions == ()
    assert report.open_orders == ()
    assert report.wallet >= 0
