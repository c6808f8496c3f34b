"""The key-value store on Redis or Valkey."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.ports import StoreUnavailable
from breakwater.runtime.redis_client import LOST, RedisClient

# Version and value are two fields of one hash: they change together or not at all.
_SET_IF_HIGHER = """
local have = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if tonumber(ARGV[1]) <= have then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'value', ARGV[2])
return 1
"""


class RedisKeyValueStore:
    """KeyValueStore on the server at ``url``; each command takes at most ``timeout`` seconds. ``close`` when done."""

    def __init__(self, url: str, infra: InfraClock, *, timeout: float = 1.0) -> None:
        self._client = RedisClient(url, socket_timeout=timeout)
        self._infra = infra

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._run(self._client.run("HGET", key, "value"))
        return value

    async def set(self, key: str, value: bytes) -> None:
        """Store whatever the version; a version kept by ``set_if_higher`` stays."""
        await self._run(self._client.run("HSET", key, "value", value))

    async def set_if_higher(self, key: str, version: int, value: bytes) -> bool:
        if version < 1:
            raise ValueError(f"version {version} of {key}: versions start at 1")
        return bool(await self._run(self._client.run("EVAL", _SET_IF_HIGHER, 1, key, version, value)))

    async def ping(self) -> float:
        began = self._infra.monotonic()
        await self._run(self._client.run("PING"))
        return self._infra.monotonic() - began

    async def close(self) -> None:
        await self._client.close()

    @staticmethod
    async def _run(command: Awaitable[Any]) -> Any:
        try:
            return await command
        except LOST as error:
            raise StoreUnavailable(f"the store did not answer as it should: {error}") from error
