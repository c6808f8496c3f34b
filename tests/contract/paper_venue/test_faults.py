"""Faults over real HTTP and WebSocket, as the unmodified ccxt client meets them; the plan is given at run time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import ccxt
import pytest

from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.faults.api import PATH
from breakwater.paper_venue.http import VenueServer
from breakwater.runtime.clocks import Clocks

BTC = "BTC/USDT:USDT"
ORDER = {"method": "POST", "path": "/fapi/v1/order"}


@pytest.fixture
async def server(venue: PaperVenue, clocks: Clocks) -> AsyncIterator[VenueServer]:
    """One whose faults may be changed while it runs."""
    async with VenueServer(venue, "127.0.0.1", 0, clocks, faults_at_run_time=True) as running:
        yield running


async def tell(server: VenueServer, method: str, plan: object = None) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.request(method, server.url + PATH, json=plan) as reply:
        return reply.status, await reply.json()


async def fail(server: VenueServer, fault: str, match: dict[str, Any] | None = None, **more: Any) -> None:
    rule = {"fault": fault, "match": ORDER if match is None else match, **more}
    status, said = await tell(server, "POST", {"rules": [rule]})
    assert status == 200, said


def accepted(venue: PaperVenue) -> int:
    return sum(1 for record in venue.ledger.state.audit if record.kind == "order")


@pytest.mark.parametrize(
    ("fault", "more", "says", "executed"),
    [
        ("reset_before", {}, ccxt.ExchangeNotAvailable, False),
        ("reset_after", {}, ccxt.ExchangeNotAvailable, True),
        ("truncated", {}, ccxt.ExchangeError, True),
        ("unknown_503", {}, ccxt.ExchangeNotAvailable, True),
        ("unknown_503", {"executed": False}, ccxt.ExchangeNotAvailable, False),
        ("unavailable_503", {}, ccxt.ExchangeNotAvailable, False),
        ("busy_1008", {}, ccxt.OperationFailed, False),
        ("gateway_504", {}, ccxt.RequestTimeout, True),
        ("timeout_1007", {}, ccxt.RequestTimeout, True),
        ("timeout_408", {}, ccxt.RequestTimeout, True),
        ("error_1000", {}, ccxt.OperationFailed, True),
        ("error_1001", {}, ccxt.OperationFailed, True),
        ("error_1006", {}, ccxt.OperationFailed, True),
        ("rate_limited_429", {}, ccxt.DDoSProtection, False),
        ("banned_418", {}, ccxt.DDoSProtection, False),
        ("weight_1003", {}, ccxt.RateLimitExceeded, False),
        ("orders_1015", {}, ccxt.RateLimitExceeded, False),
        ("clock_1021", {}, ccxt.InvalidNonce, False),
        ("key_2015", {}, ccxt.AuthenticationError, False),
        ("key_2014", {}, ccxt.AuthenticationError, False),
        ("rejected", {"code": -2019}, ccxt.InsufficientFunds, False),
    ],
)
async def test_order_that_goes_wrong_is_what_ccxt_makes_of_the_real_fault(
    exchange: Any, server: VenueServer, venue: PaperVenue, fault: str, more: Any, says: type[Exception], executed: bool
) -> None:
    await fail(server, fault, **more)
    with pytest.raises(says):
        await exchange.create_order(BTC, "market", "buy", 0.01)
    assert accepted(venue) == int(executed)
    await exchange.create_order(BTC, "market", "buy", 0.01)
    assert accepted(venue) == int(executed) + 1


@pytest.mark.parametrize("fault", ["html", "empty", "no_order_id"])
async def test_reply_of_nothing_useful_is_an_order_without_an_id(
    exchange: Any, server: VenueServer, venue: PaperVenue, fault: str
) -> None:
    await fail(server, fault)
    order = await exchange.create_order(BTC, "market", "buy", 0.01)
    assert order["id"] is None
    assert accepted(venue) == 1


async def test_request_that_hangs_ends_with_the_client_and_was_done(
    exchange: Any, server: VenueServer, venue: PaperVenue
) -> None:
    exchange.timeout = 300
    await fail(server, "hang")
    with pytest.raises(ccxt.RequestTimeout):
        await exchange.create_order(BTC, "market", "buy", 0.01)
    assert accepted(venue) == 1


async def test_retry_after_is_in_the_headers(exchange: Any, server: VenueServer) -> None:
    await fail(server, "rate_limited_429", retry_after_s=17)
    with pytest.raises(ccxt.DDoSProtection):
        await exchange.create_order(BTC, "market", "buy", 0.01)
    assert exchange.last_response_headers["Retry-After"] == "17"


async def test_halted_symbol_takes_no_orders_until_the_plan_is_taken_back(exchange: Any, server: VenueServer) -> None:
    await fail(server, "symbol_halted", {"symbol": "BTCUSDT"})
    with pytest.raises(ccxt.ExchangeError, match="-4108"):
        await exchange.create_order(BTC, "market", "buy", 0.01)
    assert not (await exchange.load_markets(True))[BTC]["active"]
    await tell(server, "DELETE")
    await exchange.create_order(BTC, "market", "buy", 0.01)


async def test_plan_at_run_time_tells_what_happened_and_refuses_nonsense(exchange: Any, server: VenueServer) -> None:
    await fail(server, "busy_1008")
    with pytest.raises(ccxt.OperationFailed):
        await exchange.create_order(BTC, "market", "buy", 0.01)
    await exchange.create_order(BTC, "market", "buy", 0.01)
    status, said = await tell(server, "GET")
    assert (status, [(r["rule"]["fault"], r["matched"], r["happened"]) for r in said["rules"]]) == (
        200,
        [("busy_1008", 2, 1)],
    )
    status, said = await tell(server, "POST", {"rules": [{"fault": "hagn"}]})
    assert (status, said["error"]) == (400, "BAD_FAULT_PLAN")
    assert "rules[0].fault" in said["text"]
    assert (await tell(server, "PATCH"))[0] == 405
    assert await tell(server, "DELETE") == (200, {"rules": []})


async def test_venue_started_without_the_flag_has_no_such_path(venue: PaperVenue, clocks: Clocks) -> None:
    async with VenueServer(venue, "127.0.0.1", 0, clocks) as plain:
        assert (await tell(plain, "POST", {"rules": [{"fault": "hang"}]}))[0] == 404


async def events(server: VenueServer, exchange: Any, act: Callable[[], Any], *, seconds: float = 0.4) -> list[str]:
    """Kinds of the user's events that come within a while of ``act``, over a socket of our own."""
    key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
    url = server.url.replace("http", "ws") + f"/private/ws?listenKey={key}"
    came: list[str] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await act()
        while True:
            try:
                message = await socket.receive(timeout=seconds)
            except TimeoutError:
                return came
            if message.type is not aiohttp.WSMsgType.TEXT:
                return [*came, "closed"]
            event = message.json()
            came.append(event["o"]["x"] if event["e"] == "ORDER_TRADE_UPDATE" else event["e"])


