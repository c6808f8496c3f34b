"""The ccxt client for Binance USDⓈ-M futures, pointed at Binance itself or at a venue that speaks the same protocol."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import aiohttp
import ccxt.pro
import structlog

from breakwater.domain.request_costs import cost_of
from breakwater.exchange.endpoints import BINANCE as BINANCE
from breakwater.exchange.endpoints import Endpoint as Endpoint
from breakwater.exchange.endpoints import rebased
from breakwater.exchange.errors import VenuePausedError
from breakwater.exchange.failover import Failover
from breakwater.exchange.fence import FencedConnector, WireFence
from breakwater.exchange.governor import Governor, PausedError, current_lane
from breakwater.exchange.wire import Reply, Request, before_wire, current_wire
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

GOODBYE_SECONDS = 1.0
"""How long a peer has to confirm that a stream is closed; one that hangs would take ten seconds each time."""
HOME_CHECK_S = 60.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Credentials:
    """API key and secret; the secret never shows in ``repr``."""

    api_key: str
    secret: str = field(repr=False)


class UsdmClient(ccxt.pro.binanceusdm):  # type: ignore[misc]
    """ccxt's own class. Added: our clock for signing, a record of each HTTP exchange, a tap on stream messages, a fence
    around the configured addresses, and the change to another of them when the present one fails.
    """

    clock: InfraClock
    fence: WireFence
    failover: Failover
    governor: Governor
    """Every request to the futures API waits for its turn here, before it is signed."""
    tap: Callable[[Mapping[str, Any]], bool | None] | None = None
    """Sees every stream message before ccxt does. ccxt drops some (``listenKeyExpired``, fills of liquidations) and
    merges others that arrive together; nothing is lost here. True: ccxt need not see it. Must not raise."""
    session: Any
    own_session: bool
    urls: dict[str, Any]
    _closing: set[asyncio.Future[None]]
    on_switch: Callable[[], None] | None = None
    """Told when another address of the venue has come into use, before anything is sent to it. Must not raise."""
    proof: Callable[[str], Awaitable[None]] | None = None
    """Awaited with an address before the first request to it; raises while it is not sure that this is the venue it should be.
    Nothing is sent then."""
    _proven: set[str]

    def milliseconds(self) -> int:
        return (self.clock.utc_now() - _EPOCH) // _MILLISECOND

    def open(self, lazy: bool = False) -> None:
        known, own = self.session, self.own_session
        self.own_session = False  # ccxt prepares everything but its session, which would know no fence
        try:
            super().open(lazy)
        finally:
            self.own_session = own
        if own and self.session is None:
            self.tcp_connector = FencedConnector(
                self.fence,
                ssl=self.ssl_context,
                enable_cleanup_closed=True,
                family=socket.AF_UNSPEC,
                happy_eyeballs_delay=0,
            )
            self.session = aiohttp.ClientSession(connector=self.tcp_connector)
        if self.session is not known:
            fence_before_headers(self.session, self.fence)

    # ------------------------------------------------------------------------------------------------ addresses

    def point_at(self, endpoint: Endpoint) -> None:
        """Futures and their streams at ``endpoint``, everything else nowhere. Raises AddressNotAllowedError."""
        urls = rebased(self.urls, endpoint)
        self.fence.check_table(urls)
        self.urls = urls

    async def return_home(self) -> NoReturn:
        """After a while at another address, go back to the first one once it answers."""
        while True:
            await self.clock.sleep(HOME_CHECK_S)
            home = self.failover.home_due()
            if home is None:
                continue
            url = f"{home.http_base}/fapi/v1/time"
            try:
                self.fence.check("GET", url)
                await super().fetch(url)
            except (ccxt.BaseError, aiohttp.ClientError, OSError, TimeoutError) as error:
                log.info("the first address of the venue does not answer yet", url=url, error=repr(error))
            else:
                self.failover.go_home()
                self._switched("the first address answers again")

    def _lost(self, url: str, why: str, *, connected: bool) -> None:
        if self.failover.lost(url, connected=connected):
            self._switched(why)

    def _switched(self, why: str) -> None:
        endpoint = self.failover.present
        log.warning("another address of the venue is in use", address=endpoint.http_base, why=why)
        self.point_at(endpoint)
        if self.on_switch is not None:
            self.on_switch()
        for url, stream in list((self.clients or {}).items()):
            if not url.startswith(endpoint.ws_base + "/"):
                self.clients.pop(url, None)
                # Without an error ccxt would take the end for the server's doing and forget the connection that follows.
                stream.error = stream.error or ccxt.NetworkError("another address of the venue is in use")
                stream.reject(stream.error)
                closing = asyncio.ensure_future(hang_up(stream))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    def on_error(self, client: Any, error: Any) -> None:
        unreachable = getattr(client, "dial_failed", False)  # reset by ccxt
        super().on_error(client, error)
        if unreachable:
            self._lost(client.url, f"no stream: {error!r}", connected=isinstance(error, ccxt.ExchangeError))

    # ------------------------------------------------------------------------------------------------ requests

    async def close_ws_clients(self) -> None:
        """ccxt's own, without waiting for peers that hang."""
        streams = list((self.clients or {}).values())
        if streams:
            self.clients.clear()
            await asyncio.gather(*(hang_up(stream) for stream in streams))

    async def fetch2(
        self,
        path: str,
        api: Any = "public",
        method: str = "GET",
        params: Any = None,
        config: Any = None,
    ) -> Any:
        params = {} if params is None else params
        name = api if isinstance(api, str) else str(api[0])
        if name.startswith("fapi"):
            try:
                await self.governor.take(cost_of(method, api_path(name, path), params), current_lane.get())
            except PausedError as why:
                raise VenuePausedError(why) from why
        return await super().fetch2(path, api, method, params, {} if config is None else config)

    async def fetch(
        self, url: str, method: str = "GET", headers: dict[str, str] | None = None, body: str | None = None
    ) -> Any:
        self.fence.check(method, url)
        if self.proof is not None and (base := self.failover.present.http_base) not in self._proven:
            await self.proof(base)
            self._proven.add(base)
        if (fence := before_wire.get()) is not None:
            fence()
        if (wire := current_wire.get()) is not None:
            wire.requests.append(Request(method, url))
        try:
            return await super().fetch(url, method, headers, body)
        except (ccxt.RequestTimeout, ccxt.ExchangeNotAvailable) as error:
            cause = error.__cause__
            if cause is not None:  # otherwise there was a reply
                unreachable = isinstance(cause, aiohttp.ClientConnectorError | socket.gaierror)
                self._lost(url, repr(cause), connected=not unreachable)
            raise
        except asyncio.CancelledError:
            self._lost(url, "no reply in time", connected=True)
            raise

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
        if code < 500:
            self.failover.answered(url)
        else:
            self._lost(url, f"HTTP {code}", connected=True)
        reply = Reply(code, {name.lower(): value for name, value in response_headers.items()}, response_body)
        self.governor.note(reply)
        if (wire := current_wire.get()) is not None:
            for request in reversed(wire.requests):
                if request.url == url and request.method == method and request.reply is None:
                    request.reply = reply
                    break
        return super().on_rest_response(
            code, reason, url, method, response_headers, response_body, request_headers, request_body
        )

    def handle_message(self, client: Any, message: Any) -> None:
        if self.tap is not None and isinstance(message, Mapping) and self.tap(message):
            return
        super().handle_message(client, message)


