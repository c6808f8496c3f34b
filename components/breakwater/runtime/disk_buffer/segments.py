"""What a segment of the buffer is: a file of journal lines, a header first, then one line for each event.

    {"crc":"5d0a1c2b","n":1,"data":{"buffer":1,"segment":7,"desk":"main","producer":"execution"}}
    {"crc":"9a0b1c2d","n":2,"data":{"epoch":1795397598,"sequence":41,"event":{...}}}

``buffer`` is the format's version. The checksum covers number and data of a line (runtime.journal). Segments are numbered, read
in the order of their numbers, appended to only at the end of the last one, and deleted whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

from breakwater.runtime.journal import decode_line
from breakwater.runtime.unreadable import UNREADABLE

FORMAT = 1
_NAME = re.compile(r"buffer-([0-9]{8})\.jsonl")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event on its way: ``data`` is the encoded event whose id on the stream is ``epoch-sequence``."""

    epoch: int
    sequence: int
    data: bytes

    @property
    def id(self) -> tuple[int, int]:
        return (self.epoch, self.sequence)


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    buffer: int
    """Version of the format."""
    segment: int
    desk: str = ""
    producer: str = ""
    void_before: bool = False
    """All earlier segments are void: their events are here, under other ids."""


class _Record(msgspec.Struct):
    epoch: int
    sequence: int
    event: msgspec.Raw


@dataclass
class Reading:
    """What a segment holds. ``damaged`` names lines that are no records; ``torn`` is the bytes a crash left at the end."""

    header: Header | None
    entries: list[Entry] = field(default_factory=list)
    damaged: list[tuple[int, str]] = field(default_factory=list)
    torn: int = 0

    @property
    def newer(self) -> bool:
        """Written by a version that this one does not understand: not to be touched."""
        return self.header is not None and self.header.buffer > FORMAT


def segment_name(number: int) -> str:
    return f"buffer-{number:08d}.jsonl"


def segment_number(name: str) -> int | None:
    """None for a file that is no segment."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def header_data(header: Header) -> bytes:
    return msgspec.json.encode(header)


def entry_data(entry: Entry) -> bytes:
    return msgspec.json.encode(_Record(entry.epoch, entry.sequence, msgspec.Raw(entry.data)))


def decode_entry(data: bytes) -> Entry:
    """Raises msgspec.DecodeError for data that is no entry."""
    record = msgspec.json.decode(data, type=_Record)
    return Entry(record.epoch, record.sequence, bytes(record.event))


def decode_header(data: bytes) -> Header | None:
    try:
        return msgspec.json.decode(data, type=Header)
    except UNREADABLE:
        return None


def read_segment(raw: bytes) -> Reading:
    """All that can be told from the bytes of one segment; changes nothing."""
    reading = Reading(None)
    position, line_number, expected = 0, 0, None
    while position < len(raw):
        line_number += 1
        end = raw.find(b"\n", position)
        line = raw[position:] if end < 0 else raw[position:end]
        rest = len(raw) - position
        position = len(raw) if end < 0 else end + 1
        found = decode_line(line)
        if found is None:
            if end < 0 or (position == len(raw) and b"\0" in line):
                reading.torn = rest
            else:
                reading.damaged.append((line_number, "the checksum does not match"))
                expected = None
            continue
        number, data = found
        if expected is not None and number != expected:
            reading.damaged.append((line_number, f"line {number} follows line {expected - 1}"))
        expected = number + 1
        if line_number == 1 and (header := decode_header(data)) is not None:
            reading.header = header
            if reading.newer:
                return reading
            continue
        try:
            reading.entries.append(decode_entry(data))
        except UNREADABLE as error:
            reading.damaged.append((line_number, f"no event: {error}"))
    return reading
