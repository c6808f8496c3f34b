"""Removes from a producer's stream what every group has handled, and keeps some history for those who look back.

The stream also has a hard bound by length, which the publisher keeps: a group whose component is gone for good would
otherwise hold the stream for ever. When it took events that some group had not handled yet, that is logged and counted here, and
the group sees a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog

from breakwater.domain.ids import DeskId
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.dead_letters import MOST, letter_keys
from breakwater.runtime.redis_client import LOST, RedisClient, key_of
from breakwater.runtime.redis_lanes import BusCounters, StreamId

log = structlog.get_logger(__name__)

PERIOD_S = 30.0
HISTORY = 10_000
"""Newest events of a stream that stay, whoever has handled them."""


@dataclass(frozen=True)
class GroupPlace:
    """``oldest_open``: the oldest event the group has not acknowledged, or None when it has all up to ``delivered``."""

    name: str
    delivered: StreamId
    oldest_open: StreamId | None

    @property
    def needed(self) -> StreamId:
        """The first id this group may still want."""
        return self.oldest_open or (self.delivered[0], self.delivered[1] + 1)


def trim_point(groups: list[GroupPlace], last: StreamId, history: int) -> StreamId | None:
    """Below this id nothing is wanted by anybody. None: keep everything. Without a group nobody has handled anything yet."""
    if not groups or last[1] <= history:  # of earlier epochs some may still belong to the history
        return None
    return min(*(group.needed for group in groups), (last[0], last[1] - history + 1))


class Trimmer:
    """Looks after the stream of one producer. Trimming what all have handled needs no claim: whoever does it, it is right."""

    def __init__(
        self,
        client: RedisClient,
        desk: DeskId,
        producer: str,
        infra: InfraClock,
        counters: BusCounters,
        *,
        history: int = HISTORY,
    ) -> None:
        self._client = client
        self._key = key_of(desk, producer)
        self._letters, _ = letter_keys(desk)
        self._producer = producer
        self._infra = infra
        self._counters = counters
        self._history = history
        self._told: dict[str, StreamId] = {}

    async def run(self) -> None:
        """For ever. A server that is away is tried again next time: the publisher reports it."""
        while True:
            await self._infra.sleep(PERIOD_S)
            try:
                await self.trim()
                self._counters.letters_kept = await self._client.run("XLEN", self._letters)
                self._counters.letters_full = self._counters.letters_kept >= MOST
            except LOST as error:
                log.debug("not trimmed", stream=self._key, error=str(error))

    async def trim(self) -> int:
        """Events removed. Raises what is in LOST."""
        if not await self._client.run("EXISTS", self._key):
            return 0
        info = await self._client.run("XINFO", "STREAM", self._key)
        groups = [await self._place(group) for group in await self._client.run("XINFO", "GROUPS", self._key)]
        first = info[b"first-entry"]
        if first:
            self._tell_of_losses(groups, _id(first[0]))
        below = trim_point(groups, _id(info[b"last-generated-id"]), self._history)
        if below is None:
            return 0
        # Not exactly: the server then frees whole blocks only, which costs it almost nothing.
        removed: int = await self._client.run("XTRIM", self._key, "MINID", "~", _text(below))
        return removed

    async def _place(self, group: dict[bytes, Any]) -> GroupPlace:
        name: bytes = group[b"name"]
        oldest = None
        if group[b"pending"]:
            pending = await self._client.run("XPENDING", self._key, name)
            oldest = _id(pending["min"]) if pending["min"] else None
        return GroupPlace(name.decode(), _id(group[b"last-delivered-id"]), oldest)

    def _tell_of_losses(self, groups: list[GroupPlace], first: StreamId) -> None:
        for group in groups:
            needed = group.needed
            # In one epoch numbers have no holes; of an earlier one we do not know how far it went.
            if (
                group.delivered == (0, 0)
                or first[0] != needed[0]
                or first <= needed
                or self._told.get(group.name) == needed
            ):
                continue
            self._told[group.name] = needed
            self._counters.unread_trimmed += 1
            log.error(
                "the stream reached its bound and events that a group had not handled are gone; if the group's component was "
                "removed for good, remove the group",
                producer=self._producer,
                group=group.name,
                needed=_text(needed),
                oldest_kept=_text(first),
                remove=f"XGROUP DESTROY {self._key} {group.name}",
            )


def _id(name: bytes | str) -> StreamId:
    text = name.decode() if isinstance(name, bytes) else name
    epoch, _, sequence = text.partition("-")
    return int(epoch), int(sequence)


def _text(entry: StreamId) -> str:
    return f"{entry[0]}-{entry[1]}"
