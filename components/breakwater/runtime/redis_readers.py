"""The reading half of the Redis bus: one blocking connection per consumer group, and one for everything live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from redis.exceptions import ResponseError

from breakwater.domain.ids import DeskId
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.dead_letters import MOST, SET_ASIDE, index_field, letter_keys, retry_key
from breakwater.runtime.events import EVENT_NAMES
from breakwater.runtime.redis_client import LOST, RedisClient, key_of
from breakwater.runtime.redis_lanes import BusCounters, Lane, StreamId, Subscription
from breakwater.runtime.redis_publisher import state_keys
from breakwater.runtime.redis_retries import RetryLane
from breakwater.runtime.redis_state_lanes import StateLane

BLOCK_MS = 2000
"""How long the server holds a read without news; must stay well below the socket's timeout."""
SOCKET_TIMEOUT = 5.0
_BLOCK_MS_BUSY = 200
_COUNT = 256
_BACKLOG = 1024
"""Entries waiting in a lane above which no more are read for it."""
_PEER_DEAD_MS = 60_000

Report = Callable[[Exception | None], None]
Reply = dict[bytes, list[tuple[bytes, dict[bytes, bytes]]]]


class _Reader:
    """Joins, reads until the connection breaks, backs off, joins again."""

    def __init__(self, client: RedisClient, desk: DeskId, infra: InfraClock, report: Report) -> None:
        self._client = client
        self._desk = desk
        self._infra = infra
        self._report = report
        self.ready = asyncio.Event()

    async def run(self) -> None:
        pause = 0.05
        while True:
            try:
                while True:
                    # A connection that ended between two commands is made anew by the next one, which does not fail: but
                    # the server behind it may have forgotten what it was told, so whatever was found out before is void.
                    dials = self._client.dials
                    await self._join()
                    while dials == self._client.dials:
                        self._report(None)
                        self.ready.set()
                        pause = 0.05
                        await self._read()
            except LOST as error:
                self._report(error)
                await self._infra.sleep(pause)
                pause = min(pause * 2, 1.0)

    async def _join(self) -> None:
        raise NotImplementedError

    async def _read(self) -> None:
        raise NotImplementedError


class GroupReader(_Reader):
    """Reads streams as ``consumer`` of ``group``: every entry is handled at least once, across restarts of anybody."""

    def __init__(
        self,
        client: RedisClient,
        commands: RedisClient,
        desk: DeskId,
        consumer: str,
        group: str,
        subscriptions: Sequence[Subscription],
        infra: InfraClock,
        counters: BusCounters,
        report: Report,
    ) -> None:
        super().__init__(client, desk, infra, report)
        self._commands = commands
        self._consumer = consumer
        self._group = group
        self._counters = counters
        self._retry_key = retry_key(desk, group)
        producers = sorted({name for item in subscriptions for name in item.producers})
        self.lanes = {
            key_of(desk, producer): Lane(
                producer,
                subscriptions,
                infra,
                counters,
                acknowledge=partial(self._acknowledge, key_of(desk, producer)),
                set_aside=partial(self._set_aside, key_of(desk, producer)),
            )
            for producer in producers
        }
        self.retries = RetryLane(self.lanes, self._settle_retry)

    async def _join(self) -> None:
        for key, lane in self.lanes.items():
            await self._join_group(key)
            if lane.last is None:  # later, what is older than the last one counts as seen
                if lane.resumed_after is None:
                    lane.resumed_after = await self._last_delivered(key)
                await self._claim_from_dead_peers(key)
            await self._read_own_pending(key, lane)
        await self._join_group(self._retry_key)
        await self._claim_from_dead_peers(self._retry_key)
        await self._read_pending_retries()
        self._letters(await self._client.run("XLEN", letter_keys(self._desk)[0]))

    async def _join_group(self, key: str) -> None:
        """From the stream's beginning, when it is new."""
        try:
            await self._client.run("XGROUP", "CREATE", key, self._group, "0", "MKSTREAM")
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _last_delivered(self, key: str) -> StreamId | None:
        """What the group was given last; None before the first."""
        for group in await self._client.run("XINFO", "GROUPS", key):
            if group[b"name"].decode() == self._group:
                last = _id(group[b"last-delivered-id"])
                return last if last > (0, 0) else None
        return None

    async def _claim_from_dead_peers(self, key: str) -> None:
        """Entries that a consumer of another name took and never acknowledged become ours, and pending."""
        start: bytes | str = "0-0"
        while True:
            answer = await self._client.run(
                "XAUTOCLAIM", key, self._group, self._consumer, _PEER_DEAD_MS, start, "COUNT", _COUNT, "JUSTID"
            )
            start = answer[0]
            if start == b"0-0":
                return

    async def _read_own_pending(self, key: str, lane: Lane) -> None:
        """What was delivered to us and not acknowledged: a reply may have been lost, or we were killed."""
        start: bytes | str = "0"
        while True:
            reply: Reply = await self._client.run(
                "XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", _COUNT, "STREAMS", key, start
            )
            entries = reply.get(key.encode(), [])
            if not entries:
                return
            for name, fields in entries:
                lane.accept(_id(name), fields.get(b"e"))
            start = entries[-1][0]

    async def _read_pending_retries(self) -> None:
        start: bytes | str = "0"
        while True:
            reply: Reply = await self._client.run(
                "XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", _COUNT, "STREAMS", self._retry_key, start
            )
            entries = reply.get(self._retry_key.encode(), [])
            if not entries:
                return
            for name, fields in entries:
                if fields:  # else it was handled and removed, and only the acknowledgement is missing
                    self.retries.accept(_id(name), fields)
                else:
                    await self._settle_retry(_id(name))
            start = entries[-1][0]

    async def _read(self) -> None:
        for key, lane in self.lanes.items():
            if lane.skipped:
                # Another process of this name may have taken what is missing and died: then it is pending for us.
                lane.skipped = False
                await self._read_own_pending(key, lane)
        keys, block = await _open_lanes(self.lanes)
        keys.append(self._retry_key)
        reply: Reply = await self._client.run(
            "XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", _COUNT, "BLOCK", block,
            "STREAMS", *keys, *(">" for _ in keys),
        )  # fmt: skip
        for raw, entries in reply.items():
            stream = raw.decode()
            for name, fields in entries:
                if stream == self._retry_key:
                    self.retries.accept(_id(name), fields)
                else:
                    self.lanes[stream].accept(_id(name), fields.get(b"e"))
        await asyncio.sleep(0)  # the lanes first, then the next read

    async def _acknowledge(self, key: str, entries: list[StreamId]) -> None:
        await self._commands.run("XACK", key, self._group, *(_text(entry) for entry in entries))

    async def _settle_retry(self, entry: StreamId) -> None:
        await self._commands.run("XDEL", self._retry_key, _text(entry))
        await self._commands.run("XACK", self._retry_key, self._group, _text(entry))

    async def _set_aside(self, key: str, entry: StreamId, data: bytes, reason: str, attempts: int) -> bool:
        """Whether it is kept: False when there are too many."""
        fields: dict[str, str | bytes] = {
            "stream": key,
            "id": _text(entry),
            "group": self._group,
            "consumer": self._consumer,
            "reason": reason,
            "attempts": str(attempts),
            "at": self._infra.utc_now().isoformat(),
            "e": data,
        }
        flat: list[str | int | bytes] = [part for pair in fields.items() for part in pair]
        field = index_field(self._group, key, _text(entry))
        full, kept = await SET_ASIDE.run(self._commands, list(letter_keys(self._desk)), [MOST, field, *flat])
        self._letters(kept)
        return not full

    def _letters(self, kept: int) -> None:
        self._counters.letters_kept = kept
        self._counters.letters_full = kept >= MOST


