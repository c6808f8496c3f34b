"""What the exchange does to an account by itself: funding at its instants, transfers, deleveraging; records and messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater.exchange.incomes import parse_incomes
from breakwater.exchange.messages import AccountUpdate, ForcedBy, OrderUpdate
from breakwater.exchange.stream import parse_user_event
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Now, Tick, VenueState
from breakwater.paper_venue.orders import NewOrder
from breakwater.paper_venue.wire import income_json

D = Decimal
BEGIN = int(datetime(2025, 10, 10, 23, 59, tzinfo=UTC).timestamp() * 1000)
MIDNIGHT = BEGIN + 60_000
HOUR = 3_600_000


def now(ms: int) -> Now:
    return Now(ms, ms)


class Desk:
    """One account, with what it is told."""

    def __init__(self, state: VenueState | None = None, **config: Any) -> None:
        self.venue = PaperVenue(VenueConfig(**config), state=state)
        self.told: list[Any] = []
        self.venue.streams.publish_user = self._tell  # type: ignore[method-assign]
        self.account = self.venue.ledger.account("paper")
        self.tick(BEGIN)

    def _tell(self, listen_key: str, event: Any) -> None:
        self.told.append(event)

    def tick(self, ms: int, price: str = "100000", symbol: str = "BTCUSDT") -> None:
        self.venue.on_tick(Tick(symbol, ms, D(price)), now(ms))

    def hold(self, quantity: str, *, isolated: bool = False, symbol: str = "BTCUSDT") -> None:
        self.venue.ledger.position(self.account, symbol).isolated = isolated
        side = "BUY" if D(quantity) > 0 else "SELL"
        request = NewOrder(symbol=symbol, side=side, type="MARKET", quantity=abs(D(quantity)))
        self.venue._orders.place(self.account, request, now(self.venue.ledger.state.market_ms))

    def incomes(self, *kinds: str) -> list[Any]:
        return [row for row in self.venue.ledger.state.incomes if row.income_type in kinds]

    def updates(self, reason: str) -> list[AccountUpdate]:
        events = [parse_user_event(event) for event in self.told]
        return [event for event in events if isinstance(event, AccountUpdate) and event.reason == reason]


def test_longs_pay_and_shorts_receive_at_midnight_eight_and_sixteen() -> None:
    desk = Desk()
    desk.hold("0.1")
    desk.tick(BEGIN, "4000", "ETHUSDT")
    desk.hold("-1", symbol="ETHUSDT")
    desk.tick(MIDNIGHT - 1)
    assert desk.incomes("FUNDING_FEE") == []
    before = desk.account.wallet
    for hours in range(25):
        desk.tick(MIDNIGHT + hours * HOUR)
    paid = desk.incomes("FUNDING_FEE")
    assert [(row.time - MIDNIGHT) // HOUR for row in paid if row.symbol == "BTCUSDT"] == [0, 8, 16, 24]
    assert {row.income for row in paid if row.symbol == "BTCUSDT"} == {D("-1")}
    assert {row.income for row in paid if row.symbol == "ETHUSDT"} == {D("0.4")}
    assert desk.account.wallet == before + 4 * (D("-1") + D("0.4"))


def test_a_request_at_the_instant_sees_the_wallet_after_funding() -> None:
    desk = Desk()
    desk.hold("0.1")
    desk.venue.handle("GET", "/fapi/v1/time", "", {}, b"", now(MIDNIGHT))
    assert [row.time for row in desk.incomes("FUNDING_FEE")] == [MIDNIGHT]


def test_a_restart_neither_repeats_nor_forgets_funding() -> None:
    desk = Desk()
    desk.hold("0.1")
    desk.tick(MIDNIGHT)
    state = msgspec.json.decode(msgspec.json.encode(desk.venue.to_state()), type=VenueState)
    again = Desk.__new__(Desk)
    again.venue = PaperVenue(VenueConfig(), state=state)
    again.tick(MIDNIGHT + 1)
    assert len(again.incomes("FUNDING_FEE")) == 1
    again.tick(MIDNIGHT + 17 * HOUR)
    assert len(again.incomes("FUNDING_FEE")) == 3


def test_the_message_of_cross_margin_has_no_position_and_that_of_isolated_margin_has() -> None:
    desk = Desk()
    desk.hold("0.1", isolated=True)
    margin = desk.account.positions["BTCUSDT"].isolated_wallet
    desk.tick(BEGIN, "4000", "ETHUSDT")
    desk.hold("1", symbol="ETHUSDT")
    desk.tick(MIDNIGHT)
    isolated, cross = desk.updates("FUNDING_FEE")
    assert [held.symbol for held in isolated.positions] == ["BTCUSDT"]
    assert cross.positions == ()
    assert (isolated.changes, cross.changes) == ({"USDT": D("-1")}, {"USDT": D("-0.4")})
    assert cross.wallets == {"USDT": desk.account.wallet}
    assert desk.account.positions["BTCUSDT"].isolated_wallet == margin - 1


def test_a_rate_of_zero_turns_funding_off_and_premium_index_says_the_rate() -> None:
    desk = Desk(funding_rate=D(0))
    desk.hold("0.1")
    desk.tick(MIDNIGHT)
    assert desk.incomes("FUNDING_FEE") == []
    reply = Desk(funding_rate=D("0.0003")).venue.handle(
        "GET", "/fapi/v1/premiumIndex", "symbol=BTCUSDT", {}, b"", now(BEGIN)
    )
    assert reply.json()["lastFundingRate"] == "0.00030000"
    assert reply.json()["nextFundingTime"] == MIDNIGHT


def test_transfers_move_the_wallet_and_say_so() -> None:
    desk = Desk()
    desk.venue.transfer("paper", D("250.5"), now(BEGIN + 1))
    desk.venue.transfer("paper", D("-4000"), now(BEGIN + 2))
    assert desk.account.wallet == D("10250.5")
    assert [(row.income, row.symbol) for row in desk.incomes("TRANSFER")] == [(D("250.5"), ""), (D(-4000), "")]
    assert [event.changes for event in desk.updates("DEPOSIT")] == [{"USDT": D("250.5")}]
    assert [event.wallets for event in desk.updates("WITHDRAW")] == [{"USDT": D("10250.5")}]


@pytest.mark.parametrize("amount", ["-14000.01", "0", "NaN", "Infinity"])
def test_an_impossible_transfer_is_refused_and_changes_nothing(amount: str) -> None:
    desk = Desk()
    with pytest.raises(ValueError, match="cannot transfer"):
        desk.venue.transfer("paper", D(amount), now(BEGIN))
    assert desk.account.wallet == 14000
    assert desk.incomes("TRANSFER") == []


def test_a_deleveraging_is_a_calculated_fill_of_the_exchanges_own_order() -> None:
    desk = Desk()
    desk.hold("-0.1")
    before = len(desk.told)
    desk.venue.deleverage("paper", "BTCUSDT", now(BEGIN + 5), quantity=D("0.04"))
    events = [event for event in map(parse_user_event, desk.told[before:]) if isinstance(event, OrderUpdate)]
    assert {event.forced_by for event in events} == {ForcedBy.ADL}
    assert [(event.execution_type, event.fill is not None) for event in events] == [
        ("NEW", False),
        ("CALCULATED", True),
    ]
    fill = events[-1].fill
    assert fill is not None
    assert (fill.quantity, fill.side.value, fill.price) == (D("0.04"), "BUY", D(100000))
    assert desk.account.positions["BTCUSDT"].qty == D("-0.06")
    record = desk.venue.ledger.state.audit[-1]
    assert (record.kind, record.risk_increasing) == ("adl", False)
    with pytest.raises(ValueError, match="cannot deleverage"):
        desk.venue.deleverage("paper", "BTCUSDT", now(BEGIN + 6), quantity=D("0.07"))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), st.sampled_from([D("-0.02"), D("-0.005"), D("0.003"), D("0.02")])),
        st.tuples(st.just("funding"), st.decimals("-0.01", "0.01", places=6)),
        st.tuples(st.just("transfer"), st.decimals("-300", "300", places=8)),
        st.tuples(st.just("adl"), st.just(D(0))),
        st.tuples(st.just("price"), st.decimals("95000", "105000", places=1)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(rows=steps)
def test_the_wallet_is_the_start_and_the_income_list_to_the_last_digit(rows: list[tuple[str, Decimal]]) -> None:
    desk = Desk()
    for ms, (kind, value) in enumerate(rows, start=BEGIN + 1):
        if kind == "trade":
            desk.hold(str(value))
        elif kind == "funding":
            desk.venue.pay_funding(value, now(ms))
        elif kind == "transfer" and value:
            desk.venue.transfer("paper", value, now(ms))
        elif kind == "price":
            desk.tick(ms, str(value))
        elif kind == "adl" and desk.account.positions.get("BTCUSDT") and desk.account.positions["BTCUSDT"].qty:
            desk.venue.deleverage("paper", "BTCUSDT", now(ms))
    rows_ = desk.venue.ledger.state.incomes
    assert desk.account.wallet == 14000 + sum((row.income for row in rows_), D(0))
    page = parse_incomes([income_json(row) for row in rows_])
    fills = {"REALIZED_PNL", "COMMISSION"}
    assert [(m.tran_id, m.amount) for m in page.movements] == [
        (str(row.tran_id), row.income) for row in rows_ if row.income_type not in fills
    ]


def test_an_interval_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="funding interval"):
        replace(VenueConfig(), funding_interval_ms=0)
