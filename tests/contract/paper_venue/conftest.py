"""A paper venue on a real port, and the unmodified ccxt client pointed at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import ccxt.pro
import pytest

from breakwater.paper_venue.config import AccountConfig, VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.paper_venue.model import Now, Tick
from breakwater.runtime.clocks import Clocks, wall_clocks

START = datetime(2025, 10, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.fixture
def clocks() -> Clocks:
    return wall_clocks(speed=1, market_anchor=START)


@pytest.fixture(scope="session")
def market() -> SyntheticMarket:
    return SyntheticMarket(7, SYMBOLS, START)


@pytest.fixture
def venue(market: SyntheticMarket) -> PaperVenue:
    accounts = (
        AccountConfig("desk", "desk-key", "desk-secret"),
        AccountConfig("other", "other-key", "other-secret", Decimal(500)),
    )
    venue = PaperVenue(VenueConfig(accounts=accounts))
    for name in SYMBOLS:
        venue.backfill(market.history(name, market.interval_ms, START_MS, 400))
    for symbol, price in (("BTCUSDT", "60000"), ("ETHUSDT", "3000"), ("SOLUSDT", "150")):
        venue.on_tick(Tick(symbol, START_MS, Decimal(price)), Now(START_MS, START_MS))
    return venue


@pytest.fixture
async def server(venue: PaperVenue, clocks: Clocks) -> AsyncIterator[VenueServer]:
    async with VenueServer(venue, "127.0.0.1", 0, clocks) as running:
        yield running


@pytest.fixture
def move(venue: PaperVenue) -> Callable[[str, str, int], None]:
    """move(symbol, price, seconds): a tick that many seconds of market time after the start."""

    def tick(symbol: str, price: str, seconds: int) -> None:
        time_ms = START_MS + seconds * 1000
        venue.on_tick(Tick(symbol, time_ms, Decimal(price)), Now(time_ms, time_ms))

    return tick


@pytest.fixture
async def connect(server: VenueServer) -> AsyncIterator[Callable[..., Any]]:
    """connect(key, secret) -> ccxt.pro.binanceusdm against the running venue."""
    opened: list[Any] = []

    def make(key: str = "desk-key", secret: str = "desk-secret") -> Any:
        base = server.url
        api = {
            f"fapi{kind}{suffix}": f"{base}/fapi/{path}"
            for kind in ("Public", "Private")
            for suffix, path in (("", "v1"), ("V2", "v2"), ("V3", "v3"))
        }
        exchange = ccxt.pro.binanceusdm(
            {
                "apiKey": key,
                "secret": secret,
                "enableRateLimit": False,
                "options": {"fetchCurrencies": False},
                "urls": {"api": api | {"ws": {"linear": f"ws://{server.host}:{server.port}/ws"}}},
            }
        )
        # ccxt keys its table of futures-only errors by the real host name; merge it for a local address.
        exchange.exceptions = exchange.deep_extend(
            exchange.exceptions, {"exact": exchange.exceptions["linear"]["exact"]}
        )
        opened.append(exchange)
        return exchange

    yield make
    for exchange in opened:
        await exchange.close()


@pytest.fixture
async def exchange(connect: Callable[..., Any]) -> Any:
    client = connect()
    await client.load_markets()
    return client
