"""What a desk's recorder writes, and reading it back: market, signals, and what came of them, minute by minute.

JSON lines in the envelope of ``runtime.journal`` (number and checksum), in a few files that are overwritten in turn; each
begins with all that is needed to read it alone. Format: docs/reference/whatif.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from breakwater.desk.sources import DeskInputError
from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.instruments import Instrument
from breakwater.domain.money import ZERO
from breakwater.domain.signals import DataKind, Signal
from breakwater.domain.stop_state import StopState, Trip
from breakwater.runtime.journal import decode_line
from breakwater.runtime.manifests import (
    API_VERSION,
    POLICY_KIND,
    STOP_KIND,
    DeskManifests,
    ManifestError,
    policy_from_object,
    stop_from_object,
)
from breakwater.runtime.policy_diff import desk_to_wire
from breakwater.runtime.unreadable import UNREADABLE

FORMAT = 1
FILES = 8
"""Files that are written in turn; the ninth overwrites the first."""
COMPONENT = "recorder"
LONGEST_PATH = 4
LONGEST_CANDLE_S = 86_400
KEPT_PROBLEMS = 10

_wire = msgspec.json.Encoder(decimal_format="number")


def file_name(segment: int) -> str:
    """The file that segment number ``segment`` (0, 1, ...) goes to."""
    return f"recording-{segment % FILES}.jsonl"


class Record(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of all records. ``time`` is market time, UTC."""

    time: Annotated[datetime, Meta(tz=True)]


class Header(Record, frozen=True, tag="header"):
    """Begins a file, and each run of the desk within one. ``segment`` rises by one with each file begun."""

    format: int
    segment: int
    desk: DeskId
    build: str
    data: DataKind


class Instruments(Record, frozen=True, tag="instruments"):
    instruments: tuple[Instrument, ...]


class Policy(Record, frozen=True, tag="policy"):
    """The policy that came into force: both resources as their manifests spell them."""

    version: int
    manifests: msgspec.Raw

    def desk(self) -> DeskManifests:
        """Raises ManifestError, KeyError, ValueError."""
        body = json.loads(bytes(self.manifests), parse_float=Decimal)
        objects = {kind: {"apiVersion": API_VERSION, "kind": kind, **body[kind]} for kind in (POLICY_KIND, STOP_KIND)}
        return DeskManifests(policy_from_object(objects[POLICY_KIND]), stop_from_object(objects[STOP_KIND]))


def policy_record(time: datetime, version: int, desk: DeskManifests) -> Policy:
    return Policy(time, version, msgspec.Raw(_wire.encode(desk_to_wire(desk))))


class Candle(Record, frozen=True, tag="candle"):
    """A closed candle; ``time`` is its opening, volume in base units."""

    symbol: Symbol
    seconds: Annotated[int, Meta(gt=0, le=LONGEST_CANDLE_S)]
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Minute(Record, frozen=True, tag="minute"):
    """The mark's way through one minute: its first, highest, lowest and last price, each ``[ms after time, price]``, in order."""

    symbol: Symbol
    path: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=0, lt=60_000)], Decimal], ...], Meta(min_length=1, max_length=LONGEST_PATH)
    ]


class Given(Record, frozen=True, tag="signal"):
    """A signal; ``time`` is when it was published."""

    signal: Signal


class Account(Record, frozen=True, tag="account"):
    """The portfolio in one minute: money as it was at ``time``, the minute's last snapshot; percentages at their worst."""

    equity: Decimal
    wallet: Decimal
    drawdown_pct: Decimal
    open_loss_pct: Decimal
    exposure_pct: Decimal
    positions: int


class Orders(Record, frozen=True, tag="orders"):
    """What became of orders in one minute. ``fees`` in USDT; ``refused`` counts by code."""

    submitted: int
    fills: int
    fees: Decimal
    refused: dict[str, int]


class Stop(Record, frozen=True, tag="stop"):
    """A transition of the emergency stop."""

    state: StopState
    who: str
    reason: str
    trip: Trip | None = None


AnyRecord = Header | Instruments | Policy | Candle | Minute | Given | Account | Orders | Stop

_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)


def encode_record(record: AnyRecord) -> bytes:
    """One JSON object on one line."""
    return _encoder.encode(record)


def decode_record(data: bytes) -> AnyRecord | None:
    """None for what this version does not write."""
    try:
        record = _decoder.decode(data)
    except UNREADABLE:
        return None
    return record if _makes_sense(record) else None


def _makes_sense(record: AnyRecord) -> bool:
    match record:
        case Candle(open=first, high=high, low=low, close=last, volume=volume):
            return _positive(first, high, low, last) and volume.is_finite() and volume >= ZERO
        case Minute(path=path):
            return _positive(*(price for _, price in path))
        case Instruments(instruments=listed):
            return all(_positive(each.tick_size, each.step_size) for each in listed)
        case Given(signal=signal):
            figures = [each for each in (signal.confidence, signal.stop_pct, signal.target_pct) if each is not None]
            return signal.time.tzinfo is not None and all(each.is_finite() for each in figures)
        case Account(_, equity, wallet, drawdown, open_loss, exposure):
            return all(each.is_finite() for each in (equity, wallet, drawdown, open_loss, exposure))
        case Orders(fees=fees):
            return fees.is_finite()
        case _:
            return True


def _positive(*values: Decimal) -> bool:
    return all(value.is_finite() and value > ZERO for value in values)


