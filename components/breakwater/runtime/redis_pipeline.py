"""One connection to a server on which many commands may be under way; replies come back in their order.

Nothing is ever sent twice. A reply that does not come in time, or one that nobody asked for, ends the connection: whatever
is under way then fails, and whether the server ran it is unknown.
"""

from __future__ import annotations

import asyncio
import collections
import select
from collections.abc import Callable
from typing import Any

import hiredis
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from breakwater.runtime.redis_routes import Command
from breakwater.runtime.redis_urls import Endpoint

OnReply = Callable[[Any], None]
"""Called once with the reply, or with the exception that stands in its place; must not raise."""

_NOTHING = object()
_CONNECT_SECONDS = 1.0
_BUFFER_BYTES = 65_536


def pack(command: Command) -> bytes:
    """As it goes over the wire."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows tuples of one word
    return packed


class Pipeline(asyncio.BufferedProtocol):
    """Not connected at first, and not for good: ``connect`` may be called again after it broke.

    ``timeout``: seconds without any reply, while one is due, after which the server counts as lost.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader: Any = None
        self._due: collections.deque[OnReply] = collections.deque()
        self._heard = 0.0
        """When a reply last came, or the first of those under way was sent."""
        self._timer: asyncio.TimerHandle | None = None
        self.on_end: Callable[[Exception], None] = lambda error: None
        """Told when the connection ends, before those whose commands were under way."""
        self._poll = select.poll()
        self._buffer = bytearray(_BUFFER_BYTES)

    @property
    def is_connected(self) -> bool:
        return self._transport is not None

    @property
    def is_stale(self) -> bool:
        """The server has closed it, or something lies there that nobody asked for: only the loop has not seen it yet."""
        return bool(self._poll.poll(0))

    async def connect(self) -> None:
        """Dial, log in, choose the database. Raises RedisError, OSError."""
        if self.is_connected:
            return
        endpoint, name = self.endpoint, str(self.endpoint)
        try:
            async with asyncio.timeout(min(self._timeout, _CONNECT_SECONDS)):
                if endpoint.path:
                    await self._loop.create_unix_connection(lambda: self, endpoint.path)
                elif endpoint.tls is None:
                    await self._loop.create_connection(lambda: self, endpoint.host, endpoint.port)
                else:
                    server_name = endpoint.tls.server_name or endpoint.host
                    await self._loop.create_connection(
                        lambda: self,
                        endpoint.host,
                        endpoint.port,
                        ssl=endpoint.tls.context(),
                        server_hostname=server_name,
                    )
        except TimeoutError as error:
            raise RedisTimeoutError(f"Timeout connecting to {name}") from error
        except OSError as error:
            raise RedisConnectionError(f"cannot connect to {name}: {error}") from error
        try:
            await self._log_in()
        except BaseException:
            self.close()
            raise

    async def _log_in(self) -> None:
        credentials = self.endpoint.credentials
        hello: Command = ("HELLO", 3)
        if credentials.username is not None or credentials.password is not None:
            hello = (*hello, "AUTH", credentials.user, credentials.password or "")
        await self.ask(hello)
        if self.endpoint.db:
            await self.ask(("SELECT", self.endpoint.db))

    async def ask(self, command: Command) -> Any:
        """One command and its reply. Cancelled, it ends the connection: the reply would be in the way of the next."""
        answered: asyncio.Future[Any] = self._loop.create_future()

        def answer(reply: Any) -> None:
            if not answered.done():
                answered.set_result(reply)

        self.send(pack(command), answer)
        try:
            reply = await answered
        except asyncio.CancelledError:
            self.close()
            raise
        if isinstance(reply, Exception):
            raise reply
        return reply

    def send(self, packed: bytes, on_reply: OnReply) -> None:
        """One packed command. Without a connection it is not sent, and ``on_reply`` gets the library's ConnectionError."""
        if self._transport is None:
            on_reply(RedisConnectionError("Connection closed before the command was sent"))
            return
        if not self._due:
            self._heard = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_at(self._heard + self._timeout, self._look_for_silence)
        self._due.append(on_reply)
        self._transport.write(packed)

    def close(self) -> None:
        """At once; whatever is under way fails."""
        self._end(RedisConnectionError("Connection closed"))

    # ------------------------------------------------------------------------------------------- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_NOTHING
        )
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        reader = self._reader
        if self._transport is None:
            return
        try:
            reader.feed(self._buffer, 0, nbytes)
            while (reply := reader.gets()) is not _NOTHING:
                if isinstance(reply, hiredis.PushNotification):
                    continue
                if not self._due:
                    raise InvalidResponse("a reply came that nobody asked for")
                self._heard = self._loop.time()
                self._due.popleft()(reply)
                if reader is not self._reader or self._transport is None:
                    return  # closed by who got the reply
        except InvalidResponse as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        error = RedisConnectionError(f"Connection closed by server{f': {exc}' if exc else ''}.")
        error.__cause__ = exc
        self._end(error)

    def _look_for_silence(self) -> None:
        self._timer = None
        if not self._due:
            return
        late = self._heard + self._timeout
        if self._loop.time() >= late:
            self._end(RedisTimeoutError(f"Timeout reading from {self.endpoint}"))
        else:
            self._timer = self._loop.call_at(late, self._look_for_silence)

    def _end(self, error: Exception) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transport.abort()
        self.on_end(error)
        due, self._due = self._due, collections.deque()
        for on_reply in due:
            on_reply(error)
