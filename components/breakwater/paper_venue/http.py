"""HTTP and WebSocket transport of the paper venue: one port for REST and all streams."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping
from types import TracebackType

import structlog
from aiohttp import WSMsgType, web

from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.core import MAX_BODY_BYTES, PaperVenue
from breakwater.paper_venue.errors import StreamRefused
from breakwater.paper_venue.faults import api as faults_api
from breakwater.paper_venue.faults.carriage import carry
from breakwater.paper_venue.faults.wire import FaultWire
from breakwater.paper_venue.probes import OwnRoute
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.http import PortInUse, listen

log = structlog.get_logger(__name__)

PING_S = 180.0
SILENCE_S = 600.0
"""The server pings every 3 minutes and drops who has not answered for 10, as the exchange does (infrastructure seconds)."""
OUTBOX_LIMIT = 20_000
"""Messages waiting for a slow reader before it is disconnected."""


class PortInUseError(Exception):
    """The venue's port is taken. The text names the port and the remedy."""


class VenueServer:
    """A running server. `port` is the real one when 0 was asked for.

    `own` answers paths that the exchange does not have. While `closed` says why, the exchange answers 503 to everybody.
    `faults` may spoil replies and streams; with `faults_at_run_time` whoever reaches the port may change them.
    """

    def __init__(
        self,
        venue: PaperVenue,
        host: str,
        port: int,
        clocks: Clocks,
        *,
        own: Mapping[str, OwnRoute] | None = None,
        closed: Callable[[], str] = lambda: "",
        faults: FaultWire | None = None,
        faults_at_run_time: bool = False,
        ping_s: float = PING_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._venue = venue
        self._faults = faults or FaultWire(venue)
        self._faults_at_run_time = faults_at_run_time
        self._ping_s, self._silence_s = ping_s, silence_s
        self._clocks = clocks
        self._own = dict(own or {})
        self._closed = closed
        self.host = host
        self.port = port
        self._sockets: set[web.WebSocketResponse] = set()
        venue.streams.on_callback_error = lambda error: log.error("venue_stream_failed", error=repr(error))
        app = web.Application(client_max_size=MAX_BODY_BYTES * 2)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def start(self) -> None:
        """Bind and serve. Raises PortInUseError."""
        try:
            listener = listen(self.host, self.port)
        except PortInUse as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
                raise PortInUseError(
                    f"port {self.port} on {self.host} is in use: stop the other program "
                    f"(`lsof -i :{self.port}` names it) or choose another port for the paper venue"
                ) from None
            raise
        self.port = listener.getsockname()[1]
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Close all connections and free the port."""
        await asyncio.gather(*(socket.close(code=1001) for socket in list(self._sockets)))
        await self._runner.cleanup()

    async def __aenter__(self) -> VenueServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        # The raw target: a re-encoded query would no longer match its signature.
        path, _, query = request.raw_path.partition("?")
        own = self._own.get(path)
        if own is not None and request.method in ("GET", "HEAD"):
            return own(request)
        if why := self._closed():
            return web.json_response({"code": -1001, "msg": f"{why} Please try again."}, status=503)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._handle_stream(request)
        body = await request.read()
        now = venue_now(self._clocks)
        if self._faults_at_run_time and path == faults_api.PATH:
            told = faults_api.answer(self._faults, request.method, body, now)
            return web.Response(status=told.status, headers=told.headers, body=told.body)
        headers = dict(request.headers)
        headers["X-Real-IP"] = request.remote or "local"
        handle = self._venue.handle
        return await carry(request, self._faults.deliver(handle, request.method, path, query, headers, body, now))

    async def _handle_stream(self, request: web.Request) -> web.StreamResponse:
        outbox: asyncio.Queue[str | None] = asyncio.Queue(OUTBOX_LIMIT)

        def send(text: str) -> None:
            try:
                outbox.put_nowait(text)
            except asyncio.QueueFull:
                hang_up()

        def hang_up() -> None:
            session.close()
            while not outbox.empty():
                outbox.get_nowait()
            outbox.put_nowait(None)

        try:
            session = self._faults.open_stream(
                self._venue.open_stream,
                request.raw_path,
                send,
                hang_up,
                later=asyncio.get_running_loop().call_later,
                clock=lambda: venue_now(self._clocks),
            )
        except StreamRefused as refused:
            return web.json_response({"code": -5000, "msg": refused.message}, status=refused.status)
        socket = web.WebSocketResponse(autoping=False, max_msg_size=64 * 1024)
        try:
            await socket.prepare(request)
        except BaseException:
            session.close()
            raise
        self._sockets.add(socket)
        writer = asyncio.create_task(self._write(socket, outbox))
        heard = [self._clocks.infra.monotonic()]
        pinging = asyncio.create_task(self._ping(socket, heard, hang_up))
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    session.receive(message.data, venue_now(self._clocks))
                elif message.type == WSMsgType.PING:
                    await socket.pong(message.data)
                elif message.type == WSMsgType.PONG:
                    heard[0] = self._clocks.infra.monotonic()
        finally:
            pinging.cancel()
            session.close()
            self._sockets.discard(socket)
            writer.cancel()
            result, _ = await asyncio.gather(writer, pinging, return_exceptions=True)
            if isinstance(result, Exception) and not isinstance(result, (ConnectionError, RuntimeError)):
                log.warning("venue_stream_writer_failed", error=str(result))
        return socket

    async def _ping(self, socket: web.WebSocketResponse, heard: list[float], hang_up: Callable[[], None]) -> None:
        """``heard`` holds when the peer last answered."""
        clock = self._clocks.infra
        while True:
            await clock.sleep(self._ping_s)
            if clock.monotonic() - heard[0] >= self._silence_s:
                log.info("venue_stream_silent", seconds=round(clock.monotonic() - heard[0], 1))
                hang_up()
                return
            await socket.ping()

    @staticmethod
    async def _write(socket: web.WebSocketResponse, outbox: asyncio.Queue[str | None]) -> None:
        while True:
            text = await outbox.get()
            if text is None:
                await socket.close(code=1008, message=b"disconnected by the venue")
                return
            await socket.send_str(text)


async def serve_http(venue: PaperVenue, host: str, port: int, clocks: Clocks) -> VenueServer:
    """Start serving a venue. Stop it with `await server.stop()`. Raises PortInUseError."""
    server = VenueServer(venue, host, port, clocks)
    await server.start()
    return server
