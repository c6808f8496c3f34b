"""Every way a call can end gets a verdict. Real ccxt reads the replies; only the network behind it is canned."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from breakwater.exchange.errors import Attempt, Outcome, VenueCallError, attempt
from breakwater.exchange.messages import OrderReport
from breakwater.exchange.parse import parse_order
from breakwater.exchange.wire import before_wire

NEW_ORDER = {
    "orderId": 7, "clientOrderId": "bw-1", "symbol": "BTCUSDT", "status": "NEW", "type": "LIMIT", "side": "BUY",
    "price": "100000.0", "avgPrice": "0.00", "origQty": "0.100", "executedQty": "0", "cumQuote": "0",
    "timeInForce": "GTC", "reduceOnly": False, "positionSide": "BOTH", "stopPrice": "0", "updateTime": 1760126400000,
}  # fmt: skip


def _code(code: int, message: str = "because") -> dict[str, Any]:
    return {"code": code, "msg": message}


def _connector_error() -> Exception:
    return aiohttp.ClientConnectorError(None, OSError(111, "Connection refused"))  # type: ignore[arg-type]


REPLIES = [
    # HTTP status, body, verdict, Binance code
    (200, NEW_ORDER, Outcome.ACCEPTED, None),
    (400, _code(-2019, "Margin is insufficient."), Outcome.REJECTED, -2019),
    (400, _code(-2021, "Order would immediately trigger."), Outcome.REJECTED, -2021),
    (400, _code(-2022, "ReduceOnly Order is rejected."), Outcome.REJECTED, -2022),
    (400, _code(-4116, "ClientOrderId is duplicated."), Outcome.REJECTED, -4116),
    (400, _code(-4120, "Order type not supported for this endpoint."), Outcome.REJECTED, -4120),
    (400, _code(-4131, "The counterparty's best price does not meet PERCENT_PRICE."), Outcome.REJECTED, -4131),
    (400, _code(-4164, "Order's notional must be no smaller than 100."), Outcome.REJECTED, -4164),
    (400, _code(-5021, "could not be filled immediately"), Outcome.REJECTED, -5021),
    (400, _code(-5022, "could not be executed as maker"), Outcome.REJECTED, -5022),
    (400, _code(-1013, "Invalid quantity."), Outcome.REJECTED, -1013),
    (400, _code(-1021, "Timestamp for this request is outside of the recvWindow."), Outcome.REJECTED, -1021),
    (401, _code(-2015, "Invalid API-key, IP, or permissions for action."), Outcome.REJECTED, -2015),
    (400, _code(-999999, "a code of the future"), Outcome.REJECTED, -999999),
    (200, _code(-2011, "Unknown order sent."), Outcome.REJECTED, -2011),
    (400, _code(-1000), Outcome.UNKNOWN, -1000),
    (400, _code(-1001), Outcome.UNKNOWN, -1001),
    (400, _code(-1006), Outcome.UNKNOWN, -1006),
    (400, _code(-1007), Outcome.UNKNOWN, -1007),
    (408, _code(-1007, "Timeout waiting for response from backend server."), Outcome.UNKNOWN, -1007),
    (503, _code(-1000), Outcome.UNKNOWN, -1000),
    (500, _code(-2019), Outcome.UNKNOWN, -2019),
    (503, "Unknown error, please check your request or try again later.", Outcome.UNKNOWN, None),
    (503, "Service Unavailable.", Outcome.UNKNOWN, None),
    (502, "<html>Bad Gateway</html>", Outcome.UNKNOWN, None),
    (504, "", Outcome.UNKNOWN, None),
    (404, "<html>Not Found</html>", Outcome.UNKNOWN, None),
    (400, "no JSON", Outcome.UNKNOWN, None),
    (200, "<html>OK</html>", Outcome.UNKNOWN, None),
    (200, "", Outcome.UNKNOWN, None),
    (200, "{}", Outcome.UNKNOWN, None),
    (200, "[]", Outcome.UNKNOWN, None),
    (200, '{"orderId": 7, "clientOr', Outcome.UNKNOWN, None),
    (200, NEW_ORDER | {"status": "PERHAPS"}, Outcome.UNKNOWN, None),
    (200, NEW_ORDER | {"origQty": "a lot"}, Outcome.UNKNOWN, None),
    (503, _code(-1008, "Request throttled by system-level protection."), Outcome.RATE_LIMITED, -1008),
    (400, _code(-1003, "Too many requests."), Outcome.RATE_LIMITED, -1003),
    (400, _code(-1015, "Too many new orders."), Outcome.RATE_LIMITED, -1015),
    (429, _code(-1003, "Too many requests."), Outcome.RATE_LIMITED, -1003),
    (429, "", Outcome.RATE_LIMITED, None),
    (418, _code(-1003, "Way too many requests; IP banned until 1760126700000."), Outcome.BANNED, -1003),
    (403, "<html>blocked</html>", Outcome.BANNED, None),
]

FAULTS = [
    (aiohttp.ServerDisconnectedError(), Outcome.UNKNOWN),
    (aiohttp.ClientOSError(104, "Connection reset by peer"), Outcome.UNKNOWN),
    (aiohttp.ClientPayloadError("Response payload is not completed"), Outcome.UNKNOWN),
    (aiohttp.SocketTimeoutError(), Outcome.UNKNOWN),
    (aiohttp.ConnectionTimeoutError(), Outcome.NOT_SENT),
    (_connector_error(), Outcome.NOT_SENT),
]


async def _send(bench: Any) -> Attempt[OrderReport]:
    return await attempt(
        bench.client.create_order("BTCUSDT", "limit", "buy", "0.1", "100000", {"newClientOrderId": "bw-1"}),
        parse_order,
    )


@pytest.mark.parametrize(("status", "body", "verdict", "code"), REPLIES)
def test_reply_to_an_order_gets_its_verdict(
    play: Any, status: int, body: Any, verdict: Outcome, code: int | None
) -> None:
    async def scene(bench: Any) -> Any:
        headers = {"Retry-After": "7", "X-MBX-USED-WEIGHT-1M": "12", "X-MBX-ORDER-COUNT-10S": "3"}
        bench.venue.script["POST", "/fapi/v1/order"] = bench.canned(body, status, **headers)
        result = await _send(bench)
        sent = sum(seen.method == "POST" for seen in bench.venue.seen)
        return result, sent

    result, sent = play(scene)
    assert sent == 1  # nothing is ever sent twice behind our back
    assert (result.outcome, result.code) == (verdict, code)
    assert (result.status, result.retry_after_s) == (status, 7.0)
    assert (result.used_weight_1m, result.order_count_10s, result.order_count_1m) == (12, 3, None)
    assert (result.value is not None) == (verdict is Outcome.ACCEPTED)
    if verdict is not Outcome.ACCEPTED:
        assert result.message
        with pytest.raises(VenueCallError, match=verdict):
            result.unwrap()


@pytest.mark.parametrize(("fault", "verdict"), FAULTS, ids=lambda value: type(value).__name__)
def test_network_fault_on_an_order_gets_its_verdict(play: Any, fault: Exception, verdict: Outcome) -> None:
    async def scene(bench: Any) -> Any:
        bench.venue.script["POST", "/fapi/v1/order"] = fault
        return await _send(bench)

    result = play(scene)
    assert (result.outcome, result.status, result.value) == (verdict, None, None)
    assert result.message


def test_refused_connection_on_a_cancel_is_unknown_because_aiohttp_may_have_sent_it_before(play: Any) -> None:
    async def scene(bench: Any) -> Any:
        bench.venue.script["DELETE", "/fapi/v1/order"] = _connector_error()
        return await attempt(bench.client.cancel_order(None, "BTCUSDT", {"origClientOrderId": "bw-1"}), parse_order)

    assert play(scene).outcome is Outcome.UNKNOWN


def test_order_refused_by_ccxt_itself_was_not_sent(play: Any) -> None:
    async def scene(bench: Any) -> Any:
        calls = len(bench.venue.seen)
        result = await attempt(bench.client.create_order("NOSUCH", "market", "buy", "1"), parse_order)
        return result, len(bench.venue.seen) - calls

    result, sent = play(scene)
    assert (result.outcome, sent) == (Outcome.NOT_SENT, 0)
    assert "NOSUCH" in result.message


def test_errors_of_a_local_venue_have_the_classes_they_have_at_the_exchange(play: Any) -> None:
    async def scene(bench: Any) -> Any:
        bench.venue.script["POST", "/fapi/v1/order"] = bench.canned(_code(-2019), 400)
        return await _send(bench)

    assert type(play(scene).error).__name__ == "InsufficientFunds"


def test_concurrent_calls_keep_their_own_headers(play: Any) -> None:
    async def scene(bench: Any) -> Any:
        bench.venue.script["POST", "/fapi/v1/order"] = bench.canned(NEW_ORDER, **{"X-MBX-USED-WEIGHT-1M": "1"})
        bench.venue.script["GET", "/fapi/v1/time"] = bench.canned(
            {"serverTime": 1}, 429, **{"X-MBX-USED-WEIGHT-1M": "2400", "Retry-After": "30"}
        )
        return await asyncio.gather(_send(bench), attempt(bench.client.fetch_time(), int), _send(bench))

    first, second, third = play(scene)
    assert [first.used_weight_1m, second.used_weight_1m, third.used_weight_1m] == [1, 2400, 1]
    assert (second.outcome, second.retry_after_s) == (Outcome.RATE_LIMITED, 30)


def test_cancelled_call_stays_cancelled(play: Any) -> None:
    async def scene(bench: Any) -> bool:
        bench.venue.script["POST", "/fapi/v1/order"] = bench.canned(NEW_ORDER)
        task = asyncio.create_task(_send(bench))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    assert play(scene)


def test_call_that_the_last_check_before_the_wire_stops_was_not_sent(play: Any) -> None:
    def fence() -> None:
        raise PermissionError("the gate has closed")

    async def scene(bench: Any) -> Any:
        token = before_wire.set(fence)
        try:
            result = await _send(bench)
        finally:
            before_wire.reset(token)
        return result, [seen.method for seen in bench.venue.seen]

    result, methods = play(scene)
    assert (result.outcome, "POST" in methods) == (Outcome.NOT_SENT, False)
    assert isinstance(result.error, PermissionError)
