"""How we talk to Redis or Valkey: one command at a time, nothing repeated, one shape of replies.

The library's own connections repeat a command when only its reply was lost; callers repeat what is safe to repeat.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio as redis_async
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from breakwater.runtime.redis_errors import explained
from breakwater.runtime.redis_pipeline import Pipeline
from breakwater.runtime.redis_routes import Command, Routes
from breakwater.runtime.redis_urls import Endpoint, Kind, parse_server_url

LOST: tuple[type[Exception], ...] = (RedisError, OSError)
"""What a command may raise: the server is away, did not answer in time, or refuses (out of memory, disk full, read-only)."""

_REDIRECTS = 5
_SENTINEL_TIMEOUT = 0.5


class RedisClient:
    """A client whose commands take at most ``socket_timeout`` seconds and are never repeated behind our back.

    ``url`` as in redis_urls; finding a new master takes up to half a second for each Sentinel that is away. Replies have one
    shape: RESP3, streams as ``{name: [(id, fields)]}``, bytes undecoded. Raises ValueError for a malformed URL.
    """

    def __init__(self, url: str, *, socket_timeout: float) -> None:
        self._timeout = socket_timeout
        self._shapes: Any = redis_async.Redis(protocol=3, legacy_responses=False)
        """Never connected: it knows the shapes of replies."""
        self._routes = Routes(parse_server_url(url), self._ask_once)
        self._idle: dict[Endpoint, list[Pipeline]] = {}
        """Connections nobody uses, the one used last on top."""
        self._busy: set[Pipeline] = set()
        self.dials = 0
        """Connections made so far. When it rises, the server may be another, or the same without its last seconds."""

    async def run(self, *command: str | int | bytes) -> Any:
        """One command, words as in Redis' own documentation. Raises what is in LOST."""
        task = asyncio.current_task()
        cancels = task.cancelling() if task else 0
        try:
            answer = await self._exchange(command)
        except LOST as error:
            # Cancelled while it reads, the library may report a lost connection instead, and the task would go on.
            if task is not None and task.cancelling() > cancels:
                raise asyncio.CancelledError from error
            raise
        # Cancelled while it connects, it may even answer as if nothing had been.
        if task is not None and task.cancelling() > cancels:
            raise asyncio.CancelledError
        return answer

    async def endpoint(self, key: str) -> Endpoint:
        """Where ``key`` is at this moment, for a connection of the caller's own. Ask again after that one broke, was redirected
        (MOVED) or turned read-only. Raises what is in LOST.
        """
        await self.run("EXISTS", key)
        found = self._routes.known(("EXISTS", key))
        if found is None:
            raise RedisConnectionError("the server was lost while it was looked for")
        return found

    async def pipeline(self, key: str) -> Pipeline:
        """A connection of the caller's own to where ``key`` is, who closes it, and tells ``explain`` what went wrong on it.

        Raises what is in LOST.
        """
        connection = self._make(await self.endpoint(key))
        try:
            await connection.connect()
        except LOST as error:
            raise self.explain(error, connection.endpoint, ()) from error
        return connection

    def explain(self, error: Exception, endpoint: Endpoint, command: Command) -> Exception:
        """What to raise for ``error`` of the server at ``endpoint``; if it is not the right one any more, it is looked for anew."""
        if isinstance(error, RedisConnectionError | OSError | ReadOnlyError | ClusterDownError | MovedError):
            self._routes.forget(endpoint)
        return explained(error, endpoint, command)

    async def close(self) -> None:
        for connections in (*self._idle.values(), list(self._busy)):
            for connection in connections:
                connection.close()
        self._idle.clear()
        await self._shapes.aclose()

    async def _exchange(self, command: Command) -> Any:
        """Ask whoever has the data. A redirected command was not run, so sending it on is not a repetition."""
        endpoint, connection = await self._connected(command)
        asking = False
        for left in reversed(range(_REDIRECTS)):
            try:
                return await self._ask(connection, command, asking=asking)
            except MovedError as error:
                if not left:
                    raise
                endpoint, asking = self._routes.moved(error.slot_id, error.host, error.port, endpoint), False
            except AskError as error:  # its slot is on the way to that node: for this command only
                if not left:
                    raise
                endpoint, asking = self._routes.node(error.host, error.port, endpoint), True
            except LOST as error:
                explanation = self.explain(error, endpoint, command)
                if explanation is error:
                    raise
                raise explanation from error
            connection = self._take_idle(endpoint) or self._make(endpoint)
        raise AssertionError("unreachable")

    async def _connected(self, command: Command) -> tuple[Endpoint, Pipeline]:
        """A connection that was used before, else a new one: not to where the master once was."""
        endpoint = self._routes.known(command)
        if endpoint is not None:
            while (connection := self._take_idle(endpoint)) is not None:
                # One that the server closed meanwhile, or that holds what nobody asked for (it would be read as the
                # answer to this command), is replaced before anything is sent.
                if connection.is_connected and connection.is_stale:
                    connection.close()
                if connection.is_connected or self._routes.kind is Kind.FIXED:
                    return endpoint, connection
        if endpoint is not None and self._routes.kind is Kind.FIXED:
            return endpoint, self._make(endpoint)
        for left in reversed(range(self._routes.tries)):
            endpoint = await self._routes.find(command)
            connection = self._make(endpoint)
            try:
                await self._dial(connection)
                if self._routes.kind is Kind.SENTINEL:
                    await self._check_role(connection, endpoint)
                return endpoint, connection
            except LOST as error:
                connection.close()
                self._routes.forget(endpoint)
                if not left:
                    raise explained(error, endpoint, command) from error
            except BaseException:
                connection.close()
                raise
        raise AssertionError("unreachable")

    async def _dial(self, connection: Pipeline) -> None:
        if not connection.is_connected:
            await connection.connect()
            self.dials += 1

    async def _check_role(self, connection: Pipeline, endpoint: Endpoint) -> None:
        """Sentinels may not know yet that the master they name is none any more."""
        answer = await connection.ask(("ROLE",))
        if answer[0] != b"master":
            raise RedisConnectionError(f"{endpoint} is a replica: the Sentinels have not settled on a master yet")

    async def _ask(self, connection: Pipeline, command: Command, *, asking: bool) -> Any:
        """On a connection that nobody else uses meanwhile. One that breaks, times out or is cancelled connects anew later."""
        self._busy.add(connection)
        try:
            await self._dial(connection)
            if asking:
                await connection.ask(("ASKING",))
            reply = await connection.ask(command)
            shape = self._shapes.response_callbacks.get(command[0])
            return shape(reply) if shape is not None else reply
        finally:
            self._busy.discard(connection)
            self._idle.setdefault(connection.endpoint, []).append(connection)

    async def _ask_once(self, endpoint: Endpoint, command: Command) -> Any:
        connection = self._make(endpoint, min(self._timeout, _SENTINEL_TIMEOUT))
        try:
            await connection.connect()
            return await connection.ask(command)
        except LOST as error:
            raise explained(error, endpoint, command) from error
        finally:
            connection.close()

    def _take_idle(self, endpoint: Endpoint) -> Pipeline | None:
        idle = self._idle.get(endpoint)
        return idle.pop() if idle else None

    def _make(self, endpoint: Endpoint, timeout: float | None = None) -> Pipeline:
        """Not connected yet."""
        return Pipeline(endpoint, timeout or self._timeout)


def key_of(desk: str, *parts: str) -> str:
    """A key of a desk. The braces keep all keys of a desk in one cluster slot, so that scripts may touch several."""
    return ":".join((f"bw:{{{desk}}}", *parts))
