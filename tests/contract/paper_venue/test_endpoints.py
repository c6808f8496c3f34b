"""Each endpoint's reply, read by unmodified ccxt and by the models of the exchange's own SDK, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from binance_common.configuration import ConfigurationRestAPI
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import DerivativesTradingUsdsFutures
from pydantic import BaseModel
from tests.contract.paper_venue.endpoints import BTC, OTHER_REST, OTHER_STOP, PROMISED, REST, ROWS, SOL, STOP, Key, Row

from breakwater.paper_venue.core import PaperVenue, Response
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.model import Now

Handled = list[tuple[Key, int, Any]]


@pytest.fixture
def handled(venue: PaperVenue, monkeypatch: pytest.MonkeyPatch) -> Handled:
    """What the venue was asked, and answered."""
    seen: Handled = []
    answer = venue.handle

    def handle(method: str, path: str, *rest: Any) -> Response:
        reply = answer(method, path, *rest)
        seen.append(((method, path), reply.status, json.loads(reply.body)))
        return reply

    monkeypatch.setattr(venue, "handle", handle)
    return seen


@pytest.fixture
async def settled(exchange: Any, venue: PaperVenue, server: VenueServer, request: pytest.FixtureRequest) -> Any:
    """An account that holds something of everything that the table's calls ask for, or nothing for a row that says so."""
    row: Row = request.getfixturevalue("row")
    exchange.urls["api"]["sapi"] = f"{server.url}/sapi/v1"
    if row.flat:
        return exchange
    await exchange.create_order(BTC, "market", "buy", 0.02)
    venue.deleverage("desk", "BTCUSDT", Now(venue.to_state().market_ms, 0), quantity=Decimal("0.01"))
    for name, price in ((REST, 58_000), (OTHER_REST, 57_500)):
        await exchange.create_order(BTC, "limit", "buy", 0.01, price, {"clientOrderId": name})
    for name, price in ((STOP, 59_000), (OTHER_STOP, 58_500)):
        params = {"stopLossPrice": price, "reduceOnly": True, "clientOrderId": name}
        await exchange.create_order(BTC, "market", "sell", 0.01, None, params)
    await exchange.set_margin_mode("isolated", SOL)
    await exchange.create_order(SOL, "market", "buy", 1)
    await exchange.fapiPrivatePostListenKey()
    return exchange


@pytest.fixture
def sdk(server: VenueServer) -> Any:
    config = ConfigurationRestAPI(
        api_key="desk-key", api_secret="desk-secret", base_path=server.url, timeout=10_000, retries=0
    )
    return DerivativesTradingUsdsFutures(config_rest_api=config).rest_api


def models_in(parsed: Any) -> Iterator[BaseModel]:
    """Every SDK model in a parsed reply, at any depth."""
    if isinstance(parsed, BaseModel):
        instance = getattr(parsed, "actual_instance", None)
        if instance is not None:
            yield from models_in(instance)
            return
        yield parsed
        for name in type(parsed).model_fields:
            yield from models_in(getattr(parsed, name))
    elif isinstance(parsed, list):
        for item in parsed:
            yield from models_in(item)


def unsent(parsed: Any) -> set[str]:
    """Fields that a kind of model knows and no object of that kind in the reply had."""
    missing: dict[type, set[str]] = {}
    for model in models_in(parsed):
        kind = type(model)
        lacking = {
            field.alias or name
            for name, field in kind.model_fields.items()
            if name != "additional_properties" and getattr(model, name) is None
        }
        missing[kind] = missing.get(kind, lacking) & lacking
    return set().union(*missing.values())


def test_every_promised_endpoint_is_in_the_table_and_the_table_is_what_the_venue_serves(venue: PaperVenue) -> None:
    table = [row.key for row in ROWS]
    assert len(set(table)) == len(table)
    assert set(table) >= PROMISED
    assert set(table) == set(venue.endpoints)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method}-{row.path}")
async def test_ccxt_reads_the_reply(row: Row, settled: Any, handled: Handled) -> None:
    parsed = await row.ccxt(settled)
    statuses = [status for key, status, _ in handled if key == row.key]
    assert statuses, f"ccxt asked for {[key for key, _, _ in handled]}"
    assert set(statuses) == {200}
    assert row.ccxt_parsed(parsed), parsed


@pytest.mark.parametrize("row", [row for row in ROWS if row.sdk], ids=lambda row: f"{row.method}-{row.path}")
async def test_sdk_models_accept_the_reply(
    row: Row, settled: Any, handled: Handled, sdk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert row.sdk is not None
    call: Callable[[Any], Any] = row.sdk
    handled.clear()
    with caplog.at_level(logging.WARNING):
        reply = await asyncio.to_thread(call, sdk)
        parsed = reply.data()
    # The SDK does not raise for a reply that its models refuse: it warns, and hands out something looser.
    assert [r.getMessage() for r in caplog.records if "response" in r.getMessage()] == []
    ((key, status, raw),) = handled
    assert (key, status) == (row.key, 200)
    assert any(limit.rateLimitType == "REQUEST_WEIGHT" for limit in reply.rate_limits)
    lists = isinstance(raw, list) and bool(raw) and isinstance(raw[0], list)
    if raw and not lists:
        assert any(True for _ in models_in(parsed))
        assert unsent(parsed) == row.unsent


def test_rows_without_an_sdk_call_say_why() -> None:
    assert [row.key for row in ROWS if (row.sdk is None) != bool(row.why_no_sdk)] == []
