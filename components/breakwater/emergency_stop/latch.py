"""The latch on disk: the one record that decides what the stop is after a restart. Two copies, each whole or recognisably not.

A file is one line with the SHA-256 of the rest, then JSON. The first copy is written before anybody hears of a change, the
second right after. Of two readable copies the higher epoch wins, then the stricter state, then the later write.
"""

from __future__ import annotations

import enum
import hashlib

import msgspec

from breakwater.domain.stop_facts import Fact
from breakwater.domain.stop_memory import Latched
from breakwater.emergency_stop.audit import AuditHead
from breakwater.runtime.ports import Disk, DiskError
from breakwater.runtime.unreadable import UNREADABLE

FILE = "latch.json"
COPY = "latch.copy.json"


class LatchContent(msgspec.Struct, frozen=True):
    """Everything in the file."""

    revision: int
    """Rises with each write."""
    latched: Latched
    head: AuditHead = AuditHead()
    """End of the audit once ``audit_tail`` is in it."""
    audit_tail: tuple[str, ...] = ()
    """Audit lines of this change, which a crash may have kept from the audit file."""
    unpublished: tuple[Fact, ...] = ()
    """Facts that were not on the bus yet when this was written; published again after a crash."""

    @property
    def rank(self) -> tuple[int, int, int]:
        return (self.latched.epoch, self.latched.state.strictness, self.revision)


class Finding(enum.Enum):
    FOUND = enum.auto()
    ABSENT = enum.auto()
    UNREADABLE = enum.auto()


class LatchReading(msgspec.Struct, frozen=True):
    finding: Finding
    content: LatchContent | None = None
    problems: tuple[str, ...] = ()
    """What is wrong with single copies, in sentences."""
    may_lag: bool = False
    """The first copy is not there to say whether ``content`` is the last state: it may have held one more write."""


class Latch:
    """Reads and writes both copies on the component's own volume."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def read(self) -> LatchReading:
        """The copy that wins. Never raises: what cannot be read is a problem, and no readable copy is UNREADABLE."""
        found: dict[str, LatchContent] = {}
        problems: list[str] = []
        for name in (FILE, COPY):
            try:
                data = self._disk.read(name)
                if data is not None:
                    found[name] = decode_latch(data)
            except (DiskError, ValueError) as error:
                problems.append(f"{name}: {error}")
        if found:
            best = max(found.values(), key=lambda content: content.rank)
            return LatchReading(Finding.FOUND, best, tuple(problems), may_lag=FILE not in found)
        return LatchReading(Finding.UNREADABLE if problems else Finding.ABSENT, None, tuple(problems))

    async def write(self, content: LatchContent) -> None:
        """The first copy, durable on return. Raises DiskError."""
        await self._disk.replace(FILE, encode_latch(content))

    async def write_copy(self, content: LatchContent) -> None:
        """The second copy. Raises DiskError."""
        await self._disk.replace(COPY, encode_latch(content))


_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder = msgspec.json.Decoder(LatchContent)


def encode_latch(content: LatchContent) -> bytes:
    body = _encoder.encode(content)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode_latch(data: bytes) -> LatchContent:
    """Raises ValueError that says what is wrong."""
    digest, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("the checksum does not match: the file is damaged")
    try:
        return _decoder.decode(body)
    except UNREADABLE as error:
        raise ValueError(f"whole, but not what this version writes: {error}") from error


def durable(latched: Latched) -> Latched:
    """What a write is worth: not the order of the kept answers, nor outcomes that changed no count."""
    return msgspec.structs.replace(latched, execution_seen=(0, 0), outcomes=(), forgotten=())
