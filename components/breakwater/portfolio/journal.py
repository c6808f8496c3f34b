"""The portfolio's journal: every record before it counts, folded into one checkpoint when it has grown."""

from __future__ import annotations

from typing import Any

import structlog

from breakwater.portfolio.books import PortfolioBooks
from breakwater.portfolio.records import JOURNAL, ReconciledEquity, Record, Started
from breakwater.runtime.journal import TypedJournal
from breakwater.runtime.ports import Disk, DiskError

log = structlog.get_logger(__name__)

COMPACT_AFTER = 1000
"""Records after a checkpoint before the next one is made: also about the number of trade ids held in memory."""
COMPACT_AT_START = 20
"""Records that are worth a checkpoint when a process begins."""


class PortfolioJournal:
    """Call ``load`` once, and nothing at the same time as ``compact`` (the caller holds its lock)."""

    def __init__(self, disk: Disk, books: PortfolioBooks) -> None:
        kind: Any = Record  # a union is a type to msgspec, not to mypy
        self._journal: TypedJournal[Record] = TypedJournal(disk, JOURNAL, kind)
        self._books = books
        self._records = 0
        """Since the last checkpoint, or the last attempt at one."""

    async def load(self) -> None:
        """Replay everything into the books. Raises JournalCorrupt, DiskError."""
        records = await self._journal.load()
        for record in records:
            self._books.apply(record)
        self._records = len(records)

    async def begin(self, last: ReconciledEquity | None) -> int:
        """Note that a process begins; its number. Raises DiskError."""
        started = Started(self._books.runs + 1)
        if self._records >= COMPACT_AT_START:
            await self.compact(last)
        await self.append(started)
        self._books.apply(started)
        return started.run

    async def append(self, record: Record) -> None:
        """Durable on return. Raises DiskError."""
        await self._journal.append(record)
        self._records += 1

    async def compact(self, last: ReconciledEquity | None) -> None:
        """Replace all records by one checkpoint, in one step: a crash leaves the old file or the new one. A disk that
        refuses is reported; the journal then goes on as it is, or takes nothing more when nobody knows which file is there.
        """
        self._records = 0
        try:
            await self._journal.rewrite([self._books.checkpoint(last)])
        except DiskError as error:
            log.error("journal not compacted; it goes on growing", journal=JOURNAL, error=str(error))

    @property
    def grown(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._records >= COMPACT_AFTER
