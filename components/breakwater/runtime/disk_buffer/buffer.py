"""The buffer of one producer: appended to by its publisher, read by the next one, bounded, and never in the way of a fill."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, field

import structlog

from breakwater.runtime.disk_buffer.segments import (
    FORMAT,
    Entry,
    Header,
    Reading,
    decode_entry,
    decode_header,
    entry_data,
    header_data,
    read_segment,
    segment_name,
    segment_number,
)
from breakwater.runtime.journal import Journal
from breakwater.runtime.ports import DiskError, Volume

log = structlog.get_logger(__name__)

MOST_EVENTS = 100_000
MOST_BYTES = 64 * 1024 * 1024
SEGMENT_BYTES = 4 * 1024 * 1024
RESERVE = "buffer-reserve"
RESERVE_BYTES = 1024 * 1024
OLD_SPOOL = "bus-spool.jsonl"
"""What versions before the buffer wrote: taken over once."""


class Level(enum.StrEnum):
    OK = "ok"
    FILLING = "filling"
    """Half full: what can be given up is."""
    FULL = "full"
    FAILING = "failing"
    """The disk does not take what must be kept."""


@dataclass
class _Segment:
    number: int
    journal: Journal
    entries: list[Entry] = field(default_factory=list)
    """Known to be on the disk."""
    writing: int = 0
    begun: bool = False
    """Its header is there, or on its way."""


class DiskBuffer:
    """Entries in the order of their ids. ``load`` once, then ``append`` and ``release``. Raises DiskError.

    Appends at the same time share one sync, off the event loop. A file whose sync failed is never written to again: what it
    holds is written to the next one. A reserve of a megabyte is given up when the disk is full.
    """

    def __init__(
        self,
        disk: Volume,
        *,
        desk: str = "",
        producer: str = "",
        most_events: int = MOST_EVENTS,
        most_bytes: int = MOST_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._disk = disk
        self._desk, self._producer = desk, producer
        self.most_events, self.most_bytes = most_events, most_bytes
        self._segment_bytes = segment_bytes
        self._segments: list[_Segment] = []
        self._next = 1
        self._mending = asyncio.Lock()
        self._reserve = False
        self._unreadable = ""
        self._failing = ""
        self.quarantined = 0
        """Damaged lines found by ``load``, kept in files of their own."""

    @property
    def count(self) -> int:
        """Events kept."""
        return sum(len(segment.entries) for segment in self._segments)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.journal.size for segment in self._segments)

    @property
    def level(self) -> Level:
        if self._failing or self._unreadable:
            return Level.FAILING
        used = max(self.count / self.most_events, self.size / self.most_bytes)
        if used >= 1:
            return Level.FULL
        return Level.FILLING if used >= 0.5 else Level.OK

    @property
    def trouble(self) -> str:
        """Why the next event may not be kept, a sentence with what to do; empty while there is no reason to fear."""
        if self._failing:
            return f"the buffer's disk does not take events: {self._failing}"
        if self._unreadable:
            return self._unreadable
        if self.level is Level.FULL:
            return (
                f"the buffer is full ({self.count} events, {self.size} bytes): bring Redis back, and it empties itself"
            )
        return ""

    # ------------------------------------------------------------------------------------------------ reading

    async def load(self) -> list[Entry]:
        """What an earlier process left behind, oldest first. A torn tail is cut off; damaged lines are set aside and reported."""
        numbers = sorted(number for name in self._disk.names() if (number := segment_number(name)) is not None)
        kept: list[_Segment] = []
        for number in reversed(numbers):
            segment, is_whole_story = await self._load_segment(number)
            if segment is not None:
                kept.insert(0, segment)
            if is_whole_story:
                await self._remove_void(numbers[: numbers.index(number)])
                break
        self._segments = kept
        self._next = max(numbers, default=0) + 1
        await self._take_over_spool()
        self._without_repeats()
        await self._reserve_space()
        return [entry for segment in self._segments for entry in segment.entries]

    async def _load_segment(self, number: int) -> tuple[_Segment | None, bool]:
        """The segment, and whether it says that everything before it is void."""
        name = segment_name(number)
        found = read_segment(self._disk.read(name) or b"")
        if self._is_newer(name, found):
            return None, False
        self.quarantined += len(found.damaged)
        journal = Journal(self._disk, name)
        segment = _Segment(number, journal)
        void_before = False
        for data in await journal.load(salvage=True):
            header = decode_header(data)
            if header is not None:
                void_before = void_before or header.void_before
                continue
            try:
                segment.entries.append(decode_entry(data))
            except ValueError as error:
                log.error("not an event: left out", file=name, error=str(error))
        segment.begun = journal.size > 0
        return segment, void_before

    async def _remove_void(self, numbers: list[int]) -> None:
        """What a newer version wrote stays: whoever declared the rest void could not read it."""
        for number in numbers:
            name = segment_name(number)
            if not self._is_newer(name, read_segment(self._disk.read(name) or b"")):
                await self._disk.remove(name)

    def _is_newer(self, name: str, found: Reading) -> bool:
        if not found.newer:
            return False
        assert found.header is not None
        self._unreadable = (
            f"{name} was written by a newer version (format {found.header.buffer}, this one reads {FORMAT}): "
            "run that version to have its events delivered; until then it is left as it is"
        )
        log.error("buffer not understood", file=name, format=found.header.buffer)
        return True

    async def _take_over_spool(self) -> None:
        if self._disk.read(OLD_SPOOL) is None:
            return
        entries = [decode_entry(data) for data in await Journal(self._disk, OLD_SPOOL).load(salvage=True)]
        if entries:
            await self.append(entries)
        await self._disk.remove(OLD_SPOOL)

    def _without_repeats(self) -> None:
        """A segment that was given up after its sync failed may hold what the next one holds as well."""
        last: dict[tuple[int, int], int] = {}
        for segment in self._segments:
            last.update((entry.id, segment.number) for entry in segment.entries)
        for segment in self._segments:
            segment.entries = [entry for entry in segment.entries if last[entry.id] == segment.number]

    # ------------------------------------------------------------------------------------------------ writing

    async def append(self, entries: list[Entry]) -> None:
        """Durable on return, all or none of them."""
        if not entries:
            return
        if self._mending.locked():
            async with self._mending:
                pass  # the file of before may be gone afterwards
        segment = self._current()
        try:
            await self._write(segment, entries)
        except DiskError as error:
            await self._mend(segment, entries, error)
        self._failing = ""

    async def rewrite(self, entries: list[Entry]) -> None:
        """Keep exactly these, atomically (they got other ids)."""
        async with self._mending:
            old, segment = self._segments, self._new_segment()
            lines = [self._header(segment, void_before=True), *map(entry_data, entries)]
            await segment.journal.load()
            await segment.journal.rewrite(lines)
            segment.begun, segment.entries = True, list(entries)
            self._segments = [segment]
            for each in old:
                await self._disk.remove(segment_name(each.number))

    async def release(self, through: tuple[int, int]) -> None:
        """All up to the id ``through`` is stored elsewhere, and has been for long enough: segments with nothing more go."""
        async with self._mending:
            while self._segments:
                segment = self._segments[0]
                if segment.writing or any(entry.id > through for entry in reversed(segment.entries)):
                    break
                if not segment.entries and len(self._segments) == 1:
                    break
                self._segments.pop(0)
                await self._disk.remove(segment_name(segment.number))
        await self._reserve_space()

    async def heal(self) -> None:
        """Try whether a disk that failed takes something again. Raises nothing."""
        await self._reserve_space()
        if self._reserve:
            self._failing = ""

    async def clear(self) -> None:
        """Forget all: they are stored, and have been for long enough."""
        async with self._mending:
            while self._segments:
                segment = self._segments[0]
                await segment.journal.flush()
                await self._disk.remove(segment_name(segment.number))
                self._segments.pop(0)
        await self._reserve_space()

    def _current(self) -> _Segment:
        if not self._segments or self._segments[-1].journal.size >= self._segment_bytes:
            self._segments.append(self._new_segment())
        return self._segments[-1]

    def _new_segment(self) -> _Segment:
        segment = _Segment(self._next, Journal(self._disk, segment_name(self._next)))
        self._next += 1
        return segment

    async def _write(self, segment: _Segment, entries: list[Entry]) -> None:
        lines = [entry_data(entry) for entry in entries]
        if not segment.begun:
            segment.begun = True
            segment.journal.begin()
            lines.insert(0, self._header(segment))
        segment.writing += 1
        try:
            await segment.journal.append_many(lines)
        except DiskError:
            segment.begun = segment.journal.size > 0
            raise
        finally:
            segment.writing -= 1
        segment.entries += entries

    async def _mend(self, segment: _Segment, entries: list[Entry], error: DiskError) -> None:
        """The disk refused: make room, then a file that it has not failed yet, with all that the failed one holds."""
        async with self._mending:
            if not self._segments:
                self._segments.append(self._new_segment())
            if segment is not self._segments[-1]:  # somebody else has moved on to the next file
                segment = self._segments[-1]
                try:
                    return await self._write(segment, entries)
                except DiskError as again:
                    error = again
            while segment.writing:  # what others have on their way into it may be taken after all
                await segment.journal.flush()
                await asyncio.sleep(0)
            fresh = self._new_segment()
            try:
                if self._reserve:
                    self._reserve = False
                    log.warning("the buffer's disk is full: its reserve is given up", error=str(error))
                    await self._disk.remove(RESERVE)
                await self._write(fresh, [*segment.entries, *entries])
            except DiskError as again:
                self._failing = str(again)
                self._reserve = False  # `heal` has to write it anew
                raise
            self._segments[-1] = fresh
            log.warning("the buffer goes on in another file", file=segment_name(fresh.number), error=str(error))
        try:
            await self._disk.remove(segment_name(segment.number))
        except DiskError as left:
            log.warning("a failed file of the buffer cannot be removed", error=str(left))

    def _header(self, segment: _Segment, *, void_before: bool = False) -> bytes:
        return header_data(Header(FORMAT, segment.number, self._desk, self._producer, void_before))

    async def _reserve_space(self) -> None:
        """Room that the never-refused events of a full disk can have."""
        if self._reserve:
            return
        try:
            if self._failing or len(self._disk.read(RESERVE) or b"") != RESERVE_BYTES:
                await self._disk.replace(RESERVE, bytes(RESERVE_BYTES))
            self._reserve = True
        except DiskError as error:
            log.warning("no room for the buffer's reserve", error=str(error))
