from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.paper_venue.auth import sign
from breakwater.paper_venue.config import AccountConfig, VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Now


def _raw(client: Any, method: str, path: str, query: str, body: str = "", key: str | None = "k") -> Any:
    headers = {"x-mbx-apikey": key} if key is not None else {}
    return client.venue.handle(method, path, query, headers, body.encode(), client.now)


def test_signature_is_checked_over_the_raw_bytes(client: Any) -> None:
    # Unusual but legal encoding: a re-encoded text would give another signature.
    payload = f"symbol=BTC%55SDT&timestamp={client.wall_ms}&recvWindow=5000"
    reply = _raw(client, "GET", "/fapi/v1/openOrders", f"{payload}&signature={sign('s', payload.encode())}")
    assert reply.status == 200


@pytest.mark.parametrize("place", ["query", "body", "both"])
def test_signature_may_come_in_query_or_body(client: Any, place: str) -> None:
    fields = "symbol=BTCUSDT&leverage=5"
    stamp = f"timestamp={client.wall_ms}"
    if place == "both":
        signature = sign("s", (fields + stamp).encode())
        reply = _raw(client, "POST", "/fapi/v1/leverage", fields, f"{stamp}&signature={signature}")
    else:
        text = f"{fields}&{stamp}"
        text += f"&signature={sign('s', text.encode())}"
        query, body = (text, "") if place == "query" else ("", text)
        reply = _raw(client, "POST", "/fapi/v1/leverage", query, body)
    assert reply.status == 200
    assert reply.json()["leverage"] == 5


@pytest.mark.parametrize(
    ("query", "key", "code"),
    [
        ("timestamp={now}&signature={bad}", "k", -1022),
        ("timestamp={now}", "k", -1102),
        ("signature={bad}", "k", -1102),
        ("timestamp={late}&signature={bad}", "k", -1021),
        ("timestamp={early}&signature={bad}", "k", -1021),
        ("timestamp=soon&signature={bad}", "k", -1102),
        ("timestamp={now}&recvWindow=99999&signature={bad}", "k", -1131),
        ("timestamp={now}&signature={bad}", None, -2014),
        ("timestamp={now}&signature={bad}", "unknown", -2015),
    ],
)
def test_bad_credentials_are_refused(client: Any, query: str, key: str | None, code: int) -> None:
    text = query.format(now=client.wall_ms, late=client.wall_ms - 6000, early=client.wall_ms + 1001, bad="0" * 64)
    assert _raw(client, "GET", "/fapi/v3/balance", text, key=key).json()["code"] == code


def test_recv_window_widens_what_is_accepted(client: Any) -> None:
    payload = f"timestamp={client.wall_ms - 9000}&recvWindow=10000"
    reply = _raw(client, "GET", "/fapi/v3/balance", f"{payload}&signature={sign('s', payload.encode())}")
    assert reply.status == 200


def test_key_permissions_are_told_field_by_field_as_on_the_exchange(client: Any) -> None:
    told = client.ok("GET", "/sapi/v1/account/apiRestrictions")
    assert told == {
        "ipRestrict": True,
        "createTime": 1_735_689_600_000,
        "enableReading": True,
        "enableWithdrawals": False,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": True,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enableSpotAndMarginTrading": False,
        "enablePortfolioMarginTrading": False,
    }
    assert client.code("GET", "/fapi/v1/apiRestrictions") == -5000


def test_key_without_futures_permission_is_refused_on_futures_paths_and_can_still_be_asked_about(client: Any) -> None:
    owner = AccountConfig("desk", "k", "s", ip_restrict=False, enable_withdrawals=True, enable_futures=False)
    weak = type(client)(PaperVenue(VenueConfig(accounts=(owner,))))
    told = weak.ok("GET", "/sapi/v1/account/apiRestrictions")
    assert (told["ipRestrict"], told["enableWithdrawals"], told["enableFutures"]) == (False, True, False)
    assert weak.code("GET", "/fapi/v3/account") == -2015
    assert weak.code("POST", "/fapi/v1/listenKey") == -2015


def test_order_limit_answers_429_until_the_window_ends(make_client: Callable[..., Any]) -> None:
    client = make_client(order_limit_per_10s=3)
    for _ in range(3):
        client.order("BUY", "0.01")
    refused = client.call("POST", "/fapi/v1/order", **client.order_params("BUY", "0.01"))
    assert (refused.status, refused.json()["code"]) == (429, -1015)
    assert refused.headers["X-MBX-ORDER-COUNT-10S"] == "4"
    client.wall_ms += int(refused.headers["Retry-After"]) * 1000
    client.order("BUY", "0.01")


WEIGHTY = ("GET", "/fapi/v1/ticker/24hr")


def _used_up(client: Any) -> Any:
    """Asks until it is told to stop."""
    while (reply := client.call(*WEIGHTY)).status == 200:
        pass
    return reply


