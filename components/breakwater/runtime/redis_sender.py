"""Sends a line of entries in batches, several under way at once, on a connection of its own.

Each batch says which entry comes before it, and the server refuses it when that one is missing: a batch that failed takes those behind
it along, so that nothing is ever stored past a hole.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from redis.exceptions import NoScriptError, ResponseError

from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.disk_buffer.segments import Entry
from breakwater.runtime.redis_client import RedisClient
from breakwater.runtime.redis_pipeline import Pipeline
from breakwater.runtime.redis_scripts import PUBLISH

_BATCH = 64
"""Entries in one command: small enough that the server works on one batch while we make the next."""
_BATCH_BYTES = 262_144
_MOST_FLIGHTS = 8
_IDLE_SECONDS = 1.0


class Waiting(msgspec.Struct, gc=False):
    """An entry on its way, and who waits for it.

    ``gc=False``: thousands are kept for some seconds, and looking through them again and again costs the collector more than all
    else here. It is part of a cycle only through ``done``, which goes when it is resolved.
    """

    entry: Entry
    done: asyncio.Future[None] | None = None
    """None: nobody has to be told any more."""
    spooled: bool = False
    direct: bool = False
    """It has not been on the disk and will not be."""
    perishable: bool = False
    """Not worth a place on the disk."""
    attempted: bool = False
    """Sent at least once: the server may have it, whatever it answered."""

    @property
    def settled(self) -> bool:
        return self.done is None

    def resolve(self, error: BusUnavailable | None = None) -> None:
        done, self.done = self.done, None
        if done is None or done.done():  # done: who waited was cancelled
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
            done.exception()  # a caller that was cancelled will not fetch it


class Sender:
    """Takes entries from the front of ``waiting`` as they are stored, and tells ``on_stored``, in order.

    ``keys``: owner hash and stream; ``who`` holds the claim.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: list[str],
        who: str,
        max_length: int,
        waiting: collections.deque[Waiting],
        on_stored: Callable[[list[Waiting]], None],
    ) -> None:
        self._client = client
        self._keys = keys
        self._who = who
        self._max_length = max_length
        self._waiting = waiting
        self._on_stored = on_stored
        self._epoch = 0
        self._before = 0
        """Sequence of the last entry sent: what comes before the next batch."""
        self._flights: collections.deque[list[Waiting]] = collections.deque()
        """The batches under way; their entries are the first of ``waiting``."""
        self._flying = 0
        """Entries under way."""
        self._pipeline: Pipeline | None = None
        self._launching = False
        self._trouble: asyncio.Future[Exception | None] | None = None
        """Ends ``run``: an error, or None to have the claim checked."""

    async def run(self, epoch: int, confirmed: int, tend: Callable[[], Awaitable[None]]) -> None:
        """Send what comes, until the claim has to be checked. ``confirmed``: sequence of this epoch's last entry that is stored.

        ``tend`` is called about once a second. Raises what is in LOST; whatever was under way may then be stored or not.
        """
        await tend()
        # Also brings the script to a server that does not have it.
        if (await PUBLISH.run(self._client, self._keys, [self._who, epoch, confirmed, self._max_length]))[0] != 0:
            return
        pipeline = await self._client.pipeline(self._keys[1])
        pipeline.on_end = lambda error: self._end(error if self._flights else None)
        self._pipeline = pipeline
        self._epoch, self._before = epoch, confirmed
        trouble = self._trouble = asyncio.get_running_loop().create_future()
        try:
            self._launch()
            while not trouble.done():
                await asyncio.wait([trouble], timeout=_IDLE_SECONDS)
                await tend()
                if not self._flights and not trouble.done():
                    self._send([])  # asks the server whether all is as we think
            error = trouble.result()
        finally:
            self._pipeline = self._trouble = None
            self._flights.clear()
            self._flying = 0
            pipeline.close()
        if error is not None:
            raise self._client.explain(error, pipeline.endpoint, ("EVALSHA", *self._keys)) from error

    def wake(self) -> None:
        """Something waits: it goes out at once if nothing is under way, else with all that comes in this pass of the loop."""
        if self._launching or self._pipeline is None:
            return
        if not self._flights:
            self._launch()
            return
        self._launching = True
        asyncio.get_running_loop().call_soon(self._launch)

    def doubt(self) -> None:
        """The claim may be lost: have it checked."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._trouble is not None and not self._trouble.done():
            self._trouble.set_result(error)

    def _launch(self) -> None:
        """Send what waits, as far as few enough batches are under way."""
        self._launching = False
        while len(self._flights) < _MOST_FLIGHTS and self._flying < len(self._waiting):
            if self._trouble is None or self._trouble.done():
                return
            batch: list[Waiting] = []
            size = 0
            for waiting in itertools.islice(self._waiting, self._flying, self._flying + _BATCH):
                size += len(waiting.entry.data)
                if batch and size > _BATCH_BYTES:
                    break
                batch.append(waiting)
            self._send(batch)

    def _send(self, batch: list[Waiting]) -> None:
        assert self._pipeline is not None
        if not self._flights and self._pipeline.is_stale:
            self._end(None)
            return
        arguments: list[str | int | bytes] = [self._who, self._epoch, self._before, self._max_length]
        for waiting in batch:
            waiting.attempted = True
            arguments += (f"{waiting.entry.epoch}-{waiting.entry.sequence}", waiting.entry.data)
        if batch:
            self._before = batch[-1].entry.sequence
        self._flights.append(batch)
        self._flying += len(batch)
        self._pipeline.send(PUBLISH.packed(self._keys, arguments), self._landed)

    def _landed(self, answer: Any) -> None:
        """The server's word on the batch that was sent first."""
        if self._trouble is None or self._trouble.done():
            return  # given up: those behind it are sent again, whatever became of them
        if isinstance(answer, Exception):
            # Forgotten by the server (SCRIPT FLUSH), the script was not run; `run` brings it along again.
            self._end(None if isinstance(answer, NoScriptError) else answer)
            return
        batch = self._flights.popleft()
        self._flying -= len(batch)
        status, stored, error = answer
        for _ in range(stored):
            self._waiting.popleft()
        self._on_stored(batch[:stored])
        if error:
            self._end(ResponseError(error.decode()))
        elif status != 0:
            self._end(None)
        elif self._flying < len(self._waiting):
            self.wake()
