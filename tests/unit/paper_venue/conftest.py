"""A venue in memory with a signing client, no transport."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from breakwater.paper_venue.config import AccountConfig, VenueConfig
from breakwater.paper_venue.core import PaperVenue, Response
from breakwater.paper_venue.model import Now, Tick

START_MS = 1_760_000_100_000
WALL_MS = 1_900_000_000_000


class Client:
    """Signs like the exchange asks and keeps both clocks; `events` are the account's stream."""

    def __init__(self, venue: PaperVenue, key: str = "k", secret: str = "s") -> None:
        self.venue = venue
        self.key, self.secret = key, secret
        self.market_ms, self.wall_ms = START_MS, WALL_MS

    @property
    def now(self) -> Now:
        return Now(self.market_ms, self.wall_ms)

    def call(self, method: str, path: str, **params: object) -> Response:
        fields = {name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}
        raw = urlencode({**fields, "timestamp": self.wall_ms})
        raw += "&signature=" + hmac.new(self.secret.encode(), raw.encode(), hashlib.sha256).hexdigest()
        query, body = ("", raw.encode()) if method in ("POST", "PUT") else (raw, b"")
        return self.venue.handle(method, path, query, {"X-MBX-APIKEY": self.key}, body, self.now)

    def ok(self, method: str, path: str, **params: object) -> Any:
        reply = self.call(method, path, **params)
        assert reply.status == 200, reply.body
        return reply.json()

    def code(self, method: str, path: str, **params: object) -> int:
        reply = self.call(method, path, **params)
        assert reply.status != 200, reply.body
        code: int = reply.json()["code"]
        return code

    def order(self, side: str, quantity: str, **params: object) -> Any:
        return self.ok("POST", "/fapi/v1/order", **self.order_params(side, quantity, **params))

    @staticmethod
    def order_params(side: str, quantity: str, **params: object) -> dict[str, object]:
        base: dict[str, object] = {
            "symbol": "BTCUSDT",
            "side": side,
            "quantity": quantity,
            "newOrderRespType": "RESULT",
        }
        base["type"] = "LIMIT" if "price" in params else "MARKET"
        if "price" in params:
            base["timeInForce"] = "GTC"
        return base | params

    def stop(self, side: str, quantity: str, trigger: str, **params: object) -> Any:
        return self.ok("POST", "/fapi/v1/algoOrder", **self.stop_params(side, quantity, trigger, **params))

    @staticmethod
    def stop_params(side: str, quantity: str, trigger: str, **params: object) -> dict[str, object]:
        base: dict[str, object] = {
            "algoType": "CONDITIONAL",
            "symbol": "BTCUSDT",
            "side": side,
            "type": "STOP_MARKET",
            "triggerPrice": trigger,
        }
        if quantity:
            base["quantity"] = quantity
        return base | params

    def tick(self, price: str, symbol: str = "BTCUSDT", seconds: int = 5) -> None:
        self.market_ms += seconds * 1000
        self.wall_ms += seconds * 100
        self.venue.on_tick(Tick(symbol, self.market_ms, Decimal(price)), self.now)

    def listen(self) -> list[dict[str, Any]]:
        import json

        key = self.ok("POST", "/fapi/v1/listenKey")["listenKey"]
        events: list[dict[str, Any]] = []
        self.venue.open_stream(f"/private/ws?listenKey={key}", self.now, lambda text: events.append(json.loads(text)))
        return events

    def position(self, symbol: str = "BTCUSDT") -> Decimal:
        (row,) = self.ok("GET", "/fapi/v2/positionRisk", symbol=symbol)
        return Decimal(row["positionAmt"])


@pytest.fixture
def make_client() -> Callable[..., Client]:
    """make_client(**VenueConfig fields) -> a client of a new venue with BTC at 60000 and ETH at 3000."""

    def make(**config: Any) -> Client:
        account = AccountConfig("desk", "k", "s", config.pop("balance", Decimal(14000)))
        client = Client(PaperVenue(VenueConfig(accounts=(account,), **config)))
        client.tick("60000")
        client.tick("3000", "ETHUSDT")
        return client

    return make


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()


@pytest.fixture
def continue_as() -> Callable[[PaperVenue, Client], Client]:
    """continue_as(venue, client) -> the same account and clocks on another venue object."""

    def make(venue: PaperVenue, client: Client) -> Client:
        other = Client(venue)
        other.market_ms, other.wall_ms = client.market_ms, client.wall_ms
        return other

    return make
