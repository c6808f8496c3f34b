from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from breakwater.exchange.client import Credentials, UsdmClient, make_client
from breakwater.paper_venue.model import Now
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.transport import MEMORY_ENDPOINT, MemorySession

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "binance-futures"
START = datetime(2025, 10, 10, 20, tzinfo=UTC)

EXCHANGE_INFO = {
    "timezone": "UTC",
    "serverTime": 1760126400000,
    "rateLimits": [],
    "exchangeFilters": [],
    "assets": [{"asset": "USDT", "marginAvailable": True}],
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "pair": "BTCUSDT",
            "contractType": "PERPETUAL",
            "deliveryDate": 4133404800000,
            "onboardDate": 1569398400000,
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
            "pricePrecision": 2,
            "quantityPrecision": 3,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": "0.10", "maxPrice": "4529764", "tickSize": "0.10"},
                {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
                {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
                {"filterType": "MIN_NOTIONAL", "notional": "100"},
            ],
            "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        }
    ],
}


@dataclass(frozen=True)
class Canned:
    """A reply exactly as written here."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def canned(content: object, status: int = 200, **headers: str) -> Canned:
    body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    return Canned(status, body, {"Content-Type": "application/json"} | headers)


@dataclass
class Seen:
    method: str
    path: str
    params: dict[str, str]
    headers: Mapping[str, str]
    now: Now


class ScriptedStream:
    def __init__(self, venue: ScriptedVenue, path: str, on_message: Callable[[str], None]) -> None:
        self.path = path
        self._on_message = on_message
        self.heard: list[Any] = []
        self.closed = False
        venue.streams.append(self)

    def receive(self, text: str, now: Now) -> None:
        self.heard.append(json.loads(text))
        self.say({"result": None, "id": self.heard[-1]["id"]})

    def say(self, message: object) -> None:
        self._on_message(json.dumps(message))

    def close(self) -> None:
        self.closed = True


class ScriptedVenue:
    """Answers each (method, path) with what the test wrote down; an exception there is what the network does."""

    def __init__(self) -> None:
        self.script: dict[tuple[str, str], Canned | Exception] = {
            ("GET", "/fapi/v1/exchangeInfo"): canned(EXCHANGE_INFO),
            ("POST", "/fapi/v1/listenKey"): canned({"listenKey": "key-1"}),
            ("GET", "/fapi/v1/leverageBracket"): canned([]),
            ("GET", "/fapi/v3/positionRisk"): canned([]),
        }
        self.seen: list[Seen] = []
        self.streams: list[ScriptedStream] = []

    def handle(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: Now) -> Canned:
        self.seen.append(Seen(method, path, dict(parse_qsl(query) + parse_qsl(body.decode())), headers, now))
        answer = self.script[method, path]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def open_stream(
        self, path: str, now: Now, on_message: Callable[[str], None], on_close: Callable[[], None]
    ) -> ScriptedStream:
        return ScriptedStream(self, path, on_message)


@dataclass
class Bench:
    """A real ccxt client in virtual time against a scripted venue."""

    venue: ScriptedVenue
    client: UsdmClient
    session: MemorySession
    sim: Simulation

    def canned(self, content: object, status: int = 200, **headers: str) -> Canned:
        return canned(content, status, **headers)


Play = Callable[[Callable[[Bench], Awaitable[Any]]], Any]


@pytest.fixture
def play() -> Play:
    """Runs ``scene(bench)`` in virtual time, markets loaded, and returns its result."""

    def run(scene: Callable[[Bench], Awaitable[Any]]) -> Any:
        async def main(sim: Simulation) -> Any:
            venue = ScriptedVenue()
            session = MemorySession(venue, sim.clocks)
            client = make_client(MEMORY_ENDPOINT, Credentials("key", "secret"), sim.clocks.infra, session=session)
            try:
                await client.load_markets()
                return await scene(Bench(venue, client, session, sim))
            finally:
                await client.close()

        return run_virtual(main, seed=1, start=START)

    return run


@pytest.fixture
def recorded() -> Callable[[str], Any]:
    """Reads one recorded Binance message by its path below the fixtures; skips where they are not there."""

    def read(name: str) -> Any:
        path = FIXTURES / name
        if not path.exists():
            pytest.skip(f"recorded Binance messages are not at {FIXTURES}")
        return json.loads(path.read_text())

    return read
