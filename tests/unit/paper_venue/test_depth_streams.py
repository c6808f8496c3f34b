"""What a client that follows the book from a snapshot and the changes after it knows."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from breakwater.paper_venue.config import Fills

Book = dict[str, dict[str, str]]
LIMITS = (5, 100, 1000)


class Follower:
    """Does what the exchange tells clients to do."""

    def __init__(self, client: Any, speed: str) -> None:
        self._client = client
        self._events: list[dict[str, Any]] = []
        self._at = 0
        self.book: Book = {}
        client.venue.open_stream(f"/public/ws/btcusdt@depth{speed}", client.now, self._hear)

    def _hear(self, text: str) -> None:
        self._events.append(json.loads(text))

    def start(self, limit: int = 1000) -> None:
        reply = snapshot(self._client, limit)
        self._at = reply["lastUpdateId"]
        self.book = {"b": dict(reply["bids"]), "a": dict(reply["asks"])}
        self._events = [event for event in self._events if event["u"] >= self._at]

    def follow(self) -> None:
        for event in self._events:
            assert event["U"] <= self._at or event["pu"] == self._at, "a gap: the client would start again"
            self._at = event["u"]
            for side, levels in self.book.items():
                for price, quantity in event[side]:
                    levels[price] = quantity
                    if quantity == "0":
                        del levels[price]
        self._events = []


def snapshot(client: Any, limit: int = 1000) -> Any:
    return client.ok("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=limit)


def shown(client: Any) -> Book:
    reply = snapshot(client)
    return {"b": dict(reply["bids"]), "a": dict(reply["asks"])}


@pytest.mark.parametrize("fills", list(Fills))
@pytest.mark.parametrize("speed", ["", "@100ms", "@500ms"])
def test_changes_applied_to_a_snapshot_keep_the_book_that_the_venue_shows(
    make_client: Any, fills: Fills, speed: str
) -> None:
    client = make_client(fills=fills)
    follower, other = Follower(client, speed), Follower(client, "@100ms")
    client.tick("60000.1", seconds=1)
    follower.start()
    for step, price in enumerate(("60004.3", "59990", "60100.5", "58500", "60100.5")):
        client.order("BUY", "0.01", price=f"{57000 + step}")
        client.tick(price, seconds=1)
        other.start()
        follower.follow()
    client.tick("60100.5", seconds=1)
    client.tick("60100.5", seconds=20)
    for one in (follower, other):
        one.follow()
        assert one.book == shown(client)


@pytest.mark.parametrize("limit", LIMITS)
def test_level_that_was_empty_in_the_snapshot_is_told_when_it_is_back(make_client: Any, limit: int) -> None:
    client = make_client(fills=Fills.BOOK, balance=Decimal(10_000_000))
    follower = Follower(client, "@100ms")
    client.tick("60000", seconds=1)
    client.tick("60000", seconds=1)
    best, quantity = snapshot(client)["asks"][0]
    client.order("BUY", quantity)
    follower.start(limit)
    assert best not in follower.book["a"]
    client.tick("60000", seconds=60)
    follower.follow()
    assert follower.book["a"][best] == quantity
    assert limit < 1000 or follower.book == shown(client)