class LiveReader(_Reader):
    """Reads what is published from now on, and the state channels, in one blocking call."""

    def __init__(
        self,
        client: RedisClient,
        desk: DeskId,
        subscriptions: Sequence[Subscription],
        states: Sequence[Subscription],
        infra: InfraClock,
        counters: BusCounters,
        report: Report,
    ) -> None:
        super().__init__(client, desk, infra, report)
        producers = sorted({name for item in subscriptions for name in item.producers})
        kinds = sorted({kind for item in states for kind in item.types}, key=EVENT_NAMES.__getitem__)
        self.lanes = {key_of(desk, name): Lane(name, subscriptions, infra, counters) for name in producers}
        self.state_lanes: dict[str, StateLane] = {}
        self._latest_keys: dict[str, str] = {}
        for kind in kinds:
            stream, latest = state_keys(desk, EVENT_NAMES[kind])
            self.state_lanes[stream] = StateLane(states, kind, counters)
            self._latest_keys[stream] = latest
        self._cursors: dict[str, str] = {}

    async def _join(self) -> None:
        for key in self.lanes:
            if key not in self._cursors:  # later: go on where we were
                self._cursors[key] = await self._last_id(key)
        for key, lane in self.state_lanes.items():
            # The cursor first: what comes between the two is then seen twice rather than never.
            self._cursors[key] = await self._last_id(key)
            latest: dict[bytes, bytes] = await self._client.run("HGETALL", self._latest_keys[key])
            for data in latest.values():
                lane.accept(data)

    async def _read(self) -> None:
        keys, block = await _open_lanes(self.lanes, always=list(self.state_lanes))
        reply: Reply = await self._client.run(
            "XREAD", "COUNT", _COUNT, "BLOCK", block, "STREAMS", *keys, *(self._cursors[key] for key in keys)
        )
        for raw, entries in reply.items():
            if not entries:
                continue  # Redis 7.0 wakes a blocked XREAD also for an entry that was removed in the same script
            key = raw.decode()
            self._cursors[key] = entries[-1][0].decode()
            for name, fields in entries:
                if key in self.state_lanes:
                    self.state_lanes[key].accept(fields[b"e"])
                else:
                    self.lanes[key].accept(_id(name), fields.get(b"e"))

    async def _last_id(self, key: str) -> str:
        try:
            info = await self._client.run("XINFO", "STREAM", key)
        except ResponseError as error:
            if "no such key" in str(error):
                return "0-0"
            raise
        last: bytes = info[b"last-generated-id"]
        return last.decode()


async def _open_lanes(lanes: dict[str, Lane], always: Sequence[str] = ()) -> tuple[list[str], int]:
    """Keys to read now, and how long to wait. Lanes that have enough to do are left out until they catch up."""
    while True:
        full = [lane for lane in lanes.values() if lane.backlog >= _BACKLOG]
        keys = [key for key, lane in lanes.items() if lane.backlog < _BACKLOG] + list(always)
        if keys:
            return keys, _BLOCK_MS_BUSY if full else BLOCK_MS
        for lane in full:
            lane.drained.clear()
        tasks = [asyncio.ensure_future(lane.drained.wait()) for lane in full]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


def _id(name: bytes) -> StreamId:
    epoch, _, sequence = name.partition(b"-")
    return int(epoch), int(sequence)


def _text(entry: StreamId) -> str:
    return f"{entry[0]}-{entry[1]}"
