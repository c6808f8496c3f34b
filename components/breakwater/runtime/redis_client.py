"""How we talk to Redis or Valkey: options pinned, retries off, one shape of replies.

The library's own retries would run a command twice when only its reply was lost; callers repeat what is safe to repeat.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio as redis_async
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

LOST: tuple[type[Exception], ...] = (RedisError, OSError)
"""What a command may raise: the server is away, did not answer in time, or refuses (out of memory, disk full, read-only)."""


class RedisClient:
    """A client whose commands take at most ``socket_timeout`` seconds and are never repeated behind our back.

    Replies have one shape: RESP3, streams as ``{name: [(id, fields)]}``, bytes undecoded. Raises ValueError for a malformed URL.
    """

    def __init__(self, url: str, *, socket_timeout: float) -> None:
        options: dict[str, Any] = {
            "protocol": 3,
            "legacy_responses": False,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": socket_timeout,
            "socket_connect_timeout": min(socket_timeout, 1.0),
        }
        if url.startswith("unix://"):
            options.pop("socket_connect_timeout")
        self._client: Any = redis_async.Redis.from_url(url, **options)
        self._idle: list[Any] = []
        """Connections nobody uses, the one used last on top."""

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

    async def _exchange(self, command: tuple[str | int | bytes, ...]) -> Any:
        """Ask on a connection of our own: the library's way through its pool costs as much as the command itself.

        A connection that breaks, times out or is cancelled in the middle disconnects itself, and connects anew when it is
        used again. One that the server closed meanwhile, or that holds what nobody asked for (it would be read as the answer
        to this command), is replaced before anything is sent.
        """
        pool = self._client.connection_pool
        connection = self._idle.pop() if self._idle else await pool.get_connection()
        try:
            if connection.is_connected and (connection.should_reconnect() or await connection.can_read()):
                await connection.disconnect()
            await connection.send_command(*command)
            return await self._client.parse_response(connection, command[0])
        finally:
            self._idle.append(connection)

    async def close(self) -> None:
        await self._client.aclose()


def key_of(desk: str, *parts: str) -> str:
    """A key of a desk. The braces keep all keys of a desk in one cluster slot, so that scripts may touch several."""
    return ":".join((f"bw:{{{desk}}}", *parts))
