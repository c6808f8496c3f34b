"""MARGIN_CALL: a warning before the liquidation."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest


def held(make_client: Any, margin: str) -> tuple[Any, list[Any], Decimal]:
    """A client long 0.2 BTC at 20x, what it hears, and its liquidation price."""
    client = make_client(balance=Decimal(800))
    if margin == "ISOLATED":
        client.ok("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType=margin)
    events = client.listen()
    client.order("BUY", "0.2")
    (row,) = client.ok("GET", "/fapi/v2/positionRisk", symbol="BTCUSDT")
    return client, events, Decimal(row["liquidationPrice"])


def calls(events: list[Any]) -> list[Any]:
    return [event for event in events if event["e"] == "MARGIN_CALL"]


@pytest.mark.parametrize("margin", ["CROSSED", "ISOLATED"])
def test_margin_that_runs_low_is_told_once_and_again_after_it_recovered(make_client: Any, margin: str) -> None:
    client, events, edge = held(make_client, margin)
    client.tick(str(edge + 200))
    assert calls(events) == []
    for away in (40, 30, 20):
        client.tick(str(edge + away))
    (call,) = calls(events)
    (position,) = call["p"]
    assert (position["s"], position["pa"], position["mt"]) == ("BTCUSDT", "0.2", margin)
    assert position["mp"] == str(edge + 40)
    assert ("cw" in call) == (margin == "CROSSED")
    client.tick(str(edge + 500))
    client.tick(str(edge + 20))
    assert len(calls(events)) == 2


@pytest.mark.parametrize("margin", ["CROSSED", "ISOLATED"])
def test_position_that_was_called_for_is_liquidated_at_its_price_and_not_before(make_client: Any, margin: str) -> None:
    client, events, edge = held(make_client, margin)
    client.tick(str(edge + 1))
    assert client.position() == Decimal("0.2")
    assert len(calls(events)) == 1
    client.tick(str(edge - 1))
    assert client.position() == 0


def test_position_opened_anew_is_called_for_again(make_client: Any) -> None:
    client, events, edge = held(make_client, "ISOLATED")
    client.tick(str(edge + 10))
    client.order("SELL", "0.2", reduceOnly=True)
    client.tick("60000")
    client.order("BUY", "0.05")
    client.tick("60000")
    (row,) = client.ok("GET", "/fapi/v2/positionRisk", symbol="BTCUSDT")
    client.tick(str(Decimal(row["liquidationPrice"]) + 10))
    assert len(calls(events)) == 2


def test_account_without_trouble_is_never_called(client: Any) -> None:
    events = client.listen()
    client.order("BUY", "0.01")
    for price in ("59000", "50000", "40000"):
        client.tick(price)
    assert calls(events) == []
