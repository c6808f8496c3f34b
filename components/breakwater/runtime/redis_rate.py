"""The limits of one address at one venue in Redis: the rules of domain.rate_budget, in one step for all its processes.

Times are the server's own. A key that is new begins with an empty bucket: whatever went before the server lost it, all grants
of a minute together stay within the limit.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Any

from breakwater.domain.rate_budget import Cost, Lack, Lane, Resource, VenueLimits, draw
from breakwater.runtime.ports import StoreUnavailable
from breakwater.runtime.rate_sharing import Granted
from breakwater.runtime.redis_client import LOST, RedisClient
from breakwater.runtime.redis_scripts import Script

TAKE = Script(
    """
-- KEYS: budget (hash), log of commands (sorted set by time), members (sorted set by when they last asked).
-- ARGV: member, weight, '1' for a command, capacity of the bucket, refill a second, tokens that must be in it, most commands in a
-- window, most weight in a minute, window in seconds.
-- Answers {granted, what is short ('' when granted), milliseconds to wait, members, weight of this minute, milliseconds the venue
-- wants to be left alone, '1' when that is a ban}.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local member, weight, command = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local capacity, refill, floor = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local most_commands, most_weight, window = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local function text(number) return string.format('%.17g', number) end

redis.call('ZADD', KEYS[3], text(now), member)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', text(now - 60))
local members = redis.call('ZCARD', KEYS[3])
local known = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'minute', 'weight', 'paused', 'banned', 'number')
local minute = math.floor(now / 60)
local used = tonumber(known[3] or '-1') == minute and tonumber(known[4]) or 0
local paused, banned = tonumber(known[5] or '0'), tonumber(known[6] or '0')
redis.call('EXPIRE', KEYS[3], 3600)
if paused > now then
  return {0, '', 0, members, used, math.ceil((paused - now) * 1000), banned > now and 1 or 0}
end

local tokens = 0
if known[1] then tokens = math.min(capacity, tonumber(known[1]) + math.max(0, now - tonumber(known[2])) * refill) end
local number = tonumber(known[7] or '0')
local short, wait = '', 0
if command then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - window))
  local over = redis.call('ZCARD', KEYS[2]) + 1 - most_commands
  if over > 0 then
    local leaves = redis.call('ZRANGE', KEYS[2], over - 1, over - 1, 'WITHSCORES')
    short, wait = 'COMMANDS', tonumber(leaves[2]) + window - now
  elseif tokens < floor then
    short, wait = 'COMMANDS', (floor - tokens) / refill
  end
end
if short == '' and weight > 0 and used > 0 and used + weight > most_weight then
  short, wait = 'WEIGHT', (minute + 1) * 60 - now
end
if short == '' then
  used = used + weight
  if command then
    tokens, number = tokens - 1, number + 1
    redis.call('ZADD', KEYS[2], text(now), string.format('%d', number))
  end
end
redis.call('HSET', KEYS[1], 'tokens', text(tokens), 'at', text(now), 'minute', string.format('%d', minute),
  'weight', string.format('%d', used), 'number', string.format('%d', number))
redis.call('EXPIRE', KEYS[1], 3600)
redis.call('EXPIRE', KEYS[2], 3600)
return {short == '' and 1 or 0, short, math.ceil(wait * 1000), members, used, 0, 0}
"""
)

HEARD = Script(
    """
-- KEYS: budget. ARGV: the venue's count of this minute's weight, milliseconds it wants to be left alone, '1' when that is a ban.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local minute = string.format('%d', math.floor(now / 60))
local known = redis.call('HMGET', KEYS[1], 'minute', 'weight', 'paused', 'banned')
local used = known[1] == minute and tonumber(known[2]) or 0
local until_then = now + tonumber(ARGV[2]) / 1000
local paused = math.max(tonumber(known[3] or '0'), until_then)
local banned = math.max(tonumber(known[4] or '0'), ARGV[3] == '1' and until_then or 0)
redis.call('HSET', KEYS[1], 'minute', minute, 'weight', string.format('%d', math.max(used, tonumber(ARGV[1]))),
  'paused', string.format('%.17g', paused), 'banned', string.format('%.17g', banned))
-- A ban may last for days.
redis.call('EXPIRE', KEYS[1], string.format('%d', 3600 + math.ceil(tonumber(ARGV[2]) / 1000)))
return 1
"""
)


class RedisSharedBudget:
    """SharedBudget on the server at ``url``. ``venue`` names who is asked (its host), ``address`` where requests come
    from: processes with the same of both share.

    ``member`` names this process, the same after a restart. A command takes at most ``timeout`` seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        venue: str,
        address: str,
        member: str,
        limits: VenueLimits | None = None,
        timeout: float = 0.5,
    ) -> None:
        self._client = RedisClient(url, socket_timeout=timeout)
        self._limits = limits or VenueLimits()
        self._member = member
        self._keys = [rate_key(venue, address, part) for part in ("budget", "log", "members")]

    async def take(self, lane: Lane, cost: Cost) -> Granted:
        allowed = draw(self._limits, lane)
        words: list[str | int | bytes] = [
            self._member,
            cost.weight,
            int(cost.command),
            repr(allowed.capacity),
            repr(allowed.refill_per_s),
            repr(max(allowed.tokens, -1e9)),
            allowed.commands,
            allowed.weight,
            repr(self._limits.window_s),
        ]
        answer = await self._run(TAKE.run(self._client, self._keys, words))
        try:
            granted, short, wait_ms, members, weight, pause_ms, banned = answer
            lack = None if granted or not short else Lack(Resource[short.decode()], wait_ms / 1000)
            return Granted(lack, members, weight, pause_ms / 1000, bool(banned))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise StoreUnavailable(f"the rate limits are not to be had: {answer!r} makes no sense") from error

    async def heard(self, weight: int, pause_s: float, *, banned: bool) -> None:
        words: list[str | int | bytes] = [weight, math.ceil(pause_s * 1000), int(banned)]
        await self._run(HEARD.run(self._client, self._keys[:1], words))

    async def close(self) -> None:
        await self._client.close()

    @staticmethod
    async def _run(answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except LOST as error:
            raise StoreUnavailable(f"the rate limits are not to be had: {error}") from error


def rate_key(venue: str, address: str, part: str) -> str:
    """The slashes keep it apart from every desk's keys; the braces keep an address in one cluster slot."""
    return f"bw:{{rate/{venue}/{address}}}:{part}"
