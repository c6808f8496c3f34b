"""What a child did, in a file that outlives it: fixed records in shared memory of the kernel, so that kill -9 takes none away.

No system call a record: the child's own timing stays as it is, and a limit on its file sizes or a full disk does not stop its testimony.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_RECORD = struct.Struct("<BBxxIQQd")
"""kind, incarnation, number, epoch, sequence, seconds of the machine's monotonic clock. The kind is written last."""
_CAPACITY = 120_000


class Kind(IntEnum):
    BEGUN = 1
    """publish is about to be called with this number."""
    ACKNOWLEDGED = 2
    REFUSED = 3
    FINISHED = 4
    """Every number asked for is settled; ``epoch`` is 1 when no more will be asked for."""
    APPLIED = 5
    """Handled for the first time."""
    REPEATED = 6
    """Handled before: the bus gave it again."""
    GAP = 7
    """The bus says that events are missing; ``number`` is how many times so far."""


@dataclass(frozen=True, slots=True)
class Record:
    kind: Kind
    incarnation: int
    number: int
    epoch: int
    sequence: int
    at: float


class Ledger:
    """Written by one process; ``incarnation`` counts its lives."""

    def __init__(self, path: Path, incarnation: int) -> None:
        self._incarnation = incarnation
        fd = os.open(path, os.O_RDWR)
        try:
            self._memory = mmap.mmap(fd, 0)
        finally:
            os.close(fd)
        self._next = sum(1 for _ in read(path)) * _RECORD.size

    def write(self, kind: Kind, number: int, epoch: int = 0, sequence: int = 0) -> None:
        packed = _RECORD.pack(kind, self._incarnation, number, epoch, sequence, time.monotonic())
        self._memory[self._next + 1 : self._next + _RECORD.size] = packed[1:]
        self._memory[self._next] = packed[0]
        self._next += _RECORD.size


def create(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(_CAPACITY * _RECORD.size)  # sparse: takes what is written


def read(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        while (packed := file.read(_RECORD.size)) and packed[0]:
            kind, incarnation, number, epoch, sequence, at = _RECORD.unpack(packed)
            yield Record(Kind(kind), incarnation, number, epoch, sequence, at)


class Tail:
    """Reads on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.records: list[Record] = []

    def more(self) -> list[Record]:
        """All records so far."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read(1 << 20)
        for start in range(0, len(data) - _RECORD.size + 1, _RECORD.size):
            if not data[start]:
                break
            kind, incarnation, number, epoch, sequence, at = _RECORD.unpack_from(data, start)
            self.records.append(Record(Kind(kind), incarnation, number, epoch, sequence, at))
            self._offset += _RECORD.size
        return self.records
