"""The income list: what is a movement, what came with a fill, and what makes no sense."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from breakwater.domain.movements import MovementKind
from breakwater.exchange.incomes import parse_incomes
from breakwater.exchange.messages import ForcedBy
from breakwater.exchange.reader import VenueReplyError


def row(**changes: Any) -> dict[str, Any]:
    base = {"symbol": "", "incomeType": "TRANSFER", "income": "-0.37500000", "asset": "USDT", "info": "TRANSFER",
            "time": 1570608000000, "tranId": "9689322392", "tradeId": ""}  # fmt: skip
    return base | changes


def test_movements_come_oldest_first_and_parts_of_fills_are_counted_only() -> None:
    page = parse_incomes(
        [
            row(symbol="BTCUSDT", incomeType="COMMISSION", asset="BNB", time=1570636800001, tranId=3),
            row(symbol="BTCUSDT", incomeType="FUNDING_FEE", income="-0.01000000", time=1570636800000, tranId=2),
            row(symbol="BTCUSDT", incomeType="REALIZED_PNL", income="7", time=1570636800000, tranId=1),
            row(income="0.00000000", tranId=9),
            row(),
        ]
    )
    assert (page.rows, page.newest) == (5, datetime(2019, 10, 9, 16, 0, 0, 1000, tzinfo=UTC))
    assert [(one.kind, one.amount, one.symbol, one.tran_id) for one in page.movements] == [
        (MovementKind.TRANSFER, Decimal("-0.375"), None, "9689322392"),
        (MovementKind.FUNDING, Decimal("-0.01"), "BTCUSDT", "2"),
    ]


@pytest.mark.parametrize(
    ("word", "kind", "capital"),
    [
        ("FUNDING_FEE", MovementKind.FUNDING, False),
        ("INSURANCE_CLEAR", MovementKind.INSURANCE_CLEAR, False),
        ("INTERNAL_TRANSFER", MovementKind.TRANSFER, True),
        ("COMMISSION_REBATE", MovementKind.REBATE, False),
        ("WELCOME_BONUS", MovementKind.OTHER, True),
        ("SOMETHING_NEW", MovementKind.OTHER, True),
    ],
)
def test_the_venues_words_have_a_meaning_and_gifts_are_no_gain(word: str, kind: MovementKind, capital: bool) -> None:
    (movement,) = parse_incomes([row(incomeType=word, income="5")]).movements
    assert (movement.kind, movement.capital, movement.venue_type) == (kind, capital, word)


def test_an_empty_list_is_an_answer() -> None:
    page = parse_incomes([])
    assert (page.rows, page.newest, page.movements) == (0, None, ())


@pytest.mark.parametrize(
    ("reply", "field"),
    [
        ({"rows": []}, "whole reply"),
        ([row(), "row"], "whole reply"),
        ([row(income="NaN")], "income"),
        ([row(income=0.1)], "income"),
        ([row(income="1e30")], "income"),
        ([row(asset=None)], "asset"),
        ([row(tranId=None)], "tranId"),
        ([row(time=-1)], "time"),
        ([row(incomeType="")], "incomeType"),
        ([row(symbol=7)], "symbol"),
    ],
)
def test_one_row_that_makes_no_sense_refuses_the_page_by_field(reply: Any, field: str) -> None:
    with pytest.raises(VenueReplyError, match=field):
        parse_incomes(reply)


@pytest.mark.parametrize(
    ("client_id", "by"),
    [("autoclose-1", ForcedBy.LIQUIDATION), ("adl_autoclose", ForcedBy.ADL), ("adl_autoclose-1", ForcedBy.ADL),
     ("settlement_autoclose-1", ForcedBy.SETTLEMENT), ("bw-autoclose-1", None), ("", None)],
)  # fmt: skip
def test_orders_of_the_exchange_itself_are_told_by_their_id(client_id: str, by: ForcedBy | None) -> None:
    assert ForcedBy.of(client_id) is by