def api_path(api: str, path: str) -> str:
    """The path at the venue of what ccxt calls ``path`` of its ``api``: ``fapiPrivateV3``, ``account``."""
    version = api[-2:].lower() if api.endswith(("V2", "V3")) else "v1"
    return f"/fapi/{version}/{path}"


async def hang_up(stream: Any) -> None:
    """Close one of ccxt's streams; after GOODBYE_SECONDS without an answer its connection is cut."""
    try:
        async with asyncio.timeout(GOODBYE_SECONDS):
            await stream.close()
    except TimeoutError:
        log.warning("a stream was cut: the other side does not answer", url=stream.url.partition("?")[0])


def fence_before_headers(session: Any, wire_fence: WireFence) -> None:
    """Look at both fences once more when a connection of a real aiohttp ``session`` is there and nothing is written yet.

    Waiting for one (name, TCP, TLS, a full pool) may take seconds, in which the gate can close. A session of the caller's
    has a connector that knows no fence: this is where its requests are stopped.
    """
    if not isinstance(session, aiohttp.ClientSession):
        return

    async def look(_: object, __: object, about: aiohttp.TraceRequestHeadersSentParams) -> None:
        wire_fence.check(about.method, str(about.url))
        if (fence := before_wire.get()) is not None:
            fence()

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(look)  # aiohttp signals it before it writes them
    trace.freeze()
    session.trace_configs.append(trace)


def make_client(
    endpoint: Endpoint | Sequence[Endpoint],
    credentials: Credentials | None,
    clock: InfraClock,
    *,
    session: Any = None,
    timeout_s: float = 10.0,
    test_orders_only: bool = False,
    governor: Governor | None = None,
) -> UsdmClient:
    """A client for ``endpoint``, or for several addresses of one venue. Call inside a running loop; ``await close()`` it.

    Nothing but these addresses can be reached with it; with ``test_orders_only`` nothing there can be changed either.
    ``session`` replaces ccxt's own aiohttp session (the caller closes it). ccxt's throttle and retries are off: pacing,
    retrying and looking up unknown outcomes are ours. Streams need market data: ``await load_markets()`` first.
    Clients of one address share a ``governor``; without one the client gets its own. Raises AddressNotAllowedError.
    """
    endpoints = (endpoint,) if isinstance(endpoint, Endpoint) else tuple(endpoint)
    fence = WireFence(endpoints, test_orders_only=test_orders_only)
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
        fence_before_headers(session, fence)
    client = UsdmClient(config)
    client.clock = clock
    client.fence = fence
    client.failover = Failover(endpoints, clock)
    client.governor = governor or Governor(clock)
    client._closing = set()
    client._proven = set()
    client.point_at(endpoints[0])
    # ccxt picks the futures error table by the exchange's host name, which other addresses do not have.
    client.exceptions = client.deep_extend(client.exceptions, {"exact": client.exceptions["linear"]["exact"]})
    return client