def test_going_on_after_429_is_answered_418_and_bans_for_two_minutes(make_client: Callable[..., Any]) -> None:
    client = make_client(ban_after_refusals=3)
    refused = _used_up(client)
    assert (refused.status, refused.json()["code"]) == (429, -1003)
    assert [client.call(*WEIGHTY).status for _ in range(3)] == [429, 429, 418]
    banned = client.call("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    assert (banned.status, banned.json()["code"], banned.headers["Retry-After"]) == (418, -1003, "120")
    assert "X-MBX-USED-WEIGHT-1M" in banned.headers
    client.wall_ms += 119_999
    assert client.call("GET", "/fapi/v1/time").status == 418
    client.wall_ms += 1
    assert client.call("GET", "/fapi/v1/time").status == 200


def test_who_waits_as_long_as_asked_is_never_banned(make_client: Callable[..., Any]) -> None:
    client = make_client(ban_after_refusals=1)
    for _ in range(5):
        refused = _used_up(client)
        assert refused.status == 429
        client.wall_ms += int(refused.headers["Retry-After"]) * 1000


def test_bans_double_up_to_three_days_and_a_long_time_of_quiet_is_forgiven(make_client: Callable[..., Any]) -> None:
    client = make_client(ban_after_refusals=0)
    seconds = []
    for _ in range(13):
        banned = _used_up(client)
        assert banned.status == 418
        seconds.append(int(banned.headers["Retry-After"]))
        client.wall_ms += seconds[-1] * 1000
    assert seconds == [min(120 * 2**n, 3 * 86_400) for n in range(13)]
    assert seconds[-1] == 3 * 86_400
    client.wall_ms += 3 * 86_400_000 + 1
    assert _used_up(client).headers["Retry-After"] == "120"


def test_one_address_in_ban_leaves_the_others_alone(make_client: Callable[..., Any]) -> None:
    client = make_client(ban_after_refusals=0)
    assert _used_up(client).status == 418
    other = client.venue.handle("GET", "/fapi/v1/time", "", {"X-Real-IP": "10.0.0.2"}, b"", client.now)
    assert other.status == 200


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("GET", "/fapi/v1/nowhere", "", b""),
        ("GET", "/fapi/v1/klines", "symbol=%ff", b""),
        ("POST", "/fapi/v1/order", "", b"x" * 70_000),
        ("GET", "/fapi/v3/account", "", b""),
    ],
)
def test_every_refusal_carries_the_used_weight(client: Any, method: str, path: str, query: str, body: bytes) -> None:
    reply = client.venue.handle(method, path, query, {}, body, client.now)
    assert reply.status >= 400
    assert int(reply.headers["X-MBX-USED-WEIGHT-1M"]) >= 1


def test_exchange_info_tells_the_limits_that_are_kept(make_client: Callable[..., Any]) -> None:
    client = make_client(weight_limit_per_minute=50, order_limit_per_10s=4, order_limit_per_minute=5)
    told = {
        (r["rateLimitType"], r["interval"]): r["limit"] for r in client.ok("GET", "/fapi/v1/exchangeInfo")["rateLimits"]
    }
    assert told == {("REQUEST_WEIGHT", "MINUTE"): 50, ("ORDERS", "SECOND"): 4, ("ORDERS", "MINUTE"): 5}
    statuses = [client.call("POST", "/fapi/v1/order", **client.order_params("BUY", "0.01")).status for _ in range(5)]
    assert statuses == [200] * 4 + [429]
    client.wall_ms += 10_000
    minute = client.call("POST", "/fapi/v1/order", **client.order_params("BUY", "0.01"))
    assert (minute.status, minute.headers["X-MBX-ORDER-COUNT-10S"]) == (429, "1")


def test_listen_key_lives_60_wall_minutes_and_expiry_is_announced(client: Any) -> None:
    events = client.listen()
    first = client.ok("POST", "/fapi/v1/listenKey")["listenKey"]
    client.wall_ms += 59 * 60_000
    client.ok("PUT", "/fapi/v1/listenKey")
    client.wall_ms += 59 * 60_000
    assert client.ok("POST", "/fapi/v1/listenKey")["listenKey"] == first
    client.wall_ms += 60 * 60_000
    assert client.code("PUT", "/fapi/v1/listenKey") == -1125
    assert events[-1] == {"e": "listenKeyExpired", "E": client.wall_ms, "listenKey": first}
    assert client.ok("POST", "/fapi/v1/listenKey")["listenKey"] != first


PATHS = st.sampled_from(
    [
        "/fapi/v1/order",
        "/fapi/v1/algoOrder",
        "/fapi/v1/klines",
        "/fapi/v1/depth",
        "/fapi/v1/listenKey",
        "/",
        "/fapi/v1/userTrades",
        "/fapi/v1/leverage",
        "/fapi/v1/countdownCancelAll",
        "/fapi/v9/x",
        "/fapi/v1/marginType",
        "/fapi/v1/batchOrders",
        "/fapi/v1/positionMargin",
        "/fapi/v1/forceOrders",
        "/fapi/v1/aggTrades",
        "/fapi/v1/fundingRate",
        "/fapi/v1/markPriceKlines",
    ]
)
NAMES = st.sampled_from(
    [
        "symbol",
        "side",
        "type",
        "quantity",
        "price",
        "timeInForce",
        "triggerPrice",
        "interval",
        "limit",
        "startTime",
        "orderId",
        "leverage",
        "algoType",
        "closePosition",
        "countdownTime",
        "recvWindow",
        "goodTillDate",
        "batchOrders",
        "orderIdList",
        "amount",
        "fromId",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "BTCUSDT",
            "BUY",
            "LIMIT",
            "GTD",
            "STOP",
            "CONDITIONAL",
            "true",
            "5m",
            "0.01",
            "59000",
            "1" * 18,
            "[{}]",
            "[1]",
        ]
    ),
    st.text(max_size=12),
    st.integers(-(10**20), 10**20).map(str),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    path=PATHS,
    params=st.dictionaries(NAMES, VALUES, max_size=8),
    noise=st.binary(max_size=20),
)
def test_any_input_is_answered_and_never_fails(
    client: Any, method: str, path: str, params: dict[str, str], noise: bytes
) -> None:
    reply = client.call(method, path, **params)
    assert reply.status in (200, 400, 401, 404, 429)
    reply.json()
    raw = client.venue.handle(method, path, "a=%ff&&=", {"X-MBX-APIKEY": "k"}, noise, Now(client.market_ms, 1))
    assert raw.status in (200, 400, 401, 404, 413, 429)
    client.wall_ms += 60_000
