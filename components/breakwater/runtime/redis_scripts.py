"""The scripts that run inside the server, where checking and writing are one step. Valid for Redis 6.2 and later and Valkey.

A producer owns its stream by a claim: the hash ``...:owner`` holds the epoch and who has it. Entry ids are ``epoch-sequence``,
so the server itself refuses what an older epoch sends, and answers a repeated entry with "equal or smaller".
"""

from __future__ import annotations

import hashlib
from typing import Any

from redis.exceptions import NoScriptError

from breakwater.runtime.redis_client import RedisClient
from breakwater.runtime.redis_pipeline import pack


class Script:
    """A Lua script, sent once and then called by its digest. Raises what the client raises."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def packed(self, keys: list[str], arguments: list[str | int | bytes]) -> bytes:
        """A call by digest, for a pipeline; answered with NoScriptError where ``run`` was never used before."""
        return pack(("EVALSHA", self._digest, len(keys), *keys, *arguments))

    async def run(self, client: RedisClient, keys: list[str], arguments: list[str | int | bytes]) -> Any:
        try:
            return await client.run("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.run("EVAL", self._text, len(keys), *keys, *arguments)


_LAST_ID = """
local function last_id(key)
  if redis.call('EXISTS', key) == 0 then return 0, 0 end
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local epoch, sequence = string.match(info[i + 1], '^(%d+)-(%d+)$')
      return tonumber(epoch), tonumber(sequence)
    end
  end
  return 0, 0
end
"""

CLAIM = Script(
    _LAST_ID
    + """
-- KEYS: owner hash, stream. ARGV: who, epoch wanted, '1' to take over or '0' to confirm a claim held before.
-- Answers {1, epoch, last epoch, last sequence}, or {0, epoch of who has it now}.
local held = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
local holder = redis.call('HGET', KEYS[1], 'who')
local epoch = tonumber(ARGV[2])
local last_epoch, last_sequence = last_id(KEYS[2])
if ARGV[3] == '1' then
  local ours = holder == ARGV[1]  -- claimed before, and the answer was lost: the same epoch, not one more
  epoch = math.max(epoch, ours and held or held + 1, ours and last_epoch or last_epoch + 1)
elseif held > epoch or last_epoch > epoch or (held == epoch and holder ~= ARGV[1]) then
  return {0, math.max(held, last_epoch)}
end
redis.call('HSET', KEYS[1], 'epoch', string.format('%d', epoch), 'who', ARGV[1])
-- Move the stream's last id to the new epoch: from here on the server refuses whatever an older one sends.
if last_epoch < epoch then
  local id = string.format('%d-0', epoch)
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('XSETID', KEYS[2], id)
  else
    redis.call('XADD', KEYS[2], id, 'e', '')
    redis.call('XDEL', KEYS[2], id)
  end
end
return {1, epoch, last_epoch, last_sequence}
"""
)

PUBLISH = Script(
    _LAST_ID
    + """
-- KEYS: owner hash, stream. ARGV: who, epoch, sequence before these, maximal length, then id and data of each entry.
-- Answers {status, entries stored, error}: 0 done, 1 fenced, 2 what comes before these is missing: claim and send again.
-- Stops at the first entry that fails: storing a later one would shut the door on it. Several calls may be under way; the
-- sequence before makes each refuse when the one before it was not stored whole.
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'who')
local held = tonumber(owner[1] or '0')
local epoch = tonumber(ARGV[2])
if held > epoch or (held == epoch and owner[2] ~= ARGV[1]) then return {1, 0, ''} end
-- Nearly always the stream's last entry is the one before these. Its last id is then that entry's: only a claim moves it on,
-- together with the owner. To ask for the last id alone has the server describe the whole stream.
local before = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if held < epoch or not before or before[1] ~= ARGV[2] .. '-' .. ARGV[3] then
  local last_epoch, last_sequence = last_id(KEYS[2])
  if held < epoch or last_epoch < epoch or last_sequence < tonumber(ARGV[3]) then return {2, 0, ''} end
  if last_epoch > epoch then return {1, 0, ''} end
end
local pcall, stream, count = redis.pcall, KEYS[2], #ARGV
for i = 5, count, 2 do
  local answer
  if i + 1 < count then
    answer = pcall('XADD', stream, ARGV[i], 'e', ARGV[i + 1])
  else
    answer = pcall('XADD', stream, 'MAXLEN', '~', ARGV[4], ARGV[i], 'e', ARGV[i + 1])  -- once for all of them
  end
  if type(answer) == 'table' and answer.err and not string.find(answer.err, 'equal or smaller', 1, true) then
    return {0, (i - 5) / 2, answer.err}
  end
end
return {0, (count - 4) / 2, ''}
"""
)

LEFTOVERS = Script(
    """
-- KEYS: stream. ARGV: '1' if an entry before these is missing, then id and data of each entry that an earlier process may or
-- may not have stored. Answers {error, index of each entry that is not there and can no longer be stored under its id}.
-- An id taken by another event (two processes began at the same instant) is not there. Nothing is stored past one that is
-- missing: that one will get a later id.
local result = {''}
local behind = ARGV[1] == '1'
for i = 2, #ARGV, 2 do
  local there = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  local missing = behind
  if there then
    missing = there[2][2] ~= ARGV[i + 1]
  elseif not behind then
    local answer = redis.pcall('XADD', KEYS[1], ARGV[i], 'e', ARGV[i + 1])
    if type(answer) == 'table' and answer.err then
      if not string.find(answer.err, 'equal or smaller', 1, true) then return {answer.err} end
      -- A later one of its epoch is there: so was this one, and it has been trimmed since.
      local epoch = string.match(ARGV[i], '^%d+')
      missing = #redis.call('XRANGE', KEYS[1], ARGV[i], epoch, 'COUNT', 1) == 0
    end
  end
  if missing then
    behind = true
    table.insert(result, (i - 2) / 2)
  end
end
return result
"""
)

STATE = Script(
    """
-- KEYS: owner hash, state stream, hash of latest values. ARGV: who, epoch, producer, data, channel, sequence.
-- Answers as PUBLISH does, and 3 when a later one of this producer came first: an older state never overwrites a newer one.
local held = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
local epoch = tonumber(ARGV[2])
if held > epoch or (held == epoch and redis.call('HGET', KEYS[1], 'who') ~= ARGV[1]) then return {1, 0, ''} end
if held < epoch then return {2, 0, ''} end
local field = 'state:' .. ARGV[5]
local last_epoch, last_sequence = string.match(redis.call('HGET', KEYS[1], field) or '0-0', '^(%d+)-(%d+)$')
if tonumber(last_epoch) == epoch and tonumber(ARGV[6]) <= tonumber(last_sequence) then return {3, 0, ''} end
redis.call('HSET', KEYS[1], field, ARGV[2] .. '-' .. ARGV[6])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 100, '*', 'e', ARGV[4])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
return {0, 1, ''}
"""
)
