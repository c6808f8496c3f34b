"""The network in memory: what ccxt takes for an aiohttp session, with a venue core at the other end.

A request leaves when it is made: cancelling the caller does not stop it, exactly as on a real wire. Each stream delivers in
order. With latency each way drawn from a seeded source, everything still happens in virtual time.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import aiohttp

from breakwater.exchange.client import Endpoint
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.faults.catalogue import Transmission
from breakwater.paper_venue.faults.wire import Delivery, FaultWire
from breakwater.paper_venue.model import Now
from breakwater.runtime.clocks import Clocks

MEMORY_ENDPOINT = Endpoint("http://venue.memory", "ws://venue.memory")
"""Where clients of a memory session point."""


class VenueReply(Protocol):
    """What a venue core answers."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class VenueStream(Protocol):
    """The venue's end of one WebSocket."""

    def receive(self, text: str, now: Now, /) -> None: ...
    def close(self) -> None: ...


class VenueCore(Protocol):
    """A venue without input and output of its own (``paper_venue.core``)."""

    def handle(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: Now, /
    ) -> VenueReply: ...

    def open_stream(
        self, path_with_query: str, now: Now, on_message: Callable[[str], None], on_close: Callable[[], None], /
    ) -> VenueStream: ...


@dataclass(frozen=True)
class Latency:
    """Seconds one way, uniform between ``low_s`` and ``high_s``, drawn from ``source``."""

    low_s: float
    high_s: float
    source: random.Random

    def draw(self) -> float:
        return self.source.uniform(self.low_s, self.high_s)


