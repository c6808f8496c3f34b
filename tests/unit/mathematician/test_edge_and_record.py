"""From fills to closed trades to an edge to a share of equity: exact, each fill once, small samples count little."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.mathematician.edge import edge_of
from breakwater.domain.mathematician.track_record import COUNTED_FOR, Stake, TrackRecord, TradeFill
from breakwater.domain.orders import Side

D = Decimal
BTC = Symbol("BTCUSDT")
NOON = datetime(2025, 10, 10, 12, tzinfo=UTC)
STAKE = Stake("heuristic:test", D(2000))


def fill(number: int, side: Side, quantity: str, price: str, fee: str = "0", at: datetime = NOON) -> TradeFill:
    return TradeFill(TradeId(str(number)), BTC, side, D(quantity), D(price), D(fee), at)


def booked(*fills: tuple[TradeFill, Stake | None]) -> TrackRecord:
    record = TrackRecord()
    for one, stake in fills:
        record = record.book(one, stake)
    return record


def test_long_that_gains_twice_its_risk_after_fees() -> None:
    record = booked(
        (fill(1, Side.BUY, "0.1", "100000", "5"), STAKE),
        (fill(2, Side.SELL, "0.04", "104000", "2"), None),
        (fill(3, Side.SELL, "0.06", "104000", "3"), None),
    )
    (trade,) = record.closed
    assert trade.result == (D(400) - 10) / 200
    assert (trade.source, record.open) == ("heuristic:test", {})


def test_short_stopped_out_loses_a_little_more_than_one() -> None:
    record = booked(
        (fill(1, Side.SELL, "0.06", "100000", "3"), STAKE),
        (fill(2, Side.SELL, "0.04", "100000", "2"), STAKE),
        (fill(3, Side.BUY, "0.1", "102000", "5"), None),
    )
    assert [trade.result for trade in record.closed] == [(D(-200) - 10) / 200]


def test_fills_that_fit_to_no_known_trade_end_it_uncounted() -> None:
    assert booked((fill(1, Side.SELL, "1", "100000"), None)).open == {}
    grown = booked((fill(1, Side.BUY, "1", "100000"), STAKE), (fill(2, Side.BUY, "1", "100000"), None))
    assert (grown.open, grown.closed) == ({}, ())
    flipped = booked((fill(1, Side.BUY, "1", "100000"), STAKE), (fill(2, Side.SELL, "2", "100000"), None))
    assert (flipped.open, flipped.closed) == ({}, ())


def test_results_are_those_of_the_source_in_the_last_thirty_days() -> None:
    other = Stake("http:bob", D(2000))
    record = TrackRecord()
    for number, (stake, at) in enumerate([(STAKE, NOON), (other, NOON), (STAKE, NOON + timedelta(days=20))]):
        record = record.book(fill(2 * number, Side.BUY, "1", "100000", at=at), stake)
        record = record.book(fill(2 * number + 1, Side.SELL, "1", "101000", at=at), None)
    assert len(record.results("heuristic:test", NOON + timedelta(days=20))) == 2
    assert len(record.results("heuristic:test", NOON + COUNTED_FOR)) == 1
    assert len(record.results("http:bob", NOON)) == 1
    assert record.results("heuristic:test", NOON - timedelta(days=1)) == ()


fills = st.lists(
    st.tuples(
        st.sampled_from(Side), st.integers(1, 5), st.integers(90, 110), st.booleans(), st.integers(0, 3)
    ),
    max_size=25,
)  # fmt: skip


@given(fills)
def test_each_fill_counts_once_and_the_record_survives_being_written(
    raw: list[tuple[Side, int, int, bool, int]],
) -> None:
    made = [
        (TradeFill(TradeId(str(n)), BTC, side, D(quantity), D(price), D(fee), NOON), STAKE if entry else None)
        for n, (side, quantity, price, entry, fee) in enumerate(raw)
    ]
    once = booked(*made)
    assert booked(*(each for each in made for _ in range(2))) == once
    assert all(isinstance(trade.result, Decimal) for trade in once.closed)
    wire = msgspec.json.encode(once)
    assert msgspec.json.decode(wire, type=TrackRecord) == once


# ------------------------------------------------------------------------------------------------ edge


def test_kelly_worked_by_hand() -> None:
    # 60 % win 1.5, 40 % lose 1: p - (1 - p) / b = 0.6 - 0.4 / 1.5 = 1/3; 50 trades against 30 more that come out even: 5/8 of it.
    edge = edge_of([D("1.5")] * 30 + [D(-1)] * 20, 30)
    assert edge is not None
    assert abs(edge.kelly - D(1) / 3 * 5 / 8) < D("1e-20")
    assert (edge.trades, edge.win_rate, edge.average_loss, edge.average) == (50, D("0.6"), D(1), D("0.5"))


@pytest.mark.parametrize(
    ("results", "sign"),
    [
        ([D(1)] * 15 + [D(-1)] * 15, 0), ([D(-1)] * 30, -1), ([D(0)] * 30, 0), ([D(1)] * 30, 1),
        ([D(1)] * 10 + [D(-2)] * 20, -1), ([D(1)] * 29 + [D(0)], 1),
    ],
)  # fmt: skip
def test_sign_of_kelly_is_that_of_the_average(results: list[Decimal], sign: int) -> None:
    edge = edge_of(results, 30)
    assert edge is not None
    assert (edge.kelly > 0) - (edge.kelly < 0) == sign


results = st.lists(st.decimals(D(-3), D(5), places=3), max_size=80)


@given(results, st.integers(10, 60))
def test_edge_needs_its_sample_and_is_bounded_and_exact(given_results: list[Decimal], least: int) -> None:
    edge = edge_of(given_results, least)
    if len(given_results) < least:
        assert edge is None
        return
    assert edge is not None
    assert all(isinstance(value, Decimal) for value in (edge.kelly, edge.win_rate, edge.average, edge.average_loss))
    assert edge.kelly < 1
    assert (edge.kelly > 0) is (sum(given_results) > 0)
    assert edge.kelly <= edge.win_rate


@given(results.filter(lambda r: len(r) >= 10), st.integers(1, 200))
def test_larger_demand_on_the_sample_never_raises_the_stake(given_results: list[Decimal], more: int) -> None:
    modest, strict = edge_of(given_results, 10), edge_of(given_results, 10 + more)
    assert modest is not None
    if strict is not None:
        assert max(strict.kelly, D(0)) <= max(modest.kelly, D(0))