@dataclass
class Recording:
    """What was read. Records of a kind are in the order of their times; ``problems`` holds a sentence for each kind of damage."""

    source: str
    header: Header
    files: int = 0
    lines: int = 0
    damaged: int = 0
    """Lines that fail their checksum, torn ends included."""
    unknown: int = 0
    """Whole lines of a kind that this version does not know."""
    missing: int = 0
    """Lines that are not there any more by the numbers of those that are."""
    runs: int = 0
    """How often the desk was started."""
    problems: list[str] = field(default_factory=list)
    instruments: dict[Symbol, Instrument] = field(default_factory=dict)
    policies: list[tuple[datetime, int, DeskManifests]] = field(default_factory=list)
    candles: dict[Symbol, dict[datetime, Candle]] = field(default_factory=dict)
    marks: dict[Symbol, dict[datetime, Decimal]] = field(default_factory=dict)
    signals: list[Given] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    orders: list[Orders] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Times of the first and the last mark."""
        first = min(min(marks) for marks in self.marks.values())
        return first, max(max(marks) for marks in self.marks.values())

    def policy_at(self, moment: datetime) -> DeskManifests | None:
        """What was in force at ``moment``; the first known one for an earlier moment; None when none is known."""
        before = [desk for time, _, desk in self.policies if time <= moment]
        return before[-1] if before else self.policies[0][2] if self.policies else None

    def take(self, record: AnyRecord, where: str) -> None:
        match record:
            case Header():
                self.header, self.runs = record, self.runs + 1
            case Instruments():
                self.instruments |= {each.symbol: each for each in record.instruments}
            case Policy():
                self._take_policy(record, where)
            case Candle():
                self.candles.setdefault(record.symbol, {})[record.time] = record
            case Minute():
                marks = self.marks.setdefault(record.symbol, {})
                for after_ms, price in record.path:
                    marks[record.time + timedelta(milliseconds=after_ms)] = price
            case Given():
                self.signals.append(record)
            case Account():
                self.accounts.append(record)
            case Orders():
                self.orders.append(record)
            case Stop():
                self.stops.append(record)

    def _take_policy(self, record: Policy, where: str) -> None:
        try:
            desk = record.desk()
        except (ManifestError, KeyError, ValueError) as error:
            self.unknown += 1
            self.problem(f"{where}: the policy cannot be used by this version: {error}")
            return
        # Each file repeats the policy in force.
        if not self.policies or self.policies[-1][1:] != (record.version, desk):
            self.policies.append((record.time, record.version, desk))

    def problem(self, sentence: str) -> None:
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(sentence)


def read_recording(path: Path) -> Recording:
    """The recording in ``path``: one file, or a desk's state directory. Damage is counted, never fatal.

    Raises DeskInputError when there is none, or nothing in it that could be replayed.
    """
    found: list[tuple[Header, Path, bytes]] = []
    for file in _files(path):
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise DeskInputError(f"{file} cannot be read: {error.strerror or error}") from error
        header = _first_header(raw)
        if header is not None:
            found.append((header, file, raw))
    if not found:
        raise DeskInputError(
            f"{path}: this is no recording of a desk; give its state directory (.breakwater), or a "
            f"{file_name(0)} out of components/{COMPONENT} in it"
        )
    found.sort(key=lambda each: each[0].segment)
    newest = found[-1][0]
    if newest.format > FORMAT:
        raise DeskInputError(
            f"{found[-1][1]}: its format is {newest.format}, this program reads up to {FORMAT}: use a newer one"
        )
    recording = Recording(str(path), found[0][0])
    for _, file, raw in found:
        _read(recording, file, raw)
    if not recording.marks:
        raise DeskInputError(f"{path}: the recording holds no prices yet; let the desk run for a minute of market time")
    for listed in (recording.signals, recording.accounts, recording.orders, recording.stops, recording.policies):
        listed.sort(key=_time)
    return recording


def _time(record: Any) -> Any:
    return record[0] if isinstance(record, tuple) else record.time


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DeskInputError(f"{path}: there is no such file or directory; give a desk's state directory (.breakwater)")
    for folder in (path / "components" / COMPONENT, path / COMPONENT / "state", path):
        found = [folder / file_name(number) for number in range(FILES) if (folder / file_name(number)).is_file()]
        if found:
            return found
    raise DeskInputError(f"{path}: there is no recording in components/{COMPONENT}; has a desk run from here?")


def _first_header(raw: bytes) -> Header | None:
    """The first one that can be read: the very first line may be the damaged one."""
    for line in raw.split(b"\n"):
        parsed = decode_line(line)
        record = decode_record(parsed[1]) if parsed else None
        if isinstance(record, Header):
            return record
    return None


def _read(recording: Recording, file: Path, raw: bytes) -> None:
    recording.files += 1
    expected: int | None = None
    lines = raw.split(b"\n")
    ends_whole = lines[-1] == b""
    for number, line in enumerate(lines[: -1 if ends_whole else None], start=1):
        recording.lines += 1
        where = f"{file.name} line {number}"
        parsed = decode_line(line)
        if parsed is None:
            recording.damaged += 1
            torn = number == len(lines) and not ends_whole
            recording.problem(f"{where}: {'it is cut short' if torn else 'the checksum does not match'}; left out")
            if expected is not None:
                expected += 1  # it had this number, most likely
            continue
        if expected is not None and parsed[0] > expected:
            recording.missing += parsed[0] - expected
            recording.problem(f"{where}: {parsed[0] - expected} line(s) before it are missing")
        expected = parsed[0] + 1
        record = decode_record(parsed[1])
        if record is None:
            recording.unknown += 1
            recording.problem(f"{where}: not a record that this version knows; left out")
        else:
            recording.take(record, where)
