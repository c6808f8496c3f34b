from __future__ import annotations

import json
from typing import Any

import pytest

from breakwater.paper_venue.errors import StreamRefused


def test_kline_is_reported_closed_once_at_the_first_tick_of_the_next(client: Any) -> None:
    events: list[dict[str, Any]] = []
    client.venue.open_stream("/market/ws/btcusdt@kline_1m", client.now, lambda t: events.append(json.loads(t)))
    start = client.market_ms - client.market_ms % 60_000 + 60_000
    client.market_ms = start - 5000
    for price in ("60100", "59900", "60050"):
        client.tick(price, seconds=5)
    client.tick("60200", seconds=50)
    klines = [e["k"] for e in events]
    final = [k for k in klines if k["x"] and k["t"] == start]
    assert [(k["o"], k["h"], k["l"], k["c"]) for k in final] == [("60100", "60100", "59900", "60050")]
    assert klines[-1]["x"] is False
    assert klines[-1]["t"] == start + 60_000
    (row,) = client.ok("GET", "/fapi/v1/klines", symbol="BTCUSDT", interval="1m", startTime=start, limit=1)
    assert row[:5] == [start, "60100", "60100", "59900", "60050"]


def test_mark_price_streams_keep_their_pace_in_market_time(client: Any) -> None:
    seen: dict[str, int] = {}
    for channel in ("markPrice@1s", "markPrice"):

        def count(text: str, channel: str = channel) -> None:
            seen[channel] = seen.get(channel, 0) + 1

        client.venue.open_stream(f"/ws/btcusdt@{channel}", client.now, count)
    for _ in range(6):
        client.tick("60000", seconds=1)
    assert seen == {"markPrice@1s": 6, "markPrice": 2}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/ws/btcusdt@depth7", 400), ("/ws/xrpusdt@trade", 400), ("/private/ws?listenKey=x", 400)],
)
def test_unknown_stream_path_is_refused(client: Any, path: str, status: int) -> None:
    with pytest.raises(StreamRefused) as refused:
        client.venue.open_stream(path, client.now, lambda text: None)
    assert refused.value.status == status


def test_refused_connection_leaves_no_listener_behind(client: Any) -> None:
    with pytest.raises(StreamRefused):
        client.venue.open_stream("/market/stream?streams=btcusdt@markPrice/btcusdt@nothing", client.now, print)
    assert not client.venue.streams.wants("btcusdt@markPrice")


def test_closed_session_receives_nothing_more(client: Any) -> None:
    texts: list[str] = []
    session = client.venue.open_stream("/ws/btcusdt@bookTicker", client.now, texts.append)
    client.tick("60001")
    session.close()
    session.close()
    client.tick("60002")
    assert len(texts) == 1


def test_callback_that_raises_loses_only_its_own_connection(client: Any) -> None:
    texts: list[str] = []
    errors: list[Exception] = []

    def broken(text: str) -> None:
        raise RuntimeError("peer is gone")

    client.venue.streams.on_callback_error = errors.append
    client.venue.open_stream("/ws/btcusdt@trade", client.now, broken)
    client.venue.open_stream("/ws/btcusdt@trade", client.now, texts.append)
    client.tick("60001")
    client.tick("60002")
    assert (len(texts), len(errors)) == (2, 1)


def test_callback_may_trade_on_what_it_hears(client: Any) -> None:
    done: list[Any] = []

    def on_mark(text: str) -> None:
        if not done:
            done.append(client.order("BUY", "0.01"))

    client.venue.open_stream("/ws/btcusdt@markPrice@1s", client.now, on_mark)
    client.tick("60000")
    assert done[0]["status"] == "FILLED"


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/public/ws/btcusdt@bookTicker", True),
        ("/market/ws/btcusdt@bookTicker", False),
        ("/private/ws/btcusdt@bookTicker", False),
        ("/public/ws/btcusdt@aggTrade", False),
        ("/market/ws/btcusdt@aggTrade", True),
        ("/ws/btcusdt@aggTrade", True),
    ],
)
def test_stream_on_another_groups_path_is_taken_and_stays_silent(client: Any, path: str, served: bool) -> None:
    seen: list[str] = []
    client.venue.open_stream(path, client.now, seen.append)
    client.tick("60100", seconds=1)
    assert bool(seen) is served


@pytest.mark.parametrize(("group", "served"), [("private", True), ("market", False)])
def test_account_events_come_on_the_private_path_alone(client: Any, group: str, served: bool) -> None:
    key = client.ok("POST", "/fapi/v1/listenKey")["listenKey"]
    seen: list[str] = []
    client.venue.open_stream(f"/{group}/ws?listenKey={key}", client.now, seen.append)
    client.order("BUY", "0.01")
    assert bool(seen) is served


def test_connection_is_cut_when_it_is_a_day_old_and_another_one_lives_on(client: Any) -> None:
    closed: list[str] = []
    for name in ("old", "young"):
        client.venue.open_stream(
            "/ws/btcusdt@bookTicker", client.now, lambda _: None, lambda name=name: closed.append(name)
        )
        client.wall_ms += 60_000
    client.wall_ms += 24 * 3_600_000 - 120_000
    client.tick("60100", seconds=1)
    assert closed == ["old"]
    client.wall_ms += 60_000
    client.tick("60100", seconds=1)
    assert closed == ["old", "young"]


def test_client_that_asks_more_than_ten_times_a_second_is_cut(client: Any) -> None:
    closed: list[int] = []
    session = client.venue.open_stream("/ws", client.now, lambda _: None, lambda: closed.append(1))
    for _ in range(10):
        session.receive('{"method":"LIST_SUBSCRIPTIONS","id":1}', client.now)
    assert closed == []
    session.receive('{"method":"LIST_SUBSCRIPTIONS","id":1}', client.now)
    assert closed == [1]


def test_depth_stream_chains_and_keeps_its_pace(client: Any) -> None:
    events: list[dict[str, Any]] = []
    client.venue.open_stream("/public/ws/btcusdt@depth@500ms", client.now, lambda t: events.append(json.loads(t)))
    best: list[dict[str, Any]] = []
    client.venue.open_stream("/public/ws/btcusdt@depth5", client.now, lambda t: best.append(json.loads(t)))
    snapshot = client.ok("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
    for price in ("60010", "60020", "60030", "60040"):
        client.tick(price, seconds=0.25)
    assert len(events) == 2
    assert events[0]["U"] <= snapshot["lastUpdateId"] + 1 <= events[0]["u"]
    assert events[1]["pu"] == events[0]["u"]
    assert ["60040", "0"] not in events[1]["b"]
    assert len(best) == 4
    assert all(len(event["b"]) <= 5 for event in best)
