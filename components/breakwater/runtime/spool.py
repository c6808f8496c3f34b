"""Events that could not go to Redis, kept on the producer's own disk until they are stored there. In order, checksummed, durable."""

from __future__ import annotations

import msgspec

from breakwater.runtime.journal import Journal
from breakwater.runtime.ports import Disk

SPOOL_NAME = "bus-spool.jsonl"


class Entry(msgspec.Struct, frozen=True):
    """One event on its way: ``data`` is the encoded event whose id on the stream is ``epoch-sequence``."""

    epoch: int
    sequence: int
    data: bytes

    @property
    def id(self) -> tuple[int, int]:
        return (self.epoch, self.sequence)


class _Record(msgspec.Struct):
    epoch: int
    sequence: int
    event: msgspec.Raw


class Spool:
    """The entries kept on ``disk``. Raises DiskError."""

    def __init__(self, disk: Disk) -> None:
        self._journal = Journal(disk, SPOOL_NAME)
        self.count = 0

    async def load(self) -> list[Entry]:
        """What an earlier process left behind, oldest first. Damaged lines are set aside and reported, never fatal."""
        entries = []
        for line in await self._journal.load(salvage=True):
            record = msgspec.json.decode(line, type=_Record)
            entries.append(Entry(record.epoch, record.sequence, bytes(record.event)))
        self.count = len(entries)
        return entries

    async def append(self, entries: list[Entry]) -> None:
        """Durable on return, all or none of them."""
        await self._journal.append_many([_line(entry) for entry in entries])
        self.count += len(entries)

    async def rewrite(self, entries: list[Entry]) -> None:
        """Keep exactly these (they got other ids)."""
        await self._journal.rewrite([_line(entry) for entry in entries])
        self.count = len(entries)

    async def clear(self) -> None:
        """Forget all: they are stored in Redis, and have been for long enough."""
        await self.rewrite([])


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(_Record(entry.epoch, entry.sequence, msgspec.Raw(entry.data)))
