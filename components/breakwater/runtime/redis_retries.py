"""The lane of requeued dead letters: each goes to the lane of its producer, between two events of its stream."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable, Mapping

import structlog

from breakwater.runtime.redis_client import LOST
from breakwater.runtime.redis_lanes import Lane, StreamId

log = structlog.get_logger(__name__)


class RetryLane:
    """``lanes`` by the key of their stream. ``acknowledge`` also removes the entry from the retry stream."""

    def __init__(self, lanes: Mapping[str, Lane], acknowledge: Callable[[StreamId], Awaitable[None]]) -> None:
        self._lanes = lanes
        self._acknowledge = acknowledge
        self._queue: collections.deque[tuple[StreamId, dict[bytes, bytes]]] = collections.deque()
        self._taken: set[StreamId] = set()  # waiting, or handled and not acknowledged yet
        self._handled: set[StreamId] = set()
        self._arrived = asyncio.Event()

    def accept(self, entry: StreamId, fields: dict[bytes, bytes]) -> None:
        """Take an entry in, unless it was before; after a lost connection it comes again until it is acknowledged."""
        self._arrived.set()
        if entry not in self._taken:
            self._taken.add(entry)
            self._queue.append((entry, fields))

    async def run(self) -> None:
        """Handle what arrives, for ever. Raises ProducerFenced."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                entry, fields = self._queue.popleft()
                await self._handle(fields)
                self._handled.add(entry)
            for entry in sorted(self._handled):
                try:
                    await self._acknowledge(entry)
                except LOST as error:
                    log.debug("retry not acknowledged yet", error=str(error))
                    break  # the reader brings it back once it is connected
                self._handled.discard(entry)
                self._taken.discard(entry)

    async def _handle(self, fields: dict[bytes, bytes]) -> None:
        stream = fields.get(b"stream", b"").decode()
        lane = self._lanes.get(stream)
        if lane is None:
            log.error("requeued event dropped: this component does not read its stream any more", stream=stream)
            return
        epoch, _, sequence = fields[b"id"].partition(b"-")
        log.info("handling a requeued event again", producer=lane.producer, letter=fields[b"letter"].decode())
        await lane.handle_again((int(epoch), int(sequence)), fields[b"e"], int(fields[b"attempts"]))
