"""An append-only journal of JSON lines, each with a number and a checksum: readable by people, and damage never passes for data.

One record is one line: ``{"crc":"9a0b1c2d","n":17,"data":{...}}``. ``crc`` is the CRC-32 of ``17:`` and the bytes of ``data``;
``n`` rises by one. A line cut short at the end is what a crash leaves behind and is cut off; any other damage is not.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from types import UnionType
from typing import Generic, TypeVar

import msgspec
import structlog

from breakwater.runtime.ports import Disk, DiskError
from breakwater.runtime.unreadable import UNREADABLE

log = structlog.get_logger(__name__)
T = TypeVar("T")

_LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})","n":([0-9]{1,18}),"data":(.*)\}', re.DOTALL)
_ZERO_PAGE = bytes(16)


class JournalCorrupt(Exception):
    """A journal is damaged elsewhere than at its torn end. The message names file, line and the copy that was kept."""


def encode_line(number: int, data: bytes) -> bytes:
    """One line, newline included."""
    prefix = b"%d:" % number
    return b'{"crc":"%08x","n":%d,"data":%s}\n' % (zlib.crc32(data, zlib.crc32(prefix)), number, data)


def decode_line(line: bytes) -> tuple[int, bytes] | None:
    """Number and data of a line without its newline; None when it is not a whole record."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    crc, number, data = match.groups()
    if b"%08x" % zlib.crc32(data, zlib.crc32(number + b":")) != crc:
        return None
    return int(number), data


