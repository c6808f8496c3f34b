"""The ccxt client for Binance USDⓈ-M futures, pointed at Binance itself or at a venue that speaks the same protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import ccxt.pro
import structlog

from breakwater.exchange.wire import Reply, Request, before_wire, current_wire
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

GOODBYE_SECONDS = 1.0
"""How long a peer has to confirm that a stream is closed; one that hangs would take ten seconds each time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Endpoint:
    """Where a venue listens: ``http_base`` like ``http://127.0.0.1:9000``, ``ws_base`` like ``ws://127.0.0.1:9000``; no path."""

    http_base: str
    ws_base: str

    def __post_init__(self) -> None:
        for name, schemes in (("http_base", ("http", "https")), ("ws_base", ("ws", "wss"))):
            parts = urlsplit(getattr(self, name))
            if parts.scheme not in schemes or not parts.netloc or parts.path or parts.query:
                raise ValueError(
                    f"{name} {getattr(self, name)!r} must be {schemes[0]}://host:port (or {schemes[1]}://), no path"
                )


@dataclass(frozen=True)
class Credentials:
    """API key and secret; the secret never shows in ``repr``."""

    api_key: str
    secret: str = field(repr=False)


class UsdmClient(ccxt.pro.binanceusdm):  # type: ignore[misc]
    """ccxt's own class. Added: our clock for signing, a record of each HTTP exchange, a tap on stream messages."""

    clock: InfraClock
    tap: Callable[[Mapping[str, Any]], None] | None = None
    """Sees every stream message before ccxt does. ccxt drops some (``listenKeyExpired``, fills of liquidations) and
    merges others that arrive together; nothing is lost here. Must not raise."""

    proof: Callable[[], Awaitable[None]] | None = None
    """Awaited before the first request; raises while it is not sure that this is the venue it should be. Nothing is sent then."""

    def milliseconds(self) -> int:
        return (self.clock.utc_now() - _EPOCH) // _MILLISECOND

    def open(self, lazy: bool = False) -> None:
        known = self.session
        super().open(lazy)
        if self.session is not known:
            fence_before_headers(self.session)

    async def close_ws_clients(self) -> None:
        """ccxt's own, without waiting for peers that hang."""
        streams = list((self.clients or {}).values())
        if streams:
            self.clients.clear()
            await asyncio.gather(*(hang_up(stream) for stream in streams))

    async def fetch(
        self, url: str, method: str = "GET", headers: dict[str, str] | None = None, body: str | None = None
    ) -> Any:
        if (proof := self.proof) is not None:
            await proof()
            self.proof = None
        if (fence := before_wire.get()) is not None:
            fence()
        if (wire := current_wire.get()) is not None:
            wire.requests.append(Request(method, url))
        return await super().fetch(url, method, headers, body)

    def on_rest_response(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        response_headers: Mapping[str, str],
        response_body: str,
        request_headers: Mapping[str, str],
        request_body: str | None,
    ) -> Any:
        if (wire := current_wire.get()) is not None:
            reply = Reply(code, {name.lower(): value for name, value in response_headers.items()}, response_body)
            for request in reversed(wire.requests):
                if request.url == url and request.method == method and request.reply is None:
                    request.reply = reply
                    break
        return super().on_rest_response(
            code, reason, url, method, response_headers, response_body, request_headers, request_body
        )

    def handle_message(self, client: Any, message: Any) -> None:
        if self.tap is not None and isinstance(message, Mapping):
            self.tap(message)
        super().handle_message(client, message)


async def hang_up(stream: Any) -> None:
    """Close one of ccxt's streams; after GOODBYE_SECONDS without an answer its connection is cut."""
    try:
        async with asyncio.timeout(GOODBYE_SECONDS):
            await stream.close()
    except TimeoutError:
        log.warning("a stream was cut: the other side does not answer", url=stream.url.partition("?")[0])


def fence_before_headers(session: Any) -> None:
    """Look at ``before_wire`` once more when a connection of a real aiohttp ``session`` is there and nothing is written yet.

    Waiting for one (name, TCP, TLS, a full pool) may take seconds, in which the gate can close.
    """
    if not isinstance(session, aiohttp.ClientSession):
        return

    async def look(*_: object) -> None:
        if (fence := before_wire.get()) is not None:
            fence()

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(look)  # aiohttp signals it before it writes them
    trace.freeze()
    session.trace_configs.append(trace)


def make_client(
    endpoint: Endpoint | None,
    credentials: Credentials | None,
    clock: InfraClock,
    *,
    session: Any = None,
    timeout_s: float = 10.0,
) -> UsdmClient:
    """A client for ``endpoint``, or for Binance itself when that is None. Call inside a running loop; ``await close()`` it.

    ``session`` replaces ccxt's own aiohttp session (the caller closes it). ccxt's throttle and retries are off: pacing,
    retrying and looking up unknown outcomes are ours. Streams need market data: ``await load_markets()`` first.
    """
    config: dict[str, Any] = {
        "enableRateLimit": False,
        "timeout": round(timeout_s * 1000),
        "options": {
            "maxRetriesOnFailure": 0,
            "fetchCurrencies": False,  # would ask the spot API, with our key
            "fetchMargins": False,
            "warnOnFetchOpenOrdersWithoutSymbol": False,
            "adjustForTimeDifference": False,
        },
    }
    if credentials is not None:
        config |= {"apiKey": credentials.api_key, "secret": credentials.secret}
    if session is not None:
        config["session"] = session
        fence_before_headers(session)
    client = UsdmClient(config)
    client.clock = clock
    if endpoint is not None:
        _point_at(client, endpoint)
    return client


def _point_at(client: UsdmClient, endpoint: Endpoint) -> None:
    client.urls["api"] = _rebased(client.urls["api"], endpoint)
    # Switching to the exchange's test or demo hosts would leave the endpoint: there is nothing to switch to.
    client.urls.pop("test", None)
    client.urls.pop("demo", None)
    # ccxt picks the futures error table by the exchange's host name, which a local venue does not have.
    client.exceptions = client.deep_extend(client.exceptions, {"exact": client.exceptions["linear"]["exact"]})


def _rebased(node: Any, endpoint: Endpoint) -> Any:
    if isinstance(node, dict):
        return {key: _rebased(value, endpoint) for key, value in node.items()}
    parts = urlsplit(str(node))
    base = endpoint.ws_base if parts.scheme in {"ws", "wss"} else endpoint.http_base
    return base + parts.path