PLAIN = ["NEW", "ACCOUNT_UPDATE", "TRADE"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (None, PLAIN),
        ({"fault": "event_lost", "match": {"event": "ORDER_TRADE_UPDATE", "nth": 2}}, ["NEW", "ACCOUNT_UPDATE"]),
        ({"fault": "event_duplicated", "match": {"event": "ORDER_TRADE_UPDATE"}}, ["NEW", *PLAIN]),
        ({"fault": "event_reordered", "match": {"event": "ORDER_TRADE_UPDATE"}}, ["ACCOUNT_UPDATE", "NEW", "TRADE"]),
        ({"fault": "event_delayed", "delay_s": 0.1}, [*PLAIN[1:], "NEW"]),
        ({"fault": "stream_silent", "count": 0}, []),
        ({"fault": "listen_key_expired"}, ["listenKeyExpired"]),
        ({"fault": "listen_key_dead"}, []),
        ({"fault": "stream_closed"}, ["closed"]),
    ],
)
async def test_stream_that_goes_wrong_brings_what_the_plan_says(
    exchange: Any, server: VenueServer, rule: Any, expected: list[str]
) -> None:
    async def act() -> None:
        if rule is not None:
            assert (await tell(server, "POST", {"rules": [rule]}))[0] == 200
        await exchange.create_order(BTC, "market", "buy", 0.01)

    assert await events(server, exchange, act) == expected