class Journal:
    """A journal in file ``name`` of ``disk``. Call ``load`` once before the first ``append``. Appends at the same time share a sync."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self.name = name
        self._next = 1
        self._size = 0
        self._loaded = False
        self._broken = ""
        self._waiting: list[tuple[list[bytes], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def load(self, *, salvage: bool = False) -> list[bytes]:
        """All records, oldest first. A torn tail is cut off with a warning.

        Raises JournalCorrupt for any other damage, after keeping a copy beside the file; with ``salvage`` the
        damaged lines are left out instead (and reported). Raises DiskError.
        """
        raw = self._disk.read(self.name) or b""
        records: list[bytes] = []
        bad: list[tuple[int, str]] = []
        expected: int | None = None
        position = 0
        line_number = 0
        whole = 0  # bytes up to the end of the last line that is whole
        repair = b""
        while position < len(raw):
            line_number += 1
            start = position
            end = raw.find(b"\n", position)
            line = raw[position:] if end < 0 else raw[position:end]
            parsed = decode_line(line)
            if parsed is None and end < 0 and (parsed := decode_line(line[:-1])) is not None:
                line = line[:-1]  # everything but the newline is there
            position = len(raw) if end < 0 else end + 1
            if parsed is None:
                if position == len(raw) and (end < 0 or _ZERO_PAGE in line):
                    break  # torn: never acknowledged
                bad.append((line_number, "the checksum does not match"))
                expected = None
                whole = position
                continue
            number, data = parsed
            if expected is not None and number != expected:
                bad.append((line_number, f"record {number} follows record {expected - 1}"))
            records.append(data)
            expected = number + 1
            self._next = max(self._next, expected)
            whole = position
            if end < 0:
                whole = start + len(line)
                repair = b"\n"
        if bad:
            await self._report_damage(raw, bad, salvage=salvage)
            self._loaded = True
            await self.rewrite(records)
            return records
        if whole < len(raw):
            log.warning("torn tail cut off", journal=self.name, line=line_number, bytes=len(raw) - whole)
            await self._disk.truncate(self.name, whole)
        if repair:
            await self._disk.append(self.name, repair)
        self._size = whole + len(repair)
        self._loaded = True
        return records

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    def begin(self) -> None:
        """Instead of ``load``, for a file that is known not to exist."""
        self._loaded = True

    async def append(self, data: bytes) -> None:
        """Add one record: JSON without a line break. Durable on return. Raises ValueError, DiskError."""
        await self.append_many([data])

    async def append_many(self, records: list[bytes]) -> None:
        """Add records with one sync: all durable on return. Raises ValueError, DiskError (then none is kept)."""
        if any(b"\n" in data for data in records):
            raise ValueError(f"{self.name}: a record must not contain a line break")
        self._refuse_unusable()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((records, done))
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write(), name=f"journal.{self.name}")
        await done  # a caller that gives up does not undo the write

    async def rewrite(self, records: list[bytes]) -> None:
        """Replace all records (compaction), atomically; numbering goes on.

        Raises DiskError: then the old records are still in place, or nothing can be appended any more.
        """
        self._refuse_unusable()
        await self.flush()
        lines = b"".join(encode_line(self._next + i, data) for i, data in enumerate(records))
        try:
            await self._disk.replace(self.name, lines)
        except DiskError as error:
            self._see_what_is_there(lines, error)
            raise
        self._next += len(records)
        self._size = len(lines)

    async def flush(self) -> None:
        """Wait until every append under way is durable or failed."""
        while self._writer is not None:
            await asyncio.shield(self._writer)

    def _refuse_unusable(self) -> None:
        if not self._loaded:
            raise RuntimeError(f"{self.name}: load() the journal before writing to it")
        if self._broken:
            raise DiskError(f"{self.name}: {self._broken}; restart the component once the disk is healthy")

    async def _write(self) -> None:
        """Write what waits, batch by batch. Every outcome goes to a caller's future."""
        batch: list[tuple[list[bytes], asyncio.Future[None]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                records = [data for group, _ in batch for data in group]
                lines = b"".join(encode_line(self._next + i, data) for i, data in enumerate(records))
                try:
                    await self._disk.append(self.name, lines)
                except DiskError as error:
                    await self._undo(error)
                    self._fail(batch, error)
                    continue
                self._next += len(records)
                self._size += len(lines)
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        except asyncio.CancelledError:
            self._broken = "writing was interrupted"
            self._fail([*batch, *self._waiting], DiskError(f"{self.name}: {self._broken}"))
            raise
        finally:
            self._writer = None

    @staticmethod
    def _fail(batch: list[tuple[list[bytes], asyncio.Future[None]]], error: DiskError) -> None:
        for _, done in batch:
            if not done.done():
                done.set_exception(error)
                done.exception()  # a caller that was cancelled will not fetch it

    async def _undo(self, cause: DiskError) -> None:
        """After a failed append make sure that no part of it is left, or stop using the file."""
        try:
            if self._size or self._disk.read(self.name) is not None:
                await self._disk.truncate(self.name, self._size)
        except DiskError as error:
            self._broken = f"{cause}, and the half-written record could not be removed: {error}"

    def _see_what_is_there(self, lines: bytes, cause: DiskError) -> None:
        """After a failed replacement the old file must be in place, or nothing may be written behind the new one."""
        try:
            replaced = self._disk.read(self.name) == lines
        except DiskError:
            replaced = True  # as far as anybody knows
        if replaced:
            self._broken = f"{cause}, after its records had been replaced"

    async def _report_damage(self, raw: bytes, bad: list[tuple[int, str]], *, salvage: bool) -> None:
        copy = f"{self.name}.damaged-{zlib.crc32(raw):08x}"
        await self._disk.replace(copy, raw)
        where = "; ".join(f"line {line}: {why}" for line, why in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        if not salvage:
            raise JournalCorrupt(
                f"{self.name} is damaged at {where}{more}. A copy is kept as {copy}. "
                f"Repair or remove {self.name} by hand, then start again; until then this component stays closed"
            )
        log.error("damaged records left out", journal=self.name, where=where + more, copy=copy)


class TypedJournal(Generic[T]):
    """A journal of msgspec values; decimals as exact strings."""

    def __init__(self, disk: Disk, name: str, kind: type[T] | UnionType) -> None:
        self.journal = Journal(disk, name)
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)
        self._encoder = msgspec.json.Encoder(decimal_format="string")

    async def load(self) -> list[T]:
        """Raises JournalCorrupt (also for a record that is whole but of another shape), DiskError."""
        records = []
        for index, data in enumerate(await self.journal.load(), start=1):
            try:
                records.append(self._decoder.decode(data))
            except UNREADABLE as error:
                raise JournalCorrupt(
                    f"{self.journal.name}: record {index} is not what this version writes: {error}. "
                    "Was it written by a newer version? Then start that version"
                ) from error
        return records

    async def append(self, record: T) -> None:
        """Durable on return. Raises DiskError."""
        await self.journal.append(self._encoder.encode(record))

    async def rewrite(self, records: list[T]) -> None:
        """Replace all records, atomically. Raises DiskError."""
        await self.journal.rewrite([self._encoder.encode(record) for record in records])