class MemorySession:
    """Stands in for ``aiohttp.ClientSession``, as far as ccxt uses one: hand it to ``make_client(session=...)``.

    Requests to any other host raise: nothing may leave.
    """

    def __init__(
        self,
        venue: VenueCore,
        clocks: Clocks,
        *,
        endpoint: Endpoint = MEMORY_ENDPOINT,
        latency: Latency | None = None,
        faults: FaultWire | None = None,
    ) -> None:
        """``faults`` may spoil what passes between here and ``venue``."""
        self._venue = venue
        self._faults = faults
        self._clocks = clocks
        self._endpoint = endpoint
        self._latency = latency
        self._sockets: dict[MemorySocket, None] = {}
        self.headers: dict[str, str] = {}
        self.closed = False
        self.requests_sent = 0

    def get(self, url: Any, **options: Any) -> _Exchange:
        return self._request("GET", url, options)

    def post(self, url: Any, **options: Any) -> _Exchange:
        return self._request("POST", url, options)

    def put(self, url: Any, **options: Any) -> _Exchange:
        return self._request("PUT", url, options)

    def delete(self, url: Any, **options: Any) -> _Exchange:
        return self._request("DELETE", url, options)

    def ws_connect(self, url: Any, **_: Any) -> _Dial:
        return _Dial(self, self._path(str(url), self._endpoint.ws_base))

    def drop_streams(self, code: int = 1006) -> int:
        """Cut every open stream from the venue's side, as a network failure would. Returns how many."""
        sockets = list(self._sockets)
        for socket in sockets:
            socket.cut(code)
        return len(sockets)

    async def close(self) -> None:
        self.closed = True
        for socket in list(self._sockets):
            await socket.close()

    def open_stream(self, path: str, on_message: Callable[[str], None], on_close: Callable[[], None]) -> VenueStream:
        """The venue's end of a new connection."""
        opener = self._venue.open_stream
        if self._faults is None:
            return opener(path, self.now(), on_message, on_close)
        later = asyncio.get_running_loop().call_later
        return self._faults.open_stream(opener, path, on_message, on_close, later=later, clock=self.now)

    def now(self) -> Now:
        return venue_now(self._clocks)

    def delay(self) -> float:
        """Seconds one way for the next message."""
        return self._latency.draw() if self._latency else 0.0

    def _request(self, method: str, url: Any, options: dict[str, Any]) -> _Exchange:
        path, _, query = self._path(str(url), self._endpoint.http_base).partition("?")
        timeout = options.get("timeout")
        limit = timeout.total if isinstance(timeout, aiohttp.ClientTimeout) else timeout
        body = options.get("data") or b""
        return _Exchange(self, (method, path, query, options.get("headers") or {}, body), limit)

    def _path(self, url: str, base: str) -> str:
        if self.closed:
            raise RuntimeError("Session is closed")
        if not url.startswith(base + "/"):
            raise RuntimeError(f"{url} is not at {base}: nothing may leave the simulation")
        parts = urlsplit(url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


class _Exchange:
    """One request and its reply: ``async with session.post(...) as response``."""

    def __init__(
        self, session: MemorySession, call: tuple[str, str, str, Mapping[str, str], bytes], limit: float | None
    ) -> None:
        self._session = session
        self._call = call
        self._limit = limit
        self._asked_at = 0.0

    async def __aenter__(self) -> _Response:
        session = self._session
        session.requests_sent += 1
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[_Response] = loop.create_future()
        self._asked_at = loop.time()
        out, back = session.delay(), session.delay()
        loop.call_later(out, self._deliver, reply, back)
        if self._limit and out > self._limit:
            loop.call_later(self._limit, _settle, reply, None, TimeoutError())
        return await reply

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""

    def _deliver(self, reply: asyncio.Future[_Response], back: float) -> None:
        response: _Response | None = None
        error: Exception | None = None
        session, loop = self._session, reply.get_loop()
        try:
            if session._faults is None:
                response = _Response(session._venue.handle(*self._call, session.now()))
            else:
                delivery = session._faults.deliver(session._venue.handle, *self._call, session.now())
                response, error = _carry(delivery)
                back += delivery.delay_s
                if response is None and error is None:  # nothing comes: the caller's patience ends it
                    back = math.inf
        except aiohttp.ClientError as fault:  # how tests say what the network does
            error = fault
        except Exception:
            _settle(reply, None, aiohttp.ServerDisconnectedError())
            raise  # a bug in the venue: fails the simulation
        left = max(0.0, self._asked_at + self._limit - loop.time()) if self._limit else math.inf
        if back > left:
            loop.call_later(left, _settle, reply, None, TimeoutError())
        elif back == math.inf:
            return
        elif back > 0:
            loop.call_later(back, _settle, reply, response, error)
        else:
            _settle(reply, response, error)


def _carry(delivery: Delivery) -> tuple[_Response | None, Exception | None]:
    """What the client's side of the connection sees; neither when nothing comes."""
    match delivery.transmission:
        case Transmission.RESET:
            return None, aiohttp.ServerDisconnectedError()
        case Transmission.NEVER:
            return None, None
        case Transmission.CUT:
            return _Response(delivery.response, cut=True), None
        case Transmission.WHOLE:
            return _Response(delivery.response), None


def _settle(reply: asyncio.Future[_Response], response: _Response | None, error: Exception | None) -> None:
    if reply.done():  # timed out or cancelled meanwhile
        return
    if error is not None:
        reply.set_exception(error)
    elif response is not None:
        reply.set_result(response)


class _Response:
    """What ccxt reads of an ``aiohttp.ClientResponse``."""

    def __init__(self, reply: VenueReply, *, cut: bool = False) -> None:
        self._cut = cut
        self.status = reply.status
        self.headers = reply.headers
        self._body = reply.body

    @property
    def reason(self) -> str:
        return HTTPStatus(self.status).phrase

    async def read(self) -> bytes:
        if self._cut:
            raise aiohttp.ClientPayloadError("Response payload is not completed")
        return self._body

    async def text(self, errors: str = "strict") -> str:
        return (await self.read()).decode("utf-8", errors)


class WireMessage(NamedTuple):
    """One WebSocket message as aiohttp hands it out."""

    type: aiohttp.WSMsgType
    data: Any
    extra: Any = None


class _Dial:
    """``await session.ws_connect(...).__aenter__()`` or ``async with``."""

    def __init__(self, session: MemorySession, path: str) -> None:
        self._session = session
        self._path = path
        self._socket: MemorySocket | None = None

    async def __aenter__(self) -> MemorySocket:
        await asyncio.sleep(self._session.delay())
        self._socket = MemorySocket(self._session, self._path)
        return self._socket

    async def __aexit__(self, *_: object) -> None:
        if self._socket is not None:
            await self._socket.close()


class MemorySocket:
    """What ccxt uses of an ``aiohttp.ClientWebSocketResponse``; the other end is a venue stream."""

    _conn = None  # ccxt looks through this for aiohttp's read buffer; here there is none

    def __init__(self, session: MemorySession, path: str) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[WireMessage] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._last_in = self._last_out = 0.0
        self.closed = False
        self._venue_gone = False
        self._stream = session.open_stream(path, self._from_venue, self._venue_closed)
        session._sockets[self] = None

    async def receive(self) -> WireMessage:
        while not self._inbox:
            if self.closed:
                return WireMessage(aiohttp.WSMsgType.CLOSED, None)
            if self._waiter is not None:
                raise RuntimeError("Concurrent call to receive() is not allowed")
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._inbox.popleft()

    async def send_str(self, text: str) -> None:
        if self.closed:
            raise ConnectionResetError("Cannot write to closing transport")
        self._last_out = self._in_order(self._last_out, self._to_venue, text)

    async def ping(self, data: bytes = b"") -> None:
        if self.closed:
            raise ConnectionResetError("Cannot write to closing transport")
        if not self._venue_gone:
            delay = self._session.delay() + self._session.delay()
            self._loop.call_later(delay, self._arrive, WireMessage(aiohttp.WSMsgType.PONG, data))

    async def pong(self, data: bytes = b"") -> None:
        """The venue core sends no pings of its own."""

    async def close(self, *, code: int = 1000, message: bytes = b"") -> bool:
        if self.closed:
            return False
        self.closed = True
        self._session._sockets.pop(self, None)
        if not self._venue_gone:
            self._venue_gone = True
            self._loop.call_later(self._session.delay(), self._stream.close)
        self._arrive(WireMessage(aiohttp.WSMsgType.CLOSING, None))
        await asyncio.sleep(0)
        return True

    def cut(self, code: int) -> None:
        """The connection breaks; what was under way is lost."""
        if not self._venue_gone:
            self._venue_gone = True
            self._stream.close()
            self._arrive(WireMessage(aiohttp.WSMsgType.CLOSE, code))

    def _venue_closed(self) -> None:
        self._venue_gone = True
        self._arrive(WireMessage(aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY))

    def _to_venue(self, text: str) -> None:
        if not self._venue_gone:
            self._stream.receive(text, self._session.now())

    def _from_venue(self, text: str) -> None:
        if not self._venue_gone:
            message = WireMessage(aiohttp.WSMsgType.TEXT, text)
            self._last_in = self._in_order(self._last_in, self._arrive_text, message)

    def _in_order(self, previous: float, deliver: Callable[[Any], None], item: Any) -> float:
        """Deliver after the latency, never before what was sent earlier. Returns the time of arrival."""
        delay = self._session.delay()
        now = self._loop.time()
        arrival = max(previous, now + delay)
        if arrival <= now:
            deliver(item)
        else:
            self._loop.call_at(arrival, deliver, item)
        return arrival

    def _arrive_text(self, message: WireMessage) -> None:
        if not self._venue_gone:
            self._arrive(message)

    def _arrive(self, message: WireMessage) -> None:
        self._inbox.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
