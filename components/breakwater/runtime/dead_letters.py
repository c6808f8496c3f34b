"""Dead letters: events that a consumer group could not handle, kept until a person sends them again or drops them.

They are the stream ``bw:{desk}:dead``. A requeued one goes to ``bw:{desk}:retry:<group>``, which only that group reads, with its own
id and time, so that a handler that did apply it notices by the event's id. One letter per group and event, however often
the consumer dies in between; a letter is settled (requeued or dropped) once, and that is remembered for 30 days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from breakwater.domain.ids import DeskId
from breakwater.runtime.redis_client import RedisClient, key_of
from breakwater.runtime.redis_scripts import Script

MOST = 10_000
"""Letters kept. Beyond that nothing is set aside or trimmed: what fails waits, and with it its producer's later events."""

SET_ASIDE = Script(
    """
-- KEYS: letters, index. ARGV: most, field of the index, then the letter's fields. Answers {full, letters kept}.
local kept = redis.call('XLEN', KEYS[1])
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return {0, kept} end
if kept >= tonumber(ARGV[1]) then return {1, kept} end
local fields = {}
for i = 3, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[2], ARGV[2], redis.call('XADD', KEYS[1], '*', unpack(fields)))
return {0, kept + 1}
"""
)

_SETTLE = Script(
    """
-- KEYS: letters, index, settled, and the retry stream when it is requeued. ARGV: letter, field of the index, what is done with it,
-- then the retry's fields. Answers {done, what was done before}: settles a letter once, however often it is asked.
local before = redis.call('HGET', KEYS[3], ARGV[1])
if before then return {0, before} end
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return {0, ''} end
if KEYS[4] then
  local fields = {}
  for i = 4, #ARGV do fields[#fields + 1] = ARGV[i] end
  redis.call('XADD', KEYS[4], '*', unpack(fields))
end
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
redis.call('EXPIRE', KEYS[3], 2592000)
return {1, ''}
"""
)


@dataclass(frozen=True)
class DeadLetter:
    """``attempts``: times a handler was given the event, 0 when it could not be read at all. ``stream_id``: the event's own place."""

    id: str
    stream: str
    stream_id: str
    group: str
    consumer: str
    reason: str
    attempts: int
    at: datetime
    data: bytes

    @property
    def index(self) -> str:
        return index_field(self.group, self.stream, self.stream_id)


class LetterUnknown(Exception):
    """No such letter, and none that was settled in the last 30 days."""


class DeadLetters:
    """The letters of one desk. Everything raises what the client raises (LOST)."""

    def __init__(self, client: RedisClient, desk: DeskId) -> None:
        self._client = client
        self._desk = desk
        self._key, self._index = letter_keys(desk)
        self._settled = key_of(desk, "dead", "settled")

    async def count(self) -> int:
        return int(await self._client.run("XLEN", self._key))

    async def oldest(self, limit: int, *, group: str | None = None) -> list[DeadLetter]:
        """The oldest first."""
        found: list[DeadLetter] = []
        start = "-"
        while len(found) < limit:
            page = await self._client.run("XRANGE", self._key, start, "+", "COUNT", 256)
            if not page:
                break
            letters = [_letter(name, fields) for name, fields in page]
            found += [letter for letter in letters if group in (None, letter.group)]
            start = f"({letters[-1].id}"
        return found[:limit]

    async def get(self, letter_id: str) -> DeadLetter:
        """Raises LetterUnknown."""
        page = await self._client.run("XRANGE", self._key, letter_id, letter_id)
        if not page:
            raise LetterUnknown(await self._what_became_of(letter_id))
        return _letter(*page[0])

    async def requeue(self, letter: DeadLetter, at: datetime) -> str:
        """Give the event to its group once more. Empty when done, else what was done with the letter before."""
        retry: list[str | bytes] = ["stream", letter.stream, "id", letter.stream_id, "attempts", str(letter.attempts)]
        retry += ["letter", letter.id, "e", letter.data]
        return await self._settle(letter, f"requeued at {at.isoformat()}", [retry_key(self._desk, letter.group)], retry)

    async def drop(self, letter: DeadLetter, at: datetime, reason: str) -> str:
        """Forget the event for this group. Empty when done, else what was done with the letter before."""
        return await self._settle(letter, f"dropped at {at.isoformat()}: {reason}", [], [])

    async def _settle(self, letter: DeadLetter, what: str, retry: list[str], fields: list[str | bytes]) -> str:
        keys = [self._key, self._index, self._settled, *retry]
        done, before = await _SETTLE.run(self._client, keys, [letter.id, letter.index, what, *fields])
        if done:
            return ""
        return str(before.decode()) or "removed by somebody else meanwhile"

    async def _what_became_of(self, letter_id: str) -> str:
        settled = await self._client.run("HGET", self._settled, letter_id)
        return f"{letter_id} was {settled.decode()}" if settled else f"there is no dead letter {letter_id}"


def letter_keys(desk: DeskId) -> tuple[str, str]:
    """The stream of letters, and the hash by which one event is set aside once per group."""
    return key_of(desk, "dead"), key_of(desk, "dead", "index")


def retry_key(desk: DeskId, group: str) -> str:
    return key_of(desk, "retry", group)


def index_field(group: str, stream: str, stream_id: str) -> str:
    return f"{group} {stream} {stream_id}"


def _letter(name: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
    def text(field: bytes) -> str:
        return fields.get(field, b"").decode(errors="replace")

    data: Any = fields.get(b"e", b"")
    return DeadLetter(
        id=name.decode(),
        stream=text(b"stream"),
        stream_id=text(b"id"),
        group=text(b"group"),
        consumer=text(b"consumer"),
        reason=text(b"reason"),
        attempts=int(text(b"attempts") or 5),  # letters of older versions: always after five
        at=datetime.fromisoformat(text(b"at")),
        data=data,
    )
